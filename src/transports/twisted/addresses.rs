//! `IPv4Address` and `IPv6Address`, made without their constructors, which look a second time at what is right.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::py::{address, names};
use crate::sys::addr::{Address, Named};

/// What the socket module calls an address. None for what it names better: a scope has a name, too.
pub fn tuple<'py>(py: Python<'py>, address: &Address) -> PyResult<Option<Bound<'py, PyTuple>>> {
    match address.named() {
        Named::V4(host, port) => Ok(Some((address::v4_text(py, host), port).into_pyobject(py)?)),
        Named::V6(host, port, flow, 0) => {
            Ok(Some((host.to_string(), port, flow, 0).into_pyobject(py)?))
        }
        _ => Ok(None),
    }
}

/// The address of TCP that such a tuple names.
pub fn make<'py>(name: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
    let py = name.py();
    let class = match name.len() {
        2 => names::TWISTED_IPV4.get(py)?,
        _ => names::TWISTED_IPV6.get(py)?,
    };
    let address = class.call_method1(intern!(py, "__new__"), (&class,))?;
    address.setattr(intern!(py, "type"), intern!(py, "TCP"))?;
    address.setattr(intern!(py, "host"), name.get_item(0)?)?;
    address.setattr(intern!(py, "port"), name.get_item(1)?)?;
    if name.len() != 2 {
        address.setattr(intern!(py, "flowInfo"), name.get_item(2)?)?;
        address.setattr(intern!(py, "scopeID"), name.get_item(3)?)?;
    }
    Ok(address)
}
