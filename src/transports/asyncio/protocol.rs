//! Calls into an asyncio protocol: in the transport's context, through the instance.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::streams;
use crate::proto::marks::Pressure;
use crate::py::bytes::Uninit;
use crate::py::{call, errors, names};

/// A protocol and the context in which it hears of things.
pub struct Target<'py> {
    pub protocol: Bound<'py, PyAny>,
    pub context: Bound<'py, PyAny>,
    pub buffered: bool,
    /// One of asyncio's streams, with our methods.
    pub streams: bool,
}

impl<'py> Target<'py> {
    pub fn connection_made(&self, transport: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = transport.py();
        let _entered = call::enter(&self.context);
        call::call_method1(&self.protocol, intern!(py, "connection_made"), transport).map(drop)
    }

    #[inline]
    pub fn datagram_received(
        &self,
        data: &Bound<'py, PyBytes>,
        sender: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let _entered = call::enter(&self.context);
        call::call_method2(
            &self.protocol,
            intern!(data.py(), "datagram_received"),
            data.as_any(),
            sender,
        )
        .map(drop)
    }

    /// `inside` a call of the program's own it is told in the caller's context.
    pub fn error_received(&self, error: &Bound<'py, PyAny>, inside: bool) -> PyResult<()> {
        let _entered = if inside {
            None
        } else {
            call::enter(&self.context)
        };
        call::call_method1(&self.protocol, intern!(error.py(), "error_received"), error).map(drop)
    }

    pub fn connection_lost(&self, reason: &Bound<'py, PyAny>) -> PyResult<()> {
        let _entered = call::enter(&self.context);
        call::call_method1(
            &self.protocol,
            intern!(reason.py(), "connection_lost"),
            reason,
        )
        .map(drop)
    }

    #[inline]
    pub fn data_received(&self, data: &Bound<'py, PyBytes>) -> PyResult<()> {
        if self.streams && streams::deliver(&self.protocol, data)? {
            return Ok(());
        }
        let _entered = call::enter(&self.context);
        call::call_method1(
            &self.protocol,
            intern!(data.py(), "data_received"),
            data.as_any(),
        )
        .map(drop)
    }

    /// The protocol's buffer; RuntimeError when it is empty, BufferError when it is read-only.
    pub fn get_buffer(&self, py: Python<'py>) -> PyResult<Uninit> {
        let _entered = call::enter(&self.context);
        let hint = (-1isize).into_pyobject(py)?;
        let object = call::call_method1(&self.protocol, intern!(py, "get_buffer"), hint.as_any())?;
        if object.len().unwrap_or(1) == 0 {
            return Err(PyRuntimeError::new_err(
                "get_buffer() returned an empty buffer",
            ));
        }
        Uninit::new(PyBuffer::get(&object)?)
    }

    pub fn buffer_updated(&self, py: Python<'py>, count: usize) -> PyResult<()> {
        let _entered = call::enter(&self.context);
        let count = count.into_pyobject(py)?;
        call::call_method1(
            &self.protocol,
            intern!(py, "buffer_updated"),
            count.as_any(),
        )
        .map(drop)
    }

    pub fn eof_received(&self, py: Python<'py>) -> PyResult<bool> {
        let _entered = call::enter(&self.context);
        call::call_method0(&self.protocol, intern!(py, "eof_received"))?.is_truthy()
    }

    /// In the context of whoever wrote: the protocol is told inside its own `write`.
    pub fn pause_writing(&self, py: Python<'py>) -> PyResult<()> {
        call::call_method0(&self.protocol, intern!(py, "pause_writing")).map(drop)
    }

    pub fn resume_writing(&self, py: Python<'py>) -> PyResult<()> {
        let _entered = call::enter(&self.context);
        call::call_method0(&self.protocol, intern!(py, "resume_writing")).map(drop)
    }

    /// The write buffer crossed a water mark. What the protocol raises is told by the transport, and ends nothing.
    pub fn pressure(&self, transport: &Bound<'py, PyAny>, pressure: Pressure) -> PyResult<()> {
        let py = transport.py();
        let (result, message) = match pressure {
            Pressure::Pause => (self.pause_writing(py), "protocol.pause_writing() failed"),
            Pressure::Resume => (self.resume_writing(py), "protocol.resume_writing() failed"),
        };
        match result {
            Err(error) if !errors::is_fatal(py, &error) => {
                names::REPORT_TRANSPORT
                    .get(py)?
                    .call1((transport, error, message))?;
                Ok(())
            }
            other => other,
        }
    }
}
