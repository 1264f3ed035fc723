//! A face that pulls.

use std::io::Write;

use super::harness::{
    fill, read_to_end, reset, tcp_pair, turn_once, turn_until, turn_until_quiet, unix_pair,
    with_loop,
};
use super::pull_face::{self, CHUNK, until};
use crate::io::write;
use crate::proto::pending_read::Want;
use crate::proto::phase::WriteRefused;
use crate::py::bytes::Data;

const LARGE: usize = 100 * 1024 * 1024;

#[test]
fn a_read_call_finds_what_is_there_without_a_turn() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let pull = pull_face::new(core.py(), LARGE);
        let key = pull_face::open(core, fd, false, &pull);
        peer.write_all(b"one\r\ntwo\r\n").unwrap();
        pull.get().ask(core, key, until(b"\r\n"));
        assert_eq!(pull.get().outcomes(), [Ok(b"one\r\n".to_vec())]);
        assert_eq!(pull.get().inner().reads, [10], "one read from the stream");
        pull.get().ask(core, key, until(b"\r\n"));
        assert_eq!(pull.get().outcomes(), [Ok(b"two\r\n".to_vec())]);
        assert_eq!(pull.get().inner().reads, [10], "from the buffer");
    });
}

#[test]
fn a_pending_read_completes_when_its_delimiter_comes_in_pieces() {
    with_loop(|core| {
        let (fd, mut peer) = tcp_pair();
        let pull = pull_face::new(core.py(), LARGE);
        let key = pull_face::open(core, fd, true, &pull);
        pull.get().ask(core, key, until(b"\r\n\r\n"));
        for piece in [&b"head\r"[..], b"\n\r", b"\nbody"] {
            assert_eq!(pull.get().outcomes(), []);
            peer.write_all(piece).unwrap();
            let before = pull.get().inner().reads.len();
            turn_until(core, || pull.get().inner().reads.len() > before);
        }
        assert_eq!(pull.get().outcomes(), [Ok(b"head\r\n\r\n".to_vec())]);
        assert_eq!(pull.get().inner().buffer.as_slice(), b"body");
        pull.get().ask(core, key, Want::Exactly(4));
        assert_eq!(pull.get().outcomes(), [Ok(b"body".to_vec())]);
    });
}

#[test]
fn a_pending_read_takes_more_than_a_chunk() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let pull = pull_face::new(core.py(), LARGE);
        let key = pull_face::open(core, fd, false, &pull);
        let count = fill(&mut peer);
        assert!(count > 32 * CHUNK);
        pull.get().ask(core, key, Want::Exactly(count));
        assert_eq!(pull.get().outcomes(), [], "the inline try has a budget too");
        turn_until(core, || pull.get().inner().pending.is_none());
        assert_eq!(pull.get().outcomes(), [Ok(vec![b'f'; count])]);
    });
}

#[test]
fn unasked_one_chunk_is_read_and_no_more() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let pull = pull_face::new(core.py(), LARGE);
        let key = pull_face::open(core, fd, false, &pull);
        let count = fill(&mut peer);
        turn_until(core, || !pull.get().inner().reads.is_empty());
        turn_until_quiet(core);
        assert_eq!(pull.get().inner().reads, [CHUNK]);
        // More comes: still nobody has asked.
        drop(peer);
        turn_until_quiet(core);
        assert_eq!(pull.get().inner().reads, [CHUNK]);
        assert!(!pull.get().inner().closed, "the end lies behind the bytes");
        // The buffer is emptied, so the stream is looked at again.
        pull.get().ask(core, key, Want::Exactly(CHUNK));
        turn_once(core);
        assert_eq!(pull.get().inner().reads, [CHUNK, CHUNK]);
        pull.get().ask(core, key, Want::UntilClose);
        turn_until(core, || pull.get().inner().closed);
        let rest = vec![b'f'; count - CHUNK];
        assert_eq!(
            pull.get().outcomes(),
            [Ok(vec![b'f'; CHUNK]), Ok(rest)],
            "all of it, without another byte or edge"
        );
    });
}

#[test]
fn the_end_is_noticed_with_an_empty_buffer_and_nothing_asked() {
    with_loop(|core| {
        let (fd, peer) = unix_pair();
        let pull = pull_face::new(core.py(), LARGE);
        pull_face::open(core, fd, false, &pull);
        drop(peer);
        turn_until(core, || pull.get().inner().lost == 1);
        assert!(pull.get().inner().closed);
        assert_eq!(pull.get().inner().real_error, None);
    });
}

#[test]
fn after_the_end_reads_are_satisfied_from_the_buffer() {
    with_loop(|core| {
        let (fd, mut peer) = tcp_pair();
        let pull = pull_face::new(core.py(), LARGE);
        let key = pull_face::open(core, fd, true, &pull);
        peer.write_all(b"a line\nand a rest").unwrap();
        drop(peer);
        // The read that waits takes the stream to its end.
        pull.get().ask(core, key, until(b"\0"));
        turn_until(core, || pull.get().inner().lost == 1);
        assert_eq!(pull.get().outcomes(), [Err(None)]);
        pull.get().ask(core, key, until(b"\n"));
        pull.get().ask(core, key, Want::Exactly(100));
        pull.get().ask(core, key, Want::UpTo(100));
        pull.get().ask(core, key, Want::Exactly(1));
        assert_eq!(
            pull.get().outcomes(),
            [
                Ok(b"a line\n".to_vec()),
                Err(None),
                Ok(b"and a rest".to_vec()),
                Err(None)
            ]
        );
    });
}

#[test]
fn a_read_call_that_finds_the_end_closes_at_once() {
    with_loop(|core| {
        let (fd, peer) = unix_pair();
        let pull = pull_face::new(core.py(), LARGE);
        let key = pull_face::open(core, fd, false, &pull);
        drop(peer);
        pull.get().ask(core, key, Want::UntilClose);
        assert_eq!(pull.get().outcomes(), [Ok(vec![])], "no turn was needed");
        assert_eq!(pull.get().inner().lost, 0, "reported in a turn of its own");
        turn_until_quiet(core);
        assert_eq!(pull.get().inner().lost, 1);
    });
}

#[test]
fn close_is_at_once_and_drops_what_was_not_sent() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let pull = pull_face::new(core.py(), LARGE);
        let key = pull_face::open(core, fd, false, &pull);
        let block = pyo3::types::PyBytes::new(core.py(), &vec![b'x'; 4 << 20]);
        let data = Data::Bytes(block);
        assert_eq!(write::write(core, key, data).unwrap(), Ok(()));
        pull.get().ask(core, key, until(b"\n"));
        let error = pyo3::exceptions::PyRuntimeError::new_err("the reason");
        pull.get().close(core, key, Some(error));
        let text = "RuntimeError: the reason".to_owned();
        assert_eq!(pull.get().outcomes(), [Err(Some(text.clone()))]);
        let data = Data::Copied(b"late".to_vec());
        assert_eq!(
            write::write(core, key, data).unwrap(),
            Err(WriteRefused::Closed)
        );
        let received = read_to_end(core, &mut peer);
        assert!(!received.is_empty() && received.len() < 4 << 20);
        assert_eq!(pull.get().inner().lost, 1);
        assert_eq!(pull.get().inner().real_error, Some(text));
    });
}

#[test]
fn a_reset_fails_the_pending_read_with_the_real_error() {
    with_loop(|core| {
        let (fd, peer) = tcp_pair();
        let pull = pull_face::new(core.py(), LARGE);
        let key = pull_face::open(core, fd, true, &pull);
        pull.get().ask(core, key, until(b"\n"));
        reset(peer);
        turn_until(core, || pull.get().inner().lost == 1);
        let outcomes = pull.get().outcomes();
        let [Err(Some(error))] = outcomes.as_slice() else {
            panic!("{outcomes:?}");
        };
        assert!(error.starts_with("ConnectionResetError"), "{error}");
    });
}

#[test]
fn what_cannot_be_satisfied_closes() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let pull = pull_face::new(core.py(), LARGE);
        let key = pull_face::open(core, fd, false, &pull);
        let want = Want::Until {
            delimiter: b"\n"[..].into(),
            max_bytes: Some(8),
        };
        pull.get().ask(core, key, want);
        peer.write_all(b"no line in here").unwrap();
        turn_until(core, || pull.get().inner().lost == 1);
        let outcomes = pull.get().outcomes();
        assert!(matches!(&outcomes[..], [Err(Some(text))] if text.contains("within 8 bytes")));
    });
}

#[test]
fn a_full_buffer_closes() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let pull = pull_face::new(core.py(), 3 * CHUNK);
        let key = pull_face::open(core, fd, false, &pull);
        pull.get().ask(core, key, until(b"\n"));
        fill(&mut peer);
        turn_until(core, || pull.get().inner().lost == 1);
        assert_eq!(pull.get().inner().reads, [CHUNK; 4], "not one more");
        let outcomes = pull.get().outcomes();
        assert!(matches!(&outcomes[..], [Err(Some(text))] if text.contains("maximum read buffer")));
    });
}
