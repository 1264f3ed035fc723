//! The listener core: accepts, within a budget, and hands descriptors to its face.

use std::io;

use pyo3::prelude::*;

use crate::poll::{Key, Readiness, Registrar};
use crate::py::errors;
use crate::runtime::LoopCore;
use crate::runtime::state::{Driver, Entry, LoopState, Source};
use crate::sys::addr::Address;
use crate::sys::level::Want;
use crate::sys::{Fd, OwnedFd, socket};

/// What a listener's face must answer; called with nothing borrowed.
pub trait Acceptor: Sync {
    /// A connection: non-blocking, not inheritable, closed unless the face takes it.
    fn accepted(&self, listener: &Listening<'_, '_>, fd: OwnedFd, peer: &Address) -> PyResult<()>;

    /// Accepting failed. True: go on with the next connection; false: stop for now (the face arranges what follows).
    fn failed(&self, listener: &Listening<'_, '_>, error: &io::Error) -> PyResult<bool>;
}

/// A listener as its face sees it.
pub struct Listening<'a, 'py> {
    pub core: &'a Bound<'py, LoopCore>,
    pub key: Key,
    pub object: &'a Bound<'py, PyAny>,
}

/// A listening socket. Level-triggered: connections that a budget leaves waiting are reported again.
pub struct Listener {
    fd: Fd,
    object: Py<PyAny>,
    acceptor: &'static dyn Acceptor,
    /// How many connections one turn accepts at most.
    budget: usize,
    queued: bool,
}

impl Driver for Listener {
    fn fd(&self) -> Fd {
        self.fd
    }

    fn note(&mut self, _readiness: Readiness) -> Option<Entry> {
        if std::mem::replace(&mut self.queued, true) {
            return None;
        }
        Some(accept)
    }

    fn register(&mut self, registrar: &Registrar, key: Key) -> io::Result<()> {
        let want = Want {
            readable: true,
            writable: false,
        };
        registrar.set_level(self.fd, key, want, false)
    }

    fn face(&self) -> Option<&Py<PyAny>> {
        // A listening socket belongs to its server, not to a transport.
        None
    }

    fn visit(&self, visitor: &mut dyn FnMut(&Py<PyAny>)) {
        visitor(&self.object);
    }
}

/// Starts listening on a descriptor that somebody else owns and closes.
pub fn listen(
    core: &Bound<'_, LoopCore>,
    fd: Fd,
    budget: usize,
    object: Py<PyAny>,
    acceptor: &'static dyn Acceptor,
) -> PyResult<Key> {
    let py = core.py();
    let listener = Listener {
        fd,
        object,
        acceptor,
        budget,
        queued: false,
    };
    let source = Source::Driver(Box::new(listener));
    let (result, dropped) = core.get().state.with(py, |state, _| {
        let (key, old) = state.insert(source);
        let LoopState {
            sources, kernel, ..
        } = state;
        let result = match (sources.get_mut(key), kernel) {
            (Some(Source::Driver(driver)), Some(kernel)) => driver.register(&kernel.registrar, key),
            _ => Err(io::ErrorKind::NotConnected.into()),
        };
        match result {
            Ok(()) => (Ok(key), (old, None)),
            Err(error) => (Err(error), (old, state.remove(key))),
        }
    });
    if let (Some(Source::Watcher(watcher)), _) = dropped {
        watcher.cancel(py);
    }
    result.map_err(|error| errors::os_error(py, &error))
}

/// Stops listening; true when it did listen. The descriptor stays open.
pub fn stop(core: &Bound<'_, LoopCore>, fd: Fd) -> bool {
    let removed = core.get().state.with(core.py(), |state, _| {
        let key = state.key_of(fd)?;
        state.driver::<Listener>(key)?;
        if let Some(kernel) = &state.kernel {
            let _ = kernel.registrar.remove(fd);
        }
        state.remove(key)
    });
    removed.is_some()
}

fn accept(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let py = core.py();
    let mut left = core.get().state.with(py, |state, _| {
        let listener = state.driver::<Listener>(key)?;
        listener.queued = false;
        Some(listener.budget)
    });
    while let Some(budget @ 1..) = left {
        left = Some(budget - 1);
        // Looked up anew each time: what was accepted before may have closed the listener.
        let step = core.get().state.with(py, |state, refs| {
            let listener = state.driver::<Listener>(key)?;
            match socket::accept(listener.fd) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                Err(error) if socket::is_connection_gone(&error) => Some(None),
                result => Some(Some((
                    result,
                    refs.clone(&listener.object),
                    listener.acceptor,
                ))),
            }
        });
        let (result, object, acceptor) = match step {
            None => return Ok(()),
            // The peer gave up while it waited: nobody needs to know.
            Some(None) => continue,
            Some(Some(step)) => step,
        };
        let object = object.bind(py);
        let listening = Listening { core, key, object };
        match result {
            Ok((fd, peer)) => acceptor.accepted(&listening, fd, &peer)?,
            Err(error) => {
                if !acceptor.failed(&listening, &error)? {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}
