//! A transformation of the bytes between the socket and the face, as TLS is, put in at any time.
//!
//! A layer is called with nothing borrowed, like a face: TLS runs Python in the middle of a handshake (server
//! names, certificate checks), and that may write, close, read or turn the loop. So the layer is lent out of the
//! stream while it works. Meanwhile what the host writes waits for it, and nobody reads from the socket.
//!
//! What it decodes goes straight to where the face wants it. So bytes that a face has no place for stay undecoded
//! here, and a socket is read again only when none are left.

mod input;
mod output;

use pyo3::exceptions::{PyConnectionAbortedError, PyRuntimeError};
use pyo3::prelude::*;

pub use crate::tls::layer::{Input, Layer, Place};
use crate::tls::stacked::Stacked;

pub use self::input::take_unread;
pub(super) use self::input::{pump, receive};
pub(super) use self::output::write;

use super::sink::Failed;
use super::stream::{self, Stream, parts};
use crate::poll::Key;
use crate::proto::phase::Phase;
use crate::runtime::LoopCore;

/// What comes after the bytes that are there.
enum End {
    Eof,
    Failed(PyErr),
}

/// A stream's layer and what lies on its two sides.
pub(super) struct Layered {
    /// `None` while it works.
    layer: Option<Box<dyn Layer>>,
    ready: bool,
    wants_input: bool,
    held: usize,
    /// Received, and from `taken` on not yet taken by the layer.
    unread: Vec<u8>,
    taken: usize,
    /// The layer may have more to say without new bytes.
    full: bool,
    end: Option<End>,
    /// Written by the host while the layer worked.
    waiting: Vec<u8>,
    finished: bool,
    /// Somebody wanted to read while the layer worked.
    missed: bool,
}

impl Layered {
    fn new(layer: Box<dyn Layer>, unread: &[u8]) -> Self {
        let ready = layer.is_ready();
        Layered {
            ready,
            wants_input: layer.wants_input(),
            held: layer.held(),
            layer: Some(layer),
            unread: unread.to_vec(),
            taken: 0,
            // One that comes in the middle of a connection may have bytes already.
            full: ready,
            end: None,
            waiting: Vec::new(),
            finished: false,
            missed: false,
        }
    }

    /// Puts `upper` upon the layer that is there; `unread` are bytes that this one has decoded already.
    fn stack(&mut self, upper: Box<dyn Layer>, unread: &[u8]) -> Result<(), Box<dyn Layer>> {
        let Some(lower) = self.layer.take() else {
            return Err(upper);
        };
        let ended = matches!(self.end, Some(End::Eof));
        if ended {
            self.end = None;
        }
        let stacked = Stacked::new(lower, upper, self.full, unread, ended);
        self.ready = false;
        self.wants_input = stacked.wants_input();
        self.full = true;
        self.layer = Some(Box::new(stacked));
        Ok(())
    }

    /// The layer, to work; `None` when it does already.
    #[inline]
    pub fn lend(&mut self) -> Option<Box<dyn Layer>> {
        self.layer.take()
    }

    /// Whether bytes of the host's pass.
    #[inline]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether there is something to decode without a look at the socket.
    #[inline]
    pub fn has_unread(&self) -> bool {
        self.full || self.taken < self.unread.len()
    }

    /// Bytes from the peer that have not been decoded.
    pub fn unread(&self) -> usize {
        self.unread.len() - self.taken
    }

    /// Whether a face may have something to take without a look at the socket.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.ready && self.has_unread() || self.end.is_some()
    }

    /// Whether the layer itself needs bytes from the peer.
    #[inline]
    pub fn wants_input(&self) -> bool {
        // Not while it works: it is looked at again when it comes back.
        self.wants_input && self.end.is_none() && self.layer.is_some()
    }

    /// Bytes of the host's that have not become bytes to send.
    #[inline]
    pub fn held(&self) -> usize {
        self.held + self.waiting.len()
    }

    /// Whether the layer has been asked for its last word: no byte of the host's comes after it.
    #[inline]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether nothing more comes from it to be sent, nor, when the host has closed, from the peer to be heard.
    pub fn is_drained(&self, closed: bool) -> bool {
        self.finished && self.layer.is_some() && !(closed && self.wants_input())
    }

    pub fn visit(&self, visitor: &mut dyn FnMut(&Py<PyAny>)) {
        if let Some(layer) = &self.layer {
            layer.visit(visitor);
        }
    }
}

/// From now on bytes in both directions pass through `layer`, and through the one that may be there already. What
/// waits to be sent was written before and leaves as it is; `unread` is what the face has received but does not want,
/// the layer's first bytes. Errors: RuntimeError while a layer that is there works, or a file is sent; what leaves the
/// loop.
pub fn insert(
    core: &Bound<'_, LoopCore>,
    key: Key,
    layer: Box<dyn Layer>,
    unread: &[u8],
) -> PyResult<()> {
    let outcome = core.get().state.with(core.py(), |state, _| {
        match state.driver::<Stream>(key) {
            Some(stream) if stream.file.is_some() => Err((layer, true)),
            Some(stream) if !stream.life.is_closing() => match &mut stream.layer {
                Some(layered) => layered.stack(layer, unread),
                None => {
                    stream.layer = Some(Box::new(Layered::new(layer, unread)));
                    Ok(())
                }
            }
            .map_err(|layer| (layer, true)),
            // It has ended, or is about to: there is nothing more to transform.
            _ => Err((layer, false)),
        }
    });
    match outcome {
        Err((_, true)) => return Err(PyRuntimeError::new_err("the stream is at work")),
        Err((_, false)) => return Ok(()),
        Ok(()) => {}
    }
    if let Some(Err(error)) = output::work(core, key, |py, layer, wire| layer.start(py, wire)) {
        return stream::fail(core, key, Failed::Write, error);
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
        if let Some(Err(error)) = output::work(core, key, |py, layer, wire| layer.finish(py, wire))
        {
            stream::fail(core, key, Failed::Write, error)?;
            return Ok(false);
        }
        // The peer's last word may be among what nobody has read.
        input::discard(core, key)?;
    }
    let (again, dropped) = core
        .get()
        .state
        .with(py, |state, _| match parts(state, key) {
            None => (false, None),
            Some(mut parts) => {
                let dropped = parts.check_drained();
                let again = due && !parts.stream.out.is_empty();
                parts.requeue();
                (again, Some(dropped))
            }
        });
    drop(dropped);
    Ok(again)
}

impl Stream {
    /// Whether its layer needs bytes from the peer on its own account: to get through a handshake, and to the end of
    /// one when the host has written and closed; after its last word, for the peer's. In between it has what the face
    /// reads.
    #[inline]
    pub(super) fn layer_wants_input(&self) -> bool {
        self.layer.as_ref().is_some_and(|layered| {
            layered.wants_input()
                && (!layered.is_ready() && self.life.may_read()
                    || self.life.phase() == Phase::Flushing
                        && (layered.held() > 0 || layered.is_finished()))
        })
    }

    /// Whether it needs them and there are some.
    #[inline]
    pub(super) fn may_pump(&self) -> bool {
        self.layer_wants_input()
            && (self.readable
                || self
                    .layer
                    .as_ref()
                    .is_some_and(|layered| layered.has_unread()))
    }
}
