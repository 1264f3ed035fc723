//! Receiving: a batch at a time, and to the face one after another.

use std::io::{self, ErrorKind};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::{Datagrams, Face, Phase, failed, parts, ready, with, would_block};
use crate::io::sink::Failed;
use crate::poll::Key;
use crate::py::address::{self, Naming};
use crate::py::{again, bytes, errors};
use crate::runtime::LoopCore;
use crate::runtime::core::SCRATCH;
use crate::runtime::state::Item;
use crate::sys::addr::Address;
use crate::sys::datagram;

/// What [`may_deliver`] answers about a datagram that was received.
enum Delivery {
    /// To that face, from that sender if it is known.
    Now(Face, Option<Py<PyAny>>),
    /// The host wants no more for now.
    Later,
    /// The port is closing or gone.
    Never,
}

#[inline]
fn may_deliver(core: &Bound<'_, LoopCore>, key: Key, sender: &Address) -> Delivery {
    core.get().state.with(core.py(), |state, refs| {
        let Some(port) = state.driver::<Datagrams>(key) else {
            return Delivery::Never;
        };
        if port.phase != Phase::Open {
            return Delivery::Never;
        }
        if !port.reading {
            return Delivery::Later;
        }
        let sender = port.senders.object(sender).map(|object| refs.clone(object));
        Delivery::Now(port.face.clone_ref(refs), sender)
    })
}

/// Receives as many as one call brings, and hands them over.
pub(super) fn batch(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let py = core.py();
    let mut batch = core.get().take_batch(py);
    let place = &mut *batch;
    let result = core.get().state.with(py, |state, _| {
        let port = state.driver::<Datagrams>(key)?;
        port.is_reading().then(|| place.receive(port.fd))
    });
    let outcome = match result {
        None => Ok(()),
        Some(Ok(count)) => hand_over(core, key, &batch, count),
        Some(Err(error)) => receive_failed(core, key, &error),
    };
    core.get().give_batch(py, batch);
    outcome
}

fn hand_over(
    core: &Bound<'_, LoopCore>,
    key: Key,
    batch: &datagram::Batch,
    count: usize,
) -> PyResult<()> {
    let py = core.py();
    for index in 0..count {
        let (data, address) = batch.get(index);
        match may_deliver(core, key, address) {
            Delivery::Never => return Ok(()),
            Delivery::Later => return keep_rest(core, key, batch, index..count),
            Delivery::Now(face, sender) => {
                let sender = match sender {
                    Some(sender) => sender.into_bound(py),
                    None => name_sender(core, key, address)?,
                };
                let data = again::bytes(py, data);
                let result = face.call(core, key, |sink, port| sink.received(port, &data, &sender));
                if let Err(error) = result {
                    // It leaves the loop: what came behind must not be lost with it.
                    keep_rest(core, key, batch, index + 1..count)?;
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// The Python object for a sender that is not known yet.
fn name_sender<'py>(
    core: &Bound<'py, LoopCore>,
    key: Key,
    address: &Address,
) -> PyResult<Bound<'py, PyAny>> {
    let py = core.py();
    let object = name(core, key, address)?;
    let kept = object.clone_ref(py);
    let old = with(core, key, |port| port.senders.learn(address, kept));
    drop(old);
    Ok(object.into_bound(py))
}

fn name(core: &Bound<'_, LoopCore>, key: Key, address: &Address) -> PyResult<Py<PyAny>> {
    let names = with(core, key, |port| port.names).unwrap_or(Naming::Full);
    address::name(core.py(), address, names)
}

/// Puts what was received and not handed over where [`deliver`] finds it, in its order.
fn keep_rest(
    core: &Bound<'_, LoopCore>,
    key: Key,
    batch: &datagram::Batch,
    rest: std::ops::Range<usize>,
) -> PyResult<()> {
    let py = core.py();
    let mut kept = Vec::new();
    for index in rest {
        let (data, address) = batch.get(index);
        let sender = name(core, key, address)?;
        kept.push((PyBytes::new(py, data).unbind(), sender));
    }
    put_last(core, key, kept);
    Ok(())
}

fn put_last(core: &Bound<'_, LoopCore>, key: Key, mut kept: Vec<(Py<PyBytes>, Py<PyAny>)>) {
    let place = &mut kept;
    core.get().state.with(core.py(), |state, _| {
        if let Some((port, ready_queue)) = parts(state, key) {
            port.inbox.append(&mut std::mem::take(place).into());
            if !port.inbox.is_empty() && !port.queued && port.is_reading() {
                port.queued = true;
                ready_queue.push_back(Item::Run(key, ready));
            }
        }
    });
}

/// Hands over what an earlier call had received.
pub(super) fn deliver(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let py = core.py();
    loop {
        let next = core.get().state.with(py, |state, refs| {
            let port = state.driver::<Datagrams>(key)?;
            if !port.is_reading() {
                return None;
            }
            let (data, sender) = port.inbox.pop_front()?;
            Some((data, sender, port.face.clone_ref(refs)))
        });
        let Some((data, sender, face)) = next else {
            return Ok(());
        };
        let (data, sender) = (data.bind(py), sender.bind(py));
        face.call(core, key, |sink, port| sink.received(port, data, sender))?;
    }
}

/// One after another, each into the kept block: a Unix datagram can be larger than a batch has room for.
pub(super) fn large(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let py = core.py();
    for _ in 0..datagram::BATCH {
        let mut scratch = core.get().take_scratch(py);
        let place = &mut scratch;
        let result = core.get().state.with(py, |state, _| {
            let port = state.driver::<Datagrams>(key)?;
            port.is_reading()
                .then(|| datagram::receive_from(port.fd, place))
        });
        let received = match result {
            None => None,
            Some(Ok((count, address))) => {
                // SAFETY: so many bytes were received.
                let data = unsafe { bytes::from_received(py, &scratch, count) };
                Some(Ok((data, address)))
            }
            Some(Err(error)) => Some(Err(error)),
        };
        core.get().give_scratch(py, scratch);
        let (data, address) = match received {
            None => return Ok(()),
            Some(Ok(received)) => received,
            Some(Err(error)) => return receive_failed(core, key, &error),
        };
        // Making the bytes can have started the garbage collector, and that can run anything.
        let (face, sender) = match may_deliver(core, key, &address) {
            Delivery::Never => return Ok(()),
            Delivery::Later => {
                let sender = name_sender(core, key, &address)?;
                put_last(core, key, vec![(data.unbind(), sender.unbind())]);
                return Ok(());
            }
            Delivery::Now(face, sender) => (face, sender),
        };
        let sender = match sender {
            Some(sender) => sender.into_bound(py),
            None => name_sender(core, key, &address)?,
        };
        face.call(core, key, |sink, port| sink.received(port, &data, &sender))?;
    }
    Ok(())
}

/// A family whose addresses only Python's socket knows: it receives.
pub(super) fn by_python(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let py = core.py();
    let found = core.get().state.with(py, |state, refs| {
        let port = state.driver::<Datagrams>(key)?;
        let owner = port.is_reading().then(|| refs.clone(&port.owner))?;
        Some((owner, port.face.clone_ref(refs)))
    });
    let Some((owner, face)) = found else {
        return Ok(());
    };
    let received = owner
        .bind(py)
        .call_method1(pyo3::intern!(py, "recvfrom"), (SCRATCH,))
        .and_then(|pair| pair.extract::<(Bound<'_, PyBytes>, Bound<'_, PyAny>)>());
    match received {
        Ok((data, sender)) => {
            face.call(core, key, |sink, port| sink.received(port, &data, &sender))
        }
        Err(error) if would_block(py, &error) => Ok(()),
        Err(error) => face.call(core, key, |sink, port| {
            sink.failed(port, Failed::Read, error, false)
        }),
    }
}

fn receive_failed(core: &Bound<'_, LoopCore>, key: Key, error: &io::Error) -> PyResult<()> {
    if error.kind() == ErrorKind::WouldBlock {
        return Ok(());
    }
    let error = errors::os_error(core.py(), error);
    failed(core, key, Failed::Read, error, false)
}
