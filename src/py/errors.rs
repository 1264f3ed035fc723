//! Errors between the kernel, Rust and Python.

use std::io;

use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError, PySystemExit};
use pyo3::prelude::*;

use super::names::Imported;

/// The OSError (or its subclass, by errno) that Python itself would raise, with the same text.
pub fn os_error(py: Python<'_>, error: &io::Error) -> PyErr {
    match error.raw_os_error() {
        Some(code) => {
            let text = py
                .import("os")
                .and_then(|os| os.call_method1("strerror", (code,)))
                .map_or_else(|_| error.to_string(), |text| text.to_string());
            // OSError(errno, text) answers the subclass for the errno, since it is made by calling the type.
            PyOSError::new_err((code, text))
        }
        None => PyOSError::new_err(error.to_string()),
    }
}

/// Whether an exception stops the loop and leaves it, instead of being reported: what asyncio lets through.
pub fn is_fatal(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py)
}

/// Whether an exception is of a class found by name. One that cannot be imported has no instances.
pub fn is(py: Python<'_>, error: &PyErr, class: &Imported) -> bool {
    class
        .get(py)
        .is_ok_and(|class| error.matches(py, class).unwrap_or(false))
}
