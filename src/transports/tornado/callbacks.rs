//! `IOLoop.add_callback` without its cost: no partial, and no question which thread it is but the queue's own.

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::py::{call, names};
use crate::runtime::LoopCore;
use crate::runtime::handle::Handle;

/// A method of the IOLoop's: call `callback` in its thread, in the order of the calls, in a copy of the caller's context.
/// Any thread, also after `close()`, when nothing happens. TypeError for what is not callable. Counterpart:
/// `IOLoop.add_callback`.
#[pyfunction]
#[pyo3(signature = (io_loop, /, callback, *args, **kwargs))]
pub fn add_callback<'py>(
    io_loop: &Bound<'py, PyAny>,
    callback: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<()> {
    let py = io_loop.py();
    let asyncio_loop = io_loop.getattr(intern!(py, "asyncio_loop"))?;
    let own = io_loop.get_type().getattr(intern!(py, "_run_callback"))?;
    let core = match asyncio_loop.cast::<LoopCore>() {
        Ok(core) if own.is(&names::TORNADO_RUN_CALLBACK.get(py)?) && kwargs.is_none() => core,
        // A foreign loop, a class with a way of its own to run them, or keywords.
        _ => {
            names::TORNADO_ADD_CALLBACK
                .get(py)?
                .call((io_loop, callback, args), kwargs)?;
            return Ok(());
        }
    };
    if !callback.is_callable() {
        return Err(PyTypeError::new_err("the first argument must be callable"));
    }
    if core.get().is_closed() {
        return Ok(());
    }
    let work = (io_loop, callback, args).into_pyobject(py)?;
    let run = names::TORNADO_RUN.get(py)?;
    let handle = Handle::obtain(core, run, work, None)?;
    LoopCore::send(core, handle.unbind())
}

/// Calls `callback(*args)`. What it answers or raises, other than None, Tornado's own `_run_callback` looks after.
#[pyfunction]
#[pyo3(signature = (io_loop, callback, args, /))]
pub fn run_callback(
    io_loop: &Bound<'_, PyAny>,
    callback: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
) -> PyResult<()> {
    let py = io_loop.py();
    let (result, error) = match call::call_tuple(callback, args) {
        Ok(result) if result.is_none() => return Ok(()),
        Ok(result) => (Some(result), None),
        Err(error) => (None, Some(error.into_value(py))),
    };
    names::TORNADO_FINISH_CALLBACK
        .get(py)?
        .call1((io_loop, callback, args, result, error))?;
    Ok(())
}
