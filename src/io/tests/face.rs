//! Another face takes over in mid-stream.

use std::io::Write;

use super::frames::{DATA, Frames, HELLO, record};
use super::harness::{read_exactly, turn_once, turn_until, turn_until_quiet, unix_pair, with_loop};
use super::pull_face::{self, PullSink, until};
use super::push_face::{self, On, Told, send, whole, with};
use crate::io::sink::{AfterEof, Face};
use crate::io::{layer, read, stream};
use crate::proto::marks::Pressure;

#[test]
fn a_face_replaced_inside_its_callback_gets_nothing_more() {
    with_loop(|core| {
        let py = core.py();
        let (fd, mut peer) = unix_pair();
        let old = with(py, 4, AfterEof::Abort);
        let key = push_face::open(core, fd, false, &old);
        let new = whole(py);
        let mut next = Some(Face {
            object: new.clone_ref(py).into_any(),
            sink: &push_face::PushSink,
        });
        old.get().once(On::Data, move |made| {
            let next = next.take().unwrap();
            drop(stream::with(made.core, made.key, |stream| {
                stream.set_face(next)
            }));
        });
        // What waits to be sent was the old one's and leaves; its pressure is the new one's to hear of.
        send(core, key, &vec![b'o'; 1 << 20]).unwrap();
        assert_eq!(old.get().count(&Told::Pressure(Pressure::Pause)), 1);
        turn_once(core);
        peer.write_all(b"GET rest").unwrap();
        turn_until(core, || !new.get().data().is_empty());
        assert_eq!(old.get().data(), b"GET ");
        assert_eq!(new.get().data(), b"rest");
        send(core, key, b"new").unwrap();
        assert!(read_exactly(core, &mut peer, (1 << 20) + 3).ends_with(b"onew"));
        turn_until_quiet(core);
        assert_eq!(new.get().count(&Told::Pressure(Pressure::Resume)), 1);
        assert_eq!(old.get().count(&Told::Pressure(Pressure::Resume)), 0);
        drop(peer);
        turn_until(core, || new.get().is_lost());
        assert!(!old.get().is_lost() && old.get().count(&Told::Eof) == 0);
    });
}

#[test]
fn from_pushed_to_pulled_with_bytes_in_the_kernel() {
    with_loop(|core| {
        let py = core.py();
        let (fd, mut peer) = unix_pair();
        let old = with(py, 4, AfterEof::Abort);
        let key = push_face::open(core, fd, false, &old);
        old.get()
            .on(On::Data, |stream| read::pause(stream.core, stream.key));
        peer.write_all(b"PUSHline\nrest").unwrap();
        turn_until(core, || old.get().data() == b"PUSH");
        let new = pull_face::new(py, 1 << 20);
        let face = Face {
            object: new.clone_ref(py).into_any(),
            sink: &PullSink,
        };
        drop(stream::with(core, key, |stream| stream.set_face(face)));
        read::resume(core, key);
        new.get().ask(core, key, until(b"\n"));
        assert_eq!(new.get().outcomes(), [Ok(b"line\n".to_vec())]);
        turn_until_quiet(core);
        assert_eq!(new.get().inner().buffer.as_slice(), b"rest");
        assert_eq!(old.get().data(), b"PUSH");
    });
}

#[test]
fn what_a_layer_has_decoded_goes_to_the_new_face() {
    with_loop(|core| {
        let py = core.py();
        let (fd, mut peer) = unix_pair();
        let old = with(py, 4, AfterEof::Abort);
        let key = push_face::open(core, fd, false, &old);
        layer::insert(core, key, Box::new(Frames::server()), b"").unwrap();
        old.get()
            .on(On::Data, |stream| read::pause(stream.core, stream.key));
        peer.write_all(&record(HELLO, b"")).unwrap();
        peer.write_all(&record(DATA, b"PUSHline\nrest")).unwrap();
        turn_until(core, || old.get().data() == b"PUSH");
        turn_until_quiet(core);
        let new = pull_face::new(py, 1 << 20);
        let face = Face {
            object: new.clone_ref(py).into_any(),
            sink: &PullSink,
        };
        drop(stream::with(core, key, |stream| stream.set_face(face)));
        read::resume(core, key);
        // The socket is drained: only the layer has it.
        turn_until_quiet(core);
        assert_eq!(new.get().inner().reads, [9]);
        new.get().ask(core, key, until(b"\n"));
        assert_eq!(new.get().outcomes(), [Ok(b"line\n".to_vec())]);
        assert_eq!(old.get().data(), b"PUSH");
    });
}
