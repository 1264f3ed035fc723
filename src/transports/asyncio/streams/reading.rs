//! `StreamReader.read()`, and how it waits.

use pyo3::exceptions::{PyAssertionError, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes};

use super::super::sock::Outcome;
use super::attributes::of_reader;
use crate::py::fields::Fields;
use crate::py::{bytes, coroutine, names};

/// A `read()` that is under way.
pub struct Reading {
    count: isize,
    /// Who calls it, if all that is wanted is that bytes are there.
    only_wait: Option<Py<PyAny>>,
    waited: bool,
    /// What was handed over by whoever woke it.
    pub(super) given: Option<Py<PyBytes>>,
    /// asyncio's own coroutine, for a `read()` to the end.
    stock: Option<Py<PyAny>>,
}

impl Reading {
    pub(super) fn new(count: isize, only_wait: Option<Py<PyAny>>) -> Self {
        Reading {
            count,
            only_wait,
            waited: false,
            given: None,
            stock: None,
        }
    }

    pub fn awaited(&self) -> Option<&Py<PyAny>> {
        self.stock.as_ref()
    }

    pub fn visit(&self, visitor: &mut dyn FnMut(&Py<PyAny>)) {
        for object in [&self.only_wait, &self.stock].into_iter().flatten() {
            visitor(object);
        }
    }

    /// How many bytes it takes as they come; None when they must go through the buffer.
    pub(super) fn takes(&self) -> Option<usize> {
        match self.only_wait {
            None => usize::try_from(self.count).ok(),
            Some(_) => None,
        }
    }

    /// As `StreamReader.read()` and `StreamReader._wait_for_data()`.
    #[inline]
    pub fn attempt<'py>(&mut self, reader: &Bound<'py, PyAny>) -> PyResult<Outcome<'py>> {
        let py = reader.py();
        if let Some(given) = self.given.take() {
            return Ok(Outcome::Done(given.into_bound(py).into_any()));
        }
        if let Some(stock) = &self.stock {
            return coroutine::send(stock.bind(py), py.None().bind(py)).map(Outcome::of_step);
        }
        let fields = Fields::of(reader)?;
        if self.only_wait.is_some() {
            if std::mem::replace(&mut self.waited, true) {
                return Ok(Outcome::Silent);
            }
            if fields.get(&of_reader::EOF)?.is_truthy()? {
                return Err(PyAssertionError::new_err("_wait_for_data after EOF"));
            }
            return Ok(Outcome::WaitForReader);
        }
        if !self.waited {
            let exception = fields.get(&of_reader::EXCEPTION)?;
            if !exception.is_none() {
                return Err(PyErr::from_value(exception));
            }
        }
        if self.count == 0 {
            return Ok(Outcome::Done(PyBytes::new(py, b"").into_any()));
        }
        let buffer = fields.get(&of_reader::BUFFER)?;
        let buffer = match buffer.cast_into::<PyByteArray>() {
            Ok(buffer) if self.count > 0 => buffer,
            _ => {
                let read = names::STREAM_READER.get(py)?.getattr(intern!(py, "read"))?;
                self.stock = Some(read.call1((reader, self.count))?.unbind());
                return self.attempt(reader);
            }
        };
        if buffer.is_empty()
            && !std::mem::replace(&mut self.waited, true)
            && !fields.get(&of_reader::EOF)?.is_truthy()?
        {
            return Ok(Outcome::WaitForReader);
        }
        let data = bytes::take_front(&buffer, self.count.unsigned_abs())?;
        if fields.get(&of_reader::PAUSED)?.is_truthy()? {
            reader.call_method0(intern!(py, "_maybe_resume_transport"))?;
        }
        Ok(Outcome::Done(data.into_any()))
    }

    /// Makes an operation the one that waits for the reader's bytes. Errors: RuntimeError if somebody does already.
    pub fn park(&self, reader: &Bound<'_, PyAny>, operation: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = reader.py();
        let fields = Fields::of(reader)?;
        if !fields.get(&of_reader::WAITER)?.is_none() {
            let name = match &self.only_wait {
                Some(name) => name.bind(py).str()?.to_string(),
                None => "read".to_owned(),
            };
            return Err(PyRuntimeError::new_err(format!(
                "{name}() called while another coroutine is already waiting for incoming data"
            )));
        }
        if fields.get(&of_reader::PAUSED)?.is_truthy()? {
            // Nothing would come otherwise.
            fields.set(&of_reader::PAUSED, &PyBool::new(py, false))?;
            fields
                .get(&of_reader::TRANSPORT)?
                .call_method0(intern!(py, "resume_reading"))?;
        }
        fields.set(&of_reader::WAITER, operation)
    }

    /// Puts what it was given back to the front of the reader's buffer.
    pub fn give_back(&mut self, reader: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = reader.py();
        match self.given.take() {
            Some(given) => {
                let buffer = reader.getattr(intern!(py, "_buffer"))?;
                bytes::prepend(&buffer, given.bind(py).as_bytes())
            }
            None => Ok(()),
        }
    }

    /// It waits no longer.
    pub fn unpark(reader: &Bound<'_, PyAny>, operation: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = reader.py();
        if reader.getattr(intern!(py, "_waiter"))?.is(operation) {
            reader.setattr(intern!(py, "_waiter"), py.None())?;
        }
        Ok(())
    }
}
