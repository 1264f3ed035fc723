//! asyncio's face of a stream with TLS.

mod private;
mod settings;
mod sink;
mod transport;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

pub use self::settings::Settings;
pub use self::transport::TlsTransport;
use super::opening::Start;
use super::transport::StreamTransport;
use crate::io::medium::Medium;
use crate::py::{call, errors, names, stock};
use crate::runtime::LoopCore;
use crate::sys::{Fd, socket};
use crate::tls::object;

/// Adds the class, and the switch between engines.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<TlsTransport>()?;
    let class = module.py().get_type::<TlsTransport>();
    stock::lend(&class, &names::ASYNCIO_TLS_TRANSPORT)?;
    module.add_function(wrap_pyfunction!(_drive_openssl, module)?)
}

/// Whether new TLS connections drive OpenSSL directly where that is possible (they do), or always through the methods
/// of `ssl.SSLObject`; answers what was. For the tests of both ways.
#[pyfunction]
fn _drive_openssl(py: Python<'_>, wanted: bool) -> bool {
    object::use_direct(py, wanted)
}

#[pymethods]
impl LoopCore {
    /// A transport for a connected socket that begins with a TLS handshake. `tls` is what
    /// `interloop._loop.tls.settings` answers; `waiter` is done when the handshake is. Errors: those of
    /// `SSLContext.wrap_bio()`, OSError for what is no socket.
    #[pyo3(signature = (sock, protocol, tls, waiter=None, extra=None, server=None))]
    fn _open_tls<'py>(
        slf: &Bound<'py, Self>,
        sock: Bound<'py, PyAny>,
        protocol: Bound<'py, PyAny>,
        tls: &Bound<'py, PyTuple>,
        waiter: Option<Bound<'py, PyAny>>,
        extra: Option<Bound<'py, PyAny>>,
        server: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, TlsTransport>> {
        let py = slf.py();
        slf.get().check_closed()?;
        let settings = Settings::new(tls)?;
        let fd: Fd = sock.call_method0("fileno")?.extract()?;
        let family = socket::family(fd).map_err(|error| errors::os_error(py, &error))?;
        let start = Start {
            fd,
            medium: Medium::of(family),
            sock: Some(sock),
            peer: None,
            protocol,
            context: call::copy_context(py)?,
            waiter,
            extra: None,
            server,
        };
        let transport = TlsTransport::open(slf, start, settings)?;
        transport.as_super().get().keep_names(py);
        if let Some(extra) = extra
            && !extra.is_none()
        {
            transport
                .getattr("_extra")?
                .call_method1("update", (extra,))?;
        }
        Ok(transport)
    }

    /// Begins a TLS handshake on a transport's stream, and answers the transport that takes over from it. `waiter` is
    /// done when the handshake is.
    fn _begin_tls<'py>(
        _slf: &Bound<'py, Self>,
        transport: &Bound<'py, StreamTransport>,
        protocol: Bound<'py, PyAny>,
        tls: &Bound<'py, PyTuple>,
        waiter: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, TlsTransport>> {
        TlsTransport::open_over(transport, protocol, Settings::new(tls)?, waiter)
    }
}
