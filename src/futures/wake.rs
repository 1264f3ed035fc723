//! Having a task go on.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::awaiter::DeferredAwaiter;
use super::current;
use crate::py::call::{self, Entered};
use crate::py::{errors, names};
use crate::runtime::LoopCore;

/// `loop.call_soon(callback, argument, context=context)`. Twisted cannot notice when a Deferred is fired in another thread,
/// and does not allow it; the task gets it nevertheless.
pub fn schedule(
    event_loop: &Bound<'_, PyAny>,
    callback: &Bound<'_, PyAny>,
    argument: &Bound<'_, PyAny>,
    context: Option<Py<PyAny>>,
) -> PyResult<()> {
    let py = event_loop.py();
    let here = current::running_loop(py)?.is_some_and(|running| running.is(event_loop))
        || !event_loop
            .call_method0(pyo3::intern!(py, "is_running"))?
            .is_truthy()?;
    let name = if here {
        pyo3::intern!(py, "call_soon")
    } else {
        pyo3::intern!(py, "call_soon_threadsafe")
    };
    let kwargs = PyDict::new(py);
    kwargs.set_item(pyo3::intern!(py, "context"), context)?;
    event_loop.call_method(name, (callback, argument), Some(&kwargs))?;
    Ok(())
}

/// The task takes its next step in here.
pub fn go_on(core: &Bound<'_, LoopCore>, object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = core.py();
    let (first, more) = object.cast::<DeferredAwaiter>()?.get().take_callbacks(py);
    for (callback, context) in first.into_iter().chain(more) {
        let callback = callback.into_bound(py);
        let context = context.map(|context| context.into_bound(py));
        let result = match &context {
            Some(context) => {
                Entered::new(context).and_then(|_entered| call::call1(&callback, object))
            }
            None => call::call1(&callback, object),
        };
        match result {
            Ok(_) => {}
            Err(error) if errors::is_fatal(py, &error) => return Err(error),
            Err(error) => {
                names::REPORT_OPERATION
                    .get(py)?
                    .call1((core, error, callback, object))?;
            }
        }
    }
    Ok(())
}
