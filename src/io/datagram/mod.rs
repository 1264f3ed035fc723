//! The datagram core: a socket, what waits to be sent, what came in. What a face must answer is [`Sink`].
//!
//! Registered level-triggered, unlike a stream: an edge would have to be drained until the kernel says that there is no
//! more, and with one datagram at a time that question costs as much as the datagram. So each readiness takes one batch,
//! by one call, and what is left is reported again.

mod adopted;
mod receive;
mod send;

use std::collections::VecDeque;
use std::io;

use pyo3::exceptions::{PyBaseException, PyBlockingIOError, PyInterruptedError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

pub use self::adopted::{adopt, send_now, take};
pub use self::send::{send, set_limits, waiting};
use super::sink::Failed;
use crate::poll::{Key, Readiness, Registrar};
use crate::proto::marks::{Pressure, WaterMarks};
use crate::py::address::{Kind, Naming, Senders};
use crate::py::bytes::Chunk;
use crate::py::cell::Refs;
use crate::py::errors;
use crate::runtime::LoopCore;
use crate::runtime::state::{Driver, Entry, Item, LoopState, Source};
use crate::sys::Fd;
use crate::sys::addr::Address;
use crate::sys::level::Want;

/// What a face must answer. Every call comes with nothing borrowed, and may close the port or run the loop. An error
/// answered leaves the loop, or [`send`] if that called; everything else a face reports as its host does.
pub trait Sink: Sync {
    /// The port has its place in the loop, and this is the turn in which its host hears of it.
    fn made(&self, port: &Port<'_, '_>) -> PyResult<()>;

    /// A datagram came.
    fn received(
        &self,
        port: &Port<'_, '_>,
        data: &Bound<'_, PyBytes>,
        sender: &Bound<'_, PyAny>,
    ) -> PyResult<()>;

    /// The network refused something, or an earlier datagram: the port stays open. `inside` says that the host's own
    /// [`send`] is told.
    fn failed(&self, port: &Port<'_, '_>, what: Failed, error: PyErr, inside: bool)
    -> PyResult<()>;

    /// The datagrams waiting crossed a water mark.
    fn pressure(&self, port: &Port<'_, '_>, pressure: Pressure) -> PyResult<()>;

    /// The loop is closed, and a port that outlives it has left, with what was received and not handed over.
    fn left(&self, _object: &Bound<'_, PyAny>, _inbox: VecDeque<Datagram>) {}

    /// The port has left the loop; its socket is closed when this returns, unless the face does that. Called once.
    fn lost(&self, port: &Port<'_, '_>, reason: Option<PyErr>) -> PyResult<()>;
}

/// A port as a sink sees it: the loop, the key and the face's object.
pub struct Port<'a, 'py> {
    pub core: &'a Bound<'py, LoopCore>,
    pub key: Key,
    pub object: &'a Bound<'py, PyAny>,
}

/// A face: the Python object and how to talk to it.
pub struct Face {
    pub object: Py<PyAny>,
    pub sink: &'static dyn Sink,
}

impl Face {
    fn clone_ref(&self, refs: Refs<'_>) -> Face {
        Face {
            object: refs.clone(&self.object),
            sink: self.sink,
        }
    }

    #[inline]
    fn call<R>(
        &self,
        core: &Bound<'_, LoopCore>,
        key: Key,
        body: impl FnOnce(&dyn Sink, &Port<'_, '_>) -> R,
    ) -> R {
        let object = self.object.bind(core.py());
        body(self.sink, &Port { core, key, object })
    }
}

/// What differs between hosts, as plain data.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub marks: WaterMarks,
    /// How much each waiting datagram counts beyond its bytes.
    pub overhead: usize,
    /// How senders are named.
    pub names: Naming,
    /// The face closes the socket: a loop that is closed leaves it open.
    pub outlives: bool,
}

/// One that came, and who sent it.
pub type Datagram = (Py<PyBytes>, Py<PyAny>);

/// A datagram that waits.
struct Waiting {
    data: Chunk,
    /// The host's word for where it goes; None for the peer of a connected socket.
    address: Option<Py<PyAny>>,
    /// The kernel's word, if we know it; else Python's socket sends it.
    wire: Option<Address>,
}

/// Where a port is on its way to the end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    Open,
    /// What waits is sent, then it ends.
    Closing,
    /// Its end is in the ready queue.
    Ending,
}

/// A datagram socket. Lives in the loop's table; everybody else has its key.
pub struct Datagrams {
    fd: Fd,
    /// The Python socket, which owns the descriptor.
    owner: Py<PyAny>,
    face: Face,
    kind: Kind,
    /// It has a peer: datagrams go there without an address.
    connected: bool,
    phase: Phase,
    marks: WaterMarks,
    overhead: usize,
    names: Naming,
    outlives: bool,
    out: VecDeque<Waiting>,
    /// Bytes that wait, and their overhead.
    size: usize,
    /// What was received by one call and not handed over yet.
    inbox: VecDeque<Datagram>,
    senders: Senders,
    reason: Option<Py<PyBaseException>>,
    /// The host wants datagrams.
    reading: bool,
    started: bool,
    armed: Want,
    readable: bool,
    writable: bool,
    /// An entry for it waits in the ready queue.
    queued: bool,
}

const NOTHING: Want = Want {
    readable: false,
    writable: false,
};

impl Datagrams {
    /// A port on a non-blocking datagram socket that `owner` owns and closes.
    pub fn new(
        fd: Fd,
        owner: Py<PyAny>,
        kind: Kind,
        connected: bool,
        face: Face,
        options: Options,
    ) -> Self {
        Datagrams {
            fd,
            owner,
            face,
            kind,
            connected,
            phase: Phase::Open,
            marks: options.marks,
            overhead: options.overhead,
            names: options.names,
            outlives: options.outlives,
            out: VecDeque::new(),
            size: 0,
            inbox: VecDeque::new(),
            senders: Senders::default(),
            reason: None,
            reading: true,
            started: false,
            armed: NOTHING,
            readable: false,
            writable: false,
            queued: false,
        }
    }

    /// Hands over first what was received in another loop.
    #[must_use]
    pub fn with_inbox(mut self, inbox: VecDeque<Datagram>) -> Self {
        self.inbox = inbox;
        self
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn is_reading(&self) -> bool {
        self.reading && self.phase == Phase::Open
    }

    /// Bytes that wait, with their overhead.
    pub fn buffered(&self) -> usize {
        self.size
    }

    pub fn marks(&self) -> &WaterMarks {
        &self.marks
    }

    fn want(&self) -> Want {
        Want {
            readable: self.started && self.is_reading(),
            writable: !self.out.is_empty(),
        }
    }

    /// Has the kernel report what we want to hear.
    fn arm(&mut self, registrar: &Registrar, key: Key) -> io::Result<()> {
        let want = self.want();
        if want == self.armed {
            return Ok(());
        }
        if want == NOTHING {
            registrar.remove(self.fd)?;
        } else {
            registrar.set_level(self.fd, key, want, self.armed != NOTHING)?;
        }
        self.armed = want;
        Ok(())
    }
}

impl Driver for Datagrams {
    fn fd(&self) -> Fd {
        self.fd
    }

    #[inline]
    fn note(&mut self, readiness: Readiness) -> Option<Entry> {
        self.readable |= readiness.readable;
        self.writable |= readiness.writable && !self.out.is_empty();
        if self.queued || !(self.writable || self.readable && self.is_reading()) {
            return None;
        }
        self.queued = true;
        Some(ready)
    }

    fn register(&mut self, registrar: &Registrar, key: Key) -> io::Result<()> {
        self.armed = NOTHING;
        self.arm(registrar, key)
    }

    fn face(&self) -> Option<&Py<PyAny>> {
        Some(&self.face.object)
    }

    fn abandon(&self, py: Python<'_>) -> Option<PyResult<()>> {
        if self.outlives {
            let copy = |(data, sender): &Datagram| (data.clone_ref(py), sender.clone_ref(py));
            let inbox = self.inbox.iter().map(copy).collect();
            self.face.sink.left(self.face.object.bind(py), inbox);
            return None;
        }
        let owner = self.owner.bind(py);
        Some(owner.call_method0(pyo3::intern!(py, "close")).map(drop))
    }

    fn outlives_the_loop(&self) -> bool {
        self.outlives
    }

    fn visit(&self, visitor: &mut dyn FnMut(&Py<PyAny>)) {
        visitor(&self.face.object);
        visitor(&self.owner);
        if let Some(reason) = &self.reason {
            visitor(reason.as_any());
        }
        for address in self
            .out
            .iter()
            .filter_map(|waiting| waiting.address.as_ref())
        {
            visitor(address);
        }
        for (_, sender) in &self.inbox {
            visitor(sender);
        }
        self.senders.visit(visitor);
    }
}

/// Puts a port into the loop; its face hears of it in the next turn.
pub fn open(core: &Bound<'_, LoopCore>, port: Datagrams) -> Key {
    let py = core.py();
    let source = Source::Driver(Box::new(port));
    let (key, old) = core.get().state.with(py, |state, _| {
        let (key, old) = state.insert(source);
        state.ready.push_back(Item::Run(key, made));
        (key, old)
    });
    if let Some(Source::Watcher(watcher)) = old {
        watcher.cancel(py);
    }
    key
}

/// Looks at a port, when it is still there.
#[inline]
pub fn with<R: Send>(
    core: &Bound<'_, LoopCore>,
    key: Key,
    body: impl FnOnce(&mut Datagrams) -> R + Send,
) -> Option<R> {
    core.get().state.with(core.py(), |state, _| {
        state.driver::<Datagrams>(key).map(body)
    })
}

fn face_of(core: &Bound<'_, LoopCore>, key: Key) -> Option<Face> {
    core.get().state.with(core.py(), |state, refs| {
        state
            .driver::<Datagrams>(key)
            .map(|port| port.face.clone_ref(refs))
    })
}

fn made(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    match face_of(core, key) {
        Some(face) => face.call(core, key, |sink, port| sink.made(port)),
        None => Ok(()),
    }
}

/// From now on datagrams come in. Does nothing on a port that is closing.
pub fn start(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    with(core, key, |port| port.started = true);
    rearm(core, key)
}

/// The host wants no datagrams for now. What arrives waits in the kernel.
pub fn pause(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    with(core, key, |port| port.reading = false);
    rearm(core, key)
}

/// The host wants datagrams (again). What was received already comes in the next turn.
pub fn resume(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    core.get().state.with(core.py(), |state, _| {
        if let Some((port, ready_queue)) = parts(state, key) {
            port.reading = true;
            if !port.inbox.is_empty() && !port.queued && port.is_reading() {
                port.queued = true;
                ready_queue.push_back(Item::Run(key, ready));
            }
        }
    });
    rearm(core, key)
}

fn parts(state: &mut LoopState, key: Key) -> Option<(&mut Datagrams, &mut VecDeque<Item>)> {
    let LoopState { sources, ready, .. } = state;
    let Some(Source::Driver(driver)) = sources.get_mut(key) else {
        return None;
    };
    let port = (driver.as_mut() as &mut dyn std::any::Any).downcast_mut()?;
    Some((port, ready))
}

fn arm(state: &mut LoopState, key: Key) -> io::Result<()> {
    let LoopState {
        sources, kernel, ..
    } = state;
    let (Some(Source::Driver(driver)), Some(kernel)) = (sources.get_mut(key), kernel) else {
        return Ok(());
    };
    match (driver.as_mut() as &mut dyn std::any::Any).downcast_mut::<Datagrams>() {
        Some(port) => port.arm(&kernel.registrar, key),
        None => Ok(()),
    }
}

/// Has the kernel report what is wanted now. A socket that cannot be polled ends the port.
fn rearm(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let py = core.py();
    match core.get().state.with(py, |state, _| arm(state, key)) {
        Ok(()) => Ok(()),
        Err(error) => {
            abort(core, key, Some(errors::os_error(py, &error)));
            Ok(())
        }
    }
}

/// The entry for readiness: sends what waits, then receives.
fn ready(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let found = with(core, key, |port| {
        port.queued = false;
        let writable = std::mem::take(&mut port.writable);
        (writable, std::mem::take(&mut port.readable), port.kind)
    });
    let Some((writable, readable, kind)) = found else {
        return Ok(());
    };
    if writable {
        send::flush(core, key)?;
    }
    receive::deliver(core, key)?;
    if !readable {
        return Ok(());
    }
    match kind {
        Kind::V4 | Kind::V6 => receive::batch(core, key),
        Kind::Unix => receive::large(core, key),
        Kind::Other => receive::by_python(core, key),
    }
}

fn failed(
    core: &Bound<'_, LoopCore>,
    key: Key,
    what: Failed,
    error: PyErr,
    inside: bool,
) -> PyResult<()> {
    match face_of(core, key) {
        Some(face) => face.call(core, key, |sink, port| {
            sink.failed(port, what, error, inside)
        }),
        None => Ok(()),
    }
}

fn would_block(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyBlockingIOError>(py) || error.is_instance_of::<PyInterruptedError>(py)
}

/// Ends the port once what waits has left. Receiving ends at once.
pub fn close(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    core.get().state.with(core.py(), |state, _| {
        if let Some((port, ready_queue)) = parts(state, key)
            && port.phase == Phase::Open
        {
            if port.out.is_empty() {
                port.phase = Phase::Ending;
                ready_queue.push_back(Item::Run(key, lost));
            } else {
                port.phase = Phase::Closing;
            }
        }
    });
    rearm(core, key)
}

/// Ends the port at once; what waits is lost. The first reason counts.
pub fn abort(core: &Bound<'_, LoopCore>, key: Key, reason: Option<PyErr>) {
    let py = core.py();
    let mut reason = reason.map(|error| error.into_value(py));
    let place = &mut reason;
    let dropped = core.get().state.with(py, |state, _| {
        let (port, ready_queue) = parts(state, key)?;
        if port.phase == Phase::Ending {
            return None;
        }
        port.phase = Phase::Ending;
        port.reason = place.take();
        port.size = 0;
        let dropped = std::mem::take(&mut port.out);
        ready_queue.push_back(Item::Run(key, lost));
        // Nothing is wanted any more; a socket that cannot be forgotten is closed soon anyway.
        let _ = arm(state, key);
        Some(dropped)
    });
    drop((dropped, reason));
}

/// The entry for the end: takes the port out of the loop, tells its face, closes its socket.
fn lost(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let py = core.py();
    let taken = core.get().state.with(py, |state, refs| {
        let port = state.driver::<Datagrams>(key)?;
        let (fd, registered) = (port.fd, port.armed != NOTHING);
        let face = port.face.clone_ref(refs);
        let owner = (!port.outlives).then(|| refs.clone(&port.owner));
        let reason = port.reason.take();
        if registered && let Some(kernel) = &state.kernel {
            let _ = kernel.registrar.remove(fd);
        }
        Some((face, owner, reason, state.remove(key)))
    });
    let Some((face, owner, reason, source)) = taken else {
        return Ok(());
    };
    let reason = reason.map(|value| PyErr::from_value(value.into_bound(py).into_any()));
    let result = face.call(core, key, |sink, port| sink.lost(port, reason));
    if let Some(owner) = owner {
        // In spite of an exception on its way: a descriptor left open is never closed by anybody.
        owner.bind(py).call_method0(pyo3::intern!(py, "close"))?;
    }
    drop(source);
    result
}
