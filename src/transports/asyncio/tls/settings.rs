//! What a TLS connection is made with.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::py::names;
use crate::tls::engine::Engine;
use crate::tls::object;

/// Checked settings, and the engine made with them.
pub struct Settings<'py> {
    pub context: Bound<'py, PyAny>,
    /// Seconds.
    pub handshake_timeout: Bound<'py, PyAny>,
    pub shutdown_timeout: Bound<'py, PyAny>,
    pub engine: Box<dyn Engine>,
    /// The `ssl.SSLObject`.
    pub object: Bound<'py, PyAny>,
}

impl<'py> Settings<'py> {
    /// From what `interloop._loop.tls.settings` answers. Errors: those of `SSLContext.wrap_bio()`.
    pub fn new(tls: &Bound<'py, PyTuple>) -> PyResult<Self> {
        type Parts<'py> = (
            Bound<'py, PyAny>,
            bool,
            Option<Bound<'py, PyAny>>,
            Bound<'py, PyAny>,
            Bound<'py, PyAny>,
        );
        let (context, server_side, hostname, handshake_timeout, shutdown_timeout): Parts<'py> =
            tls.extract()?;
        let (engine, object) = object::engine(&context, server_side, hostname.as_ref())?;
        Ok(Settings {
            context,
            handshake_timeout,
            shutdown_timeout,
            engine,
            object,
        })
    }

    /// For an accepted connection, from a context and two timeouts. Errors: ValueError for a timeout that is not
    /// positive; those of `SSLContext.wrap_bio()`.
    pub fn of_server(tls: &Bound<'py, PyTuple>) -> PyResult<Self> {
        let settings = names::TLS_SETTINGS.get(tls.py())?.call1(tls)?;
        Settings::new(settings.cast::<PyTuple>()?)
    }
}
