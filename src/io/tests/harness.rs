//! A loop, sockets of both kinds, and turns.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::io::medium::{Medium, Owner};
use crate::io::sink::{Face, Sink};
use crate::io::stream::{self, Flush, Options, Stream};
use crate::poll::Key;
use crate::proto::marks::WaterMarks;
use crate::proto::phase::WriteRules;
use crate::runtime::{LoopCore, turn};
use crate::sys::Fd;

/// How long an event may take to come. Only a failure waits for so long.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a turn waits at most before the test looks again at its own end: what has been sent may reach that after the
/// call that sent it, and no event of the loop tells of it.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Descriptors are counted and their numbers reused, so these tests go one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs a test with a loop of its own, and closes that.
pub fn with_loop(test: impl FnOnce(&Bound<'_, LoopCore>)) {
    let _guard: MutexGuard<'_, ()> = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    Python::initialize();
    Python::attach(|py| {
        let core = new_loop(py);
        test(&core);
        close_loop(&core);
    });
}

pub fn new_loop(py: Python<'_>) -> Bound<'_, LoopCore> {
    py.get_type::<LoopCore>()
        .call0()
        .unwrap()
        .cast_into()
        .unwrap()
}

/// Closes a loop that may have streams left. Answers the faces it warned of.
pub fn close_loop<'py>(core: &Bound<'py, LoopCore>) -> Vec<Bound<'py, PyAny>> {
    let warned = warnings(core.py());
    warned.call_method0("clear").unwrap();
    core.call_method0("_close_core").unwrap();
    warned.extract().unwrap()
}

/// The list that takes the place of the ResourceWarning which the Python half of the package gives: these tests
/// run without that half.
fn warnings(py: Python<'_>) -> Bound<'_, PyAny> {
    let code = c"
import sys, types
if 'interloop' not in sys.modules:
    for name in ('interloop', 'interloop._loop', 'interloop._loop.native'):
        sys.modules[name] = types.ModuleType(name)
    native = sys.modules['interloop._loop.native']
    native.warned = []
    native.warn_unclosed = native.warned.append
";
    py.run(code, None, None).unwrap();
    py.import("interloop._loop.native")
        .unwrap()
        .getattr("warned")
        .unwrap()
}

/// What Twisted's transports will ask for.
pub const PUSHED: Options = Options {
    flush: Flush::EndOfTurn,
    rules: WriteRules::TWISTED,
    marks: WaterMarks::TWISTED,
    reading: true,
    reads: 16,
};

/// What Tornado's streams will ask for.
pub const PULLED: Options = Options {
    flush: Flush::Now,
    rules: WriteRules::TORNADO,
    marks: WaterMarks::TWISTED,
    reading: true,
    reads: 16,
};

/// Puts a stream on a descriptor, which it owns, into the loop and turns once: it is made.
pub fn open<T>(
    core: &Bound<'_, LoopCore>,
    fd: OwnedFd,
    tcp: bool,
    object: &Py<T>,
    sink: &'static dyn Sink,
    options: Options,
) -> Key {
    let face = Face {
        object: object.clone_ref(core.py()).into_any(),
        sink,
    };
    let medium = if tcp { Medium::Tcp } else { Medium::Unix };
    let stream = Stream::new(fd.into_raw_fd(), medium, Owner::Stream, face, options);
    let key = stream::open(core, stream);
    turn_once(core);
    key
}

/// A connected pair of Unix sockets: ours and the peer's. Neither blocks.
pub fn unix_pair() -> (OwnedFd, UnixStream) {
    let (ours, peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    peer.set_nonblocking(true).unwrap();
    (ours.into(), peer)
}

/// A TCP connection over loopback: ours and the peer's. Neither blocks.
pub fn tcp_pair() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    peer.set_nonblocking(true).unwrap();
    (ours.into(), peer)
}

/// A pair on which each system call that sends is one message: the peer counts calls by reading.
pub fn counting_pair() -> (OwnedFd, UnixStream) {
    let mut pair = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: `pair` has room for two descriptors.
    let result = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) };
    assert_eq!(result, 0);
    // SAFETY: both were opened a moment ago and nobody else has them.
    unsafe {
        (
            OwnedFd::from_raw_fd(pair[0]),
            UnixStream::from_raw_fd(pair[1]),
        )
    }
}

/// One turn that does not wait.
pub fn turn_once(core: &Bound<'_, LoopCore>) {
    turn::turn(core, Some(0.0)).unwrap();
}

/// Turns until `done`, each turn waiting for an event.
pub fn turn_until(core: &Bound<'_, LoopCore>, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        let left = LIMIT.saturating_sub(start.elapsed());
        assert!(!left.is_zero(), "what the test waits for does not come");
        // What a test writes between two turns is held for the end of the next, which must come without an event.
        let limit = if is_holding(core) {
            0.0
        } else {
            left.min(LOOK_AGAIN).as_secs_f64()
        };
        turn::turn(core, Some(limit)).unwrap();
    }
}

/// Turns until the loop has nothing to do any more.
pub fn turn_until_quiet(core: &Bound<'_, LoopCore>) {
    turn_once(core);
    while is_holding(core)
        || !core
            .get()
            .state
            .with(core.py(), |state, _| state.ready.is_empty())
    {
        turn_once(core);
    }
}

fn is_holding(core: &Bound<'_, LoopCore>) -> bool {
    core.get()
        .state
        .with(core.py(), |state, _| !state.flush.is_empty())
}

/// What the peer can read now; true with it when the end of file came after that.
pub fn read_available(peer: &mut impl Read) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    match peer.read_to_end(&mut bytes) {
        Ok(_) => (bytes, true),
        Err(error) if error.kind() == ErrorKind::WouldBlock => (bytes, false),
        Err(error) => panic!("the peer cannot read: {error}"),
    }
}

/// Turns until the peer has read `count` bytes.
pub fn read_exactly(core: &Bound<'_, LoopCore>, peer: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    turn_until(core, || {
        bytes.extend(read_available(peer).0);
        bytes.len() >= count
    });
    assert_eq!(bytes.len(), count);
    bytes
}

/// Turns until the peer has read the end of file, and answers what came before.
pub fn read_to_end(core: &Bound<'_, LoopCore>, peer: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    turn_until(core, || {
        let (more, ended) = read_available(peer);
        bytes.extend(more);
        ended
    });
    bytes
}

/// Writes as much as the kernel takes.
pub fn fill(peer: &mut impl Write) -> usize {
    let block = [b'f'; 16 * 1024];
    let mut written = 0;
    loop {
        match peer.write(&block) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return written,
            Err(error) => panic!("the peer cannot write: {error}"),
        }
    }
}

/// Closes so that the other side is reset.
pub fn reset(peer: TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: `linger` outlives the call and has the size given; the descriptor is the peer's own.
    let result = unsafe {
        libc::setsockopt(
            peer.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0);
    drop(peer);
}

/// How many descriptors this process has.
pub fn count_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Whether a descriptor number is in use.
pub fn is_open(fd: Fd) -> bool {
    // SAFETY: takes no pointers.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Sends a byte of urgent data.
pub fn send_urgent(peer: &UnixStream, byte: u8) {
    // SAFETY: one readable byte, which outlives the call.
    let sent = unsafe { libc::send(peer.as_raw_fd(), (&raw const byte).cast(), 1, libc::MSG_OOB) };
    assert_eq!(sent, 1, "{}", std::io::Error::last_os_error());
}
