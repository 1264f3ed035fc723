//! The attributes of Tornado's streams: those that its own code and libraries (Distributed) read and write, with the
//! names and meanings they have there.

use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::limit::Limit;
use super::reading;
use super::stream::TornadoStream;
use super::want::Want;
use super::writing::{self, TornadoWriteBuffer};
use crate::io::medium::Medium;
use crate::proto::pending_read;
use crate::py::{errors, names};
use crate::sys::socket;

#[pymethods]
impl TornadoStream {
    /// The socket; None once it is closed, or somebody else's.
    #[getter]
    fn socket<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.own_socket(py)
    }

    #[setter(socket)]
    fn set_socket(&self, py: Python<'_>, value: Py<PyAny>) {
        let old = self.inner.with(py, |inner, _| inner.socket.replace(value));
        drop(old);
        self.medium.set(None);
    }

    /// The IOLoop it belongs to.
    #[getter]
    fn io_loop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.inner
            .with(py, |inner, refs| {
                inner.io_loop.as_ref().map(|io_loop| refs.clone(io_loop))
            })
            .ok_or_else(|| PyAttributeError::new_err("io_loop"))
    }

    #[setter(io_loop)]
    fn set_io_loop(&self, py: Python<'_>, value: Py<PyAny>) {
        let old = self.inner.with(py, |inner, _| inner.io_loop.replace(value));
        drop(old);
    }

    /// Bytes that may wait to be read.
    #[getter]
    fn max_buffer_size(&self) -> usize {
        self.max_buffer_size.get()
    }

    #[setter(max_buffer_size)]
    fn set_max_buffer_size(&self, value: Limit) {
        self.max_buffer_size.set(value.0);
    }

    /// Bytes that one read takes.
    #[getter]
    fn read_chunk_size(&self) -> usize {
        self.read_chunk_size.get()
    }

    #[setter(read_chunk_size)]
    fn set_read_chunk_size(&self, value: Limit) {
        self.read_chunk_size.set(value.0);
    }

    /// Bytes that may wait to be sent; None for any number.
    #[getter]
    pub(super) fn max_write_buffer_size(&self) -> Option<usize> {
        Some(self.max_write_buffer_size.get()).filter(|limit| *limit != usize::MAX)
    }

    #[setter(max_write_buffer_size)]
    pub(super) fn set_max_write_buffer_size(&self, value: Option<Limit>) {
        let limit = value.map_or(usize::MAX, |value| value.0);
        self.max_write_buffer_size.set(limit);
    }

    /// Whether a read is pending.
    fn reading(&self, py: Python<'_>) -> bool {
        self.is_reading(py)
    }

    /// Whether bytes wait to be sent.
    fn writing(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(!self.cleared.get() && self.backlog(py)? > 0)
    }

    /// Whether it was closed.
    fn closed(&self) -> bool {
        self.closed.get()
    }

    /// Like `IOStream.set_nodelay`.
    fn set_nodelay(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        if slf.get().own_socket(py)?.is_none() {
            return Ok(());
        }
        let fd = Self::fd(slf)?;
        let Err(error) = (if slf.get().medium(fd) == Medium::Tcp {
            socket::set_nodelay(fd, value.is_truthy()?)
        } else {
            Ok(())
        }) else {
            return Ok(());
        };
        // As Tornado has it: the socket may be closed, or its peer gone, at just the wrong time.
        let invalid = error.kind() == std::io::ErrorKind::InvalidInput;
        let error = errors::os_error(py, &error);
        let reset = slf.call_method1(intern!(py, "_is_connreset"), (error.value(py),))?;
        if invalid || reset.is_truthy()? {
            return Ok(());
        }
        Err(error)
    }

    #[getter]
    fn _closed(&self) -> bool {
        self.closed.get()
    }

    #[setter(_closed)]
    fn set_closed(&self, value: bool) {
        self.closed.set(value);
    }

    #[getter]
    fn _connecting(&self) -> bool {
        self.connecting.get()
    }

    #[setter(_connecting)]
    fn set_connecting(&self, value: bool) {
        self.connecting.set(value);
    }

    /// Whether its TLS handshake is still to be made.
    #[getter]
    fn _ssl_accepting(&self) -> bool {
        self.handshaking.get()
    }

    #[setter(_ssl_accepting)]
    fn set_ssl_accepting(&self, value: bool) {
        self.handshaking.set(value);
    }

    #[getter]
    fn _read_future(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| {
            inner.future.as_ref().map(|future| refs.clone(future))
        })
    }

    #[setter(_read_future)]
    fn set_read_future(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        let old = self
            .inner
            .with(py, |inner, _| std::mem::replace(&mut inner.future, value));
        drop(old);
    }

    /// What has arrived and nobody has taken: a copy.
    #[getter]
    fn _read_buffer<'py>(slf: &Bound<'py, Self>) -> Bound<'py, PyBytes> {
        reading::contents(slf)
    }

    /// How many bytes have arrived for the pending read, or for the next.
    #[getter]
    fn _read_buffer_size(&self, py: Python<'_>) -> usize {
        self.inner.with(py, |inner, _| match &inner.want {
            Some(Want::Into(into)) => into.filled,
            _ => inner.buffer.len(),
        })
    }

    #[getter]
    fn _read_until_close(&self, py: Python<'_>) -> bool {
        self.inner.with(py, |inner, _| {
            matches!(&inner.want, Some(Want::Bytes(read)) if *read.want() == pending_read::Want::UntilClose)
        })
    }

    /// False: it is not to be given what there is, if anything still is.
    #[setter(_read_until_close)]
    fn set_read_until_close(&self, py: Python<'_>, value: bool) {
        if !value && self._read_until_close(py) {
            let old = self.inner.with(py, |inner, _| inner.want.take());
            drop(old);
        }
    }

    /// What waits to be sent; None once the stream is closed.
    #[getter]
    fn _write_buffer(slf: &Bound<'_, Self>) -> Option<TornadoWriteBuffer> {
        (!slf.get().cleared.get()).then(|| TornadoWriteBuffer::new(slf.clone().unbind()))
    }

    /// Gone, as `close()` says.
    #[setter(_write_buffer)]
    fn set_write_buffer(&self, _value: &Bound<'_, PyAny>) {
        self.cleared.set(true);
    }

    /// The number of the last byte that was written; who puts bytes into the write buffer himself counts them here.
    #[getter]
    fn _total_write_index(&self) -> u64 {
        self.total.get()
    }

    #[setter(_total_write_index)]
    fn set_total_write_index(&self, value: u64) {
        self.total.set(value);
    }

    #[getter]
    fn _total_write_done_index(&self, py: Python<'_>) -> PyResult<u64> {
        self.done_index(py)
    }

    /// The writes that wait: a deque of (number of the last byte, Future).
    #[getter]
    pub(super) fn _write_futures(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let known = self.inner.with(py, |inner, refs| {
            inner
                .write_futures
                .as_ref()
                .map(|futures| refs.clone(futures))
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let made = names::DEQUE.get(py)?.call0()?.unbind();
        let kept = made.clone_ref(py);
        let old = self
            .inner
            .with(py, |inner, _| inner.write_futures.replace(kept));
        drop(old);
        Ok(made)
    }

    /// Whether nothing is under way or buffered in either direction.
    #[getter]
    fn _idle(&self, py: Python<'_>) -> PyResult<bool> {
        let quiet = self.inner.with(py, |inner, _| {
            inner.future.is_none() && inner.buffer.is_empty()
        });
        Ok(quiet
            && !self.is_unready()
            && !self.closed.get()
            && !self.sending.get()
            && self.backlog(py)? == 0)
    }

    fn _find_read_pos(slf: &Bound<'_, Self>) -> PyResult<Option<usize>> {
        reading::poll(slf)
    }

    fn _read_from_buffer(slf: &Bound<'_, Self>, pos: usize) -> PyResult<()> {
        reading::finish(slf, pos)
    }

    fn _finish_read(slf: &Bound<'_, Self>, size: usize) -> PyResult<()> {
        reading::finish(slf, size)
    }

    fn _check_closed(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::check_closed(slf)
    }

    /// Reads what is there. Answers how many bytes satisfy the pending read.
    fn _read_to_buffer_loop(slf: &Bound<'_, Self>) -> PyResult<Option<usize>> {
        reading::read_all(slf)
    }

    /// Has the loop tell when there are bytes.
    fn _wait(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::listen(slf)
    }

    /// Has an idle stream's end noticed, if somebody wants to hear of it.
    fn _maybe_add_error_listener(slf: &Bound<'_, Self>) -> PyResult<()> {
        reading::maybe_listen(slf)
    }

    fn _handle_write(slf: &Bound<'_, Self>) -> PyResult<()> {
        writing::send_early(slf)
    }
}
