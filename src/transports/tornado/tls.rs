//! TLS in Tornado's streams. The handshake is Tornado's own, by the methods of the `ssl.SSLSocket` that programs see; once it
//! is over records are made and read natively, by the OpenSSL inside that very object, which goes on answering for
//! certificates and protocols.
//!
//! What is written becomes records only when the kernel has taken those before: a Future of `write()` tells of bytes of the
//! host's, and what Tornado counts are those.

use pyo3::prelude::*;

use super::stream::{Place, TornadoStream};
use super::writing::{self, waiting};
use crate::io::{adopted, layer, write};
use crate::proto::write_buffer::Finished;
use crate::py::bytes::{Chunk, Data};
use crate::py::names;
use crate::tls::session::Session;
use crate::tls::{direct, object};

/// How much becomes records at once. As much as Tornado's own offers to one `send`.
const PART: usize = 128 * 1024;

/// Bytes of the host's that have not left.
pub fn backlog(stream: &TornadoStream, place: &Place<'_>) -> usize {
    let early = stream
        .inner
        .with(place.core.py(), |inner, _| inner.early.len());
    if waiting(place) > 0 {
        early + stream.in_records.get() as usize
    } else {
        early
    }
}

/// As `writing::send`, for TLS: sends, or keeps what the kernel does not take. True when nothing is left over.
#[inline]
pub fn send(slf: &Bound<'_, TornadoStream>, place: &Place<'_>, data: Data<'_>) -> PyResult<bool> {
    let py = slf.py();
    let stream = slf.get();
    stream.appended.set(false);
    let size = data.as_slice().len();
    let first = waiting(place) == 0 && stream.inner.with(py, |inner, _| inner.early.is_empty());
    if first && size <= PART {
        if size == 0 {
            return Ok(true);
        }
        stream.in_records.set(size as u32);
        // Refused: it is closing, which its caller sees.
        let _ = write::write(&place.core, place.key, data)?;
        return Ok(waiting(place) == 0);
    }
    stream.keep_early(py, data.keep(0));
    encode(slf)?;
    Ok(!stream.closed.get() && stream.backlog(py)? == 0)
}

/// Makes records of what waits, for as long as the kernel takes them.
pub fn encode(slf: &Bound<'_, TornadoStream>) -> PyResult<()> {
    let py = slf.py();
    let stream = slf.get();
    while !stream.closed.get()
        && !stream.python_soon.get()
        && let Some(place) = stream.place(py)?
        && waiting(&place) == 0
    {
        let (part, taken) = next_part(stream, py);
        drop(taken);
        if part.is_empty() {
            break;
        }
        stream.in_records.set(part.len() as u32);
        let _ = write::write(&place.core, place.key, Data::Copied(part))?;
    }
    Ok(())
}

/// Takes the next bytes that are to become records, small pieces together, and what the caller must drop.
fn next_part(stream: &TornadoStream, py: Python<'_>) -> (Vec<u8>, Finished<Chunk>) {
    stream.inner.with(py, |inner, _| {
        if inner.early.is_empty() {
            return (Vec::new(), Finished::none());
        }
        let size = inner.early.len().min(PART);
        let mut part = Vec::with_capacity(size);
        let mut offset = inner.early.front_offset();
        for chunk in inner.early.chunks() {
            let rest = &chunk.as_ref()[offset..];
            offset = 0;
            part.extend_from_slice(&rest[..rest.len().min(size - part.len())]);
            if part.len() == size {
                break;
            }
        }
        if part.len() == inner.early.len() {
            return (part, inner.early.clear());
        }
        let taken = inner.early.advance(part.len());
        (part, taken)
    })
}

/// Somebody has replaced what reads or writes: Tornado's Python does it all. With TLS, when the records that are made have
/// left, since nothing else could send them.
pub fn take_python_path(slf: &Bound<'_, TornadoStream>) -> PyResult<()> {
    let py = slf.py();
    let stream = slf.get();
    if stream.tls.get()
        && let Some(place) = stream.place(py)?
        && waiting(&place) > 0
    {
        stream.python_soon.set(true);
        adopted::tell_drained(&place.core, place.key, true);
        return Ok(());
    }
    names::TORNADO_TAKE_PYTHON_PATH.get(py)?.call1((slf,))?;
    Ok(())
}

/// Puts what was received and not decoded into the buffer.
pub fn decode_rest(slf: &Bound<'_, TornadoStream>) -> PyResult<()> {
    let py = slf.py();
    let stream = slf.get();
    if stream.tls.get()
        && let Some(place) = stream.place(py)?
    {
        layer::take_unread(&place.core, place.key, &mut |bytes| {
            let appended = stream.inner.with(py, |inner, _| inner.buffer.append(bytes));
            debug_assert!(appended.is_ok(), "the buffer's own limit is none");
        });
    }
    Ok(())
}

/// The `ssl.SSLSocket` has its socket again.
pub fn give_back(slf: &Bound<'_, TornadoStream>) -> PyResult<()> {
    if slf.get().tls.replace(false) {
        let socket = slf.get().own_socket(slf.py())?;
        if !socket.is_none() {
            direct::to_socket(&socket)?;
        }
    }
    Ok(())
}

#[pymethods]
impl TornadoStream {
    /// The handshake is over: goes on with records of its own, with what waits to be sent. False when they cannot be made
    /// natively, and nothing has changed.
    fn _secure(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let stream = slf.get();
        let socket = stream.own_socket(slf.py())?;
        let Some(engine) = object::over_socket(&socket)? else {
            return Ok(false);
        };
        let Some(place) = Self::join(slf)? else {
            // It could not be registered, and was closed.
            return Ok(true);
        };
        stream.tls.set(true);
        let session = Box::new(Session::established(engine));
        layer::insert(&place.core, place.key, session, &[])?;
        adopted::tell_drained(&place.core, place.key, stream.sending.get());
        writing::send_early(slf)?;
        if !stream.closed.get() {
            Self::after_event(slf)?;
        }
        Ok(true)
    }

    /// Whether its records are made and read natively.
    #[getter]
    fn _secured(&self) -> bool {
        self.tls.get()
    }
}
