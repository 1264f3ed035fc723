//! Reading: from the socket (through a layer) to the face, with a budget.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;

use pyo3::prelude::*;

use super::broken::Broken;
use super::layer;
use super::sink::{AfterEof, Face, Failed, Taken};
use super::stream::{self, Stream};
use crate::poll::Key;
use crate::proto::phase::Event;
use crate::py::errors;
use crate::runtime::LoopCore;
use crate::runtime::core::SCRATCH;

/// How many reads a stream's layer gets before the others have their turn. (A face says so itself.)
pub(super) const READS: usize = 16;

/// How many bytes one stream gets before the others have their turn.
pub(super) const BYTES: u64 = SCRATCH as u64;

/// What [`receive`] answers.
pub enum Received {
    Bytes(usize),
    Eof,
    /// Nothing there now; an edge will come.
    WouldBlock,
    /// The stream is gone, closing, or paused: between a face's decision and the read, its protocol ran.
    Gone,
    Failed(PyErr),
}

/// Receives into `buffer`, which must not be empty.
pub fn receive(core: &Bound<'_, LoopCore>, key: Key, buffer: &mut [MaybeUninit<u8>]) -> Received {
    let py = core.py();
    let result = core.get().state.with(py, |state, _| {
        let stream = state.driver::<Stream>(key)?;
        if !stream.wants_bytes() {
            return None;
        }
        if stream.layer.is_some() {
            return Some(None);
        }
        let result = stream.receive(buffer);
        note_result(stream, &result, buffer.len());
        Some(Some(result))
    });
    match result {
        None => Received::Gone,
        Some(None) => layer::receive(core, key, buffer),
        Some(Some(Ok(0))) => Received::Eof,
        Some(Some(Ok(count))) => Received::Bytes(count),
        Some(Some(Err(error))) if error.kind() == ErrorKind::WouldBlock => Received::WouldBlock,
        Some(Some(Err(error))) => Received::Failed(errors::os_error(py, &error)),
    }
}

/// Keeps track of whether the socket is drained, and of how much came.
#[inline]
pub(super) fn note_result(stream: &mut Stream, result: &io::Result<usize>, asked: usize) {
    match result {
        Ok(0) => stream.readable = false,
        Ok(count) => {
            stream.received += *count as u64;
            // Drained, and the next byte brings an edge.
            if *count < asked && stream.short_read_drains() {
                stream.readable = false;
            }
        }
        Err(_) => stream.readable = false,
    }
}

/// What [`drive`] does next.
enum Step {
    Ask(Face),
    /// The layer needs bytes, whatever the face wants.
    Pump,
}

/// Reads until the socket is drained, the face wants no more, or the budget is spent: then the stream requeues
/// itself, since no edge will come.
pub(super) fn drive(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let py = core.py();
    let mut start = None;
    let mut reads = 0;
    let mut pumped = 0;
    loop {
        let start = &mut start;
        let step = core.get().state.with(py, |state, refs| {
            let mut parts = stream::parts(state, key)?;
            let stream = &mut *parts.stream;
            // Counts what came from the socket, by whatever way: that is what the others wait for.
            if reads == stream.reads
                || stream.received - *start.get_or_insert(stream.received) >= BYTES
            {
                parts.requeue();
                return None;
            }
            if stream.layer.is_some() && stream.may_pump() {
                return Some(Step::Pump);
            }
            (stream.has_bytes() && stream.wants_bytes())
                .then(|| Step::Ask(stream.face.clone_ref(refs)))
        });
        match step {
            None => return Ok(()),
            Some(Step::Pump) if pumped == READS => break,
            Some(Step::Pump) => {
                pumped += 1;
                layer::pump(core, key)?;
            }
            Some(Step::Ask(face)) => {
                reads += 1;
                match face.call(core, key, |sink, stream| sink.read(stream))? {
                    Taken::Nothing => return Ok(()),
                    Taken::Bytes => {}
                    Taken::Eof => return eof(core, key),
                }
            }
        }
    }
    core.get().state.with(py, |state, _| {
        if let Some(mut parts) = stream::parts(state, key) {
            parts.requeue();
        }
    });
    Ok(())
}

/// Tries at once, without waiting for an edge: for a host whose read call looks whether the bytes are there
/// already. Calls the face as the loop would.
pub fn try_now(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    // What the kernel has not reported yet is found out by asking it.
    stream::with(core, key, |stream| {
        stream.readable |= stream.life.may_read();
    });
    drive(core, key)
}

fn eof(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let py = core.py();
    // State first: reading has ended whatever the host makes of it.
    let face = core.get().state.with(py, |state, refs| {
        let mut parts = stream::parts(state, key)?;
        // Letting go of a protocol's buffer may have run code that closed the stream.
        if !parts.stream.life.may_read() {
            return None;
        }
        if parts.stream.broken() == Broken::Reset {
            // No word of the peer's: the stream ends for its reason, now that nothing is left.
            return None;
        }
        let nothing = parts.apply(Event::PeerEof);
        debug_assert!(nothing.is_empty());
        Some(parts.stream.face.clone_ref(refs))
    });
    let Some(face) = face else {
        return Ok(());
    };
    match face.call(core, key, |sink, stream| sink.eof(stream))? {
        AfterEof::Keep => {}
        AfterEof::Close => stream::close(core, key),
        AfterEof::Abort => stream::abort(core, key, None),
    }
    Ok(())
}

/// A read failed: the stream ends.
pub fn failed(core: &Bound<'_, LoopCore>, key: Key, error: PyErr) -> PyResult<Taken> {
    stream::fail(core, key, Failed::Read, error)?;
    Ok(Taken::Nothing)
}

/// The host wants no bytes for now. What arrives waits in the kernel.
pub fn pause(core: &Bound<'_, LoopCore>, key: Key) {
    stream::with(core, key, |stream| stream.reading = false);
}

/// The host wants bytes (again). An edge that came in between is not lost: the stream queues itself.
pub fn resume(core: &Bound<'_, LoopCore>, key: Key) {
    core.get().state.with(core.py(), |state, _| {
        if let Some(mut parts) = stream::parts(state, key) {
            parts.stream.reading = true;
            if parts.stream.registered {
                parts.requeue();
            }
        }
    });
}
