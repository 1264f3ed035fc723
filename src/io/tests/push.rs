//! A face whose writes leave at the end of the turn.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::{Arc, Mutex};

use pyo3::prelude::*;

use super::harness::{
    counting_pair, read_available, read_exactly, read_to_end, tcp_pair, turn_once, turn_until,
    turn_until_quiet, unix_pair, with_loop,
};
use super::push_face::{self, On, Told, half_closeable, send, whole};
use crate::io::stream;
use crate::io::write;
use crate::proto::marks::Pressure;
use crate::proto::phase::WriteRefused;
use crate::proto::write_buffer::MAX_SLICES;
use crate::py::bytes::Data;

#[test]
fn the_writes_of_a_turn_leave_in_one_call_at_its_end() {
    with_loop(|core| {
        let (fd, mut peer) = counting_pair();
        let push = whole(core.py());
        let key = push_face::open(core, fd, false, &push);
        for piece in [b"one, ", b"two, ", b"three"] {
            assert_eq!(send(core, key, piece), Ok(()));
        }
        let mut message = [0; 64];
        assert!(
            peer.read(&mut message).is_err(),
            "nothing leaves inside write"
        );
        turn_once(core);
        assert_eq!(peer.read(&mut message).unwrap(), 15, "one call");
        assert_eq!(&message[..15], b"one, two, three");
        assert!(peer.read(&mut message).is_err());
    });
}

#[test]
fn many_writes_take_as_few_calls_as_the_kernel_allows() {
    with_loop(|core| {
        let (fd, mut peer) = counting_pair();
        let push = whole(core.py());
        let key = push_face::open(core, fd, false, &push);
        for _ in 0..2 * MAX_SLICES + 1 {
            assert_eq!(send(core, key, b"x"), Ok(()));
        }
        turn_once(core);
        let mut message = [0; 2 * MAX_SLICES];
        let sizes: Vec<_> = (0..3).map(|_| peer.read(&mut message).unwrap()).collect();
        assert_eq!(sizes, [MAX_SLICES, MAX_SLICES, 1]);
        assert!(peer.read(&mut message).is_err());
    });
}

#[test]
fn an_answer_leaves_in_the_turn_that_brought_the_question() {
    with_loop(|core| {
        let (fd, mut peer) = counting_pair();
        let push = whole(core.py());
        push_face::open(core, fd, false, &push);
        let seen = Arc::new(Mutex::new(None));
        let inside = Arc::clone(&seen);
        let mut watched = peer.try_clone().unwrap();
        push.get().on(On::Data, move |stream| {
            send(stream.core, stream.key, b"an ").unwrap();
            send(stream.core, stream.key, b"answer").unwrap();
            *inside.lock().unwrap() = Some(watched.read(&mut [0; 16]).is_err());
        });
        peer.write_all(b"question").unwrap();
        turn_once(core);
        assert_eq!(*seen.lock().unwrap(), Some(true), "not inside write");
        let mut message = [0; 16];
        assert_eq!(peer.read(&mut message).unwrap(), 9);
    });
}

#[test]
fn a_mutable_buffer_is_copied_before_write_returns() {
    with_loop(|core| {
        let py = core.py();
        let (fd, mut peer) = unix_pair();
        let push = whole(py);
        let key = push_face::open(core, fd, false, &push);
        let array = pyo3::types::PyByteArray::new(py, b"before");
        let data = Data::Buffer(pyo3::buffer::PyBuffer::get(array.as_any()).unwrap());
        write::write(core, key, data).unwrap().unwrap();
        array.call_method0("clear").unwrap();
        assert_eq!(read_exactly(core, &mut peer, 6), b"before");
    });
}

#[test]
fn pressure_rises_past_64_kib_inside_write_and_falls_when_all_has_left() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        let key = push_face::open(core, fd, false, &push);
        assert_eq!(send(core, key, &[1; 64 * 1024]), Ok(()));
        assert_eq!(push.get().told().len(), 1, "exactly at the mark");
        assert_eq!(send(core, key, b"x"), Ok(()));
        let pause = Told::Pressure(Pressure::Pause);
        let resume = Told::Pressure(Pressure::Resume);
        assert_eq!(push.get().told()[1], pause, "inside write");
        // More than the kernel takes: some of it stays when the turn ends.
        assert_eq!(send(core, key, &vec![2; 4 << 20]), Ok(()));
        turn_until_quiet(core);
        assert_eq!(push.get().count(&pause), 1, "told once");
        assert_eq!(push.get().count(&resume), 0, "not drained yet");
        let all = 64 * 1024 + 1 + (4 << 20);
        let received = read_exactly(core, &mut peer, all);
        assert!(received[..65536].iter().all(|byte| *byte == 1));
        assert!(received[65537..].iter().all(|byte| *byte == 2));
        turn_until_quiet(core);
        assert_eq!(push.get().count(&resume), 1);
        assert_eq!(push.get().told().len(), 3);
    });
}

#[test]
fn a_producer_that_writes_when_resumed_is_paused_again() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        let key = push_face::open(core, fd, false, &push);
        const BLOCK: usize = 1 << 20;
        let mut blocks = 4;
        push.get().on(On::Resume, move |stream| {
            if blocks > 0 {
                blocks -= 1;
                send(stream.core, stream.key, &vec![b'p'; BLOCK]).unwrap();
            }
        });
        send(core, key, &vec![b'p'; BLOCK]).unwrap();
        assert_eq!(read_exactly(core, &mut peer, 5 * BLOCK).len(), 5 * BLOCK);
        turn_until_quiet(core);
        assert_eq!(push.get().count(&Told::Pressure(Pressure::Pause)), 5);
        assert_eq!(push.get().count(&Told::Pressure(Pressure::Resume)), 5);
    });
}

#[test]
fn half_closed_by_us_it_reads_on() {
    with_loop(|core| {
        let (fd, mut peer) = tcp_pair();
        let push = half_closeable(core.py());
        let key = push_face::open(core, fd, true, &push);
        let large = vec![b'l'; 8 << 20];
        send(core, key, &large).unwrap();
        stream::write_eof(core, key);
        // As loseWriteConnection: marked, and shut when drained.
        assert_eq!(send(core, key, b"last"), Ok(()));
        let received = read_to_end(core, &mut peer);
        assert_eq!(received.len(), large.len() + 4);
        assert!(received.ends_with(b"last"));
        assert_eq!(send(core, key, b"late"), Err(WriteRefused::AfterEof));
        peer.write_all(b"still here").unwrap();
        turn_until(core, || push.get().data() == b"still here");
        drop(peer);
        turn_until(core, || push.get().count(&Told::Eof) == 1);
        turn_until_quiet(core);
        assert!(
            !push.get().is_lost(),
            "both directions are shut, and the host has not closed"
        );
        stream::close(core, key);
        turn_until_quiet(core);
        assert_eq!(push.get().count(&Told::Lost(None)), 1);
    });
}

#[test]
fn half_closed_by_the_peer_it_writes_on() {
    with_loop(|core| {
        let (fd, mut peer) = tcp_pair();
        let push = half_closeable(core.py());
        let key = push_face::open(core, fd, true, &push);
        peer.write_all(b"question").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        turn_until(core, || push.get().count(&Told::Eof) == 1);
        assert_eq!(push.get().data(), b"question");
        assert_eq!(send(core, key, b"answer"), Ok(()));
        assert_eq!(read_exactly(core, &mut peer, 6), b"answer");
        turn_until_quiet(core);
        assert_eq!(push.get().count(&Told::Eof), 1, "told once");
        assert!(!push.get().is_lost());
        send(core, key, b", and more").unwrap();
        stream::close(core, key);
        assert_eq!(read_to_end(core, &mut peer), b", and more");
        assert_eq!(push.get().count(&Told::Lost(None)), 1);
    });
}

#[test]
fn without_half_close_the_peers_end_is_the_end() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        push_face::open(core, fd, false, &push);
        peer.write_all(b"bye").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        turn_until(core, || push.get().is_lost());
        let bye = Told::Data(b"bye".to_vec());
        assert_eq!(
            *push.get().told(),
            [Told::Made, bye, Told::Eof, Told::Lost(None)]
        );
        assert_eq!(read_available(&mut peer), (vec![], true));
    });
}

#[test]
fn a_turn_does_not_wait_with_writes_held() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        let key = push_face::open(core, fd, false, &push);
        // Held by what the flush of the last turn called.
        push.get().once(On::Resume, |made| {
            send(made.core, made.key, b"held").unwrap();
        });
        send(core, key, &[0; 64 * 1024 + 1]).unwrap();
        turn_once(core);
        assert_eq!(read_available(&mut peer).0.len(), 64 * 1024 + 1);
        // Nothing will ever happen on this loop: a turn that waits does not come back.
        crate::runtime::turn::turn(core, None).unwrap();
        assert_eq!(read_available(&mut peer).0, b"held");
        // Held by a write between two turns.
        send(core, key, b"between").unwrap();
        crate::runtime::turn::turn(core, None).unwrap();
        assert_eq!(read_available(&mut peer).0, b"between");
    });
}

#[test]
fn what_leaves_the_loop_from_a_flush_does_not_take_the_other_writes_along() {
    with_loop(|core| {
        let (fd, _first_peer) = unix_pair();
        let first = whole(core.py());
        let first_key = push_face::open(core, fd, false, &first);
        let (fd, mut peer) = unix_pair();
        let second = whole(core.py());
        let key = push_face::open(core, fd, false, &second);
        first.get().raise_on_resume();
        send(core, first_key, &[0; 64 * 1024 + 1]).unwrap();
        send(core, key, b"unharmed").unwrap();
        let error = crate::runtime::turn::turn(core, Some(0.0)).unwrap_err();
        assert!(error.is_instance_of::<pyo3::exceptions::PySystemExit>(core.py()));
        turn_once(core);
        assert_eq!(read_available(&mut peer).0, b"unharmed");
    });
}
