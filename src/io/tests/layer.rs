//! A layer put in in mid-stream.

use std::io::Write;
use std::sync::Arc;

use super::frames::{DATA, Frames, HELLO, record};
use super::harness::{
    PULLED, PUSHED, counting_pair, read_available, read_exactly, tcp_pair, turn_once, turn_until,
    turn_until_quiet, unix_pair, with_loop,
};
use super::pull_face::{self, until};
use super::push_face::{self, On, Told, send, whole, with};
use crate::io::sink::AfterEof;
use crate::io::{layer, read, stream};
use crate::proto::marks::Pressure;
use crate::proto::phase::WriteRefused;
use crate::runtime::LoopCore;
use pyo3::prelude::*;

#[test]
fn both_directions_change_in_mid_stream_and_unread_bytes_are_kept() {
    with_loop(|core| {
        let (fd, mut peer) = tcp_pair();
        let push = whole(core.py());
        let key = push_face::open(core, fd, true, &push);
        // STARTTLS and the first bytes of the handshake come in one piece; the answer is plain, what follows is not.
        push.get().once(On::Data, |made| {
            send(made.core, made.key, b"go ahead\n").unwrap();
            let frames = Box::new(Frames::server());
            layer::insert(made.core, made.key, frames, &record(HELLO, b"")[..2]).unwrap();
            send(made.core, made.key, b"secret").unwrap();
        });
        let mut first = b"start\n".to_vec();
        first.extend(&record(HELLO, b"")[..2]);
        peer.write_all(&first).unwrap();
        assert_eq!(
            read_exactly(core, &mut peer, 9),
            b"go ahead\n",
            "what was written before leaves as it was, what is written now waits for the handshake"
        );
        peer.write_all(&record(HELLO, b"")[2..]).unwrap();
        let mut expected = record(HELLO, b"");
        expected.extend(record(DATA, b"secret"));
        assert_eq!(read_exactly(core, &mut peer, expected.len()), expected);
        assert_eq!(
            push.get().told()[1..],
            [Told::Data(first)],
            "no plain byte yet"
        );

        // Only a whole record means anything.
        let question = record(DATA, b"question");
        for byte in &question[..question.len() - 1] {
            peer.write_all(&[*byte]).unwrap();
            turn_until_quiet(core);
        }
        assert_eq!(push.get().told().len(), 2);
        peer.write_all(&question[question.len() - 1..]).unwrap();
        turn_until(core, || push.get().told().len() == 3);
        assert_eq!(push.get().told()[2], Told::Data(b"question".to_vec()));
        assert_eq!(send(core, key, b"answer"), Ok(()));
        let answer = record(DATA, b"answer");
        assert_eq!(read_exactly(core, &mut peer, answer.len()), answer);
    });
}

#[test]
fn a_client_speaks_first_though_nothing_is_read_or_written() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        let key = push_face::open(core, fd, false, &push);
        layer::insert(core, key, Box::new(Frames::client()), b"").unwrap();
        assert_eq!(read_exactly(core, &mut peer, 3), record(HELLO, b""));
    });
}

#[test]
fn a_handshake_goes_on_while_the_face_reads_nothing() {
    with_loop(|core| {
        let py = core.py();
        // A face that has paused, and one that pulls and has bytes.
        let (fd, mut peer) = unix_pair();
        let push = whole(py);
        let key = push_face::open(core, fd, false, &push);
        read::pause(core, key);
        layer::insert(core, key, Box::new(Frames::server()), b"").unwrap();
        send(core, key, b"held").unwrap();
        let size = stream::with(core, key, |stream| stream.buffered());
        assert_eq!(size, Some(4), "what a layer holds is buffered");
        let mut hello = record(HELLO, b"");
        hello.extend(record(DATA, b"later"));
        peer.write_all(&hello).unwrap();
        let mut expected = record(HELLO, b"");
        expected.extend(record(DATA, b"held"));
        assert_eq!(read_exactly(core, &mut peer, expected.len()), expected);
        assert_eq!(push.get().data(), b"", "it is paused");
        read::resume(core, key);
        turn_once(core);
        assert_eq!(push.get().data(), b"later");

        let (fd, mut peer) = unix_pair();
        let pull = pull_face::new(py, 1 << 20);
        let key = pull_face::open(core, fd, false, &pull);
        peer.write_all(b"plain").unwrap();
        turn_until(core, || !pull.get().inner().buffer.is_empty());
        layer::insert(core, key, Box::new(Frames::server()), b"").unwrap();
        peer.write_all(&record(HELLO, b"")).unwrap();
        assert_eq!(read_exactly(core, &mut peer, 3), record(HELLO, b""));
        peer.write_all(&record(DATA, b" secret\n")).unwrap();
        pull.get().ask(core, key, until(b"\n"));
        assert_eq!(pull.get().outcomes(), [Ok(b"plain secret\n".to_vec())]);
    });
}

#[test]
fn a_handshake_whose_bytes_came_before_the_layer_needs_no_edge() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        let key = push_face::open(core, fd, false, &push);
        read::pause(core, key);
        peer.write_all(&record(HELLO, b"")).unwrap();
        turn_until_quiet(core);
        layer::insert(core, key, Box::new(Frames::server()), b"").unwrap();
        turn_once(core);
        assert_eq!(read_available(&mut peer).0, record(HELLO, b""));
    });
}

/// A stream with a layer whose handshake is over.
fn established(
    core: &Bound<'_, LoopCore>,
    fd: std::os::fd::OwnedFd,
    push: &Py<push_face::Push>,
) -> crate::poll::Key {
    let key = push_face::open(core, fd, false, push);
    layer::insert(core, key, Box::new(Frames::server()), &record(HELLO, b"")).unwrap();
    turn_until_quiet(core);
    key
}

#[test]
fn records_leave_when_the_face_wants_its_bytes_to_leave() {
    with_loop(|core| {
        for (options, at_once) in [(PUSHED, false), (PULLED, true)] {
            let (fd, peer) = counting_pair();
            let push = whole(core.py());
            let key = push_face::open_with(core, fd, false, &push, options);
            let hello = record(HELLO, b"");
            layer::insert(core, key, Box::new(Frames::server()), &hello).unwrap();
            turn_until_quiet(core);
            let mut message = [0; 64];
            let mut read = |count| {
                let result = std::io::Read::read(&mut &peer, &mut message);
                assert_eq!(result.ok(), count);
            };
            read(Some(3));
            send(core, key, b"a").unwrap();
            send(core, key, b"b").unwrap();
            if at_once {
                read(Some(4));
                read(Some(4));
            } else {
                read(None);
                turn_once(core);
                read(Some(8));
            }
            read(None);
        }
    });
}

#[test]
fn decoded_bytes_wait_for_a_face_that_takes_them_slowly() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = with(core.py(), 4, AfterEof::Abort);
        let key = established(core, fd, &push);
        push.get()
            .on(On::Data, |made| read::pause(made.core, made.key));
        peer.write_all(&record(DATA, b"abcdefghij")).unwrap();
        for expected in [&b"abcd"[..], b"abcdefgh", b"abcdefghij"] {
            turn_until(core, || push.get().data() == expected);
            turn_until_quiet(core);
            assert_eq!(push.get().data(), expected, "not more than it wants");
            // The socket is drained: nothing but the stream itself can bring the rest.
            read::resume(core, key);
        }
    });
}

#[test]
fn pressure_counts_what_the_layer_holds() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        let key = push_face::open(core, fd, false, &push);
        layer::insert(core, key, Box::new(Frames::server()), b"").unwrap();
        send(core, key, &[b'p'; 60_000]).unwrap();
        turn_until_quiet(core);
        assert_eq!(push.get().told().len(), 1);
        send(core, key, &[b'p'; 5_537]).unwrap();
        assert_eq!(push.get().count(&Told::Pressure(Pressure::Pause)), 1);
        turn_until_quiet(core);
        assert_eq!(push.get().count(&Told::Pressure(Pressure::Resume)), 0);
        // Not more than one record of these can hold.
        drop(peer.write_all(&record(9, b"")));
        turn_until(core, || push.get().is_lost());
        assert_eq!(push.get().count(&Told::Pressure(Pressure::Resume)), 0);
    });
}

#[test]
fn a_record_that_never_ends_leaves_the_turn_to_others() {
    with_loop(|core| {
        let py = core.py();
        let (fd, mut flood) = unix_pair();
        let push = whole(py);
        established(core, fd, &push);
        let (fd, mut peer) = unix_pair();
        let modest = whole(py);
        push_face::open(core, fd, false, &modest);
        // 60,000 bytes of which nothing comes out until the last.
        let whole = record(DATA, &[b'z'; 60_000]);
        let (last, most) = whole.split_last().unwrap();
        flood.write_all(most).unwrap();
        peer.write_all(b"hello").unwrap();
        turn_until(core, || modest.get().data() == b"hello");
        turn_until_quiet(core);
        assert_eq!(push.get().data(), b"");
        flood.write_all(&[*last]).unwrap();
        turn_until(core, || push.get().data().len() == 60_000);
    });
}

#[test]
fn a_layer_upon_a_layer() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        let key = established(core, fd, &push);
        read_exactly(core, &mut peer, 3);
        // The first bytes of the inner handshake are decoded already when the second layer comes.
        push.get().once(On::Data, |made| {
            layer::insert(
                made.core,
                made.key,
                Box::new(Frames::server()),
                &record(HELLO, b"")[..1],
            )
            .unwrap();
            send(made.core, made.key, b"deep").unwrap();
        });
        let hello = record(HELLO, b"");
        peer.write_all(&record(DATA, &hello[..1])).unwrap();
        turn_until(core, || push.get().told().len() == 2);
        peer.write_all(&record(DATA, &hello[1..])).unwrap();
        let mut inner = hello.clone();
        inner.extend(record(DATA, b"deep"));
        let expected = record(DATA, &inner);
        assert_eq!(read_exactly(core, &mut peer, expected.len()), expected);

        // Both layers' records in pieces of every size.
        let question = record(DATA, &record(DATA, b"question"));
        for byte in &question {
            peer.write_all(&[*byte]).unwrap();
            turn_until_quiet(core);
        }
        assert_eq!(push.get().data()[1..], *b"question");
        stream::close(core, key);
        let mut expected = record(DATA, &record(super::frames::END, b""));
        expected.extend(record(super::frames::END, b""));
        assert_eq!(read_exactly(core, &mut peer, expected.len()), expected);
        turn_until(core, || push.get().is_lost());
    });
}

#[test]
fn what_runs_in_a_handshake_may_do_everything() {
    type Deed = fn(&Bound<'_, LoopCore>, crate::poll::Key);
    let deeds: [Deed; 6] = [
        |core, key| assert_eq!(send(core, key, b"from inside"), Ok(())),
        stream::close,
        |core, key| stream::abort(core, key, None),
        |core, key| read::try_now(core, key).unwrap(),
        |core, _| turn_once(core),
        |core, key| {
            let second = layer::insert(core, key, Box::new(Frames::server()), b"");
            assert!(second.is_err());
        },
    ];
    for (index, deed) in deeds.into_iter().enumerate() {
        with_loop(|core| {
            let (fd, mut peer) = unix_pair();
            let push = whole(core.py());
            let key = push_face::open(core, fd, false, &push);
            let inside = core.clone().unbind();
            let frames = Frames::server().in_handshake(move |py| deed(inside.bind(py), key));
            let alive = frames.alive();
            layer::insert(core, key, Box::new(frames), b"").unwrap();
            peer.write_all(&record(HELLO, b"")).unwrap();
            peer.write_all(&record(DATA, b"data")).unwrap();
            turn_until_quiet(core);
            turn_until_quiet(core);
            let (received, ended) = read_available(&mut peer);
            let mut expected = record(HELLO, b"");
            match index {
                0 => expected.extend(record(DATA, b"from inside")),
                1 => expected.extend(record(super::frames::END, b"")),
                2 => expected.clear(),
                _ => {}
            }
            assert_eq!(received, expected, "{index}");
            let ends = index == 1 || index == 2;
            assert_eq!(ended, ends, "{index}");
            assert_eq!(push.get().is_lost(), ends, "{index}");
            assert_eq!(
                push.get().data(),
                if ends { &b""[..] } else { b"data" },
                "{index}"
            );
            assert_eq!(Arc::strong_count(&alive), if ends { 1 } else { 2 });
            if ends {
                assert_eq!(send(core, key, b"x"), Err(WriteRefused::Closed));
            }
        });
    }
}
