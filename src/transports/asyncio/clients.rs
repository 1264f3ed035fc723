//! Whose connection it is: a server counts its connections, by which it knows when all are gone.
//!
//! What asyncio's `Server` does about it in Python takes a sixth of all the instructions of a short connection, so it is
//! done here, in the server's own attributes, where programs and tests look. Anything unusual is left to the server's method:
//! one of another class, a method that was replaced, a server that is closed.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PySet, PyString, PyType};

use super::transport::StreamTransport;
use crate::py::class::{self, OfClass};
use crate::py::fields::{Attribute, Fields};
use crate::py::{call, names};

/// The connections themselves, from Python 3.13 on.
static CLIENTS: Attribute = Attribute::new("_clients");
/// Their number, before.
static ACTIVE_COUNT: Attribute = Attribute::new("_active_count");
/// None once the server is closed.
static SOCKETS: Attribute = Attribute::new("_sockets");

/// The server has another connection.
pub(super) fn attach(
    server: &Bound<'_, PyAny>,
    transport: &Bound<'_, StreamTransport>,
) -> PyResult<()> {
    let name = intern!(server.py(), "_attach");
    if let Some(fields) = open_server(server, name)? {
        if cfg!(Py_3_13) {
            if let Ok(clients) = fields.get(&CLIENTS)?.cast_exact::<PySet>() {
                return clients.add(transport);
            }
        } else if let Some(count) = active(&fields)? {
            return set_active(&fields, count + 1);
        }
    }
    tell(server, name, transport)
}

/// The server has lost a connection.
pub(super) fn detach(
    server: &Bound<'_, PyAny>,
    transport: &Bound<'_, StreamTransport>,
) -> PyResult<()> {
    let name = intern!(server.py(), "_detach");
    if let Some(fields) = open_server(server, name)? {
        if cfg!(Py_3_13) {
            if let Ok(clients) = fields.get(&CLIENTS)?.cast_exact::<PySet>() {
                return clients.discard(transport).map(drop);
            }
        } else if let Some(count @ 1..) = active(&fields)? {
            return set_active(&fields, count - 1);
        }
    }
    tell(server, name, transport)
}

/// The attributes of a server that listens, if `method` is asyncio's own.
fn open_server<'a, 'py>(
    server: &'a Bound<'py, PyAny>,
    method: &Bound<'py, PyString>,
) -> PyResult<Option<Fields<'a, 'py>>> {
    static STOCK: OfClass<bool> = OfClass::new();
    let class = server.get_type();
    if !STOCK.get(&class, || is_stock(&class))? {
        return Ok(None);
    }
    let fields = Fields::of(server)?;
    // Suites replace methods on the server itself, too.
    if fields.has(method)? || fields.get(&SOCKETS)?.is_none() {
        return Ok(None);
    }
    Ok(Some(fields))
}

/// Whether servers of a class keep their connections as asyncio's do.
fn is_stock(class: &Bound<'_, PyType>) -> PyResult<bool> {
    let py = class.py();
    if !class::has_plain_attributes(class) {
        return Ok(false);
    }
    for (name, stock) in [
        (intern!(py, "_attach"), &names::SERVER_ATTACH),
        (intern!(py, "_detach"), &names::SERVER_DETACH),
    ] {
        match class.getattr_opt(name)? {
            Some(method) if method.is(stock.get(py)?) => {}
            _ => return Ok(false),
        }
    }
    // A descriptor by one of these names would come before the instance's attribute.
    for attribute in [&CLIENTS, &ACTIVE_COUNT, &SOCKETS] {
        if class.hasattr(attribute.name(py))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How many connections a server counts, if it is a number.
fn active(fields: &Fields<'_, '_>) -> PyResult<Option<u64>> {
    let count = fields.get(&ACTIVE_COUNT)?;
    Ok(count
        .cast_exact::<PyInt>()
        .ok()
        .and_then(|count| count.extract().ok()))
}

fn set_active(fields: &Fields<'_, '_>, count: u64) -> PyResult<()> {
    let count = count.into_pyobject(fields.py())?;
    fields.set(&ACTIVE_COUNT, count.as_any())
}

/// By the server's own method.
fn tell(
    server: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
    transport: &Bound<'_, StreamTransport>,
) -> PyResult<()> {
    if cfg!(Py_3_13) {
        call::call_method1(server, name, transport.as_any())?;
    } else {
        call::call_method0(server, name)?;
    }
    Ok(())
}
