//! Frames of websockets, for Tornado's `WebSocketProtocol13`: its own code awaits head, length, mask and payload one after
//! another, four coroutines and Futures to a message that mostly is there with its first byte.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::limit::Limit;
use super::reading;
use super::stream::TornadoStream;
use super::want::Want;
use crate::proto::websocket::{self, Frame};
use crate::py::{again, method, names, objects};

/// What a wait for a frame is answered: `(opcode, mask or None, payload, bytes of the head)`, or None when Tornado's own code
/// is to read what there is.
pub fn answer<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let Some(frame) = Frame::at_front(bytes, usize::MAX) else {
        return Ok(py.None().into_bound(py));
    };
    let (mask, payload) = match frame.mask {
        None => (None, again::bytes(py, frame.payload)),
        Some(mask) => {
            let mut payload = frame.payload.to_vec();
            Frame::unmask(mask, &mut payload);
            (Some(PyBytes::new(py, &mask)), again::bytes(py, &payload))
        }
    };
    let answer = (frame.opcode, mask, payload, frame.head).into_pyobject(py)?;
    Ok(answer.into_any())
}

/// The next frame of a `WebSocketProtocol13`, or a Future of it; see [`answer`]. None, too, where somebody has a way of his
/// own to read, and in the middle of what only Tornado's own code knows. Errors: those of `read_bytes(2)`.
#[pyfunction]
#[pyo3(signature = (protocol, /))]
pub fn next_frame<'py>(protocol: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = protocol.py();
    let stream = protocol.getattr(intern!(py, "stream"))?;
    let Ok(stream) = stream.cast::<TornadoStream>() else {
        return Ok(None);
    };
    if !is_tornados(protocol, stream)? {
        return Ok(None);
    }
    let most = protocol
        .getattr(intern!(py, "params"))?
        .getattr(intern!(py, "max_message_size"))?;
    let Ok(Limit(most)) = most.extract() else {
        return Ok(None);
    };
    let held = stream.get().inner.with(py, |inner, _| {
        let held = websocket::poll(inner.buffer.as_slice(), most);
        held.filter(|_| inner.future.is_none())
    });
    match held {
        Some(0) => Ok(None),
        Some(size) => {
            let bytes = reading::cut(stream, size);
            let frame = answer(py, bytes.as_bytes())?;
            reading::maybe_listen(stream)?;
            Ok(Some(frame))
        }
        None => TornadoStream::start(stream, Want::Frame(most)).map(Some),
    }
}

/// Whether all that reads is as Tornado and this package made it, and no message is under way.
#[inline]
fn is_tornados(protocol: &Bound<'_, PyAny>, stream: &Bound<'_, TornadoStream>) -> PyResult<bool> {
    let py = protocol.py();
    for name in [
        intern!(py, "_decompressor"),
        intern!(py, "_fragmented_message_buffer"),
    ] {
        if !protocol.getattr(name)?.is_none() {
            return Ok(false);
        }
    }
    let reads = protocol.getattr(intern!(py, "_read_bytes"))?;
    let name = intern!(py, "read_bytes");
    Ok(
        method::is_bound(&reads, &names::TORNADO_READ_BYTES.get(py)?, protocol)
            && stream
                .get_type()
                .getattr(name)?
                .is(&py.get_type::<TornadoStream>().getattr(name)?)
            && !has_own(stream, name)?,
    )
}

/// Whether the instance itself has an attribute of that name.
fn has_own(stream: &Bound<'_, TornadoStream>, name: &Bound<'_, PyString>) -> PyResult<bool> {
    objects::present_dict(stream).map_or(Ok(false), |dict| dict.contains(name))
}
