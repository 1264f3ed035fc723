//! Pausing and resuming, and what one stream leaves to the others.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use super::harness::{
    fill, send_urgent, tcp_pair, turn_once, turn_until, turn_until_quiet, unix_pair, with_loop,
};
use super::push_face::{self, On, Told, whole, with};
use crate::io::read;
use crate::io::sink::AfterEof;
use crate::sys::ancillary;

#[test]
fn a_pause_inside_the_callback_stops_the_reads_of_the_batch() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = with(core.py(), 4, AfterEof::Abort);
        let key = push_face::open(core, fd, false, &push);
        push.get()
            .on(On::Data, |stream| read::pause(stream.core, stream.key));
        peer.write_all(b"abcdefgh").unwrap();
        turn_until(core, || !push.get().data().is_empty());
        turn_until_quiet(core);
        assert_eq!(push.get().data(), b"abcd");
        // No byte comes any more, and so no edge.
        read::resume(core, key);
        assert_eq!(push.get().data(), b"abcd", "not inside resume");
        turn_once(core);
        assert_eq!(push.get().data(), b"abcdefgh");
        read::resume(core, key);
        turn_until_quiet(core);
        assert_eq!(push.get().told().len(), 3, "nothing else happened");
    });
}

#[test]
fn an_edge_that_came_during_a_pause_is_not_lost() {
    with_loop(|core| {
        let (fd, mut peer) = tcp_pair();
        let push = whole(core.py());
        let key = push_face::open(core, fd, true, &push);
        read::pause(core, key);
        read::pause(core, key);
        peer.write_all(b"hidden").unwrap();
        drop(peer);
        turn_until_quiet(core);
        turn_until_quiet(core);
        assert_eq!(push.get().told().len(), 1);
        read::resume(core, key);
        turn_until(core, || push.get().is_lost());
        let hidden = Told::Data(b"hidden".to_vec());
        assert_eq!(
            *push.get().told(),
            [Told::Made, hidden, Told::Eof, Told::Lost(None)]
        );
    });
}

#[test]
fn an_end_of_file_right_behind_a_short_read_is_seen() {
    with_loop(|core| {
        let (fd, mut peer) = tcp_pair();
        let push = whole(core.py());
        push_face::open(core, fd, true, &push);
        peer.write_all(b"all of it").unwrap();
        drop(peer);
        turn_until(core, || push.get().is_lost());
        assert_eq!(push.get().data(), b"all of it");
        assert_eq!(push.get().count(&Told::Eof), 1);
    });
}

#[test]
fn many_small_reads_leave_the_turn_to_others_and_go_on_without_an_edge() {
    with_loop(|core| {
        let (fd, mut flood) = unix_pair();
        let greedy = with(core.py(), 64, AfterEof::Abort);
        push_face::open(core, fd, false, &greedy);
        let (fd, mut peer) = unix_pair();
        let modest = whole(core.py());
        push_face::open(core, fd, false, &modest);
        let all = fill(&mut flood);
        peer.write_all(b"hello").unwrap();
        turn_once(core);
        assert_eq!(modest.get().data(), b"hello", "in the same turn");
        let first = greedy.get().data().len();
        assert_eq!(first, 64 * usize::from(super::harness::PUSHED.reads));
        turn_once(core);
        assert_eq!(
            greedy.get().data().len(),
            2 * first,
            "and as much in the next"
        );
        turn_until(core, || greedy.get().data().len() == all);
    });
}

#[test]
fn a_flood_that_never_ends_is_cut_by_the_bytes_taken() {
    with_loop(|core| {
        const BLOCK: usize = 64 * 1024;
        let (fd, mut flood) = unix_pair();
        let greedy = with(core.py(), BLOCK, AfterEof::Abort);
        push_face::open(core, fd, false, &greedy);
        let (fd, mut peer) = unix_pair();
        let modest = whole(core.py());
        push_face::open(core, fd, false, &modest);
        fill(&mut flood);
        peer.write_all(b"hello").unwrap();
        // Whatever it reads is there again at once.
        let mut refill = flood.try_clone().unwrap();
        greedy.get().on(On::Data, move |_| {
            fill(&mut refill);
        });
        turn_once(core);
        assert_eq!(modest.get().data(), b"hello");
        let taken = greedy.get().data().len();
        let budget = usize::try_from(read::BYTES).unwrap();
        assert!((budget..budget + BLOCK).contains(&taken), "{taken}");
        turn_once(core);
        assert!(greedy.get().data().len() > taken);
    });
}

#[test]
fn a_large_read_does_not_cost_the_next_stream_its_budget() {
    with_loop(|core| {
        let streams: Vec<_> = (0..3)
            .map(|_| {
                let (fd, mut peer) = unix_pair();
                let push = whole(core.py());
                push_face::open(core, fd, false, &push);
                let count = fill(&mut peer);
                (push, peer, count)
            })
            .collect();
        turn_once(core);
        for (push, _, count) in &streams {
            assert_eq!(push.get().data().len(), *count);
        }
        for (_, mut peer, _) in streams {
            assert!(peer.read(&mut [0]).is_err());
        }
    });
}

#[test]
fn what_waits_behind_a_descriptor_or_urgent_data_needs_no_edge_of_its_own() {
    with_loop(|core| {
        let (fd, mut peer) = unix_pair();
        let push = whole(core.py());
        push_face::open(core, fd, false, &push);
        let peer_fd = peer.as_raw_fd();
        // A read ends with the bytes that a descriptor came with, and the kernel throws it away.
        assert_eq!(ancillary::send(peer_fd, b"with", peer_fd).unwrap(), 4);
        peer.write_all(b" behind").unwrap();
        turn_until(core, || push.get().data().len() >= 11);
        assert_eq!(push.get().data(), b"with behind");
        assert_eq!(push.get().count(&Told::Data(b"with".to_vec())), 1);
        // It ends before urgent data, too, which is no part of the stream.
        peer.write_all(b"1").unwrap();
        send_urgent(&peer, b'!');
        peer.write_all(b"2").unwrap();
        turn_until(core, || push.get().data().len() >= 13);
        assert_eq!(push.get().data(), b"with behind12");
        drop(peer);
        turn_until(core, || push.get().is_lost());
    });
}
