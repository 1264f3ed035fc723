//! Deferred's own methods that are native: each await goes through them.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple, PyType};

use super::awaiter::DeferredAwaiter;
use super::{drive, failure};
use crate::py::method::{self, NoArguments, OneArgument};
use crate::py::{call, names, objects};

struct Await;

impl NoArguments for Await {
    #[inline]
    fn call<'py>(slf: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Bound::new(slf.py(), DeferredAwaiter::new(slf.clone().unbind())).map(Bound::into_any)
    }
}

struct Callback;

impl OneArgument for Callback {
    #[inline]
    fn call<'py>(
        slf: &Bound<'py, PyAny>,
        result: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        match waiting(slf, result)? {
            Some((_, None)) => settle(slf, result)?,
            Some((callbacks, Some(awaiter))) => fire(slf, &callbacks, &awaiter, result)?,
            None => {
                // Itself and not what it calls: in debug mode Twisted counts the frames.
                call::call2(&names::TWISTED_STOCK_CALLBACK.get(py)?, slf, result)?;
            }
        }
        Ok(py.None().into_bound(py))
    }

    fn stands_for(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        names::TWISTED_STOCK_CALLBACK.get(py)
    }
}

/// The list of callbacks, and the awaiter if there is one.
type Waits<'py> = (Bound<'py, PyList>, Option<Bound<'py, DeferredAwaiter>>);

/// Who waits, if that is nobody or one awaiter, and the rest is as it is with most Deferreds.
#[inline]
fn waiting<'py>(
    deferred: &Bound<'py, PyAny>,
    result: &Bound<'py, PyAny>,
) -> PyResult<Option<Waits<'py>>> {
    let py = deferred.py();
    if !deferred.get_type().is(&names::TWISTED_DEFERRED.get(py)?) {
        return Ok(None);
    }
    let callbacks = deferred.getattr(intern!(py, "_callbacks"))?;
    let Ok(callbacks) = callbacks.cast_into::<PyList>() else {
        return Ok(None);
    };
    let awaiter = match callbacks.len() {
        0 => None,
        1 => {
            let both = callbacks.get_item(0)?.cast_into::<PyTuple>()?;
            let first = both.get_borrowed_item(0)?;
            let callback = first.cast::<PyTuple>()?.get_item(0)?;
            let Ok(awaiter) = callback.cast_into_exact::<DeferredAwaiter>() else {
                return Ok(None);
            };
            Some(awaiter)
        }
        _ => return Ok(None),
    };
    for hindrance in [
        intern!(py, "called"),
        intern!(py, "paused"),
        intern!(py, "debug"),
    ] {
        if deferred.getattr(hindrance)?.is_truthy()? {
            return Ok(None);
        }
    }
    if failure::is_failure(result)? || drive::is_deferred(&result.get_type())? {
        return Ok(None);
    }
    Ok(Some((callbacks, awaiter)))
}

/// The Deferred has its result.
#[inline]
fn settle(deferred: &Bound<'_, PyAny>, result: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = deferred.py();
    deferred.setattr(intern!(py, "called"), true)?;
    deferred.setattr(intern!(py, "_canceller"), py.None())?;
    deferred.setattr(intern!(py, "_chainedTo"), py.None())?;
    deferred.setattr(intern!(py, "result"), result)
}

/// What Twisted's own does with one callback.
fn fire<'py>(
    deferred: &Bound<'py, PyAny>,
    callbacks: &Bound<'py, PyList>,
    awaiter: &Bound<'py, DeferredAwaiter>,
    result: &Bound<'py, PyAny>,
) -> PyResult<()> {
    let py = deferred.py();
    settle(deferred, result)?;
    objects::remove_first(callbacks)?;
    let next = if awaiter.get().is_in_task() {
        // Nothing is called from here.
        DeferredAwaiter::fired(awaiter, result)
    } else {
        deferred.setattr(intern!(py, "_runningCallbacks"), true)?;
        let next = DeferredAwaiter::fired(awaiter, result);
        deferred.setattr(intern!(py, "_runningCallbacks"), false)?;
        next
    };
    match next {
        Ok(Some(_)) => {}
        Ok(None) => deferred.setattr(intern!(py, "result"), py.None())?,
        Err(error) => {
            names::TWISTED_RAISED.get(py)?.call1((deferred, error))?;
            return Ok(());
        }
    }
    if !callbacks.is_empty() {
        call::call_method0(deferred, intern!(py, "_runCallbacks"))?;
    }
    Ok(())
}

/// `(__await__, callback)` for the class `Deferred`.
#[pyfunction]
#[pyo3(signature = (cls, /))]
pub fn deferred_methods<'py>(
    cls: &Bound<'py, PyType>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    Ok((
        method::without::<Await>(
            cls,
            c"__await__",
            c"__await__($self, /)\n--\n\nWhat a task or a coroutine that Twisted drives waits for.",
        )?,
        method::with_one::<Callback>(
            cls,
            c"callback",
            c"callback($self, result)\n--\n\nRun all success callbacks that have been added to this Deferred.",
        )?,
    ))
}
