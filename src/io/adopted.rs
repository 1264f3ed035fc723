//! Streams that a face puts into the loop and takes out again itself, with a descriptor that stays the face's: Twisted's
//! transports close their sockets in methods of their own, and move from loop to loop with their reactor.

use pyo3::prelude::*;

use super::sink::Failed;
use super::stream::{self, Stream, parts};
use crate::poll::Key;
use crate::py::bytes::Chunk;
use crate::py::errors;
use crate::runtime::LoopCore;
use crate::runtime::state::{LoopState, Source};

/// Puts a stream into the loop, reading at once: its face knows that it is made. One that cannot be registered is
/// there all the same, and fails in the next turn.
pub fn adopt(core: &Bound<'_, LoopCore>, mut stream: Stream) -> PyResult<Key> {
    let py = core.py();
    // Registers with the kernel when it is registered by its own account, which a stream from another loop is.
    stream.registered = true;
    let source = Source::Driver(Box::new(stream));
    let (key, old, result) = core.get().state.with(py, |state, _| {
        let (key, old) = state.insert(source);
        let LoopState {
            sources, kernel, ..
        } = state;
        let result = match (sources.get_mut(key), kernel) {
            (Some(Source::Driver(driver)), Some(kernel)) => driver.register(&kernel.registrar, key),
            _ => Err(std::io::ErrorKind::NotConnected.into()),
        };
        if let Some(mut parts) = parts(state, key) {
            parts.stream.registered = result.is_ok();
            // What came from another loop may have something to do at once.
            parts.requeue();
            if !parts.stream.out.is_empty() || parts.stream.fill {
                parts.hold();
            }
        }
        (key, old, result)
    });
    if let Some(Source::Watcher(watcher)) = old {
        watcher.cancel(py);
    }
    if let Err(error) = result {
        stream::fail(core, key, Failed::Register, errors::os_error(py, &error))?;
    }
    Ok(key)
}

/// Takes a stream out of the loop without a word; `None` when it is gone. Its descriptor stays open. The kernel's entry goes
/// only when `unregister` says so: closing a descriptor that nobody else has takes it out for nothing.
#[must_use]
pub fn take(core: &Bound<'_, LoopCore>, key: Key, unregister: bool) -> Option<Box<Stream>> {
    core.get().state.with(core.py(), |state, _| {
        let parts = parts(state, key)?;
        parts.stream.look_at_owner();
        if unregister
            && parts.stream.registered
            && let Some(kernel) = parts.kernel
        {
            // Fails when the owner has closed the descriptor already, which took the entry out.
            let _ = kernel.registrar.remove(parts.stream.fd);
        }
        parts.stream.queued = false;
        parts.stream.flush_queued = false;
        match state.remove(key)? {
            Source::Driver(driver) => (driver as Box<dyn std::any::Any>).downcast().ok(),
            Source::Watcher(_) => None,
        }
    })
}

/// Whether the face hears of it when everything it wrote has left.
pub fn tell_drained(core: &Bound<'_, LoopCore>, key: Key, tell: bool) {
    stream::with(core, key, |stream| stream.tell_drained = tell);
}

/// Sees to it that the end of this turn looks at what there is to send, be it nothing.
pub fn hold(core: &Bound<'_, LoopCore>, key: Key) {
    core.get().state.with(core.py(), |state, _| {
        if let Some(mut parts) = parts(state, key) {
            parts.hold();
        }
    });
}

/// Has the face asked at the end of this turn what it has to write.
pub fn hold_to_fill(core: &Bound<'_, LoopCore>, key: Key) {
    core.get().state.with(core.py(), |state, _| {
        if let Some(mut parts) = parts(state, key) {
            parts.stream.fill = true;
            parts.hold();
        }
    });
}

/// Drops what waits to be sent.
pub fn discard(core: &Bound<'_, LoopCore>, key: Key) {
    let dropped = core.get().state.with(core.py(), |state, _| {
        let parts = parts(state, key)?;
        parts.stream.writable = false;
        parts.stream.forget_descriptors();
        Some(parts.stream.out.clear())
    });
    drop(dropped);
}

/// Takes out what waits to be sent. The first chunk may have left in part.
pub fn take_output(core: &Bound<'_, LoopCore>, key: Key) -> Vec<Chunk> {
    let taken = core.get().state.with(core.py(), |state, _| {
        let parts = parts(state, key)?;
        parts.stream.writable = false;
        let sent = parts.stream.out.front_offset();
        Some((sent, parts.stream.out.clear()))
    });
    let Some((sent, chunks)) = taken else {
        return Vec::new();
    };
    let mut chunks: Vec<Chunk> = chunks.into_iter().collect();
    if sent > 0
        && let Some(first) = chunks.first_mut()
    {
        *first = Chunk::Owned(first.as_ref()[sent..].into());
    }
    chunks
}
