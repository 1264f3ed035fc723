//! A layer and the bytes from the peer.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;

use pyo3::prelude::*;

use super::super::read::{self, Received};
use super::super::sink::Failed;
use super::super::stream::{self, Stream, parts};
use super::output::{Digest, Leaves, give_back};
use super::{End, Input, Layer, Place, settle};
use crate::poll::Key;
use crate::proto::phase::Phase;
use crate::py::errors;
use crate::runtime::LoopCore;
use crate::runtime::core::SCRATCH;

/// The least that is read from the socket at once: a whole TLS record and then some.
const RECORD: usize = 20 * 1024;

/// A layer that was taken out of its stream, and what it is to decode.
struct Task {
    layer: Box<dyn Layer>,
    unread: Vec<u8>,
    taken: usize,
    /// How much was received for it; without a number it goes on with `unread`.
    received: Option<usize>,
}

enum Nothing {
    WouldBlock,
    Failed(io::Error),
}

/// What there is to decode: what is left, else what the socket has.
fn obtain(stream: &mut Stream, raw: &mut [MaybeUninit<u8>]) -> Result<Task, Nothing> {
    let Some(layered) = stream.layer.as_mut() else {
        return Err(Nothing::WouldBlock);
    };
    if layered.layer.is_none() {
        layered.missed = true;
        return Err(Nothing::WouldBlock);
    }
    let received = if layered.has_unread() {
        None
    } else {
        stream.look_at_owner();
        let result = stream.medium.receive(stream.fd, raw, &mut stream.beside);
        read::note_result(stream, &result, raw.len());
        match result {
            Ok(count) => Some(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(Nothing::WouldBlock);
            }
            Err(error) => return Err(Nothing::Failed(error)),
        }
    };
    let Some(layered) = stream.layer.as_mut() else {
        return Err(Nothing::WouldBlock);
    };
    match layered.layer.take() {
        Some(layer) => Ok(Task {
            layer,
            unread: std::mem::take(&mut layered.unread),
            taken: layered.taken,
            received,
        }),
        None => Err(Nothing::WouldBlock),
    }
}

/// Lets the layer decode and gives it back. True when it has become ready.
fn digest(
    core: &Bound<'_, LoopCore>,
    key: Key,
    task: Task,
    raw: &[MaybeUninit<u8>],
    place: &mut Place<'_>,
) -> bool {
    let py = core.py();
    let mut wire = core.get().take_wire(py);
    let Task {
        mut layer,
        mut unread,
        mut taken,
        received,
    } = task;
    let result = match received {
        Some(0) => layer.cut_off(py).map(|()| Input::End),
        Some(count) => {
            // SAFETY: the kernel has written the first `count` bytes.
            let mut input = unsafe { raw[..count].assume_init_ref() };
            let result = layer.decode(py, &mut input, place, &mut wire);
            unread.clear();
            unread.extend_from_slice(input);
            taken = 0;
            result
        }
        None => {
            let mut input = &unread[taken..];
            let result = layer.decode(py, &mut input, place, &mut wire);
            taken = unread.len() - input.len();
            result
        }
    };
    if taken >= unread.len() {
        // Not kept for a connection that may be idle from now on.
        unread = Vec::new();
        taken = 0;
    }
    let (full, end) = match result {
        Ok(Input::More) => (false, None),
        Ok(Input::Full) => (true, None),
        Ok(Input::End) => (false, Some(End::Eof)),
        Err(error) => (false, Some(End::Failed(error))),
    };
    let leaves = match end {
        Some(End::Failed(_)) => Leaves::Hurry,
        _ => Leaves::EndOfTurn,
    };
    if end.is_some() {
        unread = Vec::new();
        taken = 0;
    }
    let digest = Digest {
        unread,
        taken,
        full,
        end,
    };
    let returned = give_back(core, key, layer, &mut wire, Some(digest), leaves);
    core.get().give_wire(py, wire);
    match returned {
        Ok(returned) => returned.ready,
        Err(error) => {
            // What the host wrote meanwhile could not be encoded: the stream fails when it is read the next time.
            let old = stream::with(core, key, |stream| {
                let layered = stream.layer.as_mut()?;
                layered.end.replace(End::Failed(error))
            });
            drop(old);
            false
        }
    }
}

/// [`read::receive`] through the layer. Its input may be a whole record before any output comes.
pub(in super::super) fn receive(
    core: &Bound<'_, LoopCore>,
    key: Key,
    buffer: &mut [MaybeUninit<u8>],
) -> Received {
    let py = core.py();
    let mut raw = core.get().take_raw(py);
    let received = receive_into(core, key, buffer, &mut raw);
    core.get().give_raw(py, raw);
    received
}

fn receive_into(
    core: &Bound<'_, LoopCore>,
    key: Key,
    buffer: &mut [MaybeUninit<u8>],
    raw: &mut [MaybeUninit<u8>],
) -> Received {
    enum Step {
        Task(Task),
        Received(Received),
        Failed(io::Error),
    }
    let py = core.py();
    // Not much more than fits: what does not would have to be kept.
    let most = (buffer.len() + RECORD).min(SCRATCH).min(raw.len());
    let raw = &mut raw[..most];
    let mut drained = false;
    for _ in 0..read::READS {
        let lent = &mut *raw;
        let step = core.get().state.with(py, |state, _| {
            let Some(stream) = state.driver::<Stream>(key) else {
                return Step::Received(Received::Gone);
            };
            if !stream.wants_bytes() {
                return Step::Received(Received::Gone);
            }
            let Some(layered) = stream.layer.as_mut() else {
                return Step::Received(Received::Gone);
            };
            if !layered.has_unread() {
                match layered.end.take() {
                    Some(End::Eof) => {
                        layered.end = Some(End::Eof);
                        return Step::Received(Received::Eof);
                    }
                    Some(End::Failed(error)) => return Step::Received(Received::Failed(error)),
                    // Until the face has heard that the layer is ready, the turn itself lets it have its bytes.
                    None if drained || !layered.ready => {
                        return Step::Received(Received::WouldBlock);
                    }
                    None => {}
                }
            }
            match obtain(stream, lent) {
                Ok(task) => Step::Task(task),
                Err(Nothing::WouldBlock) => Step::Received(Received::WouldBlock),
                Err(Nothing::Failed(error)) => Step::Failed(error),
            }
        });
        let task = match step {
            Step::Task(task) => task,
            Step::Received(received) => return received,
            Step::Failed(error) => return Received::Failed(errors::os_error(py, &error)),
        };
        if let Some(count) = task.received {
            drained = count > 0 && count < most;
        }
        let mut place = Place::new(buffer);
        digest(core, key, task, raw, &mut place);
        if place.filled() > 0 {
            return Received::Bytes(place.filled());
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

/// Lets a layer that needs bytes have some once, whether the face wants any or not.
pub(in super::super) fn pump(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let py = core.py();
    let mut raw = core.get().take_raw(py);
    let result = pump_with(core, key, &mut raw);
    core.get().give_raw(py, raw);
    result
}

fn pump_with(core: &Bound<'_, LoopCore>, key: Key, raw: &mut [MaybeUninit<u8>]) -> PyResult<()> {
    let py = core.py();
    let lent = &mut *raw;
    let step = core.get().state.with(py, |state, _| {
        let stream = state.driver::<Stream>(key)?;
        let flushing = stream.life.phase() == Phase::Flushing;
        // A handshake's messages are small, and what comes behind them is kept.
        let most = if flushing { lent.len() } else { RECORD };
        Some((flushing, obtain(stream, &mut lent[..most])))
    });
    let (flushing, task) = match step {
        None | Some((_, Err(Nothing::WouldBlock))) => return Ok(()),
        Some((_, Err(Nothing::Failed(error)))) => {
            return stream::fail(core, key, Failed::Read, errors::os_error(py, &error));
        }
        Some((flushing, Ok(task))) => (flushing, task),
    };
    if flushing {
        digest_for_nobody(core, key, task, raw);
        discard_with(core, key, raw);
    } else if digest(core, key, task, raw, &mut Place::none()) {
        tell_ready(core, key)?;
    }
    let failed = stream::with(core, key, |stream| {
        let layered = stream.layer.as_mut()?;
        if layered.has_unread() {
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

/// The layer is ready: the host hears of it, unless it has closed.
fn tell_ready(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let face = core.get().state.with(core.py(), |state, refs| {
        let stream = state.driver::<Stream>(key)?;
        (!stream.life.is_closing()).then(|| stream.face.clone_ref(refs))
    });
    match face {
        Some(face) => face.call(core, key, |sink, stream| sink.ready(stream)),
        None => Ok(()),
    }
}

/// Decodes for a host that has closed: only the peer's last word is of interest.
fn digest_for_nobody(core: &Bound<'_, LoopCore>, key: Key, task: Task, raw: &[MaybeUninit<u8>]) {
    let py = core.py();
    let mut scratch = core.get().take_scratch(py);
    digest(core, key, task, raw, &mut Place::new(&mut scratch));
    core.get().give_scratch(py, scratch);
}

/// Decodes what is left for a host that has closed.
pub(super) fn discard(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    discard_with(core, key, &mut []);
    Ok(())
}

/// Decodes what has been received, without a look at the socket, and gives it to `take`: the layer is about to go. What it
/// fails at it fails at again.
pub fn take_unread(core: &Bound<'_, LoopCore>, key: Key, take: &mut dyn FnMut(&[u8])) {
    let py = core.py();
    let mut scratch = core.get().take_scratch(py);
    loop {
        let task = stream::with(core, key, |stream| {
            stream
                .layer
                .as_ref()
                .filter(|layered| layered.has_unread())?;
            obtain(stream, &mut []).ok()
        });
        let Some(Some(task)) = task else {
            break;
        };
        let mut place = Place::new(&mut scratch);
        digest(core, key, task, &[], &mut place);
        let count = place.filled();
        // SAFETY: the layer has written so many.
        take(unsafe { scratch[..count].assume_init_ref() });
    }
    core.get().give_scratch(py, scratch);
}

fn discard_with(core: &Bound<'_, LoopCore>, key: Key, raw: &mut [MaybeUninit<u8>]) {
    loop {
        let task = stream::with(core, key, |stream| {
            let flushing = stream.life.phase() == Phase::Flushing;
            let layered = stream.layer.as_ref()?;
            if !flushing || !layered.has_unread() {
                return None;
            }
            obtain(stream, &mut []).ok()
        });
        let Some(Some(task)) = task else {
            return;
        };
        digest_for_nobody(core, key, task, raw);
    }
}
