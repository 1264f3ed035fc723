//! Socket addresses as Python's socket module writes them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::sys::addr::Named;

/// The tuple, str or bytes that `socket.getsockname()` answers for the address; None without one, and for a family
/// that has no common form.
pub fn to_python(py: Python<'_>, address: Option<&Named>) -> PyResult<Py<PyAny>> {
    match address {
        None => Ok(py.None()),
        Some(Named::V4(host, port)) => (host.to_string(), *port).into_py_any(py),
        Some(Named::V6(host, port, flow, scope)) => {
            // flowinfo is in network order in the kernel's structure.
            (host.to_string(), *port, u32::from_be(*flow), *scope).into_py_any(py)
        }
        Some(Named::Unix(path)) if path.first() == Some(&0) => {
            PyBytes::new(py, path).into_py_any(py)
        }
        Some(Named::Unix(path)) => OsString::from_vec(path.clone()).into_py_any(py),
        Some(Named::Other) => Ok(py.None()),
    }
}
