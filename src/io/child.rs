//! Child processes: each has a descriptor in the poller that says when it has ended. No signal is taken, no thread
//! waits, and children of others are left to them.

use std::io;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::poll::{Key, Readiness, Registrar};
use crate::py::{call, errors};
use crate::runtime::LoopCore;
use crate::runtime::handle::Handle;
use crate::runtime::state::{Driver, Entry, Item, Source};
use crate::sys::level::Want;
use crate::sys::{Fd, process, socket};

const READABLE: Want = Want {
    readable: true,
    writable: false,
};

/// A child whose end is waited for.
struct Child {
    pid: i32,
    /// Its pidfd: ours.
    fd: Fd,
    callback: Py<PyAny>,
    context: Py<PyAny>,
    queued: bool,
}

impl Driver for Child {
    fn fd(&self) -> Fd {
        self.fd
    }

    fn note(&mut self, readiness: Readiness) -> Option<Entry> {
        if !readiness.readable || self.queued {
            return None;
        }
        self.queued = true;
        Some(ended)
    }

    fn register(&mut self, registrar: &Registrar, key: Key) -> io::Result<()> {
        registrar.set_level(self.fd, key, READABLE, false)
    }

    fn face(&self) -> Option<&Py<PyAny>> {
        None
    }

    fn visit(&self, visitor: &mut dyn FnMut(&Py<PyAny>)) {
        visitor(&self.callback);
        visitor(&self.context);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        socket::close(self.fd);
    }
}

/// What the end brought: an exit code, or nothing, since somebody else took it.
type Outcome = (Option<Source>, Option<i32>);

/// The entry for the end of a child: reaps it, and queues its callback.
fn ended(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let py = core.py();
    let outcome = core
        .get()
        .state
        .with(py, |state, _| -> Option<io::Result<Outcome>> {
            let child = state.driver::<Child>(key)?;
            child.queued = false;
            let code = match process::reap(child.pid) {
                // It will be reported again.
                Ok(None) => return None,
                Ok(code) => code,
                Err(error) if process::is_reaped(&error) => None,
                Err(error) => return Some(Err(error)),
            };
            let fd = child.fd;
            // A process forked from this one may hold a duplicate, which would keep the kernel's entry alive.
            let removed = state.registrar().and_then(|registrar| registrar.remove(fd));
            Some(removed.map(|()| (state.remove(key), code)))
        });
    let (source, code) = match outcome {
        None => return Ok(()),
        Some(Ok(outcome)) => outcome,
        Some(Err(error)) => return Err(errors::os_error(py, &error)),
    };
    let Some(Source::Driver(driver)) = source else {
        return Ok(());
    };
    let any: &dyn std::any::Any = driver.as_ref();
    if let Some(child) = any.downcast_ref::<Child>() {
        let handle = Handle::obtain(
            core,
            child.callback.bind(py).clone(),
            PyTuple::new(py, [code])?,
            Some(child.context.bind(py).clone()),
        )?;
        core.get().push(py, Item::Call(handle.unbind()));
    }
    Ok(())
}

#[pymethods]
impl LoopCore {
    /// Calls `callback(code)` when the child has ended and is reaped: with its exit code, the negative number of the
    /// signal that ended it, or None when somebody else has reaped it. The loop's thread. Errors: OSError, see
    /// `os.pidfd_open`; ProcessLookupError when it was reaped before.
    fn _watch_child(slf: &Bound<'_, Self>, pid: i32, callback: Py<PyAny>) -> PyResult<()> {
        let py = slf.py();
        slf.get().check_closed()?;
        let context = call::copy_context(py)?.unbind();
        let fd = process::descriptor(pid).map_err(|error| errors::os_error(py, &error))?;
        let child = Child {
            pid,
            fd,
            callback,
            context,
            queued: false,
        };
        let (registered, old) = slf.get().state.with(py, |state, _| {
            let (key, old) = state.insert(Source::Driver(Box::new(child)));
            let registered = state
                .registrar()
                .and_then(|registrar| registrar.set_level(fd, key, READABLE, false));
            match registered {
                Ok(()) => (Ok(()), [old, None]),
                Err(error) => (Err(error), [old, state.remove(key)]),
            }
        });
        for source in old {
            if let Some(Source::Watcher(watcher)) = source {
                watcher.cancel(py);
            }
        }
        registered.map_err(|error| errors::os_error(py, &error))
    }
}
