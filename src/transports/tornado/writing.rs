//! `write()`, and what waits to be sent.

use std::io::ErrorKind;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use super::reading::{maybe_listen, resolve};
use super::stream::{Place, TornadoStream};
use super::tls;
use crate::io::{adopted, stream, write};
use crate::py::bytes::{Chunk, Data};
use crate::py::{call, errors, names};
use crate::sys::socket;

/// As in Tornado: of what is written up to so many bytes are copied, and may change; the rest must not until it has left, and a
/// bytearray cannot change its size.
const COPIED: usize = 2048;

impl TornadoStream {
    /// Bytes that wait to be sent.
    pub(super) fn backlog(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(match self.place(py)? {
            Some(place) if self.tls.get() => tls::backlog(self, &place),
            Some(place) => waiting(&place),
            None => self.inner.with(py, |inner, _| inner.early.len()),
        })
    }

    /// The number of the last byte that has left.
    pub(super) fn done_index(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.total.get().saturating_sub(self.backlog(py)? as u64))
    }

    /// Keeps the Future of a write that waits.
    fn keep_future(&self, py: Python<'_>, index: u64, future: &Bound<'_, PyAny>) -> PyResult<()> {
        self.sending.set(true);
        let futures = futures_of(self, py)?;
        futures.call_method1(intern!(py, "append"), ((index, future),))?;
        if let Some(place) = self.place(py)? {
            adopted::tell_drained(&place.core, place.key, true);
        }
        Ok(())
    }
}

pub fn futures_of<'py>(stream: &TornadoStream, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
    Ok(stream._write_futures(py)?.into_bound(py))
}

pub(super) fn waiting(place: &Place<'_>) -> usize {
    stream::with(&place.core, place.key, |stream| stream.buffered()).unwrap_or(0)
}

/// The kernel did not take bytes.
#[cold]
pub fn failed(slf: &Bound<'_, TornadoStream>, error: &PyErr) -> PyResult<()> {
    names::TORNADO_WRITE_FAILED
        .get(slf.py())?
        .call1((slf, error))?;
    Ok(())
}

/// Sends what waited for the stream to come into its loop, or was put into the buffer by others.
pub fn send_early(slf: &Bound<'_, TornadoStream>) -> PyResult<()> {
    let py = slf.py();
    let stream = slf.get();
    if stream.closed.get() || stream.is_unready() {
        return Ok(());
    }
    if stream.tls.get() {
        tls::encode(slf)?;
        return complete(slf);
    }
    let early = stream.inner.with(py, |inner, _| inner.early.clear());
    if early.is_empty() && !stream.appended.replace(false) && !stream.sending.get() {
        return Ok(());
    }
    if let Some(place) = TornadoStream::join(slf)? {
        for chunk in early {
            write::queue(&place.core, place.key, chunk);
        }
        adopted::tell_drained(&place.core, place.key, stream.sending.get());
        write::flush(&place.core, place.key)?;
        complete(slf)?;
    }
    Ok(())
}

/// Resolves the Futures of the writes that have left.
pub fn complete(slf: &Bound<'_, TornadoStream>) -> PyResult<()> {
    let py = slf.py();
    let stream = slf.get();
    if !stream.sending.get() || stream.closed.get() {
        return Ok(());
    }
    let done = stream.done_index(py)?;
    let futures = futures_of(stream, py)?;
    while futures.len()? > 0 {
        let (index, future): (u64, Bound<'_, PyAny>) = futures.get_item(0)?.extract()?;
        if index > done {
            return Ok(());
        }
        futures.call_method0(intern!(py, "popleft"))?;
        resolve(&future, py.None().bind(py))?;
    }
    stream.sending.set(stream.backlog(py)? > 0);
    Ok(())
}

/// Sends, or keeps what the kernel does not take. True when nothing is left over.
#[inline]
fn send(slf: &Bound<'_, TornadoStream>, data: Data<'_>) -> PyResult<bool> {
    let py = slf.py();
    let stream = slf.get();
    if let Some(place) = stream.place(py)? {
        if stream.tls.get() {
            return tls::send(slf, &place, data);
        }
        if stream.appended.replace(false) {
            write::queue(&place.core, place.key, data.keep(0));
            write::flush(&place.core, place.key)?;
        } else if !data.as_slice().is_empty() {
            // Refused: it is closing, which its caller sees.
            let _ = write::write(&place.core, place.key, data)?;
        }
        return Ok(waiting(&place) == 0);
    }
    let early = stream.inner.with(py, |inner, _| !inner.early.is_empty());
    let sent = if early {
        0
    } else if data.as_slice().is_empty() {
        return Ok(true);
    } else {
        match socket::send(TornadoStream::fd(slf)?, data.as_slice()) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => {
                failed(slf, &errors::os_error(py, &error))?;
                return Ok(false);
            }
        }
    };
    if sent == data.as_slice().len() && !early {
        return Ok(true);
    }
    let rest = data.keep(sent);
    stream.keep_early(py, rest);
    stream.appended.set(true);
    send_early(slf)?;
    Ok(!stream.closed.get() && stream.backlog(py)? == 0)
}

#[pymethods]
impl TornadoStream {
    /// Like `BaseIOStream.write`.
    #[inline]
    fn write<'py>(slf: &Bound<'py, Self>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let stream = slf.get();
        if stream.handed_over.get() {
            return slf.call_method1(intern!(py, "write"), (data,));
        }
        Self::check_closed(slf)?;
        let data = Data::lent(data, COPIED)?;
        let length = data.as_slice().len();
        if length > 0
            && let limit = stream.max_write_buffer_size.get()
            && limit != usize::MAX
            && stream.backlog(py)? + length > limit
        {
            let full = names::TORNADO_BUFFER_FULL.get(py)?;
            return Err(PyErr::from_value(
                full.call1(("Reached maximum write buffer size",))?,
            ));
        }
        let index = stream.total.get() + length as u64;
        stream.total.set(index);
        let future = stream.new_future(py)?;
        if stream.is_unready() {
            stream.keep_early(py, data.keep(0));
            stream.keep_future(py, index, &future)?;
            return Ok(future);
        }
        let all = send(slf, data)?;
        if stream.closed.get() {
            call::call_method1(
                &future,
                intern!(py, "set_exception"),
                Self::closed_error(slf).value(py).as_any(),
            )?;
            // It is the caller's to ignore.
            call::call_method0(&future, intern!(py, "exception"))?;
            return Ok(future);
        }
        if all {
            if stream.sending.get() {
                complete(slf)?;
            }
            call::call_method1(&future, intern!(py, "set_result"), py.None().bind(py))?;
        } else {
            stream.keep_future(py, index, &future)?;
            complete(slf)?;
        }
        if !stream.listening.get() {
            maybe_listen(slf)?;
        }
        Ok(future)
    }
}

/// What waits to be sent, as Tornado's `_StreamBuffer`: for who puts bytes there himself, to send them with `write(b"")`.
#[pyclass(frozen, module = "interloop._core")]
pub struct TornadoWriteBuffer {
    stream: Py<TornadoStream>,
}

impl TornadoWriteBuffer {
    pub fn new(stream: Py<TornadoStream>) -> Self {
        TornadoWriteBuffer { stream }
    }
}

#[pymethods]
impl TornadoWriteBuffer {
    /// Adds bytes, which the next `write()` sends.
    fn append(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let data = Data::lent(data, COPIED)?;
        let stream = self.stream.get();
        if data.as_slice().is_empty() || stream.cleared.get() {
            return Ok(());
        }
        let chunk: Chunk = data.keep(0);
        stream.appended.set(true);
        match stream.place(py)? {
            Some(place) if !stream.tls.get() => write::queue(&place.core, place.key, chunk),
            _ => stream.keep_early(py, chunk),
        }
        Ok(())
    }

    /// Drops what waits.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        let stream = self.stream.get();
        if let Some(place) = stream.place(py)?
            // Records have their numbers: one that is left out breaks all that follow.
            && !stream.tls.get()
        {
            adopted::discard(&place.core, place.key);
        }
        let old = stream.inner.with(py, |inner, _| inner.early.clear());
        drop(old);
        Ok(())
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        if self.stream.get().cleared.get() {
            return Ok(0);
        }
        self.stream.get().backlog(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.stream)
    }
}
