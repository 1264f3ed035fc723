//! Files sent behind what is buffered, streams that are no sockets, and the ends of children.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::process::Command;

use pyo3::prelude::*;
use pyo3::types::PyList;

use super::harness::{
    self, PUSHED, count_fds, read_exactly, read_to_end, tcp_pair, turn_once, turn_until,
    turn_until_quiet, with_loop,
};
use super::push_face::{self, PushSink, Told, send, whole};
use crate::io::file::{self, Portion};
use crate::io::medium::{Medium, Owner};
use crate::io::sink::Face;
use crate::io::stream::{self, Options, Stream};
use crate::proto::phase::WriteRefused;
use crate::runtime::LoopCore;

/// Longer than loopback takes at once.
const LENGTH: usize = 12 * 1024 * 1024;

/// A file without a name, its position at the beginning.
fn a_file(content: &[u8]) -> File {
    // SAFETY: the name is a C string; answers a new descriptor or -1.
    let fd = unsafe { libc::memfd_create(c"content".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: opened a moment ago, and nobody else has it.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    file
}

fn content() -> Vec<u8> {
    (0..LENGTH).map(|index| (index / 7) as u8).collect()
}

/// What stands for the Future of who waits, and for the Python half that fails it.
fn future(py: Python<'_>) -> Bound<'_, PyAny> {
    let code = c"
import sys, types
class Future:
    result = error = None
    def cancelled(self): return False
    def set_result(self, result): self.result = result
def failed(future, sent, error):
    future.result = sent
    future.error = error
module = types.ModuleType('interloop._loop.sendfile')
module.failed = failed
sys.modules.setdefault('interloop._loop.sendfile', module)
future = Future()
";
    let names = pyo3::types::PyDict::new(py);
    py.run(code, Some(&names), None).unwrap();
    names.get_item("future").unwrap().unwrap()
}

fn result(future: &Bound<'_, PyAny>) -> Option<u64> {
    future.getattr("result").unwrap().extract().unwrap()
}

fn start<'py>(
    core: &Bound<'py, LoopCore>,
    key: crate::poll::Key,
    file: &File,
    offset: u64,
    count: Option<u64>,
) -> Bound<'py, PyAny> {
    let future = future(core.py());
    let portion = Portion::new(file.as_raw_fd(), offset, count);
    file::start(core, key, portion, future.clone().unbind()).unwrap();
    future
}

#[test]
fn a_file_keeps_its_place_and_the_end_of_the_turn() {
    with_loop(|core| {
        let (fd, mut peer) = tcp_pair();
        let push = whole(core.py());
        let key = push_face::open(core, fd, true, &push);
        let content = content();
        let mut file = a_file(&content);
        send(core, key, b"before").unwrap();
        let future = start(core, key, &file, 0, None);
        assert_eq!(send(core, key, b"x"), Err(WriteRefused::SendsFile));
        assert!(peer.read(&mut [0; 8]).is_err(), "nothing leaves at once");
        let received = read_exactly(core, &mut peer, 6 + LENGTH);
        assert_eq!(&received[..6], b"before");
        assert!(received[6..] == content);
        turn_until(core, || result(&future).is_some());
        assert_eq!(result(&future), Some(LENGTH as u64));
        assert_eq!(file.stream_position().unwrap(), LENGTH as u64);
        send(core, key, b"after").unwrap();
        assert_eq!(read_exactly(core, &mut peer, 5), b"after");
    });
}

#[test]
fn close_waits_for_the_file() {
    with_loop(|core| {
        let (fd, mut peer) = tcp_pair();
        let push = whole(core.py());
        let key = push_face::open(core, fd, true, &push);
        let content = content();
        let file = a_file(&content);
        let future = start(core, key, &file, 100, Some(LENGTH as u64 - 200));
        stream::close(core, key);
        turn_once(core);
        assert!(!push.get().is_lost());
        assert!(read_to_end(core, &mut peer) == content[100..LENGTH - 100]);
        assert_eq!(result(&future), Some(LENGTH as u64 - 200));
        assert_eq!(push.get().told().last(), Some(&Told::Lost(None)));
    });
}

#[test]
fn abort_tells_who_waits_for_the_file() {
    with_loop(|core| {
        let (fd, peer) = tcp_pair();
        let push = whole(core.py());
        let key = push_face::open(core, fd, true, &push);
        let mut file = a_file(&content());
        let future = start(core, key, &file, 0, None);
        turn_until_quiet(core);
        assert_eq!(result(&future), None);
        stream::abort(core, key, None);
        turn_until_quiet(core);
        let sent = result(&future).unwrap();
        assert!(sent < LENGTH as u64);
        assert_eq!(file.stream_position().unwrap(), sent);
        assert!(!future.getattr("error").unwrap().is_none());
        drop(peer);
    });
}

#[test]
fn only_the_file_that_was_started_is_stopped() {
    with_loop(|core| {
        let py = core.py();
        let (fd, mut peer) = tcp_pair();
        let push = whole(py);
        let key = push_face::open(core, fd, true, &push);
        let content = content();
        let file = a_file(&content);
        let first = start(core, key, &file, 0, None);
        file::stop(core, key, &future(py).unbind()).unwrap();
        let second = Portion::new(file.as_raw_fd(), 0, None);
        assert!(file::start(core, key, second, future(py).unbind()).is_err());
        assert!(read_exactly(core, &mut peer, LENGTH) == content);
        turn_until(core, || result(&first).is_some());
        file::stop(core, key, &first.unbind()).unwrap();
    });
}

/// A pipe's two ends, neither of which blocks: to read from, to write to.
fn pipe() -> (OwnedFd, File) {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    let made = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) };
    assert_eq!(made, 0);
    // SAFETY: both were opened a moment ago and nobody else has them.
    unsafe { (OwnedFd::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) }
}

#[test]
fn a_pipe_is_a_stream_like_any_other() {
    with_loop(|core| {
        let (ours, mut theirs) = pipe();
        let push = whole(core.py());
        let face = Face {
            object: push.clone_ref(core.py()).into_any(),
            sink: &PushSink,
        };
        let options = Options { reads: 1, ..PUSHED };
        let stream = Stream::new(
            ours.into_raw_fd(),
            Medium::Pipe,
            Owner::Stream,
            face,
            options,
        );
        stream::open(core, stream);
        turn_once(core);
        let data = |text: &[u8]| Told::Data(text.to_vec());
        for piece in [&b"one"[..], b"two"] {
            theirs.write_all(piece).unwrap();
            turn_until(core, || push.get().told().contains(&data(piece)));
        }
        // The end of file comes with the last bytes, and is told after them.
        theirs.write_all(b"three").unwrap();
        drop(theirs);
        turn_until(core, || push.get().told().contains(&Told::Eof));
        assert!(push.get().told().contains(&data(b"three")));
    });
}

#[test]
fn a_child_is_reaped_and_told_of_once() {
    with_loop(|core| {
        let py = core.py();
        let before = count_fds();
        let told = PyList::empty(py);
        let append = told.getattr("append").unwrap();
        let watch = |command: &str| {
            let child = Command::new("/bin/sh").args(["-c", command]).spawn();
            let pid = child.unwrap().id();
            core.call_method1("_watch_child", (pid, &append)).unwrap();
            pid
        };
        watch("exit 3");
        turn_until(core, || !told.is_empty());
        let pid = watch("kill -9 $$");
        turn_until(core, || told.len() == 2);
        let codes: Vec<Option<i32>> = told.extract().unwrap();
        assert_eq!(codes, [Some(3), Some(-9)]);
        assert_eq!(count_fds(), before);
        let gone = core.call_method1("_watch_child", (pid, &append));
        assert!(gone.is_err(), "reaped already");
        turn_until_quiet(core);
        assert_eq!(told.len(), 2);
    });
}

#[test]
fn a_child_that_somebody_else_reaps() {
    with_loop(|core| {
        let py = core.py();
        let told = PyList::empty(py);
        let append = told.getattr("append").unwrap();
        let mut child = Command::new("/bin/true").spawn().unwrap();
        core.call_method1("_watch_child", (child.id(), append))
            .unwrap();
        child.wait().unwrap();
        turn_until(core, || !told.is_empty());
        assert!(told.get_item(0).unwrap().is_none());
    });
}

#[test]
fn a_closed_loop_lets_go_of_children() {
    Python::initialize();
    with_loop(|core| {
        let py = core.py();
        let before = count_fds();
        let other = harness::new_loop(py);
        let mut child = Command::new("/bin/cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let print = py.eval(c"print", None, None).unwrap();
        other
            .call_method1("_watch_child", (child.id(), print))
            .unwrap();
        assert!(harness::close_loop(&other).is_empty(), "nobody is warned");
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        assert_eq!(count_fds(), before);
    });
}
