//! How a stream ends: closed, aborted, reset, left behind. Its descriptor is closed once.

use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::harness::{
    PULLED, close_loop, count_fds, fill, is_open, new_loop, read_exactly, read_to_end, reset,
    tcp_pair, turn_once, turn_until, turn_until_quiet, unix_pair, with_loop,
};
use super::push_face::{self, On, Told, half_closeable, send, whole};
use crate::io::sink::Failed;
use crate::io::{read, stream};
use crate::proto::phase::WriteRefused;

#[test]
fn close_flushes_first_and_reads_no_more() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        let key = push_face::open(core, fd, false, &push);
        let large = vec![b'l'; 4 << 20];
        send(core, key, &large).unwrap();
        stream::close(core, key);
        stream::close(core, key);
        peer.write_all(b"too late").unwrap();
        turn_until_quiet(core);
        assert!(!push.get().is_lost(), "not all has left");
        // As Twisted: what is written while it flushes is sent.
        assert_eq!(send(core, key, b"end"), Ok(()));
        read_exactly(core, &mut peer, large.len() + 3);
        turn_until(core, || push.get().is_lost());
        assert_eq!(push.get().data(), b"");
        assert_eq!(push.get().count(&Told::Lost(None)), 1);
        assert_eq!(send(core, key, b"x"), Err(WriteRefused::Closed));
    });
}

#[test]
fn abort_drops_what_is_buffered() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        let key = push_face::open(core, fd, false, &push);
        send(core, key, b"never sent").unwrap();
        stream::abort(core, key, None);
        let second = pyo3::exceptions::PyValueError::new_err("comes too late to be the reason");
        stream::abort(core, key, Some(second));
        assert!(!push.get().is_lost(), "never inline");
        assert_eq!(read_to_end(core, &mut peer), b"");
        assert_eq!(*push.get().told(), [Told::Made, Told::Lost(None)]);
    });
}

#[test]
fn a_reset_in_mid_write_fails_the_write_once() {
    with_loop(|core| {
        let (fd, peer) = tcp_pair();
        let push = whole(core.py());
        let key = push_face::open(core, fd, true, &push);
        send(core, key, &vec![b'r'; 16 << 20]).unwrap();
        turn_until_quiet(core);
        // Not reading: only the write can find out.
        read::pause(core, key);
        reset(peer);
        turn_until(core, || push.get().is_lost());
        turn_until_quiet(core);
        let told = push.get().told();
        let [
            ..,
            Told::Failed(Failed::Write, error),
            Told::Lost(Some(reason)),
        ] = told.as_slice()
        else {
            panic!("{told:?}");
        };
        assert_eq!(error, reason);
        assert!(error.starts_with("ConnectionResetError"), "{error}");
        let ends = |told: &&Told| matches!(told, Told::Failed(..) | Told::Lost(_));
        assert_eq!(told.iter().filter(ends).count(), 2);
    });
}

#[test]
fn a_write_that_fails_at_once_reports_the_end_later() {
    with_loop(|core| {
        let (fd, peer) = unix_pair();
        let push = whole(core.py());
        let key = push_face::open_with(core, fd, false, &push, PULLED);
        drop(peer);
        assert_eq!(send(core, key, b"x"), Ok(()));
        let broken = "BrokenPipeError: [Errno 32] Broken pipe".to_owned();
        let failed = Told::Failed(Failed::Write, broken.clone());
        assert_eq!(*push.get().told(), [Told::Made, failed.clone()]);
        assert_eq!(send(core, key, b"x"), Err(WriteRefused::Closed));
        turn_until_quiet(core);
        assert_eq!(
            *push.get().told(),
            [Told::Made, failed, Told::Lost(Some(broken))]
        );
    });
}

#[test]
fn the_descriptor_is_closed_once_after_the_end_was_told() {
    with_loop(|core| {
        let before = count_fds();
        let (fd, peer) = unix_pair();
        let number = fd.as_raw_fd();
        let push = whole(core.py());
        let key = push_face::open(core, fd, false, &push);
        push.get().on(On::Lost, move |_| {
            assert!(is_open(number), "the face can still ask for its name");
        });
        stream::close(core, key);
        assert!(is_open(number));
        turn_until_quiet(core);
        assert!(push.get().is_lost());
        assert!(!is_open(number));
        // Somebody else gets the number, and keeps it whatever is done with the old key.
        // SAFETY: the number is free, and nobody else opens one here.
        let other = unsafe { OwnedFd::from_raw_fd(libc::dup2(peer.as_raw_fd(), number)) };
        stream::close(core, key);
        stream::abort(core, key, None);
        turn_until_quiet(core);
        assert!(is_open(number));
        drop((other, peer));
        assert_eq!(count_fds(), before);
    });
}

#[test]
fn many_connections_leave_no_descriptor_behind() {
    with_loop(|core| {
        let before = count_fds();
        for round in 0..50 {
            let (fd, mut peer) = tcp_pair();
            let push = half_closeable(core.py());
            let key = push_face::open(core, fd, true, &push);
            send(core, key, b"bytes").unwrap();
            match round % 5 {
                0 => stream::close(core, key),
                1 => stream::abort(core, key, None),
                2 => reset(peer),
                3 => {
                    fill(&mut peer);
                    push.get().on(On::Data, |stream| {
                        stream::abort(stream.core, stream.key, None)
                    });
                }
                _ => {
                    drop(peer);
                    push.get()
                        .on(On::Eof, |stream| stream::close(stream.core, stream.key));
                }
            }
            turn_until(core, || push.get().is_lost());
        }
        turn_once(core);
        assert_eq!(count_fds(), before);
    });
}

#[test]
fn a_stream_that_its_loop_left_behind_is_closed_and_its_face_warned_of() {
    with_loop(|outer| {
        let py = outer.py();
        let before = count_fds();
        let core = new_loop(py);
        let (fd, mut peer) = unix_pair();
        let number = fd.as_raw_fd();
        let push = whole(py);
        let key = push_face::open(&core, fd, false, &push);
        send(&core, key, b"held for the end of a turn that does not come").unwrap();
        let warned = close_loop(&core);
        assert!(warned.len() == 1 && warned[0].as_ptr() == push.as_ptr());
        assert!(!is_open(number));
        assert_eq!(super::harness::read_available(&mut peer), (vec![], true));
        // Nothing can be done with it any more, and nobody is told of an end.
        assert_eq!(send(&core, key, b"x"), Err(WriteRefused::Closed));
        stream::close(&core, key);
        stream::abort(&core, key, None);
        read::resume(&core, key);
        assert_eq!(*push.get().told(), [Told::Made]);
        drop(core);
        drop(peer);
        assert_eq!(count_fds(), before);
    });
}
