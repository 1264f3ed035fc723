//! From inside every callback: close, abort, replace the face, write, turn the loop.

use std::io::Write;
use std::os::fd::AsRawFd;

use super::harness::{
    count_fds, is_open, reset, tcp_pair, turn_once, turn_until, turn_until_quiet, with_loop,
};
use super::push_face::{self, On, Push, PushSink, Told, half_closeable, send};
use crate::io::sink::{Face, Stream};
use crate::io::write;
use crate::io::{read, stream};
use crate::proto::phase::WriteRefused;
use crate::py::bytes::Data;
use crate::runtime::LoopCore;
use pyo3::prelude::*;

const CALLBACKS: [On; 7] = [
    On::Made,
    On::Data,
    On::Eof,
    On::Pause,
    On::Resume,
    On::Failed,
    On::Lost,
];

/// Runs a connection on which every callback happens in the end, if nothing ends it before, and `deed` is done from
/// inside one of them. Whatever it was: the end is told once, the descriptor closed once.
fn play(on: On, deed: fn(&Stream<'_, '_>)) {
    with_loop(|core| {
        let before = count_fds();
        let (push, number) = connection(core, on, deed);
        let happened = push.get().told().iter().any(|told| is(told, on));
        assert!(happened, "{on:?}: {:?}", push.get().told());
        assert_eq!(count_lost(&push), 1, "{on:?}: {:?}", push.get().told());
        assert!(!is_open(number), "{on:?}");
        assert_eq!(count_fds(), before, "{on:?}");
    });
}

fn count_lost(push: &Py<Push>) -> usize {
    let told = push.get().told();
    told.iter()
        .filter(|told| matches!(told, Told::Lost(_)))
        .count()
}

fn connection(
    core: &Bound<'_, LoopCore>,
    on: On,
    deed: fn(&Stream<'_, '_>),
) -> (Py<Push>, crate::sys::Fd) {
    let (fd, mut peer) = tcp_pair();
    let number = fd.as_raw_fd();
    let push = half_closeable(core.py());
    push.get().once(on, deed);
    let key = push_face::open(core, fd, true, &push);
    peer.write_all(b"hello").unwrap();
    turn_until(core, || is_done(&push, On::Data));
    // Pause and Resume: more than the kernel takes, and a peer that reads.
    // Refused when an earlier deed has ended that direction.
    if send(core, key, &vec![b'w'; 12 << 20]).is_ok() {
        turn_until(core, || {
            read_available_until_reset(&mut peer);
            is_done(&push, On::Resume)
        });
    }
    // Eof or Failed: one connection cannot have both.
    if on == On::Failed {
        reset(peer);
        turn_until(core, || is_done(&push, On::Failed));
    } else if !push.get().is_lost() {
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        turn_until(core, || is_done(&push, On::Eof));
        stream::close(core, key);
    }
    turn_until(core, || push.get().is_lost());
    turn_until_quiet(core);
    (push, number)
}

/// Whether the face was told of that, or the end came before.
fn is_done(push: &Py<Push>, on: On) -> bool {
    push.get().is_lost() || push.get().told().iter().any(|told| is(told, on))
}

fn read_available_until_reset(peer: &mut std::net::TcpStream) {
    use std::io::{ErrorKind, Read};
    let mut block = vec![0; 1 << 20];
    loop {
        match peer.read(&mut block) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                let ended = matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::ConnectionReset
                );
                assert!(ended, "{error}");
                return;
            }
        }
    }
}

#[test]
fn undisturbed_everything_is_told() {
    with_loop(|core| {
        let (push, _) = connection(core, On::Made, |_| {});
        use crate::proto::marks::Pressure::{Pause, Resume};
        assert_eq!(
            *push.get().told(),
            [
                Told::Made,
                Told::Data(b"hello".to_vec()),
                Told::Pressure(Pause),
                Told::Pressure(Resume),
                Told::Eof,
                Told::Lost(None)
            ]
        );
        let (push, _) = connection(core, On::Failed, |_| {});
        assert!(matches!(
            push.get().told().as_slice(),
            [
                Told::Made,
                Told::Data(_),
                Told::Pressure(_),
                Told::Pressure(_),
                Told::Failed(..),
                Told::Lost(Some(_))
            ]
        ));
    });
}

#[test]
fn closing_inside_each() {
    for on in CALLBACKS {
        play(on, |made| stream::close(made.core, made.key));
    }
}

#[test]
fn aborting_inside_each() {
    for on in CALLBACKS {
        play(on, |made| stream::abort(made.core, made.key, None));
    }
}

#[test]
fn aborting_with_a_reason_inside_each() {
    for on in CALLBACKS {
        with_loop(|core| {
            let (push, _) = connection(core, on, |made| {
                let reason = pyo3::exceptions::PyValueError::new_err("mine");
                stream::abort(made.core, made.key, Some(reason));
            });
            let told = push.get().told();
            assert!(told.iter().any(|told| is(told, on)), "{on:?}: {told:?}");
            let Some(Told::Lost(reason)) = told.last() else {
                panic!("{told:?}");
            };
            // The first reason counts, and after the end there is none.
            match on {
                On::Lost => assert_eq!(*reason, None),
                On::Failed => assert!(reason.as_ref().unwrap().contains("reset")),
                _ => assert_eq!(reason.as_deref(), Some("ValueError: mine")),
            }
            let after = told.iter().rev().take_while(|told| !is(told, on)).count();
            assert!(
                after <= 1,
                "nothing but the end comes after {on:?}: {told:?}"
            );
        });
    }
}

fn is(told: &Told, on: On) -> bool {
    match told {
        Told::Made => on == On::Made,
        Told::Data(_) => on == On::Data,
        Told::Eof => on == On::Eof,
        Told::Pressure(crate::proto::marks::Pressure::Pause) => on == On::Pause,
        Told::Pressure(crate::proto::marks::Pressure::Resume) => on == On::Resume,
        Told::Failed(..) => on == On::Failed,
        Told::Lost(_) => on == On::Lost,
    }
}

#[test]
fn writing_inside_each() {
    for on in CALLBACKS {
        play(on, |made| {
            let data = Data::Copied(b"from inside".to_vec());
            let written = write::write(made.core, made.key, data).unwrap();
            let life = stream::with(made.core, made.key, |stream| stream.life());
            // Refused when there is no stream, or its end is decided; taken otherwise.
            let alive = life.is_some_and(|life| life.may_send());
            assert_eq!(
                written,
                if alive {
                    Ok(())
                } else {
                    Err(WriteRefused::Closed)
                }
            );
        });
    }
}

#[test]
fn ending_the_own_direction_inside_each() {
    for on in CALLBACKS {
        play(on, |made| stream::write_eof(made.core, made.key));
    }
}

#[test]
fn pausing_and_resuming_inside_each() {
    for on in CALLBACKS {
        play(on, |made| {
            read::pause(made.core, made.key);
            read::resume(made.core, made.key);
        });
    }
}

#[test]
fn turning_the_loop_inside_each() {
    for on in CALLBACKS {
        play(on, |made| {
            turn_once(made.core);
            turn_once(made.core);
        });
    }
}

#[test]
fn replacing_the_face_inside_each() {
    for on in CALLBACKS {
        with_loop(|core| {
            let py = core.py();
            let (fd, mut peer) = tcp_pair();
            let old = half_closeable(py);
            let new = half_closeable(py);
            let mut next = Some(new.clone_ref(py));
            old.get().once(on, move |made| {
                let face = Face {
                    object: next.take().unwrap().into_any(),
                    sink: &PushSink,
                };
                let replaced = stream::with(made.core, made.key, |stream| stream.set_face(face));
                // The last callback comes when the stream has gone.
                assert_eq!(replaced.is_none(), on == On::Lost);
            });
            let key = push_face::open(core, fd, true, &old);
            peer.write_all(b"hello").unwrap();
            let both = |which| {
                let both = [&old, &new];
                move || both.iter().any(|push| is_done(push, which))
            };
            turn_until(core, both(On::Data));
            send(core, key, &vec![b'w'; 12 << 20]).unwrap();
            let resumed = both(On::Resume);
            turn_until(core, || {
                read_available_until_reset(&mut peer);
                resumed()
            });
            if on == On::Failed {
                reset(peer);
            } else {
                drop(peer);
                turn_until(core, both(On::Eof));
                stream::close(core, key);
            }
            turn_until(core, both(On::Lost));
            let told: Vec<_> = [&old, &new]
                .iter()
                .flat_map(|push| push.get().told().clone())
                .collect();
            // Together they were told everything, once, and the old one nothing after it was replaced.
            let kinds = if on == On::Failed {
                vec![
                    On::Made,
                    On::Data,
                    On::Pause,
                    On::Resume,
                    On::Failed,
                    On::Lost,
                ]
            } else {
                vec![On::Made, On::Data, On::Pause, On::Resume, On::Eof, On::Lost]
            };
            assert_eq!(told.len(), kinds.len(), "{on:?}: {told:?}");
            assert!(
                told.iter().zip(&kinds).all(|(told, on)| is(told, *on)),
                "{on:?}: {told:?}"
            );
            assert!(is(old.get().told().last().unwrap(), on));
        });
    }
}
