//! Going over to Tornado's Python path: what Tornado's own class would have in its attributes by now.

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyList};

use super::reading::{contents, resolve};
use super::stream::TornadoStream;
use super::want::Want;
use super::writing::futures_of;
use crate::io::adopted;
use crate::proto::pending_read::Want as Bytes;
use crate::py::bytes::Chunk;

/// What Tornado's own class would have in its attributes for reading.
pub fn reading<'py>(slf: &Bound<'py, TornadoStream>) -> PyResult<Bound<'py, PyDict>> {
    let py = slf.py();
    let stream = slf.get();
    let state = PyDict::new(py);
    let held = PyByteArray::new(py, contents(slf).as_bytes());
    let (want, future) = stream
        .inner
        .with(py, |inner, _| (inner.want.take(), inner.future.take()));
    stream.inner.with(py, |inner, _| inner.buffer.clear());
    let none = py.None();
    for name in [
        "_read_delimiter",
        "_read_regex",
        "_read_max_bytes",
        "_read_bytes",
    ] {
        state.set_item(name, &none)?;
    }
    state.set_item("_read_partial", false)?;
    state.set_item("_read_until_close", false)?;
    state.set_item("_user_read_buffer", false)?;
    state.set_item("_after_user_read_buffer", &none)?;
    state.set_item("_read_buffer_size", held.len())?;
    state.set_item("_read_buffer", &held)?;
    if let (Some(Want::Frame(_)), Some(future)) = (&want, &future) {
        // Tornado knows no such read, but whoever waits for a frame goes on in Tornado's own way when there is none.
        resolve(future.bind(py), py.None().bind(py))?;
        state.set_item("_read_future", &none)?;
    } else {
        state.set_item("_read_future", future)?;
    }
    match want {
        None | Some(Want::Frame(_)) => {}
        Some(Want::Bytes(read)) => match read.want() {
            Bytes::Exactly(count) => state.set_item("_read_bytes", count)?,
            Bytes::UpTo(count) => {
                state.set_item("_read_bytes", count)?;
                state.set_item("_read_partial", true)?;
            }
            Bytes::Until {
                delimiter,
                max_bytes,
            } => {
                state.set_item("_read_delimiter", PyBytes::new(py, delimiter))?;
                state.set_item("_read_max_bytes", max_bytes)?;
            }
            Bytes::UntilClose => state.set_item("_read_until_close", true)?,
        },
        Some(Want::Pattern(pattern)) => {
            state.set_item("_read_regex", pattern.pattern)?;
            let limit = Some(pattern.max_bytes).filter(|&limit| limit != usize::MAX);
            state.set_item("_read_max_bytes", limit)?;
        }
        Some(Want::Into(into)) => {
            state.set_item("_user_read_buffer", true)?;
            state.set_item("_after_user_read_buffer", &held)?;
            state.set_item("_read_buffer", into.buffer)?;
            state.set_item("_read_buffer_size", into.filled)?;
            state.set_item("_read_bytes", into.length)?;
            state.set_item("_read_partial", into.partial)?;
        }
    }
    state.set_item("max_buffer_size", stream.max_buffer_size.get())?;
    state.set_item("read_chunk_size", stream.read_chunk_size.get())?;
    state.set_item("_closed", stream.closed.get())?;
    state.set_item("_connecting", stream.connecting.get())?;
    state.set_item("_ssl_accepting", stream.handshaking.get())?;
    Ok(state)
}

/// Adds what Tornado's own class would have in its attributes for writing.
pub fn writing(slf: &Bound<'_, TornadoStream>, state: &Bound<'_, PyDict>) -> PyResult<()> {
    let py = slf.py();
    let stream = slf.get();
    state.set_item("max_write_buffer_size", stream.max_write_buffer_size())?;
    state.set_item("_total_write_index", stream.total.get())?;
    state.set_item("_total_write_done_index", stream.done_index(py)?)?;
    state.set_item("_write_futures", futures_of(stream, py)?)?;
    let (sent, early) = stream.inner.with(py, |inner, _| {
        (inner.early.front_offset(), inner.early.clear())
    });
    let mut chunks: Vec<Chunk> = early.into_iter().collect();
    if sent > 0
        && let Some(first) = chunks.first_mut()
    {
        *first = Chunk::Owned(first.as_ref()[sent..].into());
    }
    if let Some(place) = stream.place(py)? {
        let output = adopted::take_output(&place.core, place.key);
        // Records are none of the host's bytes.
        if !stream.tls.get() {
            chunks.extend(output);
        }
    }
    let pieces = chunks.iter().map(|chunk| PyBytes::new(py, chunk.as_ref()));
    let pieces = PyList::new(py, pieces.collect::<Vec<_>>())?;
    drop(chunks);
    state.set_item("_write_buffer", pieces)?;
    Ok(())
}
