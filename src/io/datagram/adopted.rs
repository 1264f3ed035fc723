//! Ports that a face puts into the loop and takes out again itself, with a socket that stays the face's: Twisted's. They send
//! at once or not at all.

use std::io;

use pyo3::prelude::*;

use super::{Datagrams, Kind, arm, parts, ready};
use crate::poll::Key;
use crate::py::{address, errors};
use crate::runtime::LoopCore;
use crate::runtime::state::{Item, Source};
use crate::sys::addr::Address;
use crate::sys::datagram;

/// Puts a port into the loop, with what it had received in another one. Errors: the kernel does not wait for its socket.
pub fn adopt(core: &Bound<'_, LoopCore>, mut port: Datagrams) -> PyResult<Key> {
    let py = core.py();
    port.started = true;
    let source = Source::Driver(Box::new(port));
    let (result, dropped) = core.get().state.with(py, |state, _| {
        let (key, old) = state.insert(source);
        if let Err(error) = arm(state, key) {
            return (Err(error), (old, state.remove(key)));
        }
        if let Some((port, ready_queue)) = parts(state, key)
            && !port.inbox.is_empty()
            && port.is_reading()
        {
            port.queued = true;
            ready_queue.push_back(Item::Run(key, ready));
        }
        (Ok(key), (old, None))
    });
    if let (Some(Source::Watcher(watcher)), _) = dropped {
        watcher.cancel(py);
    }
    result.map_err(|error| errors::os_error(py, &error))
}

/// Takes a port out of the loop without a word; `None` when it is gone.
#[must_use]
pub fn take(core: &Bound<'_, LoopCore>, key: Key) -> Option<Box<Datagrams>> {
    core.get().state.with(core.py(), |state, _| {
        let (port, _) = parts(state, key)?;
        let (fd, registered) = (port.fd, port.armed != super::NOTHING);
        port.armed = super::NOTHING;
        port.readable = false;
        port.writable = false;
        port.queued = false;
        if registered && let Some(kernel) = &state.kernel {
            // Fails when the owner has closed the descriptor already, which took the entry out.
            let _ = kernel.registrar.remove(fd);
        }
        match state.remove(key)? {
            Source::Driver(driver) => (driver as Box<dyn std::any::Any>).downcast().ok(),
            Source::Watcher(_) => None,
        }
    })
}

/// Sends a datagram at once, to the peer of a connected socket or to `address`. None when it is not tried: the port has left
/// the loop, or the address is one that only Python's socket understands.
pub fn send_now(
    core: &Bound<'_, LoopCore>,
    key: Key,
    bytes: &[u8],
    address: Option<&Bound<'_, PyAny>>,
) -> Option<io::Result<()>> {
    let py = core.py();
    let pointer = address.map(|address| address.as_ptr() as usize);
    // An address is looked up by the object first: most answers go to the object that came.
    let first: Result<io::Result<()>, Kind> = core.get().state.with(py, |state, _| {
        let port = state.driver::<Datagrams>(key)?;
        let wire = match pointer {
            None => None,
            Some(pointer) => match port.senders.address(pointer) {
                Some(wire) => Some(wire),
                None => return Some(Err(port.kind)),
            },
        };
        Some(Ok(datagram::send_to(port.fd, bytes, wire.as_ref())))
    })?;
    match first {
        Ok(result) => Some(result),
        Err(kind) => send_to_stranger(core, key, bytes, address?, kind),
    }
}

/// To an address that did not come from here.
fn send_to_stranger(
    core: &Bound<'_, LoopCore>,
    key: Key,
    bytes: &[u8],
    object: &Bound<'_, PyAny>,
    kind: Kind,
) -> Option<io::Result<()>> {
    let wire: Address = address::from_python(object, kind)?;
    let object = object.clone().unbind();
    let (result, _old) = core.get().state.with(core.py(), |state, _| {
        let port = state.driver::<Datagrams>(key)?;
        let old = port.senders.note_sent(object, wire);
        Some((datagram::send_to(port.fd, bytes, Some(&wire)), old))
    })?;
    Some(result)
}
