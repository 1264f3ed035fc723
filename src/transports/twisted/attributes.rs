//! The attributes of Twisted's transports that each `write` asks for, or that change what follows the last byte.

use pyo3::prelude::*;

use super::connection::TwistedConnection;
use crate::io::adopted;

#[pymethods]
impl TwistedConnection {
    #[getter]
    fn producer(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| {
            inner.producer.as_ref().map(|producer| refs.clone(producer))
        })
    }

    #[setter(producer)]
    fn set_producer(&self, py: Python<'_>, producer: Option<Py<PyAny>>) {
        self.has_producer.set(producer.is_some());
        let old = self.inner.with(py, |inner, _| {
            std::mem::replace(&mut inner.producer, producer)
        });
        drop(old);
        self.tell_drained(py);
    }

    #[getter]
    fn connected(&self) -> bool {
        self.connected.get()
    }

    #[setter(connected)]
    fn set_connected(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.connected.set(value.is_truthy()?);
        Ok(())
    }

    #[getter]
    fn disconnected(&self) -> bool {
        self.disconnected.get()
    }

    #[setter(disconnected)]
    fn set_disconnected(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.disconnected.set(value.is_truthy()?);
        Ok(())
    }

    #[getter]
    fn disconnecting(&self) -> bool {
        self.disconnecting.get()
    }

    #[setter(disconnecting)]
    fn set_disconnecting(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.disconnecting.set(value.is_truthy()?);
        self.tell_drained(value.py());
        Ok(())
    }

    #[getter(_writeDisconnecting)]
    fn write_disconnecting(&self) -> bool {
        self.write_disconnecting.get()
    }

    #[setter(_writeDisconnecting)]
    fn set_write_disconnecting(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.write_disconnecting.set(value.is_truthy()?);
        self.tell_drained(value.py());
        Ok(())
    }

    #[getter(_writeDisconnected)]
    fn write_disconnected(&self) -> bool {
        self.write_disconnected.get()
    }

    #[setter(_writeDisconnected)]
    fn set_write_disconnected(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.write_disconnected.set(value.is_truthy()?);
        self.tell_drained(value.py());
        Ok(())
    }

    #[getter(_aborting)]
    fn aborting(&self) -> bool {
        self.aborting.get()
    }

    /// Set by `abortConnection`: what waits to be sent is dropped, and nothing is accepted any more.
    #[setter(_aborting)]
    fn set_aborting(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let aborting = value.is_truthy()?;
        self.aborting.set(aborting);
        self.tell_drained(value.py());
        if aborting && let Some(place) = self.home.place(value.py()) {
            adopted::discard(&place.core, place.key);
        }
        Ok(())
    }

    /// Whether the protocol is one that encrypts: then it is given what is written.
    #[getter(TLS)]
    fn tls(&self) -> bool {
        self.tls.get()
    }

    #[setter(TLS)]
    fn set_tls(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.tls.set(value.is_truthy()?);
        Ok(())
    }
}
