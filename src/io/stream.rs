//! The stream core: a connected descriptor, its phase, its buffers. What asyncio's, Twisted's and Tornado's transports
//! are faces of.

use std::collections::VecDeque;
use std::io;

use pyo3::exceptions::PyConnectionError;
use pyo3::prelude::*;

use super::broken::{self, Broken, Reason};
use super::file::Sending;
use super::layer::Layered;
use super::medium::{Medium, Owner};
use super::nodelay::Nodelay;
use super::passing::Passing;
use super::sink::{Face, Failed};
use super::{read, write};
use crate::poll::{Key, Readiness, Registrar};
use crate::proto::marks::WaterMarks;
use crate::proto::phase::{Actions, Event, Lifecycle, Phase, WriteRules};
use crate::proto::write_buffer::{Finished, WriteBuffer};
use crate::py::bytes::Chunk;
use crate::py::errors;
use crate::runtime::LoopCore;
use crate::runtime::state::{Driver, Entry, Item, Kernel, LoopState, Source};
use crate::sys::{Fd, socket};

/// When a write leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flush {
    /// At once, when nothing is buffered.
    Now,
    /// After the turn's ready batch, before the poll: the writes of one turn leave together, and never inside `write`.
    EndOfTurn,
}

/// What differs between hosts, as plain data.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub flush: Flush,
    pub rules: WriteRules,
    pub marks: WaterMarks,
    /// Whether bytes are wanted unasked as soon as the stream is made.
    pub reading: bool,
    /// How many reads a turn gets at most before the other streams have theirs. asyncio's programs expect one: what
    /// the first brought has its callbacks run before the next (or the end of file) is told.
    pub reads: u8,
}

/// A connected stream. Lives in the loop's table; everybody else has its key.
pub struct Stream {
    pub(super) fd: Fd,
    pub(super) medium: Medium,
    pub(super) owner: Owner,
    pub(super) face: Face,
    pub(super) life: Lifecycle,
    pub(super) rules: WriteRules,
    pub(super) flush: Flush,
    pub(super) marks: WaterMarks,
    pub(super) reads: u8,
    pub(super) out: WriteBuffer<Chunk>,
    /// Leaves when nothing is buffered any more.
    pub(super) file: Option<Box<Sending>>,
    pub(super) layer: Option<Box<Layered>>,
    pub(super) passing: Option<Box<Passing>>,
    /// Why the stream ends: the first reason.
    pub(super) reason: Option<Box<Reason>>,
    /// Bytes read from the socket since the beginning.
    pub(super) received: u64,
    pub(super) registered: bool,
    pub(super) nodelay: Nodelay,
    /// Registered for writing too: after the first send that did not take everything.
    pub(super) writing: bool,
    /// The host wants bytes.
    pub(super) reading: bool,
    /// An edge came and nothing has drained it yet.
    pub(super) readable: bool,
    /// Something came beside the bytes of the last read.
    pub(super) beside: bool,
    /// The peer sends urgent data, at which reads end.
    pub(super) urgent: bool,
    /// The peer's end of file is on its way: a short read does not mean that everything was read.
    pub(super) ended: bool,
    /// The kernel has room again and there is something to send.
    pub(super) writable: bool,
    /// An entry for it waits in the ready queue.
    pub(super) queued: bool,
    /// It waits for the end of the turn.
    pub(super) flush_queued: bool,
    /// The face has something to write at the end of the turn.
    pub(super) fill: bool,
    /// The face wants to hear when everything has left.
    pub(super) tell_drained: bool,
}

impl Stream {
    /// A stream on a connected, non-blocking descriptor.
    pub fn new(fd: Fd, medium: Medium, owner: Owner, face: Face, options: Options) -> Self {
        Stream {
            fd,
            medium,
            owner,
            face,
            life: Lifecycle::new(),
            rules: options.rules,
            flush: options.flush,
            marks: options.marks,
            reads: options.reads,
            out: WriteBuffer::new(),
            file: None,
            layer: None,
            passing: None,
            reason: None,
            received: 0,
            registered: false,
            nodelay: Nodelay::Settled,
            writing: false,
            reading: options.reading,
            readable: false,
            beside: false,
            urgent: false,
            ended: false,
            writable: false,
            queued: false,
            flush_queued: false,
            fill: false,
            tell_drained: false,
        }
    }

    /// Whether reading is wanted and makes sense.
    #[inline]
    pub(super) fn wants_bytes(&self) -> bool {
        self.reading && self.life.may_read()
    }

    /// Whether something can be read without waiting for an edge.
    #[inline]
    pub(super) fn has_bytes(&self) -> bool {
        self.readable
            || self
                .layer
                .as_ref()
                .is_some_and(|layered| layered.has_news())
    }

    /// Whether a read that took less than it asked for has drained the socket.
    #[inline]
    pub(super) fn short_read_drains(&self) -> bool {
        // Unless the end of file came with the bytes: it had its edge already.
        !self.ended
            && self
                .medium
                .short_read_drains(self.fd, self.beside || self.urgent)
    }

    /// Bytes of the host's that have not left.
    #[inline]
    pub(super) fn backlog(&self) -> usize {
        self.out.len() + self.layer.as_ref().map_or(0, |layered| layered.held())
    }

    /// Whether something follows once everything has left.
    pub(super) fn is_ending(&self) -> bool {
        matches!(
            self.life.phase(),
            Phase::Finishing | Phase::PeerShutFinishing | Phase::Flushing
        )
    }

    pub fn life(&self) -> Lifecycle {
        self.life
    }

    pub fn is_reading(&self) -> bool {
        self.wants_bytes()
    }

    /// Whether the poller tells of it: not before it is made, and never of a device that the poller refuses.
    pub fn is_registered(&self) -> bool {
        self.registered
    }

    /// Whether a read would find nothing, as far as the poller knows: what comes has its edge.
    pub fn is_drained(&self) -> bool {
        self.registered && !self.has_bytes()
    }

    pub fn buffered(&self) -> usize {
        self.backlog()
    }

    pub fn has_layer(&self) -> bool {
        self.layer.is_some()
    }

    pub fn marks(&self) -> &WaterMarks {
        &self.marks
    }

    /// Bytes from the peer that its layer has not taken.
    pub fn unread(&self) -> usize {
        self.layer.as_ref().map_or(0, |layered| layered.unread())
    }

    /// Other water marks, as another host has them. Nobody is told; the next write sees to it.
    pub fn set_marks(&mut self, marks: WaterMarks) {
        self.marks = marks;
    }

    /// Other rules about late writes.
    pub fn set_rules(&mut self, rules: WriteRules) {
        self.rules = rules;
    }

    pub fn owner(&self) -> Option<&Py<PyAny>> {
        self.owner.object()
    }

    /// From now on a Python socket owns the descriptor and closes it.
    #[must_use]
    pub fn set_owner(&mut self, owner: Py<PyAny>) -> Owner {
        std::mem::replace(&mut self.owner, Owner::Object(owner))
    }

    /// Another face takes over from here, with what is buffered. The old one is the caller's to drop.
    #[must_use]
    pub fn set_face(&mut self, face: Face) -> Face {
        std::mem::replace(&mut self.face, face)
    }
}

impl Driver for Stream {
    fn fd(&self) -> Fd {
        self.fd
    }

    #[inline]
    fn note(&mut self, readiness: Readiness) -> Option<Entry> {
        self.readable |= readiness.readable;
        self.ended |= readiness.ended;
        self.urgent |= readiness.urgent;
        self.writable |= readiness.writable && self.has_output();
        if self.queued
            || !(self.writable || self.readable && (self.wants_bytes() || self.layer_wants_input()))
        {
            return None;
        }
        self.queued = true;
        Some(ready)
    }

    fn register(&mut self, registrar: &Registrar, key: Key) -> io::Result<()> {
        if !self.registered {
            return Ok(());
        }
        self.look_at_owner();
        let urgent = self.medium.has_urgent();
        registrar.add_stream(self.fd, key, urgent)?;
        if self.writing {
            registrar.add_stream_writing(self.fd, key, urgent)?;
        }
        Ok(())
    }

    fn face(&self) -> Option<&Py<PyAny>> {
        Some(&self.face.object)
    }

    fn abandon(&self, py: Python<'_>) -> Option<PyResult<()>> {
        let owner = self.owner.object()?.bind(py);
        Some(owner.call_method0(pyo3::intern!(py, "close")).map(drop))
    }

    fn outlives_the_loop(&self) -> bool {
        matches!(self.owner, Owner::Duplicate | Owner::Face)
    }

    fn visit(&self, visitor: &mut dyn FnMut(&Py<PyAny>)) {
        visitor(&self.face.object);
        if let Some(owner) = self.owner.object() {
            visitor(owner);
        }
        if let Some(reason) = &self.reason {
            visitor(reason.error.as_any());
        }
        if let Some(sending) = &self.file {
            visitor(sending.future());
        }
        if let Some(layered) = &self.layer {
            layered.visit(visitor);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // At the end, or left behind by a loop that was closed. A Python socket closes itself.
        if matches!(self.owner, Owner::Stream | Owner::Duplicate) && self.fd >= 0 {
            socket::close(self.fd);
        }
    }
}

/// The parts of the loop's state that work on one stream needs.
pub(super) struct Parts<'a> {
    pub stream: &'a mut Stream,
    pub key: Key,
    pub ready: &'a mut VecDeque<Item>,
    pub flush: &'a mut Vec<(Key, Entry)>,
    pub kernel: Option<&'a Kernel>,
}

#[inline]
pub(super) fn parts(state: &mut LoopState, key: Key) -> Option<Parts<'_>> {
    let LoopState {
        sources,
        ready,
        flush,
        kernel,
        ..
    } = state;
    let Some(Source::Driver(driver)) = sources.get_mut(key) else {
        return None;
    };
    let stream = (driver.as_mut() as &mut dyn std::any::Any).downcast_mut()?;
    Some(Parts {
        stream,
        key,
        ready,
        flush,
        kernel: kernel.as_ref(),
    })
}

impl Parts<'_> {
    /// Takes an event and does what follows. Answers what the caller must drop with nothing borrowed.
    pub fn apply(&mut self, event: Event) -> Finished<Chunk> {
        let actions = match self.stream.life.apply(event) {
            Ok(actions) => actions,
            Err(illegal) => {
                debug_assert!(false, "{illegal}");
                Actions::NONE
            }
        };
        if actions.contains(Actions::SHUTDOWN_WRITE) {
            self.stream.look_at_owner();
            // Fails when the peer has reset the connection, which reading or the close will find.
            let _ = socket::shutdown_write(self.stream.fd);
        }
        if actions.contains(Actions::QUEUE_LOST) {
            self.ready.push_back(Item::Run(self.key, lost));
        }
        if actions.contains(Actions::DROP_OUTPUT) {
            self.stream.writable = false;
            self.stream.forget_descriptors();
            self.stream.out.clear()
        } else {
            Finished::none()
        }
    }

    /// Applies `WriteDrained` when that is so.
    pub fn check_drained(&mut self) -> Finished<Chunk> {
        let stream = &*self.stream;
        let drained = stream
            .layer
            .as_ref()
            .is_none_or(|layered| layered.is_drained(stream.life.phase() == Phase::Flushing));
        if !stream.has_output() && stream.life.may_send() && drained {
            self.apply(Event::WriteDrained)
        } else {
            Finished::none()
        }
    }

    /// Puts an entry into the ready queue when there is something to do and none waits there.
    pub fn requeue(&mut self) {
        let stream = &mut *self.stream;
        if !stream.queued
            && (stream.writable || stream.has_bytes() && stream.wants_bytes() || stream.may_pump())
        {
            stream.queued = true;
            self.ready.push_back(Item::Run(self.key, ready));
        }
    }
}

/// Puts a stream into the loop; its face hears of it in the next turn.
pub fn open(core: &Bound<'_, LoopCore>, stream: Stream) -> Key {
    let py = core.py();
    let source = Source::Driver(Box::new(stream));
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

/// Looks at a stream, when it is still there.
#[inline]
pub fn with<R: Send>(
    core: &Bound<'_, LoopCore>,
    key: Key,
    body: impl FnOnce(&mut Stream) -> R + Send,
) -> Option<R> {
    core.get()
        .state
        .with(core.py(), |state, _| state.driver::<Stream>(key).map(body))
}

fn made(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let face = core.get().state.with(core.py(), |state, refs| {
        state
            .driver::<Stream>(key)
            .map(|stream| stream.face.clone_ref(refs))
    });
    match face {
        Some(face) => face.call(core, key, |sink, stream| sink.made(stream)),
        None => Ok(()),
    }
}

/// Registers the stream with the poller: from now on bytes come in. Does nothing on one that is closing. Ends a stream
/// that the poller refuses.
pub fn start(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    match register(core, key) {
        Err(error) => {
            let error = errors::os_error(core.py(), &error);
            fail(core, key, Failed::Register, error)
        }
        Ok(()) => Ok(()),
    }
}

/// As [`start`], but a refusal (EPERM: a device that is always ready) is the caller's to judge.
pub fn register(core: &Bound<'_, LoopCore>, key: Key) -> io::Result<()> {
    core.get().state.with(core.py(), |state, _| {
        let Some(Parts {
            stream,
            kernel: Some(kernel),
            ..
        }) = parts(state, key)
        else {
            return Ok(());
        };
        if stream.registered || stream.life.is_closing() {
            return Ok(());
        }
        let urgent = stream.medium.has_urgent();
        kernel.registrar.add_stream(stream.fd, key, urgent)?;
        stream.registered = true;
        Ok(())
    })
}

/// The entry for readiness: reads, then sends what waits. In this order, as all hosts have it: a peer that has gone may have
/// said something before, which a send that fails would lose.
pub(super) fn ready(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let found = with(core, key, |stream| {
        stream.queued = false;
        (std::mem::take(&mut stream.writable), stream.broken())
    });
    let Some((writable, broken)) = found else {
        return Ok(());
    };
    let read = read::drive(core, key);
    if read.is_err() && writable {
        // It leaves the loop, and the edge for writing would be lost.
        core.get().state.with(core.py(), |state, _| {
            if let Some(mut parts) = parts(state, key) {
                parts.stream.writable = true;
                parts.requeue();
            }
        });
    }
    read?;
    if broken != Broken::No {
        return broken::end(core, key);
    }
    if writable {
        write::flush(core, key)?;
    }
    Ok(())
}

/// Ends the stream once what is buffered has left.
pub fn close(core: &Bound<'_, LoopCore>, key: Key) {
    apply_and_drop(core, key, Event::Close);
}

/// The host ends its direction once what is buffered has left.
pub fn write_eof(core: &Bound<'_, LoopCore>, key: Key) {
    apply_and_drop(core, key, Event::LocalEof);
}

fn apply_and_drop(core: &Bound<'_, LoopCore>, key: Key, event: Event) {
    let done = core.get().state.with(core.py(), |state, _| {
        let mut parts = parts(state, key)?;
        let dropped = parts.apply(event);
        if parts.stream.layer.is_some() {
            // The layer has its last word when everything else has left: at the end of the turn at the earliest.
            parts.hold();
            return Some((dropped, Finished::none()));
        }
        Some((dropped, parts.check_drained()))
    });
    drop(done);
}

/// Ends the stream at once; what is buffered is lost. The first reason counts.
pub fn abort(core: &Bound<'_, LoopCore>, key: Key, reason: Option<PyErr>) {
    let py = core.py();
    let event = if reason.is_some() {
        Event::Failed
    } else {
        Event::Abort
    };
    let mut reason = reason.map(|error| Reason::of(error.into_value(py)));
    let reason_place = &mut reason;
    let dropped = core.get().state.with(py, |state, _| {
        let mut parts = parts(state, key)?;
        if matches!(parts.stream.life.phase(), Phase::Closing | Phase::Lost) {
            // The end is decided: what comes after it is no reason for it.
            return None;
        }
        let old = std::mem::replace(&mut parts.stream.reason, reason_place.take());
        Some((parts.apply(event), old))
    });
    drop((dropped, reason));
}

/// A system call failed: the stream ends at once, and the face says so as its host does.
pub(super) fn fail(
    core: &Bound<'_, LoopCore>,
    key: Key,
    what: Failed,
    error: PyErr,
) -> PyResult<()> {
    let py = core.py();
    let face = core.get().state.with(py, |state, refs| {
        state
            .driver::<Stream>(key)
            .map(|stream| stream.face.clone_ref(refs))
    });
    let Some(face) = face else {
        return Ok(());
    };
    abort(core, key, Some(error.clone_ref(py)));
    face.call(core, key, |sink, stream| sink.failed(stream, what, &error))
}

/// The entry for the end: takes the stream out of the loop, tells its face, closes its descriptor.
fn lost(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let py = core.py();
    let taken = core.get().state.with(py, |state, refs| {
        let parts = parts(state, key)?;
        let _ = parts.stream.life.apply(Event::LostDelivered);
        parts.stream.look_at_owner();
        // Where there may be a duplicate of the descriptor (a Python socket's), it would keep the kernel's entry
        // alive after the close. What only we know, the close itself takes out.
        if parts.stream.registered
            && !matches!(parts.stream.owner, Owner::Stream)
            && let Some(kernel) = parts.kernel
        {
            let _ = kernel.registrar.remove(parts.stream.fd);
        }
        let face = parts.stream.face.clone_ref(refs);
        let owner = parts.stream.owner.object().map(|owner| refs.clone(owner));
        let reason = parts.stream.reason.take();
        let file = parts.stream.file.take();
        Some((face, owner, reason, file, state.remove(key)))
    });
    let Some((face, owner, reason, file, source)) = taken else {
        return Ok(());
    };
    let reason = reason.map(|reason| reason.into_error(py));
    let cut = file.map(|file| {
        let reason = reason.as_ref().map(|reason| reason.clone_ref(py));
        let none = || PyConnectionError::new_err("Connection is closed by peer");
        file.finish(py, Err(reason.unwrap_or_else(none)))
    });
    let result = face.call(core, key, |sink, stream| sink.lost(stream, reason));
    if let Some(owner) = owner {
        // In spite of an exception on its way: a descriptor left open is never closed by anybody.
        owner.bind(py).call_method0(pyo3::intern!(py, "close"))?;
    }
    // Closes the descriptor that only we own.
    drop(source);
    result.and(cut.unwrap_or(Ok(())))
}
