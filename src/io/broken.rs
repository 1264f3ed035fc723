//! Streams whose peer has gone, or whose descriptor has: what is still to be read then, and what must not be touched.

use std::io::{self, ErrorKind};

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

use super::medium::Medium;
use super::sink::Failed;
use super::stream::{self, Flush, Stream, parts};
use crate::poll::Key;
use crate::proto::phase::Phase;
use crate::py::errors;
use crate::runtime::LoopCore;

/// Whether a send has failed, for the stream's reason, which waits until what the peer has said before is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    No,
    /// A TCP peer has ended its direction before: reading finds that.
    Ended,
    /// Anything else. The send has taken the kernel's word of it, and reading would find an end of file that was none.
    Reset,
}

/// Why a stream ends.
pub(super) struct Reason {
    pub(super) error: Py<PyBaseException>,
    broken: Broken,
}

impl Reason {
    pub(super) fn of(error: Py<PyBaseException>) -> Box<Self> {
        let broken = Broken::No;
        Box::new(Reason { error, broken })
    }

    pub(super) fn into_error(self, py: Python<'_>) -> PyErr {
        PyErr::from_value(self.error.into_bound(py).into_any())
    }
}

impl Stream {
    #[inline]
    pub(super) fn broken(&self) -> Broken {
        self.reason
            .as_ref()
            .map_or(Broken::No, |reason| reason.broken)
    }

    /// To be called before the descriptor is used: forgets the number of one that its owner has closed.
    #[inline]
    pub(super) fn look_at_owner(&mut self) {
        if !self.owner.may_have(self.fd) {
            // What the kernel says of it is what it says of a closed one.
            self.fd = -1;
        }
    }
}

/// A send failed. A stream that sends at the end of the turn has not looked for news since the last poll, as its host would
/// have: what the peer said before it went is read first, in the next turns.
pub(super) fn fail(core: &Bound<'_, LoopCore>, key: Key, error: &io::Error) -> PyResult<()> {
    let py = core.py();
    let told = errors::os_error(py, error);
    let mut reason = Some(Reason::of(told.clone_ref(py).into_value(py)));
    let reason_place = &mut reason;
    let waits = core.get().state.with(py, |state, _| {
        let Some(mut parts) = parts(state, key) else {
            return false;
        };
        let stream = &mut *parts.stream;
        if stream.flush != Flush::EndOfTurn || !stream.wants_bytes() || stream.reason.is_some() {
            return stream.broken() != Broken::No;
        }
        if let Some(reason) = reason_place.as_mut() {
            reason.broken = match error.kind() {
                ErrorKind::BrokenPipe if stream.medium == Medium::Tcp => Broken::Ended,
                _ => Broken::Reset,
            };
        }
        stream.reason = reason_place.take();
        stream.readable = true;
        parts.requeue();
        true
    });
    drop(reason);
    if waits {
        return Ok(());
    }
    stream::fail(core, key, Failed::Write, told)
}

/// Ends a stream whose sends fail, once there is nothing more to read, or nobody wants it.
pub(super) fn end(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let py = core.py();
    let reason = core.get().state.with(py, |state, _| {
        let mut parts = parts(state, key)?;
        let stream = &mut *parts.stream;
        if stream.has_bytes() && stream.wants_bytes() {
            parts.requeue();
            return None;
        }
        if matches!(stream.life.phase(), Phase::Closing | Phase::Lost) {
            return None;
        }
        stream.reason.take()
    });
    match reason {
        Some(reason) => stream::fail(core, key, Failed::Write, reason.into_error(py)),
        None => Ok(()),
    }
}
