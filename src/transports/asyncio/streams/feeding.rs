//! What arrives for a `StreamReader`.
//!
//! Bytes that somebody waits for go to him as they came, without a way through the reader's buffer.

use pyo3::exceptions::{PyAssertionError, PyNotImplementedError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};

use super::super::operation::Operation;
use super::attributes::{Kind, of_protocol, of_reader, replaced};
use crate::py::fields::Fields;
use crate::py::{bytes, call, names};

/// Whether its methods are ours.
#[inline]
pub fn is_native(reader: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(reader
        .get_type()
        .is(&names::NATIVE_READER.get(reader.py())?))
}

#[inline]
pub fn is_native_protocol(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    let class = names::NATIVE_READER_PROTOCOL.get(protocol.py())?;
    Ok(protocol.get_type().is(&class))
}

/// The reader of a protocol. None before and after the connection, and when nobody holds it any more.
#[inline]
pub fn reader_of<'py>(protocol: &Fields<'_, 'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let reference = protocol.get(&of_protocol::STREAM_READER)?;
    if reference.is_none() {
        return Ok(None);
    }
    let reader = call::call0(&reference)?;
    Ok((!reader.is_none()).then_some(reader))
}

/// Hands bytes to the task that waits for them, if that is all there is to do: nothing is buffered, the task takes all
/// of them, and no method on the way has been replaced. Calls no Python code. False: `data_received()` must be called.
#[inline]
pub fn deliver(protocol: &Bound<'_, PyAny>, data: &Bound<'_, PyBytes>) -> PyResult<bool> {
    let py = protocol.py();
    if !is_native_protocol(protocol)? {
        return Ok(false);
    }
    let fields = Fields::of(protocol)?;
    if replaced(&fields, Kind::Protocol, intern!(py, "data_received"))? {
        return Ok(false);
    }
    let Some(reader) = reader_of(&fields)? else {
        return Ok(false);
    };
    if !is_native(&reader)? {
        return Ok(false);
    }
    let fields = Fields::of(&reader)?;
    Ok(!replaced(&fields, Kind::Reader, intern!(py, "feed_data"))?
        && give(&fields, data, true)? == Taken::All)
}

/// How much of the bytes the waiting operation took.
#[derive(PartialEq, Eq)]
enum Taken {
    Nothing,
    /// The rest is in the buffer.
    Part,
    All,
}

/// Gives bytes to the operation that waits, if nothing is buffered before them; what it does not take is buffered, or
/// with `whole` nothing happens then.
#[inline]
fn give(reader: &Fields<'_, '_>, data: &Bound<'_, PyBytes>, whole: bool) -> PyResult<Taken> {
    let py = data.py();
    let waiter = reader.get(&of_reader::WAITER)?;
    let Ok(operation) = waiter.cast_exact::<Operation>() else {
        return Ok(Taken::Nothing);
    };
    // Nobody waits after the end of file.
    if !operation.get().is_parked() || operation.get().is_debug() {
        return Ok(Taken::Nothing);
    }
    let buffer = reader.get(&of_reader::BUFFER)?;
    if !matches!(buffer.cast_exact::<PyByteArray>(), Ok(buffer) if buffer.is_empty()) {
        return Ok(Taken::Nothing);
    }
    let all = data.as_bytes();
    let takes = operation
        .get()
        .with_reading(py, |reading| reading.takes())
        .flatten();
    let (given, taken) = match takes {
        Some(count) if count >= all.len() => (data.clone(), Taken::All),
        Some(count) if count > 0 && !whole => {
            bytes::append(&buffer, &all[count..])?;
            (PyBytes::new(py, &all[..count]), Taken::Part)
        }
        _ => return Ok(Taken::Nothing),
    };
    let given = given.unbind();
    let old = operation
        .get()
        .with_reading(py, |reading| reading.given.replace(given));
    drop(old);
    reader.set(&of_reader::WAITER, py.None().bind(py))?;
    Operation::wake(operation, false)?;
    Ok(taken)
}

/// As `reader.feed_data(data)`.
pub fn feed(reader: &Bound<'_, PyAny>, data: &Bound<'_, PyBytes>) -> PyResult<()> {
    let py = reader.py();
    if data.as_bytes().is_empty() {
        return Ok(());
    }
    let fields = Fields::of(reader)?;
    if replaced(&fields, Kind::Reader, intern!(py, "feed_data"))? {
        return call::call_method1(reader, intern!(py, "feed_data"), data.as_any()).map(drop);
    }
    match give(&fields, data, false)? {
        Taken::All => return Ok(()),
        Taken::Part => {}
        Taken::Nothing => {
            if fields.get(&of_reader::EOF)?.is_truthy()? {
                return Err(PyAssertionError::new_err("feed_data after feed_eof"));
            }
            let buffer = fields.get(&of_reader::BUFFER)?;
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
