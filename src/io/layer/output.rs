//! A layer at work: lent, given back, and what it made sent.

use std::io;

use pyo3::prelude::*;

use super::super::sink::{Face, Failed};
use super::super::stream::{self, Flush, Parts, Stream, parts};
use super::super::write;
use super::{End, Layer};
use crate::poll::Key;
use crate::proto::marks::Pressure;
use crate::proto::write_buffer::Finished;
use crate::py::bytes::{Chunk, Data};
use crate::py::errors;
use crate::runtime::LoopCore;

/// How much is encoded before it is offered to the kernel: what it makes lies in a block that is kept.
const PART: usize = 128 * 1024;

/// What a layer has made of the peer's bytes.
pub(super) struct Digest {
    pub unread: Vec<u8>,
    pub taken: usize,
    pub full: bool,
    pub end: Option<End>,
}

/// When what a layer made leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    /// As the face's own bytes would.
    AsWritten,
    /// At the end of the turn: what fails then ends the stream there.
    EndOfTurn,
    /// What the kernel takes, now: the stream is about to end, and the peer should hear why.
    Hurry,
}

/// What giving a layer back brought.
#[derive(Default)]
pub(super) struct Returned {
    /// It has become ready, and the face is to hear of it.
    pub ready: bool,
    failed: Option<io::Error>,
    told: Option<(Face, Pressure)>,
    /// Dropped with nothing borrowed: letting go of a host's bytes may run code.
    _sent: Vec<Finished<Chunk>>,
}

/// Lets the layer work without bytes from the peer. `None`: the stream is gone, or its layer works already.
pub(super) fn work(
    core: &Bound<'_, LoopCore>,
    key: Key,
    job: impl FnOnce(Python<'_>, &mut dyn Layer, &mut Vec<u8>) -> PyResult<()>,
) -> Option<PyResult<()>> {
    let py = core.py();
    let mut layer = core.get().state.with(py, |state, _| {
        state.driver::<Stream>(key)?.layer.as_mut()?.layer.take()
    })?;
    let mut wire = core.get().take_wire(py);
    let mut result = job(py, layer.as_mut(), &mut wire);
    let leaves = if result.is_ok() {
        Leaves::EndOfTurn
    } else {
        Leaves::Hurry
    };
    let returned = give_back(core, key, layer, &mut wire, None, leaves);
    core.get().give_wire(py, wire);
    if let Err(error) = returned
        && result.is_ok()
    {
        result = Err(error);
    }
    Some(result)
}

/// Gives a layer back to its stream, or drops it when that is gone; sends what it made. What the host wrote
/// meanwhile is encoded before. Errors: those of that.
pub(super) fn give_back(
    core: &Bound<'_, LoopCore>,
    key: Key,
    layer: Box<dyn Layer>,
    wire: &mut Vec<u8>,
    digest: Option<Digest>,
    leaves: Leaves,
) -> PyResult<Returned> {
    let py = core.py();
    let mut result = Ok(());
    let mut leaves = leaves;
    let mut digest = digest;
    let mut lent = layer;
    loop {
        let (ready, wants_input, held) = (lent.is_ready(), lent.wants_input(), lent.held());
        let layer = lent;
        let (wire_made, digested) = (&mut *wire, &mut digest);
        // What comes back is either written meanwhile, or dropped since the stream has gone.
        let back = core.get().state.with(py, |state, refs| {
            let Some(mut parts) = parts(state, key) else {
                return Err((layer, None));
            };
            let Some(layered) = parts.stream.layer.as_mut() else {
                return Err((layer, None));
            };
            if let Some(digest) = digested.take() {
                layered.unread = digest.unread;
                layered.taken = digest.taken;
                layered.full = digest.full;
                if layered.end.is_none() {
                    layered.end = digest.end;
                }
            }
            if leaves != Leaves::Hurry && !layered.waiting.is_empty() {
                return Err((layer, Some(std::mem::take(&mut layered.waiting))));
            }
            layered.layer = Some(layer);
            layered.wants_input = wants_input;
            layered.held = held;
            let became_ready = ready && !std::mem::replace(&mut layered.ready, ready);
            let missed = std::mem::take(&mut layered.missed);
            let mut returned = Returned {
                ready: became_ready,
                ..Returned::default()
            };
            returned.failed = leave(&mut parts, wire_made, leaves, &mut returned._sent).err();
            if leaves == Leaves::AsWritten && returned.failed.is_none() {
                let stream = &mut *parts.stream;
                if let Some(pressure) = stream.marks.grown(stream.backlog()) {
                    returned.told = Some((stream.face.clone_ref(refs), pressure));
                }
            }
            if leaves != Leaves::AsWritten || missed {
                parts.requeue();
            }
            Ok(returned)
        });
        match back {
            Ok(returned) => return result.map(|()| returned),
            Err((_gone, None)) => return result.map(|()| Returned::default()),
            Err((layer, Some(waiting))) => {
                lent = layer;
                if let Err(error) = lent.encode(py, &waiting, wire) {
                    result = Err(error);
                    leaves = Leaves::Hurry;
                }
            }
        }
    }
}

/// Sends or keeps what a layer has made.
fn leave(
    parts: &mut Parts<'_>,
    wire: &[u8],
    leaves: Leaves,
    sent: &mut Vec<Finished<Chunk>>,
) -> io::Result<()> {
    let stream = &mut *parts.stream;
    if !stream.life.may_send() {
        return Ok(());
    }
    let mut count = 0;
    let now = leaves == Leaves::AsWritten && stream.flush == Flush::Now;
    if now && stream.out.is_empty() && !wire.is_empty() {
        stream.about_to_send();
        match stream.medium.send(stream.fd, wire) {
            Ok(taken) => count = taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    if count < wire.len() {
        write::push_wire(stream, &wire[count..]);
    }
    match leaves {
        Leaves::Hurry => {
            while !stream.out.is_empty() {
                match write::send_some(stream) {
                    Ok(count) => sent.push(stream.out.advance(count)),
                    // It ends for a reason that is known already.
                    Err(_) => break,
                }
            }
        }
        Leaves::AsWritten if now => {
            if !stream.out.is_empty() && !stream.flush_queued {
                return parts.wait_for_room();
            }
        }
        Leaves::AsWritten | Leaves::EndOfTurn => {
            if !stream.out.is_empty() || stream.is_ending() {
                parts.hold();
            }
        }
    }
    Ok(())
}

/// Sends `data` through the layer that was taken out of the stream for it; without one (it is at work) the bytes wait.
pub(in super::super) fn write(
    core: &Bound<'_, LoopCore>,
    key: Key,
    layer: Option<Box<dyn Layer>>,
    data: Data<'_>,
) -> PyResult<()> {
    let py = core.py();
    // What runs in a layer may change a mutable buffer.
    let chunk = data.keep_safe();
    let bytes = chunk.as_ref();
    let Some(mut layer) = layer else {
        stream::with(core, key, |stream| {
            if let Some(layered) = &mut stream.layer {
                layered.waiting.extend_from_slice(bytes);
            }
        });
        return Ok(());
    };
    let mut wire = core.get().take_wire(py);
    let mut parts = bytes.chunks(PART);
    let result = loop {
        let Some(part) = parts.next() else {
            break Ok(());
        };
        let encoded = layer.encode(py, part, &mut wire);
        let leaves = if encoded.is_ok() {
            Leaves::AsWritten
        } else {
            Leaves::Hurry
        };
        let returned = give_back(core, key, layer, &mut wire, None, leaves);
        wire.clear();
        let returned = match encoded.and(returned) {
            Ok(returned) => returned,
            Err(error) => break Err(error),
        };
        if let Some(error) = returned.failed {
            break Err(errors::os_error(py, &error));
        }
        // Tells the host of a crossed mark; that may do anything.
        write::tell(core, key, returned.told)?;
        if parts.len() == 0 {
            break Ok(());
        }
        let again = core.get().state.with(py, |state, _| {
            let stream = state.driver::<Stream>(key)?;
            if !stream.life.may_send() {
                return None;
            }
            stream.layer.as_mut()?.layer.take()
        });
        let Some(again) = again else {
            break Ok(());
        };
        layer = again;
    };
    core.get().give_wire(py, wire);
    if let Err(error) = result {
        stream::fail(core, key, Failed::Write, error)?;
    }
    Ok(())
}
