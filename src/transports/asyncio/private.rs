//! What suites and libraries touch of asyncio's transports without being invited to: `_sock`, `_extra`, `_protocol`.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::transport::StreamTransport;
use crate::io::file::{self, Portion};
use crate::io::stream;
use crate::py::names;
use crate::runtime::LoopCore;
use crate::runtime::core::SCRATCH;
use crate::sys::{Fd, socket};

impl StreamTransport {
    /// The dict that `get_extra_info` answers from, with what a transport beneath knows.
    pub(super) fn extra(
        slf: &Bound<'_, Self>,
        beneath: Option<&Bound<'_, StreamTransport>>,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let transport = slf.get();
        let existing = transport.inner.with(py, |inner, refs| {
            inner.extra.as_ref().map(|object| refs.clone(object))
        });
        if let Some(extra) = existing {
            return Ok(extra);
        }
        let extra = match beneath {
            Some(beneath) => beneath.getattr("_extra")?.call_method0("copy")?.unbind(),
            None => {
                let sock = Self::_sock(slf)?;
                let (sockname, peername) = transport.names(py)?.unzip();
                names::TRANSPORT_EXTRA
                    .get(py)?
                    .call1((sock, sockname, peername))?
                    .unbind()
            }
        };
        let kept = extra.clone_ref(py);
        let old = transport
            .inner
            .with(py, |inner, _| inner.extra.replace(kept));
        drop(old);
        Ok(extra)
    }
}

#[pymethods]
impl StreamTransport {
    #[getter]
    fn _protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.get_protocol(py)
    }

    #[setter(_protocol)]
    fn set_own_protocol(slf: &Bound<'_, Self>, protocol: Bound<'_, PyAny>) -> PyResult<()> {
        Self::set_protocol(slf, protocol)
    }

    #[getter]
    fn _loop(&self) -> &Py<LoopCore> {
        &self.core
    }

    #[getter]
    fn _server(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| {
            inner.server.as_ref().map(|object| refs.clone(object))
        })
    }

    #[getter]
    fn _closing(slf: &Bound<'_, Self>) -> bool {
        Self::is_closing(slf)
    }

    #[getter]
    fn _paused(slf: &Bound<'_, Self>) -> bool {
        !Self::is_reading(slf)
    }

    /// The Python socket of the connection. For an accepted one it is made now, and owns the descriptor from then on.
    #[getter]
    fn _sock(slf: &Bound<'_, Self>) -> PyResult<Option<Py<PyAny>>> {
        let py = slf.py();
        let transport = slf.get();
        let existing = transport.inner.with(py, |inner, refs| {
            inner.sock.as_ref().map(|object| refs.clone(object))
        });
        let fd = transport.fd.get();
        if existing.is_some() || fd < 0 {
            return Ok(existing);
        }
        let core = transport.bound_core(py);
        // Another transport on the same stream (before or after `start_tls`) may have made it.
        let known = core.get().state.with(py, |state, refs| {
            let stream = state.driver::<stream::Stream>(transport.key())?;
            stream.set_nodelay();
            Some(stream.owner().map(|owner| refs.clone(owner)))
        });
        match known {
            Some(Some(owner)) => {
                let kept = owner.clone_ref(py);
                transport.inner.with(py, |inner, _| inner.sock = Some(kept));
                return Ok(Some(owner));
            }
            // The loop was closed, and the descriptor with it.
            None if !transport.ending.get() => return Ok(None),
            None => {
                // As it would have been; refused by what is no TCP socket.
                let _ = socket::set_nodelay(fd, true);
            }
            Some(None) => {}
        }
        let kwargs = pyo3::types::PyDict::new(py);
        kwargs.set_item("fileno", fd)?;
        let sock = py
            .import("socket")?
            .getattr("socket")?
            .call((), Some(&kwargs))?
            .unbind();
        let (owner, kept) = (sock.clone_ref(py), sock.clone_ref(py));
        stream::with(core, transport.key(), |stream| stream.set_owner(owner));
        transport.inner.with(py, |inner, _| inner.sock = Some(kept));
        Ok(Some(sock))
    }

    /// What `get_extra_info` answers from.
    #[getter]
    fn _extra(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Self::extra(slf, None)
    }

    #[setter(_extra)]
    fn set_own_extra(&self, py: Python<'_>, extra: Py<PyAny>) {
        let old = self.inner.with(py, |inner, _| inner.extra.replace(extra));
        drop(old);
    }

    /// The descriptor, -1 once it is closed.
    #[getter]
    fn _sock_fd(&self) -> Fd {
        self.fd.get()
    }

    /// For the repr: (fd or -1, closed, closing, reading, bytes buffered).
    fn _describe<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let closed = slf.get().fd.get() < 0;
        (
            slf.get().fd.get(),
            closed,
            Self::is_closing(slf),
            Self::is_reading(slf),
            Self::get_write_buffer_size(slf),
        )
            .into_pyobject(slf.py())
    }

    /// Whether the protocol was asked to pause writing and not yet to resume.
    #[getter]
    fn _protocol_paused(slf: &Bound<'_, Self>) -> bool {
        stream::with(slf.get().bound_core(slf.py()), slf.get().key(), |stream| {
            stream.marks().paused()
        })
        .unwrap_or(false)
    }

    /// How `loop.sendfile()` may use the transport: by the kernel's own call, unless the bytes must go through a layer.
    #[getter]
    fn _sendfile_compatible<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let core = slf.get().bound_core(py);
        match stream::with(core, slf.get().key(), |stream| stream.has_layer()) {
            Some(true) => names::SENDFILE_FALLBACK.get(py),
            _ => names::SENDFILE_TRY_NATIVE.get(py),
        }
    }

    /// Sends a file behind what is buffered; answers a Future of the number of bytes sent. Errors: ConnectionError when
    /// the connection is closed, RuntimeError when a file is being sent.
    fn _send_file<'py>(
        slf: &Bound<'py, Self>,
        file: Fd,
        offset: u64,
        count: Option<u64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let core = slf.get().bound_core(py);
        let future = core.call_method0(pyo3::intern!(py, "create_future"))?;
        let waiting = future.clone().unbind();
        let portion = Portion::new(file, offset, count);
        file::start(core, slf.get().key(), portion, waiting)?;
        Ok(future)
    }

    /// Stops sending the file whose Future that is, if any of it is left.
    fn _stop_file(slf: &Bound<'_, Self>, sending: Py<PyAny>) -> PyResult<()> {
        file::stop(slf.get().bound_core(slf.py()), slf.get().key(), &sending)
    }

    #[classattr]
    fn _start_tls_compatible() -> bool {
        true
    }

    /// What one read brings at most, in bytes. Not to be changed: stock's can be.
    #[classattr]
    fn max_size() -> usize {
        SCRATCH
    }
}
