//! What is native of Deferred's own methods: each await goes through them.

use std::ffi::CStr;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyList, PyTuple, PyType};

use super::awaiter::{self, DeferredAwaiter, is_plain};
use super::{drive, failure};
use crate::py::method::{self, NoArguments, ThreeArguments};
use crate::py::{call, names, objects};

struct Await;

impl NoArguments for Await {
    #[inline]
    fn call<'py>(slf: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        awaiter::obtain(slf.py(), slf.clone().unbind()).map(Bound::into_any)
    }
}

/// Who waits for a Deferred's result. None: Twisted's own is to give it. True: nobody, or a task that has been told. An awaiter:
/// it is to be told by [`fire`]. In these cases the Deferred counts as called and as chained to nothing, and the rest is up to the
/// caller. The class has values for these two names: the interpreter writes them no quicker than it is done here.
struct WhoWaits;

impl ThreeArguments for WhoWaits {
    const NAME: &'static CStr = c"who_waits";
    const DOC: &'static CStr =
        c"who_waits(deferred, callbacks, result, /)\n--\n\nWho waits for a Deferred's result.";

    #[inline]
    fn call<'py>(
        deferred: &Bound<'py, PyAny>,
        callbacks: &Bound<'py, PyAny>,
        result: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = result.py();
        let nobody = || Ok(PyBool::new(py, true).to_owned().into_any());
        let others = || Ok(py.None().into_bound(py));
        let called = intern!(py, "called");
        let Ok(callbacks) = callbacks.cast_exact::<PyList>() else {
            return others();
        };
        let waits = match callbacks.len() {
            0 => None,
            1 => match awaiter_of(callbacks.get_item(0)?)? {
                Some(awaiter) => Some(awaiter),
                None => return others(),
            },
            _ => return others(),
        };
        if !is_plain(deferred)?
            || objects::generic_getattr(deferred, called)?.is_truthy()?
            || failure::is_failure(result)?
            || drive::is_deferred(&result.get_type())?
        {
            return others();
        }
        objects::generic_setattr(deferred, called, Some(&PyBool::new(py, true)))?;
        let nothing = py.None().into_bound(py);
        objects::generic_setattr(deferred, intern!(py, "_chainedTo"), Some(&nothing))?;
        let Some((entry, awaiter)) = waits else {
            return nobody();
        };
        // No code of anybody's runs in here: it does not matter that the Deferred has no result yet.
        if !DeferredAwaiter::tell_task(&awaiter, result) {
            return Ok(awaiter.into_any());
        }
        objects::remove_first(callbacks)?;
        awaiter.get().keep_entry(entry);
        nobody()
    }
}

/// An entry among a Deferred's callbacks, and whose it is.
type Entry<'py> = (Bound<'py, PyTuple>, Bound<'py, DeferredAwaiter>);

#[inline]
fn awaiter_of(entry: Bound<'_, PyAny>) -> PyResult<Option<Entry<'_>>> {
    let entry = entry.cast_into::<PyTuple>()?;
    let callback = {
        let first = entry.get_borrowed_item(0)?;
        first.cast::<PyTuple>()?.get_item(0)?
    };
    Ok(callback
        .cast_into_exact::<DeferredAwaiter>()
        .ok()
        .map(|awaiter| (entry, awaiter)))
}

/// What Twisted's own does with one callback, which is `awaiter`.
#[pyfunction]
#[pyo3(signature = (deferred, callbacks, awaiter, result, /))]
pub fn fire<'py>(
    deferred: &Bound<'py, PyAny>,
    callbacks: &Bound<'py, PyList>,
    awaiter: &Bound<'py, DeferredAwaiter>,
    result: &Bound<'py, PyAny>,
) -> PyResult<()> {
    let py = deferred.py();
    objects::remove_first(callbacks)?;
    deferred.setattr(intern!(py, "_runningCallbacks"), true)?;
    let next = DeferredAwaiter::fired(awaiter, result);
    deferred.setattr(intern!(py, "_runningCallbacks"), false)?;
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

/// `__await__` for the class `Deferred`.
#[pyfunction]
#[pyo3(signature = (cls, /))]
pub fn deferred_await<'py>(cls: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>> {
    method::without::<Await>(
        cls,
        c"__await__",
        c"__await__($self, /)\n--\n\nWhat a task or a coroutine that Twisted drives waits for.",
    )
}

/// Adds the functions to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("who_waits", method::function::<WhoWaits>(module.py())?)?;
    module.add_function(wrap_pyfunction!(deferred_await, module)?)?;
    module.add_function(wrap_pyfunction!(fire, module)?)
}
