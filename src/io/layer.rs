//! A transformation of the bytes between the socket and the face, as TLS is, put in at any time.
//!
//! A layer is called with nothing borrowed, like a face: TLS runs Python in the middle of a handshake (server
//! names, certificate checks), and that may write, close, read or turn the loop. So the layer is lent out of the
//! stream while it works. Meanwhile what the host writes waits for it, and nobody reads from the socket.

use std::io::ErrorKind;
use std::mem::MaybeUninit;

use pyo3::exceptions::{PyConnectionAbortedError, PyRuntimeError};
use pyo3::prelude::*;

use super::read::{self, Received};
use super::sink::Failed;
use super::stream::{self, Stream, parts};
use super::write;
use crate::poll::Key;
use crate::proto::phase::Phase;
use crate::py::errors;
use crate::runtime::LoopCore;
use crate::sys::socket;

/// How much is read from the socket at once for a layer: a whole TLS record and then some.
const RAW: usize = 32 * 1024;

/// What a layer makes of bytes from the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    More,
    /// The peer has ended its direction, in the layer's own terms.
    End,
}

/// A transformation of the bytes between the socket and the face. It keeps what it cannot pass on yet. What it
/// appends to `wire` is sent, also when it answers an error, as far as the kernel takes it then.
pub trait Layer: Send {
    /// It was put in: what must be sent before anything is read.
    fn start(&mut self, py: Python<'_>, wire: &mut Vec<u8>) -> PyResult<()>;

    /// Bytes came from the peer: appends what they mean to `plain`, and what must be sent in answer to `wire`.
    fn decode(
        &mut self,
        py: Python<'_>,
        bytes: &[u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> PyResult<Input>;

    /// The peer's socket has ended without an [`Input::End`]. An error says that bytes are missing.
    fn cut_off(&mut self, py: Python<'_>) -> PyResult<()>;

    /// The host writes: appends what must be sent to `wire`.
    fn encode(&mut self, py: Python<'_>, bytes: &[u8], wire: &mut Vec<u8>) -> PyResult<()>;

    /// The host has ended its direction and everything before has left: the last word. Called once at most.
    fn finish(&mut self, py: Python<'_>, wire: &mut Vec<u8>) -> PyResult<()>;

    /// It needs bytes from the peer whether the face wants any or not: a handshake. Looked at after each call.
    fn wants_input(&self) -> bool;

    /// How many bytes of the host's it keeps until the peer has said something. Looked at after each call.
    fn held(&self) -> usize;

    /// Visits every Python object it holds, for the garbage collector.
    fn visit(&self, _visitor: &mut dyn FnMut(&Py<PyAny>)) {}
}

/// What comes after the bytes that were decoded.
enum End {
    Eof,
    Failed(PyErr),
}

/// A stream's layer and what lies on its two sides.
pub(super) struct Layered {
    /// `None` while it works.
    layer: Option<Box<dyn Layer>>,
    wants_input: bool,
    held: usize,
    /// Decoded, and from `taken` on not yet taken by a face.
    plain: Vec<u8>,
    taken: usize,
    end: Option<End>,
    /// Written by the host while the layer worked.
    waiting: Vec<u8>,
    finished: bool,
    /// Somebody wanted to read while the layer worked.
    missed: bool,
}

impl Layered {
    /// Whether a face has something to take without a look at the socket.
    pub fn has_news(&self) -> bool {
        self.taken < self.plain.len() || self.end.is_some()
    }

    /// Whether the layer itself needs bytes from the peer.
    pub fn wants_input(&self) -> bool {
        // Not while it works: it is looked at again when it comes back.
        self.wants_input && self.end.is_none() && self.layer.is_some()
    }

    /// Bytes of the host's that have not become bytes to send.
    pub fn held(&self) -> usize {
        self.held + self.waiting.len()
    }

    /// Whether the layer has been asked for its last word: no byte of the host's comes after it.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether nothing more comes from it to be sent.
    pub fn is_drained(&self) -> bool {
        self.finished && self.layer.is_some()
    }

    pub fn visit(&self, visitor: &mut dyn FnMut(&Py<PyAny>)) {
        if let Some(layer) = &self.layer {
            layer.visit(visitor);
        }
    }

    /// What a face gets without a look at the socket.
    fn take(&mut self, buffer: &mut [MaybeUninit<u8>]) -> Option<Received> {
        let left = &self.plain[self.taken..];
        if !left.is_empty() {
            let count = left.len().min(buffer.len());
            for (place, byte) in buffer.iter_mut().zip(left) {
                place.write(*byte);
            }
            self.taken += count;
            if self.taken == self.plain.len() {
                self.plain = Vec::new();
                self.taken = 0;
            }
            return Some(Received::Bytes(count));
        }
        match self.end.take()? {
            End::Eof => {
                self.end = Some(End::Eof);
                Some(Received::Eof)
            }
            End::Failed(error) => Some(Received::Failed(error)),
        }
    }
}

/// From now on bytes in both directions pass through `layer`. What waits to be sent was written before and leaves
/// as it is; `unread` is what the face has received but does not want, the layer's first bytes. Errors: RuntimeError
/// when there is a layer already; what leaves the loop.
pub fn insert(
    core: &Bound<'_, LoopCore>,
    key: Key,
    layer: Box<dyn Layer>,
    unread: &[u8],
) -> PyResult<()> {
    let new = Box::new(Layered {
        wants_input: layer.wants_input(),
        held: layer.held(),
        layer: Some(layer),
        plain: Vec::new(),
        taken: 0,
        end: None,
        waiting: Vec::new(),
        finished: false,
        missed: false,
    });
    let refused = core.get().state.with(core.py(), |state, _| {
        match state.driver::<Stream>(key) {
            Some(stream) if stream.layer.is_some() => Some((new, true)),
            Some(stream) if !stream.life.is_closing() => {
                stream.layer = Some(new);
                None
            }
            // It has ended, or is about to: there is nothing more to transform.
            _ => Some((new, false)),
        }
    });
    match refused {
        Some((_, true)) => return Err(PyRuntimeError::new_err("the stream has a layer already")),
        Some((_, false)) => return Ok(()),
        None => {}
    }
    let started = work(core, key, |py, layer, _, wire| {
        layer.start(py, wire).map(|()| Input::More)
    });
    if let Some(Err(error)) = started {
        return stream::fail(core, key, Failed::Write, error);
    }
    if !unread.is_empty() {
        decode(core, key, unread);
    }
    core.get().state.with(core.py(), |state, _| {
        if let Some(mut parts) = parts(state, key)
            && parts.stream.registered
        {
            parts.requeue();
        }
    });
    Ok(())
}

/// Lets the layer work, then takes what it made. `None`: the stream is gone, or its layer works already.
fn work(
    core: &Bound<'_, LoopCore>,
    key: Key,
    job: impl FnOnce(Python<'_>, &mut dyn Layer, &mut Vec<u8>, &mut Vec<u8>) -> PyResult<Input>,
) -> Option<PyResult<Input>> {
    let py = core.py();
    let mut layer = core.get().state.with(py, |state, _| {
        state.driver::<Stream>(key)?.layer.as_mut()?.layer.take()
    })?;
    let mut plain = Vec::new();
    let mut wire = Vec::new();
    let mut result = job(py, layer.as_mut(), &mut plain, &mut wire);
    // Dropped at the very end: letting go of a host's bytes may run code.
    let mut sent = Vec::new();
    loop {
        let wants_input = layer.wants_input();
        let held = layer.held();
        let failed = result.is_err();
        let plain_made = std::mem::take(&mut plain);
        let wire_made = std::mem::take(&mut wire);
        let sent = &mut sent;
        // Comes back with what was written meanwhile, or when the stream has gone.
        let back = core.get().state.with(py, |state, _| {
            let Some(mut parts) = parts(state, key) else {
                return Some((layer, None));
            };
            if parts.stream.life.may_send() {
                write::push_wire(parts.stream, wire_made);
            }
            let layered = parts.stream.layer.as_mut()?;
            layered.wants_input = wants_input;
            layered.held = held;
            layered.plain.extend_from_slice(&plain_made);
            if !failed && !layered.waiting.is_empty() {
                let waiting = std::mem::take(&mut layered.waiting);
                return Some((layer, Some(waiting)));
            }
            layered.layer = Some(layer);
            let missed = std::mem::take(&mut layered.missed);
            if failed {
                // The stream is about to end, and with it what is buffered; the peer should hear why.
                while !parts.stream.out.is_empty() {
                    match write::send_some(parts.stream) {
                        Ok(count) => sent.push(parts.stream.out.advance(count)),
                        Err(_) => break,
                    }
                }
            } else if !parts.stream.out.is_empty() || parts.stream.is_ending() {
                parts.hold();
            }
            if missed || parts.stream.readable && parts.stream.layer_wants_input() {
                parts.requeue();
            }
            None
        });
        match back {
            None | Some((_, None)) => return Some(result),
            Some((lent, Some(waiting))) => {
                layer = lent;
                if let Err(error) = layer.encode(py, &waiting, &mut wire) {
                    result = Err(error);
                }
            }
        }
    }
}

/// Lets the layer have bytes from the peer, none for the socket's end of file. An error waits behind the bytes
/// that were decoded before it.
fn decode(core: &Bound<'_, LoopCore>, key: Key, bytes: &[u8]) {
    let result = work(core, key, |py, layer, plain, wire| {
        if bytes.is_empty() {
            layer.cut_off(py).map(|()| Input::End)
        } else {
            layer.decode(py, bytes, plain, wire)
        }
    });
    let end = match result {
        None | Some(Ok(Input::More)) => return,
        Some(Ok(Input::End)) => End::Eof,
        Some(Err(error)) => End::Failed(error),
    };
    let old = stream::with(core, key, |stream| {
        stream
            .layer
            .as_mut()
            .and_then(|layered| layered.end.replace(end))
    });
    drop(old);
}

/// What one read from the socket for the layer came to.
enum Raw {
    /// So many bytes; whether the socket is drained.
    Bytes(usize, bool),
    Other(Received),
}

fn receive_raw(core: &Bound<'_, LoopCore>, key: Key, raw: &mut [MaybeUninit<u8>]) -> Raw {
    let py = core.py();
    let result = core.get().state.with(py, |state, _| {
        let stream = state.driver::<Stream>(key)?;
        let layered = stream.layer.as_mut()?;
        if layered.layer.is_none() {
            layered.missed = true;
            return Some(Err(ErrorKind::WouldBlock.into()));
        }
        let result = socket::recv(stream.fd, raw);
        read::note_result(stream, &result, raw.len());
        Some(result.map(|count| (count, count < raw.len() && stream.short_read_drains())))
    });
    match result {
        None => Raw::Other(Received::Gone),
        Some(Ok((count, drained))) => Raw::Bytes(count, drained),
        Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => {
            Raw::Other(Received::WouldBlock)
        }
        Some(Err(error)) => Raw::Other(Received::Failed(errors::os_error(py, &error))),
    }
}

/// # Safety
/// The first `count` bytes of `raw` have been written.
unsafe fn written(raw: &[MaybeUninit<u8>], count: usize) -> &[u8] {
    // SAFETY: the caller says so; `MaybeUninit<u8>` is laid out as `u8`.
    unsafe { std::slice::from_raw_parts(raw[..count].as_ptr().cast(), count) }
}

/// [`read::receive`] through the layer. Its input may be a whole record before any output comes.
pub(super) fn receive(
    core: &Bound<'_, LoopCore>,
    key: Key,
    buffer: &mut [MaybeUninit<u8>],
) -> Received {
    let py = core.py();
    let mut drained = false;
    for _ in 0..read::READS {
        let taken = core.get().state.with(py, |state, _| {
            let stream = state.driver::<Stream>(key)?;
            if !stream.wants_bytes() {
                return None;
            }
            Some(stream.layer.as_mut()?.take(buffer))
        });
        match taken {
            None => return Received::Gone,
            Some(Some(received)) => return received,
            Some(None) if drained => return Received::WouldBlock,
            Some(None) => {}
        }
        let mut raw = [MaybeUninit::<u8>::uninit(); RAW];
        match receive_raw(core, key, &mut raw) {
            Raw::Other(received) => return received,
            Raw::Bytes(count, short) => {
                drained = short && count > 0;
                // SAFETY: the kernel has written the first `count` bytes.
                decode(core, key, unsafe { written(&raw, count) });
            }
        }
    }
    // Much came and it means nothing yet: the others have their turn, and no edge will come.
    core.get().state.with(py, |state, _| {
        if let Some(mut parts) = parts(state, key) {
            parts.requeue();
        }
    });
    Received::WouldBlock
}

/// Reads once for a layer that needs it, whether the face wants bytes or not.
pub(super) fn pump(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let mut raw = [MaybeUninit::<u8>::uninit(); RAW];
    match receive_raw(core, key, &mut raw) {
        Raw::Other(Received::Failed(error)) => {
            return stream::fail(core, key, Failed::Read, error);
        }
        Raw::Other(_) => return Ok(()),
        // SAFETY: the kernel has written the first `count` bytes.
        Raw::Bytes(count, _) => decode(core, key, unsafe { written(&raw, count) }),
    }
    let failed = stream::with(core, key, |stream| {
        let flushing = stream.life.phase() == Phase::Flushing;
        let layered = stream.layer.as_mut()?;
        if flushing {
            // The host has closed: nobody takes these.
            layered.plain = Vec::new();
            layered.taken = 0;
        }
        if layered.taken < layered.plain.len() {
            return None;
        }
        match layered.end.take()? {
            End::Failed(error) => Some(error),
            End::Eof => {
                layered.end = Some(End::Eof);
                None
            }
        }
    });
    match failed.flatten() {
        Some(error) => stream::fail(core, key, Failed::Read, error),
        None => settle(core, key).map(drop),
    }
}

/// Sends through the layer; while it works the bytes wait. Errors: the layer's own.
pub(super) fn encode(core: &Bound<'_, LoopCore>, key: Key, bytes: &[u8]) -> PyResult<()> {
    let worked = work(core, key, |py, layer, _, wire| {
        layer.encode(py, bytes, wire).map(|()| Input::More)
    });
    match worked {
        Some(result) => result.map(drop),
        None => {
            stream::with(core, key, |stream| {
                if let Some(layered) = &mut stream.layer {
                    layered.waiting.extend_from_slice(bytes);
                }
            });
            Ok(())
        }
    }
}

/// What follows when everything may have left: the layer's last word, then the stream's own end. True when there is
/// something to send again.
pub(super) fn settle(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<bool> {
    let py = core.py();
    let look = stream::with(core, key, |stream| {
        let ends = stream.is_ending();
        let flushing = stream.life.phase() == Phase::Flushing;
        let drained = stream.out.is_empty();
        let layered = stream
            .layer
            .as_mut()
            .filter(|layered| layered.layer.is_some())?;
        if layered.held > 0 {
            // It waits for a peer that will not say anything any more, and the host has closed.
            return Some((false, flushing && layered.end.is_some()));
        }
        let due = ends && drained && !layered.finished;
        layered.finished |= due;
        Some((due, false))
    });
    let (due, stuck) = look.flatten().unwrap_or_default();
    if stuck {
        let error = PyConnectionAbortedError::new_err("the peer ended the connection too early");
        stream::fail(core, key, Failed::Write, error)?;
        return Ok(false);
    }
    if due {
        let finished = work(core, key, |py, layer, _, wire| {
            layer.finish(py, wire).map(|()| Input::More)
        });
        if let Some(Err(error)) = finished {
            stream::fail(core, key, Failed::Write, error)?;
            return Ok(false);
        }
    }
    let (again, dropped) = core
        .get()
        .state
        .with(py, |state, _| match parts(state, key) {
            None => (false, None),
            Some(mut parts) => {
                let dropped = parts.check_drained();
                let again = due && !parts.stream.out.is_empty();
                (again, Some(dropped))
            }
        });
    drop(dropped);
    Ok(again)
}
