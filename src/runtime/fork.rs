//! A new poller for the same sources: in a forked child, and when the kernel holds an entry that nobody can
//! delete.

use pyo3::prelude::*;

use super::LoopCore;
use super::state::{Kernel, Source};
use crate::poll::Poller;
use crate::py::errors;

impl LoopCore {
    /// Makes a new poller and registers every source with it. The old one is closed, not edited: after a
    /// fork it is shared with the parent, whose entries a single `epoll_ctl` here would change.
    pub(super) fn renew_poller(&self, py: Python<'_>) -> PyResult<()> {
        let (poller, registrar, waker) =
            Poller::new().map_err(|error| errors::os_error(py, &error))?;
        let old = self.state.with(py, |state, _| {
            for (key, source) in state.sources.iter_mut() {
                // A descriptor that its owner has closed without telling is not registered again: it had
                // no entry in the old poller either.
                let _ = match source {
                    Source::Watcher(watcher) => watcher.register(&registrar, key),
                    Source::Driver(driver) => driver.register(&registrar, key),
                };
            }
            state.kernel.replace(Kernel { registrar, waker })
        });
        let old_poller = self.poller.with(py, |place, _| place.replace(poller));
        drop((old, old_poller));
        Ok(())
    }
}

#[pymethods]
impl LoopCore {
    /// In a forked child: a poller and waker of its own, with every registration. Nothing of the parent's is
    /// touched. Does nothing on a closed loop.
    fn _after_fork(&self, py: Python<'_>) -> PyResult<()> {
        if self.closed.get() {
            return Ok(());
        }
        self.renew_poller(py)
    }
}
