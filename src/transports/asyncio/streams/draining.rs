//! `StreamWriter.drain()`.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBool;

use super::super::sock::Outcome;
use super::super::transport::StreamTransport;
use super::attributes::{Kind, of_protocol, of_reader, of_writer, replaced};
use super::feeding;
use crate::py::fields::Fields;
use crate::py::{call, coroutine, names, objects};

/// A `drain()` that is under way.
#[derive(Default)]
pub struct Draining {
    /// asyncio's own coroutine, when there is something to wait for or to raise.
    stock: Option<Py<PyAny>>,
}

impl Draining {
    pub fn awaited(&self) -> Option<&Py<PyAny>> {
        self.stock.as_ref()
    }

    #[inline]
    pub fn attempt<'py>(&mut self, writer: &Bound<'py, PyAny>) -> PyResult<Outcome<'py>> {
        let py = writer.py();
        let stock = match &self.stock {
            Some(stock) => stock.bind(py),
            None => {
                if is_free(writer)? {
                    return Ok(Outcome::Silent);
                }
                let drain = names::STREAM_WRITER
                    .get(py)?
                    .getattr(intern!(py, "drain"))?;
                self.stock.insert(drain.call1((writer,))?.unbind()).bind(py)
            }
        };
        coroutine::send(stock, py.None().bind(py)).map(Outcome::of_step)
    }
}

/// Whether asyncio's own `drain()` would do nothing at all.
fn is_free(writer: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = writer.py();
    let own = Fields::of(writer)?;
    let reader = own.get(&of_writer::READER)?;
    if !reader.is_none() {
        if !feeding::is_native(&reader)? {
            return Ok(false);
        }
        let fields = Fields::of(&reader)?;
        if replaced(&fields, Kind::Reader, intern!(py, "exception"))?
            || !fields.get(&of_reader::EXCEPTION)?.is_none()
        {
            return Ok(false);
        }
    }
    let protocol = own.get(&of_writer::PROTOCOL)?;
    if !feeding::is_native_protocol(&protocol)? {
        return Ok(false);
    }
    let fields = Fields::of(&protocol)?;
    let no = PyBool::new(py, false);
    if replaced(&fields, Kind::Protocol, intern!(py, "_drain_helper"))?
        || !fields.get(&of_protocol::CONNECTION_LOST)?.is(&*no)
        || !fields.get(&of_protocol::PAUSED)?.is(&*no)
    {
        return Ok(false);
    }
    let transport = own.get(&of_writer::TRANSPORT)?;
    match transport.cast_exact::<StreamTransport>() {
        Ok(transport) if !objects::has_attributes(transport) => {
            Ok(!StreamTransport::is_closing(transport))
        }
        _ => Ok(!call::call_method0(&transport, intern!(py, "is_closing"))?.is_truthy()?),
    }
}
