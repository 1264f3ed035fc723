//! Reading: from the socket (through a layer) to the face, with a budget.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;

use pyo3::prelude::*;

use super::sink::{AfterEof, Failed, Taken};
use super::stream::{self, Stream};
use super::write;
use crate::poll::Key;
use crate::proto::phase::Event;
use crate::py::errors;
use crate::runtime::LoopCore;
use crate::runtime::core::SCRATCH;
use crate::sys::socket;

/// How many reads one stream gets before the others have their turn.
const READS: usize = 16;

/// How many bytes one stream gets before the others have their turn.
const BYTES: usize = SCRATCH;

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
        let result = if stream.layer.is_some() {
            receive_layered(stream, buffer)
        } else {
            let result = socket::recv(stream.fd, buffer);
            note_result(stream, &result, buffer.len());
            result
        };
        Some(result)
    });
    match result {
        None => Received::Gone,
        Some(Ok(0)) => Received::Eof,
        Some(Ok(count)) => Received::Bytes(count),
        Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => Received::WouldBlock,
        Some(Err(error)) => Received::Failed(errors::os_error(py, &error)),
    }
}

/// Keeps track of whether the socket is drained.
#[inline]
fn note_result(stream: &mut Stream, result: &io::Result<usize>, asked: usize) {
    match result {
        // Short: drained, and the next byte brings an edge. Unless the end of file came with the bytes: it had
        // its edge already.
        Ok(count) if *count > 0 && *count < asked => {
            if stream.short_read_drains && !stream.ended {
                stream.readable = false;
            }
        }
        Ok(0) => stream.readable = false,
        Ok(_) => {}
        Err(_) => stream.readable = false,
    }
}

/// Receives through the layer. Its input may be a whole record before any output comes.
fn receive_layered(stream: &mut Stream, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    let Some(mut layered) = stream.layer.take() else {
        return Err(ErrorKind::WouldBlock.into());
    };
    let mut wire = Vec::new();
    let result = loop {
        if !layered.plain.is_empty() {
            let count = layered.plain.len().min(buffer.len());
            for (place, byte) in buffer.iter_mut().zip(layered.plain.drain(..count)) {
                place.write(byte);
            }
            break Ok(count);
        }
        let mut raw = [MaybeUninit::<u8>::uninit(); 16 * 1024];
        let received = socket::recv(stream.fd, &mut raw);
        note_result(stream, &received, raw.len());
        match received {
            Ok(0) => break Ok(0),
            Err(error) => break Err(error),
            Ok(count) => {
                // SAFETY: the kernel has written the first `count` bytes.
                let bytes = unsafe { raw[..count].assume_init_ref() };
                let mut plain = Vec::new();
                if let Err(error) = layered.layer.decode(bytes, &mut plain, &mut wire) {
                    break Err(error);
                }
                layered.plain.extend(plain);
            }
        }
    };
    stream.layer = Some(layered);
    write::push_wire(stream, wire);
    result
}

/// Reads until the socket is drained, the face wants no more, or the budget is spent: then the stream requeues
/// itself, since no edge will come.
pub(super) fn drive(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let py = core.py();
    let mut budget = BYTES;
    for _ in 0..READS {
        let face = core.get().state.with(py, |state, refs| {
            let stream = state.driver::<Stream>(key)?;
            (stream.has_bytes() && stream.wants_bytes()).then(|| stream.face.clone_ref(refs))
        });
        let Some(face) = face else {
            return Ok(());
        };
        match face.call(core, key, |sink, stream| sink.read(stream))? {
            Taken::Nothing => return Ok(()),
            Taken::Bytes => {}
            Taken::Eof => return eof(core, key),
        }
        drop(face);
        budget = budget.saturating_sub(SCRATCH / READS);
        if budget == 0 {
            break;
        }
    }
    core.get().state.with(py, |state, _| {
        if let Some(mut parts) = stream::parts(state, key) {
            parts.requeue();
        }
    });
    Ok(())
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
