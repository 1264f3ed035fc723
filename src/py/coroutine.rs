//! What a native coroutine needs: to end with a value, to drive another one, to complain when nobody awaited it.

use std::ffi::CString;

use std::sync::atomic::{AtomicUsize, Ordering};

use super::names;
pub use super::stop::with_value as finish;
use pyo3::exceptions::{PyRuntimeError, PyRuntimeWarning, PyStopIteration};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::iterator::PySendResult;
use pyo3::types::{PyIterator, PyType};

/// `coroutine.send(value)`, and whether it goes on.
pub fn send<'py>(
    coroutine: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
) -> PyResult<PySendResult<'py>> {
    // SAFETY: the type is only a name for the method: `PyIter_Send`, which it calls, takes any object and answers an
    // exception for one that cannot be sent to.
    let coroutine = unsafe { coroutine.cast_unchecked::<PyIterator>() };
    coroutine.send(value)
}

/// `coroutine.throw(error)`, and whether it goes on.
pub fn throw<'py>(coroutine: &Bound<'py, PyAny>, error: PyErr) -> PyResult<PySendResult<'py>> {
    let py = coroutine.py();
    match coroutine.call_method1(pyo3::intern!(py, "throw"), (error,)) {
        Ok(yielded) => Ok(PySendResult::Next(yielded)),
        Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
            let value = error.value(py).getattr(pyo3::intern!(py, "value"))?;
            Ok(PySendResult::Return(value))
        }
        Err(error) => Err(error),
    }
}

/// The exception of a coroutine's `throw(typ, val, tb)`.
pub fn thrown(
    kind: &Bound<'_, PyAny>,
    value: Option<&Bound<'_, PyAny>>,
    traceback: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyErr> {
    let value = value.filter(|value| !value.is_none());
    let instance = match (kind.cast::<PyType>(), value) {
        (Ok(class), Some(value)) if value.is_instance(class)? => value.clone(),
        (Ok(class), Some(value)) => class.call1((value,))?,
        (Ok(class), None) => class.call0()?,
        (Err(_), _) => kind.clone(),
    };
    if let Some(traceback) = traceback.filter(|traceback| !traceback.is_none()) {
        instance.setattr("__traceback__", traceback)?;
    }
    Ok(PyErr::from_value(instance))
}

/// An exception on its way out of a coroutine: a StopIteration that was raised in there must not look like its return.
pub fn not_a_return(py: Python<'_>, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyStopIteration>(py) {
        return error;
    }
    let outer = PyRuntimeError::new_err("generator raised StopIteration");
    outer.set_cause(py, Some(error));
    outer
}

/// The warning about a coroutine that is collected without having been awaited. May be called while an exception is
/// on its way, from a destructor.
#[cold]
pub fn warn_unawaited(py: Python<'_>, name: &str) {
    let pending = PyErr::take(py);
    if let Ok(text) = CString::new(format!("coroutine '{name}' was never awaited")) {
        let category = py.get_type::<PyRuntimeWarning>();
        if let Err(error) = PyErr::warn(py, &category, &text, 1) {
            error.write_unraisable(py, None);
        }
    }
    if let Some(pending) = pending {
        pending.restore(py);
    }
}

/// The function behind `Task.__wakeup` of the interpreter's own tasks, once one was seen.
static TASK_WAKEUP: AtomicUsize = AtomicUsize::new(0);

/// Whether a callback is how the interpreter's own tasks go on (`_asyncio.Task`), which may be told by any Future.
#[inline]
pub fn is_task_wakeup(callback: &Bound<'_, PyAny>) -> PyResult<bool> {
    // SAFETY: a live object and the GIL; the second call is for built-in functions only.
    let function = unsafe {
        if ffi::PyCFunction_CheckExact(callback.as_ptr()) == 0 {
            return Ok(false);
        }
        ffi::PyCFunction_GetFunction(callback.as_ptr())
    };
    let Some(function) = function else {
        return Ok(false);
    };
    let address = function as usize;
    Ok(address == TASK_WAKEUP.load(Ordering::Relaxed) || is_first_task_wakeup(callback, address)?)
}

#[cold]
fn is_first_task_wakeup(callback: &Bound<'_, PyAny>, address: usize) -> PyResult<bool> {
    let py = callback.py();
    let owner = callback.getattr("__self__")?;
    let is_it = owner.get_type().is(&names::NATIVE_TASK.get(py)?)
        && callback.getattr("__name__")?.eq("task_wakeup")?;
    if is_it {
        TASK_WAKEUP.store(address, Ordering::Relaxed);
    }
    Ok(is_it)
}
