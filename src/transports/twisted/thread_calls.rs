//! `callFromThread`: a place in the reactor's queue, and one call of the loop per turn that the queue is not empty.

use pyo3::exceptions::PyAssertionError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::py::call::{self, Entered};
use crate::py::{names, objects};

/// A method of the reactor's: call `f` in the loop's thread, in the order of the calls, in a copy of the caller's context.
/// Any thread, at any time: what comes while the reactor is not running waits until it is.
///
/// Raises AssertionError for what is not callable. Counterpart: `ReactorBase.callFromThread`, whose calls run in whatever
/// context is the loop's.
#[pyfunction]
#[pyo3(signature = (reactor, /, f, *args, **kwargs))]
pub fn call_from_thread<'py>(
    reactor: &Bound<'py, PyAny>,
    f: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<Bound<'py, PyDict>>,
) -> PyResult<()> {
    let py = reactor.py();
    if !f.is_callable() {
        return Err(PyAssertionError::new_err(format!("{f} is not callable")));
    }
    let state = objects::instance_dict(reactor)?;
    let entry = (f, args, kwargs, call::copy_context(py)?).into_pyobject(py)?;
    let queue = match state.get_item(intern!(py, "threadCallQueue"))? {
        Some(queue) => queue,
        None => reactor.getattr(intern!(py, "threadCallQueue"))?,
    };
    queue.cast::<PyList>()?.append(entry)?;
    // Whoever clears the mark looks into the queue afterwards, and here it is the other way round: no call is left behind.
    let holds = |name: &Bound<'py, _>| -> PyResult<bool> {
        match state.get_item(name)? {
            Some(value) => value.is_truthy(),
            None => Ok(false),
        }
    };
    if holds(intern!(py, "_started"))? && !holds(intern!(py, "_thread_calls_due"))? {
        reactor.call_method0(intern!(py, "_wake_for_thread_calls"))?;
    }
    Ok(())
}

/// Makes the calls of a list, each in its context, and logs what they raise, whatever it is.
#[pyfunction]
#[pyo3(signature = (calls, /))]
pub fn run_thread_calls(calls: &Bound<'_, PyList>) -> PyResult<()> {
    let py = calls.py();
    for entry in calls.iter() {
        let entry = entry.cast::<PyTuple>()?;
        let (f, args, kwargs, context) = (
            entry.get_borrowed_item(0)?,
            entry.get_borrowed_item(1)?,
            entry.get_borrowed_item(2)?,
            entry.get_borrowed_item(3)?,
        );
        let args = args.cast::<PyTuple>()?;
        let _entered = Entered::new(&context)?;
        let result = if kwargs.is_none() {
            call::call_tuple(&f, &args)
        } else {
            f.call(&*args, Some(&*kwargs.cast::<PyDict>()?))
        };
        if let Err(error) = result {
            names::TWISTED_THREAD_CALL_FAILED.get(py)?.call1((error,))?;
        }
    }
    Ok(())
}
