//! Failures and cancellations.

use pyo3::prelude::*;

use crate::py::names;

/// asyncio's CancelledError.
#[cold]
pub fn cancelled_error(py: Python<'_>, message: Option<Py<PyAny>>) -> PyErr {
    let made = names::CANCELLED_ERROR.get(py).and_then(|class| {
        match message.filter(|message| !message.is_none(py)) {
            Some(message) => class.call1((message,)),
            None => class.call0(),
        }
    });
    made.map_or_else(|error| error, PyErr::from_value)
}

/// Whether it is a Failure with a CancelledError. Errors are not expected, and no reason to take it for one.
pub fn is_cancellation(result: &Bound<'_, PyAny>) -> bool {
    is_failure(result).unwrap_or(false)
        && names::TWISTED_IS_CANCELLATION
            .get(result.py())
            .and_then(|told| told.call1((result,))?.is_truthy())
            .unwrap_or(false)
}

/// Whether something is Twisted's Failure.
#[inline]
pub fn is_failure(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    if object.is_none() {
        return Ok(false);
    }
    Ok(names::TWISTED_FAILURE.is_class_of(object)?
        || object.is_instance(&names::TWISTED_FAILURE.get(object.py())?)?)
}
