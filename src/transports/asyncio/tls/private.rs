//! What suites and libraries touch of asyncio's TLS transports without being invited to: `_ssl_protocol`, `_extra`.

use pyo3::prelude::*;

use super::super::transport::StreamTransport;
use super::transport::TlsTransport;
use crate::py::names;

impl TlsTransport {
    /// The connection beneath, which a TLS connection has taken over, is gone.
    pub(super) fn lost_beneath(beneath: &Bound<'_, StreamTransport>) -> PyResult<()> {
        beneath.get().forget_connected();
        beneath.get().lost(beneath, None)?;
        let below = match beneath.cast::<TlsTransport>() {
            Ok(tls) => tls
                .get()
                .inner
                .with(beneath.py(), |inner, _| inner.beneath.take()),
            Err(_) => None,
        };
        match below {
            Some(below) => Self::lost_beneath(below.bind(beneath.py())),
            None => Ok(()),
        }
    }
}

#[pymethods]
impl TlsTransport {
    /// What `get_extra_info` answers from. Once the handshake is over it knows of the peer.
    #[getter]
    fn _extra(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let tls = slf.get();
        let base = slf.as_super();
        let (context, object, beneath) = tls.inner.with(py, |inner, refs| {
            (
                inner.context.as_ref().map(|object| refs.clone(object)),
                inner.object.as_ref().map(|object| refs.clone(object)),
                inner.beneath.as_ref().map(|object| refs.clone(object)),
            )
        });
        let extra = StreamTransport::extra(base, beneath.as_ref().map(|beneath| beneath.bind(py)))?;
        if !tls.extra_complete.get() {
            let established = tls.established.get();
            let object = object.filter(|_| established);
            names::TLS_EXTRA.get(py)?.call1((&extra, context, object))?;
            tls.extra_complete.set(established);
        }
        Ok(extra)
    }

    /// What stands for asyncio's `SSLProtocol`.
    #[getter]
    fn _ssl_protocol(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let tls = slf.get();
        let existing = tls.inner.with(py, |inner, refs| {
            inner.view.as_ref().map(|object| refs.clone(object))
        });
        if let Some(view) = existing {
            return Ok(view);
        }
        let view = names::TLS_VIEW.get(py)?.call1((slf,))?.unbind();
        let kept = view.clone_ref(py);
        let old = tls.inner.with(py, |inner, _| inner.view.replace(kept));
        drop(old);
        Ok(view)
    }

    #[getter]
    fn _sslcontext(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| {
            inner.context.as_ref().map(|object| refs.clone(object))
        })
    }

    #[getter]
    fn _sslobj(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| {
            inner.object.as_ref().map(|object| refs.clone(object))
        })
    }

    /// "direct" when OpenSSL is driven without Python, "object" when the methods of `ssl.SSLObject` are called.
    #[getter]
    fn _engine(&self) -> &'static str {
        self.engine
    }

    /// The transport that `start_tls` was called on.
    #[getter]
    fn _beneath(&self, py: Python<'_>) -> Option<Py<StreamTransport>> {
        self.inner.with(py, |inner, refs| {
            inner.beneath.as_ref().map(|object| refs.clone(object))
        })
    }

    /// How `loop.sendfile()` may use the transport.
    #[getter]
    fn _sendfile_compatible<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        names::SENDFILE_FALLBACK.get(py)
    }

    /// asyncio's own test puts bytes behind its transport's back; for ours they are written.
    #[pyo3(name = "_test__append_write_backlog")]
    fn append_write_backlog(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        slf.call_method1(pyo3::intern!(slf.py(), "write"), (data,))
            .map(drop)
    }
}
