//! Having a task go on.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::awaiter::DeferredAwaiter;
use super::current;
use crate::py::{coroutine, names};
use crate::runtime::LoopCore;
use crate::runtime::done::{self, Callback};

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
    let awaiter = object.cast::<DeferredAwaiter>()?.get();
    let (first, more) = awaiter.take_callbacks(py);
    // A task asks any object but asyncio's own Future for its result by a name made anew each time: over a thousand
    // instructions. It gets a Future that has ended with None, and the awaiter gives the value where it is awaited.
    let plain = awaiter.has_value(py)?;
    let tell = |callback: Callback| {
        if plain && coroutine::is_task_wakeup(callback.0.bind(py))? {
            done::tell(core, callback, &names::FINISHED_FUTURE.get(py)?, object)
        } else {
            done::tell(core, callback, object, object)
        }
    };
    if let Some(first) = first {
        tell(first)?;
    }
    // There hardly ever are any.
    if more.is_empty() {
        return Ok(());
    }
    more.into_iter().try_for_each(tell)
}
