//! asyncio's `StreamReader`, where it is fed by a transport of ours: `read()`, and what arrives for it.
//!
//! Program and reader stay asyncio's own; `interloop._loop.streams` says which methods come here. Bytes that somebody
//! waits for go to him as they came, without a way through the reader's buffer.

use pyo3::exceptions::{PyAssertionError, PyNotImplementedError, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::iterator::PySendResult;
use pyo3::types::{PyByteArray, PyBytes};

use super::operation::Operation;
use super::sock::{Outcome, Work};
use crate::py::{bytes, call, coroutine, names};
use crate::runtime::LoopCore;

/// A `read()` that is under way.
pub struct Reading {
    count: isize,
    /// Who calls it, if all that is wanted is that bytes are there.
    only_wait: Option<Py<PyAny>>,
    waited: bool,
    /// What was handed over by whoever woke it.
    given: Option<Py<PyBytes>>,
    /// asyncio's own coroutine, for a `read()` to the end.
    stock: Option<Py<PyAny>>,
}

impl Reading {
    fn new(count: isize, only_wait: Option<Py<PyAny>>) -> Self {
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
    fn takes(&self) -> Option<usize> {
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
            let step = coroutine::send(stock.bind(py), py.None().bind(py))?;
            return Ok(match step {
                PySendResult::Next(yielded) => Outcome::Yield(yielded),
                PySendResult::Return(value) => Outcome::Done(value),
            });
        }
        if self.only_wait.is_some() {
            if std::mem::replace(&mut self.waited, true) {
                return Ok(Outcome::Silent);
            }
            if reader.getattr(intern!(py, "_eof"))?.is_truthy()? {
                return Err(PyAssertionError::new_err("_wait_for_data after EOF"));
            }
            return Ok(Outcome::WaitForReader);
        }
        if !self.waited {
            let exception = reader.getattr(intern!(py, "_exception"))?;
            if !exception.is_none() {
                return Err(PyErr::from_value(exception));
            }
        }
        if self.count == 0 {
            return Ok(Outcome::Done(PyBytes::new(py, b"").into_any()));
        }
        let buffer = reader.getattr(intern!(py, "_buffer"))?;
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
            && !reader.getattr(intern!(py, "_eof"))?.is_truthy()?
        {
            return Ok(Outcome::WaitForReader);
        }
        let data = bytes::take_front(&buffer, self.count.unsigned_abs())?;
        if reader.getattr(intern!(py, "_paused"))?.is_truthy()? {
            reader.call_method0(intern!(py, "_maybe_resume_transport"))?;
        }
        Ok(Outcome::Done(data.into_any()))
    }

    /// Makes an operation the one that waits for the reader's bytes. Errors: RuntimeError if somebody does already.
    pub fn park(&self, reader: &Bound<'_, PyAny>, operation: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = reader.py();
        if !reader.getattr(intern!(py, "_waiter"))?.is_none() {
            let name = match &self.only_wait {
                Some(name) => name.bind(py).str()?.to_string(),
                None => "read".to_owned(),
            };
            return Err(PyRuntimeError::new_err(format!(
                "{name}() called while another coroutine is already waiting for incoming data"
            )));
        }
        if reader.getattr(intern!(py, "_paused"))?.is_truthy()? {
            // Nothing would come otherwise.
            reader.setattr(intern!(py, "_paused"), false)?;
            reader
                .getattr(intern!(py, "_transport"))?
                .call_method0(intern!(py, "resume_reading"))?;
        }
        reader.setattr(intern!(py, "_waiter"), operation)
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

/// Hands bytes over to the operation that waits, and has its task go on. True when nothing is left over.
fn hand_over<'py>(
    reader: &Bound<'py, PyAny>,
    operation: &Bound<'py, Operation>,
    data: &Bound<'py, PyBytes>,
) -> PyResult<bool> {
    let py = reader.py();
    let buffer = reader.getattr(intern!(py, "_buffer"))?;
    let all = data.as_bytes();
    let takes = operation
        .get()
        .with_reading(py, |reading| reading.takes())
        .flatten();
    let mut took_all = false;
    match takes {
        Some(count) if count > 0 && buffer.len()? == 0 => {
            let given = if count >= all.len() {
                took_all = true;
                data.clone()
            } else {
                bytes::append(&buffer, &all[count..])?;
                PyBytes::new(py, &all[..count])
            };
            let given = given.unbind();
            let old = operation
                .get()
                .with_reading(py, |reading| reading.given.replace(given));
            drop(old);
        }
        _ => bytes::append(&buffer, all)?,
    }
    Operation::wake(operation, false)?;
    Ok(took_all)
}

#[pymethods]
impl LoopCore {
    /// The coroutine of `reader.read(n)`.
    fn _read_stream(slf: &Bound<'_, Self>, reader: Py<PyAny>, n: isize) -> Operation {
        Operation::new(slf, reader, "read", Work::Read(Reading::new(n, None)))
    }

    /// The coroutine of `reader._wait_for_data(name)`.
    fn _wait_for_stream(slf: &Bound<'_, Self>, reader: Py<PyAny>, name: Py<PyAny>) -> Operation {
        let work = Work::Read(Reading::new(0, Some(name)));
        Operation::new(slf, reader, "_wait_for_data", work)
    }
}

/// `StreamReaderProtocol.data_received()`.
#[pyfunction]
pub fn stream_data_received(
    protocol: &Bound<'_, PyAny>,
    data: &Bound<'_, PyBytes>,
) -> PyResult<()> {
    let py = protocol.py();
    // A weak reference, or None before and after the connection.
    let reference = protocol.getattr(intern!(py, "_stream_reader_wr"))?;
    if reference.is_none() {
        return Ok(());
    }
    let reader = reference.call0()?;
    if reader.is_none() {
        return Ok(());
    }
    if reader.get_type().is(&names::NATIVE_READER.get(py)?) {
        return feed(&reader, data);
    }
    call::call_method1(&reader, intern!(py, "feed_data"), data.as_any()).map(drop)
}

/// As `reader.feed_data(data)`.
fn feed(reader: &Bound<'_, PyAny>, data: &Bound<'_, PyBytes>) -> PyResult<()> {
    let py = reader.py();
    if data.as_bytes().is_empty() {
        return Ok(());
    }
    let waiter = reader.getattr(intern!(py, "_waiter"))?;
    match waiter.cast_exact::<Operation>() {
        // Nobody waits after the end of file.
        Ok(operation) if operation.get().is_parked() && !operation.get().is_debug() => {
            reader.setattr(intern!(py, "_waiter"), py.None().bind(py))?;
            if hand_over(reader, operation, data)? {
                return Ok(());
            }
        }
        _ => {
            if reader.getattr(intern!(py, "_eof"))?.is_truthy()? {
                return Err(PyAssertionError::new_err("feed_data after feed_eof"));
            }
            let buffer = reader.getattr(intern!(py, "_buffer"))?;
            bytes::append(&buffer, data.as_bytes())?;
            reader.call_method0(intern!(py, "_wakeup_waiter"))?;
        }
    }
    hold_back(reader)
}

/// Pauses the transport when the reader holds too much.
fn hold_back(reader: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = reader.py();
    let held = reader.getattr(intern!(py, "_buffer"))?.len()?;
    if held == 0 {
        return Ok(());
    }
    let limit: usize = reader.getattr(intern!(py, "_limit"))?.extract()?;
    let transport = reader.getattr(intern!(py, "_transport"))?;
    if held <= limit.saturating_mul(2)
        || transport.is_none()
        || reader.getattr(intern!(py, "_paused"))?.is_truthy()?
    {
        return Ok(());
    }
    match transport.call_method0(intern!(py, "pause_reading")) {
        Ok(_) => reader.setattr(intern!(py, "_paused"), true),
        // One that cannot: all of it is kept.
        Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => {
            reader.setattr(intern!(py, "_transport"), py.None())
        }
        Err(error) => Err(error),
    }
}
