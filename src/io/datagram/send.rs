//! Sending: at once, or when the kernel has room.

use std::io::{self, ErrorKind};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::{
    Datagrams, Face, Phase, Waiting, abort, arm, failed, lost, parts, rearm, with, would_block,
};
use crate::io::sink::Failed;
use crate::poll::Key;
use crate::proto::marks::Pressure;
use crate::py::address::{self, Kind};
use crate::py::bytes::Data;
use crate::py::errors;
use crate::runtime::LoopCore;
use crate::runtime::state::Item;
use crate::sys::addr::Address;
use crate::sys::datagram;

/// What the first try to send came to.
enum Step {
    Done,
    /// The port has left the loop.
    Gone,
    /// The kernel has no room, or others wait already. With the kernel's form of the address, if it has one.
    Keep(Option<Address>),
    /// Only Python's socket can say where this is to go.
    Python(Py<PyAny>),
    Failed(io::Error),
}

/// Whether the first try could be made.
enum First {
    Tried(Step),
    /// The address is to be understood first.
    Stranger(Kind),
}

/// Sends a datagram, or keeps it until the kernel has room. `address` is the host's; None for the peer of a connected
/// socket, which takes no other. False when the port has left the loop. Errors: what the face makes of a failure.
pub fn send(
    core: &Bound<'_, LoopCore>,
    key: Key,
    data: Data<'_>,
    address: Option<&Bound<'_, PyAny>>,
) -> PyResult<bool> {
    let py = core.py();
    let bytes = data.as_slice();
    let pointer = address.map(|address| address.as_ptr() as usize);
    // An address is looked up by the object first: most answers go to the object that came.
    let first = core.get().state.with(py, |state, _| {
        let Some(port) = state.driver::<Datagrams>(key) else {
            return First::Tried(Step::Gone);
        };
        let wire = match (port.connected, pointer) {
            (true, _) => None,
            (false, Some(pointer)) => match port.senders.address(pointer) {
                Some(wire) => Some(wire),
                None => return First::Stranger(port.kind),
            },
            (false, None) => return First::Stranger(Kind::Other),
        };
        First::Tried(try_send(port, bytes, wire))
    });
    let step = match first {
        First::Tried(step) => step,
        First::Stranger(kind) => send_to_stranger(core, key, bytes, address, kind),
    };
    match step {
        Step::Done => Ok(true),
        Step::Gone => Ok(false),
        Step::Keep(wire) => {
            keep(core, key, data, address, wire)?;
            Ok(true)
        }
        Step::Failed(error) => {
            let error = errors::os_error(py, &error);
            failed(core, key, Failed::Write, error, true)?;
            Ok(true)
        }
        Step::Python(owner) => {
            match send_by_python(py, owner.bind(py), bytes, address) {
                Ok(()) => {}
                Err(error) if would_block(py, &error) => keep(core, key, data, address, None)?,
                Err(error) => failed(core, key, Failed::Write, error, true)?,
            }
            Ok(true)
        }
    }
}

fn try_send(port: &mut Datagrams, bytes: &[u8], wire: Option<Address>) -> Step {
    if !port.out.is_empty() {
        return Step::Keep(wire);
    }
    match datagram::send_to(port.fd, bytes, wire.as_ref()) {
        Ok(()) => Step::Done,
        Err(error) if error.kind() == ErrorKind::WouldBlock => Step::Keep(wire),
        Err(error) => Step::Failed(error),
    }
}

/// To an address that did not come from here.
fn send_to_stranger(
    core: &Bound<'_, LoopCore>,
    key: Key,
    bytes: &[u8],
    address: Option<&Bound<'_, PyAny>>,
    kind: Kind,
) -> Step {
    let py = core.py();
    let wire = address.and_then(|address| address::from_python(address, kind));
    let mut kept = match (wire, address) {
        (Some(_), Some(address)) => Some(address.clone().unbind()),
        _ => None,
    };
    let place = &mut kept;
    let (step, _old) = core.get().state.with(py, |state, refs| {
        let Some(port) = state.driver::<Datagrams>(key) else {
            return (Step::Gone, None);
        };
        let Some(wire) = wire else {
            return match port.out.is_empty() {
                true => (Step::Python(refs.clone(&port.owner)), None),
                false => (Step::Keep(None), None),
            };
        };
        let old = place
            .take()
            .and_then(|object| port.senders.note_sent(object, wire));
        (try_send(port, bytes, Some(wire)), old)
    });
    step
}

fn send_by_python(
    py: Python<'_>,
    owner: &Bound<'_, PyAny>,
    bytes: &[u8],
    address: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    // Looking a name up runs other threads, which could change a mutable buffer.
    let copy = PyBytes::new(py, bytes);
    owner
        .call_method1(pyo3::intern!(py, "sendto"), (copy, address))
        .map(drop)
}

fn keep(
    core: &Bound<'_, LoopCore>,
    key: Key,
    data: Data<'_>,
    address: Option<&Bound<'_, PyAny>>,
    wire: Option<Address>,
) -> PyResult<()> {
    let py = core.py();
    let waiting = Waiting {
        data: data.keep(0),
        address: address.map(|address| address.clone().unbind()),
        wire,
    };
    let mut waiting = Some(waiting);
    let place = &mut waiting;
    let outcome = core.get().state.with(py, |state, refs| {
        let port = state.driver::<Datagrams>(key)?;
        let waiting = place.take()?;
        port.size += waiting.data.as_ref().len() + port.overhead;
        port.out.push_back(waiting);
        let pressure = port.marks.grown(port.size);
        let told = pressure.map(|pressure| (port.face.clone_ref(refs), pressure));
        Some((arm(state, key), told))
    });
    let Some((armed, told)) = outcome else {
        return Ok(());
    };
    if let Err(error) = armed {
        abort(core, key, Some(errors::os_error(py, &error)));
        return Ok(());
    }
    tell(core, key, told)
}

fn tell(core: &Bound<'_, LoopCore>, key: Key, told: Option<(Face, Pressure)>) -> PyResult<()> {
    match told {
        Some((face, pressure)) => face.call(core, key, |sink, port| sink.pressure(port, pressure)),
        None => Ok(()),
    }
}

/// What became of the first datagram that waits.
enum Sent {
    Left(Waiting),
    Failed(Waiting, io::Error),
    /// Python's socket has to send it.
    Python(Waiting, Py<PyAny>),
}

/// Sends what waits, as far as the kernel has room.
pub(super) fn flush(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let py = core.py();
    loop {
        let sent = core.get().state.with(py, |state, refs| {
            let port = state.driver::<Datagrams>(key)?;
            let connected = port.connected;
            let first = port.out.front()?;
            let result = match (first.wire, connected) {
                (Some(wire), _) => {
                    Some(datagram::send_to(port.fd, first.data.as_ref(), Some(&wire)))
                }
                (None, true) => Some(datagram::send_to(port.fd, first.data.as_ref(), None)),
                (None, false) => None,
            };
            if let Some(Err(error)) = &result
                && error.kind() == ErrorKind::WouldBlock
            {
                return None;
            }
            let first = port.out.pop_front()?;
            port.size -= first.data.as_ref().len() + port.overhead;
            Some(match result {
                Some(Ok(())) => Sent::Left(first),
                Some(Err(error)) => Sent::Failed(first, error),
                None => Sent::Python(first, refs.clone(&port.owner)),
            })
        });
        match sent {
            None => break,
            Some(Sent::Left(_waiting)) => {}
            Some(Sent::Failed(_waiting, error)) => {
                failed(
                    core,
                    key,
                    Failed::Write,
                    errors::os_error(py, &error),
                    false,
                )?;
            }
            Some(Sent::Python(waiting, owner)) => {
                let address = waiting.address.as_ref().map(|address| address.bind(py));
                let result = send_by_python(py, owner.bind(py), waiting.data.as_ref(), address);
                match result {
                    Ok(()) => {}
                    Err(error) if would_block(py, &error) => {
                        put_back(core, key, waiting);
                        break;
                    }
                    Err(error) => failed(core, key, Failed::Write, error, false)?,
                }
            }
        }
    }
    let told = core.get().state.with(py, |state, refs| {
        let port = state.driver::<Datagrams>(key)?;
        let pressure = port.marks.update(port.size);
        pressure.map(|pressure| (port.face.clone_ref(refs), pressure))
    });
    // May send more, which is why what follows is looked at afterwards.
    tell(core, key, told)?;
    rearm(core, key)?;
    core.get().state.with(py, |state, _| {
        if let Some((port, ready_queue)) = parts(state, key)
            && port.phase == Phase::Closing
            && port.out.is_empty()
        {
            port.phase = Phase::Ending;
            ready_queue.push_back(Item::Run(key, lost));
        }
    });
    Ok(())
}

fn put_back(core: &Bound<'_, LoopCore>, key: Key, waiting: Waiting) {
    let mut waiting = Some(waiting);
    let place = &mut waiting;
    with(core, key, |port| {
        if let Some(waiting) = place.take() {
            port.size += waiting.data.as_ref().len() + port.overhead;
            port.out.push_front(waiting);
        }
    });
}

/// The datagrams that wait, as (bytes, address): a snapshot.
pub fn waiting<'py>(
    core: &Bound<'py, LoopCore>,
    key: Key,
) -> Vec<(Bound<'py, PyBytes>, Option<Py<PyAny>>)> {
    let py = core.py();
    let copies = core.get().state.with(py, |state, refs| {
        let port = state.driver::<Datagrams>(key)?;
        let copy = |waiting: &Waiting| {
            let address = waiting.address.as_ref().map(|address| refs.clone(address));
            (waiting.data.as_ref().to_vec(), address)
        };
        Some(port.out.iter().map(copy).collect::<Vec<_>>())
    });
    copies
        .unwrap_or_default()
        .into_iter()
        .map(|(data, address)| (PyBytes::new(py, &data), address))
        .collect()
}

/// Sets the water marks in bytes. Errors: limits that contradict each other, as the host words it.
pub fn set_limits(
    core: &Bound<'_, LoopCore>,
    key: Key,
    high: Option<i64>,
    low: Option<i64>,
) -> PyResult<()> {
    let outcome = core.get().state.with(core.py(), |state, refs| {
        let port = state.driver::<Datagrams>(key)?;
        Some(port.marks.set_limits(high, low).map(|()| {
            let pressure = port.marks.grown(port.size);
            pressure.map(|pressure| (port.face.clone_ref(refs), pressure))
        }))
    });
    match outcome {
        None => Ok(()),
        Some(Ok(told)) => tell(core, key, told),
        Some(Err(bad)) => Err(pyo3::exceptions::PyValueError::new_err(bad.to_string())),
    }
}
