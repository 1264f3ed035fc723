//! A key outlives its stream harmlessly.

use std::io::Write;
use std::os::fd::AsRawFd;

use super::frames::Frames;
use super::harness::{read_exactly, turn_until, turn_until_quiet, unix_pair, with_loop};
use super::pull_face;
use super::push_face::{self, PushSink, Told, send, whole};
use crate::io::medium::{Medium, Owner};
use crate::io::sink::{Face, Taken};
use crate::io::{layer, read, stream, write};
use crate::proto::phase::WriteRefused;

#[test]
fn a_stale_key_does_nothing_to_the_new_tenant() {
    with_loop(|core| {
        let py = core.py();
        let (fd, peer) = unix_pair();
        let number = fd.as_raw_fd();
        let gone = whole(py);
        let stale = push_face::open(core, fd, false, &gone);
        stream::abort(core, stale, None);
        turn_until_quiet(core);
        assert!(gone.get().is_lost());
        let told = gone.get().told().clone();

        // The same place in the table and the same descriptor number.
        let (fd, mut peer_of_new) = unix_pair();
        assert_eq!(fd.as_raw_fd(), number);
        let push = whole(py);
        let key = push_face::open(core, fd, false, &push);
        assert_ne!(key, stale);

        assert_eq!(send(core, stale, b"stray"), Err(WriteRefused::Closed));
        stream::close(core, stale);
        stream::abort(core, stale, None);
        stream::write_eof(core, stale);
        read::pause(core, stale);
        read::resume(core, stale);
        read::try_now(core, stale).unwrap();
        stream::start(core, stale).unwrap();
        write::set_limits(core, stale, Some(1), None).unwrap();
        let frames = Frames::server();
        let alive = frames.alive();
        layer::insert(core, stale, Box::new(frames), b"unread").unwrap();
        assert_eq!(
            std::sync::Arc::strong_count(&alive),
            1,
            "the layer is dropped"
        );
        let error = pyo3::exceptions::PyValueError::new_err("stray");
        assert_eq!(read::failed(core, stale, error).unwrap(), Taken::Nothing);
        let face = Face {
            object: pull_face::new(py, 0).into_any(),
            sink: &pull_face::PullSink,
        };
        assert!(stream::with(core, stale, |stream| stream.set_face(face)).is_none());
        assert!(matches!(
            read::receive(core, stale, &mut [std::mem::MaybeUninit::uninit(); 8]),
            read::Received::Gone
        ));
        turn_until_quiet(core);
        assert_eq!(*gone.get().told(), told);
        assert_eq!(*push.get().told(), [Told::Made]);

        peer_of_new.write_all(b"in").unwrap();
        turn_until(core, || push.get().data() == b"in");
        assert_eq!(send(core, key, b"out"), Ok(()));
        assert_eq!(read_exactly(core, &mut peer_of_new, 3), b"out");
        drop(peer);
    });
}

#[test]
fn an_event_in_the_batch_finds_nothing_when_its_stream_went_before_it() {
    with_loop(|core| {
        let py = core.py();
        // Two streams become readable in one batch, and the first ends the second: its place and number go to a
        // third one while the event for the second is still queued.
        let (fd, mut first_peer) = unix_pair();
        let first = whole(py);
        push_face::open(core, fd, false, &first);
        let (fd, mut second_peer) = unix_pair();
        let second = whole(py);
        let key = push_face::open(core, fd, false, &second);
        let third = whole(py);
        let face = Face {
            object: third.clone_ref(py).into_any(),
            sink: &PushSink,
        };
        let mut face = Some(face);
        first.get().once(push_face::On::Data, move |made| {
            let removed = made
                .core
                .get()
                .state
                .with(made.core.py(), |state, _| state.remove(key));
            drop(removed.unwrap());
            let (fd, _) = unix_pair();
            let fd = std::os::fd::IntoRawFd::into_raw_fd(fd);
            let options = super::harness::PUSHED;
            let stream = stream::Stream::new(
                fd,
                Medium::Socket,
                Owner::Stream,
                face.take().unwrap(),
                options,
            );
            stream::open(made.core, stream);
        });
        first_peer.write_all(b"first").unwrap();
        second_peer.write_all(b"second").unwrap();
        turn_until(core, || !first.get().data().is_empty());
        assert_eq!(*second.get().told(), [Told::Made]);
        assert_eq!(
            *third.get().told(),
            [],
            "the old event is not the new stream's"
        );
        turn_until(core, || third.get().is_lost());
        assert_eq!(third.get().data(), b"");
    });
}
