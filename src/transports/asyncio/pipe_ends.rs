//! `ReadPipeTransport` and `WritePipeTransport`: what asyncio programs hold for one end of a pipe.

use pyo3::exceptions::PyAssertionError;
use pyo3::prelude::*;

use super::pipe::{End, PipeTransport};
use crate::io::{read, stream, write};
use crate::proto::marks::WaterMarks;
use crate::py::bytes::Data;
use crate::py::names;
use crate::runtime::LoopCore;

/// The reading end of a pipe, like the transport of `loop.connect_read_pipe()`; isinstance says `asyncio.ReadTransport`.
/// All methods belong to the loop's thread.
#[pyclass(frozen, extends = PipeTransport, module = "interloop._core")]
pub struct ReadPipeTransport;

#[pymethods]
impl ReadPipeTransport {
    #[new]
    #[pyo3(signature = (r#loop, pipe, protocol, waiter=None, extra=None))]
    fn new<'py>(
        r#loop: &Bound<'py, LoopCore>,
        pipe: &Bound<'py, PyAny>,
        protocol: Bound<'py, PyAny>,
        waiter: Option<Bound<'py, PyAny>>,
        extra: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let base = PipeTransport::new(End::Read, r#loop, pipe, protocol, waiter, extra)?;
        let whole = PyClassInitializer::from(base).add_subclass(ReadPipeTransport);
        let transport = Bound::new(pipe.py(), whole)?;
        PipeTransport::open(transport.as_any())?;
        Ok(transport)
    }

    /// Ends the transport; `connection_lost(None)` follows. What is unread is lost. Idempotent.
    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.as_super().get().end(slf.py(), None)
    }

    /// No `data_received` until `resume_reading()`. Idempotent.
    fn pause_reading(slf: &Bound<'_, Self>) -> PyResult<()> {
        let base = slf.as_super().get();
        if base.paused.get() || base.is_closing(slf.py()) {
            return Ok(());
        }
        base.paused.set(true);
        read::pause(base.bound_core(slf.py()), base.key());
        Self::log(slf, "%r pauses reading")
    }

    /// Data is received again. Idempotent.
    fn resume_reading(slf: &Bound<'_, Self>) -> PyResult<()> {
        let base = slf.as_super().get();
        if !base.paused.get() || base.is_closing(slf.py()) {
            return Ok(());
        }
        base.paused.set(false);
        read::resume(base.bound_core(slf.py()), base.key());
        Self::log(slf, "%r resumes reading")
    }

    /// Whether data is being received.
    fn is_reading(slf: &Bound<'_, Self>) -> bool {
        let base = slf.as_super().get();
        !base.paused.get() && !base.is_closing(slf.py())
    }

    #[getter]
    fn _paused(slf: &Bound<'_, Self>) -> bool {
        slf.as_super().get().paused.get()
    }
}

impl ReadPipeTransport {
    fn log(slf: &Bound<'_, Self>, text: &str) -> PyResult<()> {
        if slf.as_super().get().is_debug() {
            names::LOG_PIPE.get(slf.py())?.call1((text, slf))?;
        }
        Ok(())
    }
}

/// The writing end of a pipe, like the transport of `loop.connect_write_pipe()`; isinstance says
/// `asyncio.WriteTransport`. All methods belong to the loop's thread.
#[pyclass(frozen, extends = PipeTransport, module = "interloop._core")]
pub struct WritePipeTransport;

#[pymethods]
impl WritePipeTransport {
    #[new]
    #[pyo3(signature = (r#loop, pipe, protocol, waiter=None, extra=None))]
    fn new<'py>(
        r#loop: &Bound<'py, LoopCore>,
        pipe: &Bound<'py, PyAny>,
        protocol: Bound<'py, PyAny>,
        waiter: Option<Bound<'py, PyAny>>,
        extra: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let base = PipeTransport::new(End::Write, r#loop, pipe, protocol, waiter, extra)?;
        let whole = PyClassInitializer::from(base).add_subclass(WritePipeTransport);
        let transport = Bound::new(pipe.py(), whole)?;
        PipeTransport::open(transport.as_any())?;
        Ok(transport)
    }

    /// Writes bytes, a bytearray or a memoryview; what the kernel does not take is kept (copied when it is mutable).
    /// Errors: AssertionError for anything else, as stock has it. Closed before, it does nothing but warn at last.
    fn write(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let bytes = match Data::new(data) {
            Err(_) if !data.is_instance(&names::BYTES_LIKE.get(py)?)? => {
                return Err(PyAssertionError::new_err(data.repr()?.unbind()));
            }
            result => result?,
        };
        let base = slf.as_super().get();
        if write::write(base.bound_core(py), base.key(), bytes)?.is_err() {
            names::WARN_PIPE_WRITE
                .get(py)?
                .call1((base.count_lost_write(),))?;
        }
        Ok(())
    }

    /// Flushes, then ends the transport: a pipe has no other direction. `connection_lost(None)` follows. Idempotent.
    fn write_eof(slf: &Bound<'_, Self>) -> PyResult<()> {
        let base = slf.as_super().get();
        if base.core.get().is_closed() {
            return base.release(slf.py());
        }
        stream::close(base.bound_core(slf.py()), base.key());
        Ok(())
    }

    /// Whether `write_eof()` works: always.
    fn can_write_eof(&self) -> bool {
        true
    }

    /// As `write_eof()`.
    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::write_eof(slf)
    }

    /// Ends the transport at once; what is buffered is lost. `connection_lost(None)` follows.
    fn abort(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.as_super().get().end(slf.py(), None)
    }

    /// Bytes that wait to be written.
    fn get_write_buffer_size(slf: &Bound<'_, Self>) -> usize {
        let base = slf.as_super().get();
        base.peek(slf.py(), |stream| stream.buffered()).unwrap_or(0)
    }

    /// The water marks (low, high) in bytes.
    fn get_write_buffer_limits(slf: &Bound<'_, Self>) -> (usize, usize) {
        let base = slf.as_super().get();
        base.peek(slf.py(), |stream| stream.marks().limits())
            .unwrap_or_else(|| WaterMarks::ASYNCIO.limits())
    }

    /// Sets the water marks in bytes; ValueError unless `high >= low >= 0`.
    #[pyo3(signature = (high=None, low=None))]
    fn set_write_buffer_limits(
        slf: &Bound<'_, Self>,
        high: Option<i64>,
        low: Option<i64>,
    ) -> PyResult<()> {
        let base = slf.as_super().get();
        write::set_limits(base.bound_core(slf.py()), base.key(), high, low)
    }

    /// Whether the protocol was asked to pause writing and not yet to resume.
    #[getter]
    fn _protocol_paused(slf: &Bound<'_, Self>) -> bool {
        let base = slf.as_super().get();
        base.peek(slf.py(), |stream| stream.marks().paused())
            .unwrap_or(false)
    }

    #[getter]
    fn _conn_lost(slf: &Bound<'_, Self>) -> u32 {
        slf.as_super().get().lost_writes.get()
    }
}
