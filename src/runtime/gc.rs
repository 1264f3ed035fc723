//! Garbage collection of the loop: what it visits and what it lets go.

use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use super::LoopCore;
use super::state::{Item, Source, Timer};

#[pymethods]
impl LoopCore {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // A borrowed state means that the collector was started from within a closure, which calls no
        // Python and so cannot start it. Handles in the cross-thread queue are not visited (a
        // channel cannot be looked through): a cycle through one is found once the loop took it.
        self.state
            .try_with(|state| {
                for item in &state.ready {
                    match item {
                        Item::Call(handle) => visit.call(handle)?,
                        Item::Wake(object, _) | Item::Timed(object, ..) => visit.call(object)?,
                        Item::Run(..) => {}
                    }
                }
                for handle in &state.spare {
                    visit.call(handle)?;
                }
                visit.call(state.itself.as_ref())?;
                for object in &state.spare_objects {
                    visit.call(object)?;
                }
                for timer in state.timers.values() {
                    match timer {
                        Timer::Handle(handle) => visit.call(handle)?,
                        Timer::Call(object, _) => visit.call(object)?,
                    }
                }
                for (_, source) in state.sources.iter() {
                    match source {
                        Source::Watcher(watcher) => {
                            for waiter in [&watcher.reader, &watcher.writer].into_iter().flatten() {
                                visit.call(waiter.object())?;
                            }
                            visit.call(watcher.object.as_ref())?;
                        }
                        Source::Driver(driver) => {
                            let mut result = Ok(());
                            driver.visit(&mut |object| {
                                if result.is_ok() {
                                    result = visit.call(object);
                                }
                            });
                            result?;
                        }
                    }
                }
                Ok(())
            })
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let taken = self.state.with(py, |state, _| {
            (
                std::mem::take(&mut state.ready),
                std::mem::take(&mut state.timers),
                (
                    std::mem::take(&mut state.spare),
                    std::mem::take(&mut state.spare_objects),
                    state.itself.take(),
                ),
                std::mem::take(&mut state.sources),
            )
        });
        drop(taken);
    }
}
