//! asyncio's streams on transports of ours: what runs per read, per write and per `drain()`.
//!
//! Reader, writer and protocol stay asyncio's own objects, with their state in their attributes;
//! `interloop._loop.streams` says how they get the methods that are here.

mod attributes;
mod draining;
mod feeding;
mod reading;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use self::attributes::{of_reader, of_writer};
pub use self::draining::Draining;
pub use self::feeding::deliver;
pub use self::reading::Reading;
use super::operation::Operation;
use super::sock::Work;
use super::transport::StreamTransport;
use crate::py::fields::{Attribute, Fields};
use crate::py::{call, names, objects};
use crate::runtime::LoopCore;

/// What asyncio's `StreamReader` has natively: a class without state, to be inherited beside asyncio's.
#[pyclass(frozen, subclass, module = "interloop._core")]
pub struct ReaderMethods;

/// What asyncio's `StreamReaderProtocol` has natively.
#[pyclass(frozen, subclass, module = "interloop._core")]
pub struct ReaderProtocolMethods;

/// What asyncio's `StreamWriter` has natively.
#[pyclass(frozen, subclass, module = "interloop._core")]
pub struct WriterMethods;

/// What a server's protocol is replaced by: one with the native methods, if it is asyncio's own and nobody has it yet.
pub fn again(protocol: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let py = protocol.py();
    let class = names::STREAM_READER_PROTOCOL.get(py)?;
    if !protocol.get_type().is(&class) || !objects::is_held_once(&protocol) {
        return Ok(protocol);
    }
    names::STREAM_AGAIN.get(py)?.call1((protocol,))
}

/// An operation on one of asyncio's stream objects, which knows its loop.
fn operation<'py>(
    subject: &Bound<'py, PyAny>,
    core: &Attribute,
    name: &'static str,
    work: Work,
) -> PyResult<Bound<'py, Operation>> {
    let core = Fields::of(subject)?.get(core)?;
    Operation::obtain(
        core.cast::<LoopCore>()?,
        subject.clone().unbind(),
        name,
        work,
    )
}

#[pymethods]
impl ReaderMethods {
    /// Reads at most `n` bytes, as they come; all there are until the end without it. b"" at the end. A coroutine. The
    /// loop's thread. Errors: what the connection ended with; RuntimeError if another read is under way.
    #[pyo3(signature = (n=-1), text_signature = "($self, n=-1)")]
    fn read<'py>(slf: &Bound<'py, Self>, n: isize) -> PyResult<Bound<'py, Operation>> {
        operation(
            slf,
            &of_reader::LOOP,
            "read",
            Work::Read(Reading::new(n, None)),
        )
    }

    /// Waits until there is something to read, or the end. A coroutine.
    fn _wait_for_data<'py>(
        slf: &Bound<'py, Self>,
        func_name: Py<PyAny>,
    ) -> PyResult<Bound<'py, Operation>> {
        let work = Work::Read(Reading::new(0, Some(func_name)));
        operation(slf, &of_reader::LOOP, "_wait_for_data", work)
    }
}

#[pymethods]
impl ReaderProtocolMethods {
    /// Hands what arrived to the reader.
    fn data_received(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(reader) = feeding::reader_of(&Fields::of(slf)?)? else {
            return Ok(());
        };
        match data.cast_exact::<PyBytes>() {
            Ok(data) if feeding::is_native(&reader)? => feeding::feed(&reader, data),
            _ => call::call_method1(&reader, intern!(data.py(), "feed_data"), data).map(drop),
        }
    }
}

#[pymethods]
impl WriterMethods {
    /// Sends bytes, a bytearray or a memoryview, as the transport's `write()`.
    fn write(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = data.py();
        let transport = Fields::of(slf)?.get(&of_writer::TRANSPORT)?;
        match transport.cast_exact::<StreamTransport>() {
            Ok(transport) if !objects::has_attributes(transport) => {
                StreamTransport::write(transport, data)
            }
            _ => call::call_method1(&transport, intern!(py, "write"), data).map(drop),
        }
    }

    /// Waits until the transport may be written to again. A coroutine; nothing is waited for while it may. The loop's
    /// thread. Errors: what the reader's connection ended with; ConnectionResetError.
    fn drain<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Operation>> {
        operation(
            slf,
            &of_writer::LOOP,
            "drain",
            Work::Drain(Draining::default()),
        )
    }
}
