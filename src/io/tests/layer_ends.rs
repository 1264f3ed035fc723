//! How a stream with a layer ends: last words, errors, ends that come too early.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;

use pyo3::prelude::*;

use super::frames::{ALERT, DATA, END, Frames, HELLO, record};
use super::harness::{
    read_available, read_exactly, read_to_end, turn_until, turn_until_quiet, unix_pair, with_loop,
};
use super::push_face::{self, On, Told, half_closeable, send, whole};
use crate::io::sink::Failed;
use crate::io::{layer, read, stream};
use crate::poll::Key;
use crate::proto::phase::WriteRefused;
use crate::runtime::LoopCore;

/// A stream with a layer, whose handshake the peer has begun when `hello`.
fn layered(
    core: &Bound<'_, LoopCore>,
    fd: std::os::fd::OwnedFd,
    push: &Py<push_face::Push>,
    hello: bool,
) -> (Key, Arc<()>) {
    let key = push_face::open(core, fd, false, push);
    let frames = Frames::server();
    let alive = frames.alive();
    let unread = if hello { record(HELLO, b"") } else { vec![] };
    layer::insert(core, key, Box::new(frames), &unread).unwrap();
    turn_until_quiet(core);
    (key, alive)
}

/// Records one behind the other.
fn records(all: &[(u8, &[u8])]) -> Vec<u8> {
    all.iter()
        .flat_map(|(kind, bytes)| record(*kind, bytes))
        .collect()
}

#[test]
fn close_sends_everything_and_then_the_last_word() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        let (key, alive) = layered(core, fd, &push, true);
        send(core, key, b"bytes").unwrap();
        stream::close(core, key);
        assert_eq!(
            send(core, key, b"more"),
            Ok(()),
            "as Twisted, until it has drained"
        );
        let received = read_to_end(core, &mut peer);
        let expected = [
            (HELLO, &b""[..]),
            (DATA, b"bytes"),
            (DATA, b"more"),
            (END, b""),
        ];
        assert_eq!(received, records(&expected));
        turn_until(core, || push.get().is_lost());
        assert_eq!(push.get().count(&Told::Lost(None)), 1);
        assert_eq!(
            Arc::strong_count(&alive),
            1,
            "the layer went with the stream"
        );
    });
}

#[test]
fn the_last_word_waits_for_room_as_any_byte() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        let (key, _) = layered(core, fd, &push, true);
        let block = vec![b'b'; 30_000];
        for _ in 0..100 {
            send(core, key, &block).unwrap();
        }
        stream::close(core, key);
        turn_until_quiet(core);
        assert!(!push.get().is_lost());
        let received = read_to_end(core, &mut peer);
        assert_eq!(received.len(), 3 + 100 * 30_003 + 3);
        assert!(received.ends_with(&record(END, b"")));
        turn_until(core, || push.get().is_lost());
    });
}

#[test]
fn a_layer_may_wait_for_the_peers_last_word() {
    with_loop(|core| {
        // What nobody reads any more is no answer; in one piece with the answer, and in two; the socket's end is one.
        for (first, second) in [
            (&[(DATA, &b"late"[..])][..], &[(END, &b""[..])][..]),
            (&[(DATA, b"late"), (END, b"")], &[]),
            (&[(DATA, b"late")], &[]),
        ] {
            let (fd, mut peer) = unix_pair();
            let push = whole(core.py());
            let key = push_face::open(core, fd, false, &push);
            let frames = Frames::server().patient().lenient();
            layer::insert(core, key, Box::new(frames), &record(HELLO, b"")).unwrap();
            turn_until_quiet(core);
            stream::close(core, key);
            let expected = records(&[(HELLO, b""), (END, b"")]);
            assert_eq!(read_exactly(core, &mut peer, expected.len()), expected);
            turn_until_quiet(core);
            assert!(!push.get().is_lost());
            peer.write_all(&records(first)).unwrap();
            turn_until_quiet(core);
            if !second.is_empty() {
                assert!(!push.get().is_lost());
                peer.write_all(&records(second)).unwrap();
            } else if first.len() == 1 {
                peer.shutdown(Shutdown::Write).unwrap();
            }
            turn_until(core, || push.get().is_lost());
            assert_eq!(*push.get().told(), [Told::Made, Told::Lost(None)]);
        }
    });
}

#[test]
fn the_peers_last_word_may_be_there_already() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        let key = push_face::open(core, fd, false, &push);
        let frames = Frames::server().patient();
        // Received with the handshake, and not read by a face that has paused.
        read::pause(core, key);
        let unread = records(&[(HELLO, b""), (DATA, b"unread"), (END, b"")]);
        layer::insert(core, key, Box::new(frames), &unread).unwrap();
        turn_until_quiet(core);
        stream::close(core, key);
        let expected = records(&[(HELLO, b""), (END, b"")]);
        assert_eq!(read_to_end(core, &mut peer), expected);
        turn_until(core, || push.get().is_lost());
        assert_eq!(*push.get().told(), [Told::Made, Told::Lost(None)]);
    });
}

#[test]
fn half_closed_by_us_it_reads_on() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = half_closeable(core.py());
        let (key, _) = layered(core, fd, &push, true);
        send(core, key, b"all").unwrap();
        stream::write_eof(core, key);
        let expected = records(&[(HELLO, b""), (DATA, b"all"), (END, b"")]);
        assert_eq!(read_to_end(core, &mut peer), expected);
        assert_eq!(send(core, key, b"late"), Err(WriteRefused::AfterEof));
        peer.write_all(&records(&[(DATA, b"answer"), (END, b"")]))
            .unwrap();
        turn_until(core, || push.get().count(&Told::Eof) == 1);
        assert_eq!(push.get().data(), b"answer");
        assert!(!push.get().is_lost());
        stream::close(core, key);
        turn_until(core, || push.get().is_lost());
    });
}

#[test]
fn half_closed_by_the_peer_in_the_layers_terms_it_writes_on() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = half_closeable(core.py());
        let (key, _) = layered(core, fd, &push, true);
        // In one piece: the bytes come before the end.
        peer.write_all(&records(&[(DATA, b"question"), (END, b"")]))
            .unwrap();
        turn_until(core, || push.get().count(&Told::Eof) == 1);
        assert_eq!(
            push.get().told()[1..],
            [Told::Data(b"question".to_vec()), Told::Eof]
        );
        send(core, key, b"answer").unwrap();
        stream::close(core, key);
        let expected = records(&[(HELLO, b""), (DATA, b"answer"), (END, b"")]);
        assert_eq!(read_to_end(core, &mut peer), expected);
        turn_until(core, || push.get().is_lost());
    });
}

#[test]
fn what_was_written_before_the_handshake_leaves_though_the_host_has_closed() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        let (key, _) = layered(core, fd, &push, false);
        send(core, key, b"held").unwrap();
        stream::close(core, key);
        turn_until_quiet(core);
        assert!(!push.get().is_lost());
        peer.write_all(&records(&[(HELLO, b""), (DATA, b"for nobody")]))
            .unwrap();
        let expected = records(&[(HELLO, b""), (DATA, b"held"), (END, b"")]);
        assert_eq!(read_to_end(core, &mut peer), expected);
        turn_until(core, || push.get().is_lost());
        assert_eq!(*push.get().told(), [Told::Made, Told::Lost(None)]);
    });
}

#[test]
fn with_nothing_written_a_close_in_the_handshake_is_the_end() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        let (key, _) = layered(core, fd, &push, false);
        stream::close(core, key);
        assert_eq!(read_to_end(core, &mut peer), b"");
        turn_until(core, || push.get().is_lost());
    });
}

#[test]
fn what_waits_for_a_handshake_that_cannot_end_does_not_keep_the_stream() {
    with_loop(|core| {
        for close_first in [true, false] {
            let (fd, mut peer) = unix_pair();
            let push = half_closeable(core.py());
            let (key, _) = layered(core, fd, &push, false);
            send(core, key, b"held").unwrap();
            if close_first {
                stream::close(core, key);
                turn_until_quiet(core);
            }
            peer.shutdown(Shutdown::Write).unwrap();
            turn_until(core, || push.get().is_lost());
            let told = push.get().told().clone();
            let text = "ValueError: cut off".to_owned();
            assert_eq!(
                told[1..],
                [
                    Told::Failed(Failed::Read, text.clone()),
                    Told::Lost(Some(text))
                ]
            );
            assert_eq!(read_available(&mut peer), (vec![], true));
        }
    });
}

#[test]
fn an_error_comes_after_the_bytes_before_it_and_the_peer_hears_why() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        let (key, _) = layered(core, fd, &push, true);
        push.get()
            .once(On::Data, |made| read::pause(made.core, made.key));
        peer.write_all(&records(&[(DATA, b"good"), (9, b"bad"), (DATA, b"lost")]))
            .unwrap();
        turn_until(core, || push.get().data() == b"good");
        turn_until_quiet(core);
        assert_eq!(push.get().told().len(), 2, "the rest waits for the face");
        read::resume(core, key);
        turn_until(core, || push.get().is_lost());
        let text = "ValueError: bad record 9".to_owned();
        assert_eq!(
            push.get().told()[2..],
            [
                Told::Failed(Failed::Read, text.clone()),
                Told::Lost(Some(text))
            ]
        );
        let expected = records(&[(HELLO, b""), (ALERT, b"")]);
        assert_eq!(read_to_end(core, &mut peer), expected);
    });
}

#[test]
fn an_error_in_the_handshake_reaches_a_face_that_does_not_read() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        let (key, _) = layered(core, fd, &push, false);
        read::pause(core, key);
        peer.write_all(&record(DATA, b"rude")).unwrap();
        turn_until(core, || push.get().is_lost());
        let text = "ValueError: bad record 2".to_owned();
        assert_eq!(
            push.get().told()[1..],
            [
                Told::Failed(Failed::Read, text.clone()),
                Told::Lost(Some(text))
            ]
        );
        assert_eq!(read_to_end(core, &mut peer), record(ALERT, b""));
    });
}

#[test]
fn a_socket_that_ends_without_a_last_word_is_an_error() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        layered(core, fd, &push, true);
        assert_eq!(read_exactly(core, &mut peer, 3), record(HELLO, b""));
        let mut cut = records(&[(DATA, b"whole"), (DATA, b"not whole")]);
        cut.pop();
        peer.write_all(&cut).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        turn_until(core, || push.get().is_lost());
        let text = "ValueError: cut off".to_owned();
        assert_eq!(
            push.get().told()[1..],
            [
                Told::Data(b"whole".to_vec()),
                Told::Failed(Failed::Read, text.clone()),
                Told::Lost(Some(text))
            ]
        );
    });
}

#[test]
fn what_waits_for_a_peer_that_has_ended_does_not_keep_the_stream_either() {
    with_loop(|core| {
        for close_first in [true, false] {
            let (fd, mut peer) = unix_pair();
            let push = half_closeable(core.py());
            let key = push_face::open(core, fd, false, &push);
            layer::insert(core, key, Box::new(Frames::server().lenient()), b"").unwrap();
            send(core, key, b"held").unwrap();
            if close_first {
                stream::close(core, key);
                turn_until_quiet(core);
                peer.shutdown(Shutdown::Write).unwrap();
            } else {
                peer.shutdown(Shutdown::Write).unwrap();
                turn_until(core, || push.get().count(&Told::Eof) == 1);
                turn_until_quiet(core);
                assert!(!push.get().is_lost(), "half open");
                stream::close(core, key);
            }
            turn_until(core, || push.get().is_lost());
            let told = push.get().told().clone();
            let Some(Told::Lost(Some(reason))) = told.last() else {
                panic!("{told:?}");
            };
            assert!(reason.starts_with("ConnectionAbortedError"), "{reason}");
            assert_eq!(read_available(&mut peer), (vec![], true));
        }
    });
}

#[test]
fn an_error_behind_the_handshake_waits_for_a_face_that_does_not_read() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        let (key, _) = layered(core, fd, &push, false);
        read::pause(core, key);
        let all = [(HELLO, &b""[..]), (DATA, b"good"), (9, b"bad")];
        peer.write_all(&records(&all)).unwrap();
        let answer = record(HELLO, b"");
        assert_eq!(read_exactly(core, &mut peer, answer.len()), answer);
        turn_until_quiet(core);
        assert_eq!(*push.get().told(), [Told::Made]);
        read::resume(core, key);
        turn_until(core, || push.get().is_lost());
        assert_eq!(read_available(&mut peer), (record(ALERT, b""), true));
        assert_eq!(push.get().told()[1], Told::Data(b"good".to_vec()));
        assert!(matches!(
            &push.get().told()[2],
            Told::Failed(Failed::Read, _)
        ));
    });
}
