//! The StopIteration by which a native coroutine returns its value.
//!
//! Making one costs half as much as all else that such a coroutine does, and whoever awaits takes its value and lets go of
//! it at once: the last one serves again.

use pyo3::exceptions::PyStopIteration;
use pyo3::ffi::{self, PyStopIterationObject};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::call;
use super::cell::{Flag, StateCell};

/// The one that was raised last.
static LAST: StateCell<Option<Py<PyAny>>> = StateCell::new(None);

/// Whether it has a value still.
static HAS_VALUE: Flag<bool> = Flag::new(false);

/// The StopIteration that returns `value`.
#[inline]
pub fn with_value(value: &Bound<'_, PyAny>) -> PyErr {
    let py = value.py();
    let made = match take_last(py) {
        Some(stop) => PyTuple::new(py, [value]).map(|args| fill(stop, args, value.clone())),
        // An instance: with a bare value a tuple would be taken for the exception's arguments.
        None => call::call1(py.get_type::<PyStopIteration>().as_any(), value),
    };
    match made {
        Ok(stop) => {
            HAS_VALUE.set(true);
            keep(&stop);
            PyErr::from_value(stop)
        }
        Err(error) => error,
    }
}

/// Lets go of the value that was returned last: to be called before the loop waits.
#[inline]
pub fn forget_value(py: Python<'_>) {
    if HAS_VALUE.replace(false)
        && let Some(stop) = take_last(py)
    {
        keep(&fill(stop, PyTuple::empty(py), py.None().into_bound(py)));
    }
}

#[inline]
fn keep(stop: &Bound<'_, PyAny>) {
    let kept = stop.clone().unbind();
    let old = LAST.with(stop.py(), |last, _| last.replace(kept));
    drop(old);
}

/// The last one, if it is as good as new but for its value: nobody else holds it, and Python code through which it went
/// has left nothing in it.
#[inline]
fn take_last(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    let stop = LAST.with(py, |last, _| last.take())?.into_bound(py);
    // SAFETY: a live object and the GIL. Only `with_value` keeps any, and it makes them of that very class.
    let clean = unsafe {
        let fields = stop.as_ptr().cast::<PyStopIterationObject>();
        ffi::Py_REFCNT(stop.as_ptr()) == 1
            && (*fields).dict.is_null()
            && (*fields).notes.is_null()
            && (*fields).traceback.is_null()
            && (*fields).context.is_null()
            && (*fields).cause.is_null()
    };
    clean.then_some(stop)
}

/// Puts a value into a StopIteration that nobody else holds.
#[inline]
fn fill<'py>(
    stop: Bound<'py, PyAny>,
    args: Bound<'py, PyTuple>,
    value: Bound<'py, PyAny>,
) -> Bound<'py, PyAny> {
    // SAFETY: as in `take_last`, and no other thread can see it. The references put in are owned ones, and those taken out
    // are owned by the two that are dropped below, once the exception is whole again.
    let old = unsafe {
        let fields = stop.as_ptr().cast::<PyStopIterationObject>();
        let args = (&raw mut (*fields).args).replace(args.into_ptr());
        let value = (&raw mut (*fields).value).replace(value.into_ptr());
        (
            Bound::from_owned_ptr_or_opt(stop.py(), args),
            Bound::from_owned_ptr_or_opt(stop.py(), value),
        )
    };
    drop(old);
    stop
}
