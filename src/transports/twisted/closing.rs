//! Who has a connection's descriptor, and how the connection ends.
//!
//! An accepted connection has no Python socket until somebody asks for one: making, wrapping and closing it costs as much as
//! an echo.

use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyTuple};

use super::connection::TwistedConnection;
use super::{addresses, declared};
use crate::io::{adopted, stream};
use crate::py::{call, errors, names, sockets};
use crate::sys::{Fd, socket};

impl TwistedConnection {
    fn socket_object<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.inner
            .with(py, |inner, refs| {
                inner.socket.as_ref().map(|socket| refs.clone(socket))
            })
            .map(|socket| socket.into_bound(py))
    }

    /// Closes the descriptor that only we know, out of the loop already.
    fn close_fd(&self, orderly: bool) {
        let fd = self.fd.replace(-1);
        if fd < 0 {
            return;
        }
        // Either fails when the peer has gone, and then there is nothing to end. Orderly for children that were forked,
        // too: they would keep the connection open.
        let _ = if orderly {
            socket::shutdown(fd)
        } else {
            socket::reset_on_close(fd)
        };
        socket::close(fd);
    }
}

impl Drop for TwistedConnection {
    fn drop(&mut self) {
        // Forgotten: nobody called connectionLost.
        self.close_fd(true);
    }
}

#[pymethods]
impl TwistedConnection {
    /// The Python socket, made when it is asked for first. AttributeError when the connection is over.
    #[getter]
    fn socket<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let connection = slf.get();
        if let Some(socket) = connection.socket_object(py) {
            return Ok(socket);
        }
        let fd = connection.fd.get();
        if fd < 0 {
            let class = slf.get_type();
            return Err(PyAttributeError::new_err(format!(
                "'{}' object has no attribute 'socket'",
                class.name()?
            )));
        }
        let arguments = [("fileno", fd)].into_py_dict(py)?;
        let socket = names::SOCKET.get(py)?.call((), Some(&arguments))?;
        // From here on the Python socket closes it.
        connection.fd.set(-1);
        let kept = socket.clone().unbind();
        let old = connection
            .inner
            .with(py, |inner, _| inner.socket.replace(kept));
        drop(old);
        sockets::learn(&socket)?;
        if let Some(place) = connection.home.place(py) {
            // Which has to know when a program closes it.
            let owner = socket.clone().unbind();
            let old = stream::with(&place.core, place.key, |stream| stream.set_owner(owner));
            drop(old);
        }
        socket.call_method1(intern!(py, "setblocking"), (false,))?;
        Ok(socket)
    }

    #[setter]
    fn set_socket(&self, py: Python<'_>, socket: Py<PyAny>) {
        let old = self.inner.with(py, |inner, _| inner.socket.replace(socket));
        drop(old);
    }

    #[deleter]
    fn delete_socket(&self, py: Python<'_>) -> PyResult<()> {
        match self.inner.with(py, |inner, _| inner.socket.take()) {
            Some(socket) => {
                drop(socket);
                Ok(())
            }
            None => Err(PyAttributeError::new_err("socket")),
        }
    }

    /// Like `IFileDescriptor.fileno`: -1 when the connection is over.
    fn fileno(&self, py: Python<'_>) -> PyResult<Fd> {
        match self.socket_object(py) {
            Some(socket) => socket.call_method0(intern!(py, "fileno"))?.extract(),
            None => Ok(self.fd.get()),
        }
    }

    /// The local address, as `getHost` answers it; None when a Python socket has the descriptor, or has to name it.
    fn _host<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let known = self.inner.with(py, |inner, refs| {
            inner.host.as_ref().map(|host| refs.clone(host))
        });
        if let Some(host) = known {
            return addresses::make(host.bind(py)).map(Some);
        }
        let fd = self.fd.get();
        if fd < 0 {
            return Ok(None);
        }
        let name = socket::local_address(fd).map_err(|error| errors::os_error(py, &error))?;
        let Some(host) = addresses::tuple(py, &name)? else {
            return Ok(None);
        };
        let kept = host.clone().unbind();
        drop(self.inner.with(py, |inner, _| inner.host.replace(kept)));
        addresses::make(&host).map(Some)
    }

    /// The address that a tuple of the socket module names, as `getPeer` answers it.
    #[staticmethod]
    fn _address<'py>(name: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        addresses::make(name)
    }

    /// Sets TCP_NODELAY; false when a Python socket has the descriptor, or it has no such option.
    fn _set_nodelay(&self, enabled: bool) -> bool {
        let fd = self.fd.get();
        fd >= 0 && socket::set_nodelay(fd, enabled).is_ok()
    }

    /// Takes the connection out of its loop and closes its socket, with a reset unless `orderly`. AttributeError when there
    /// is none, as Twisted's own: a client whose set-up failed goes by it.
    #[pyo3(name = "_closeSocket")]
    fn close_socket(slf: &Bound<'_, Self>, orderly: bool) -> PyResult<()> {
        let py = slf.py();
        let connection = slf.get();
        let socket = connection.socket_object(py);
        if let Some(place) = connection.home.place(py) {
            // Before the number is free for somebody else. A Python socket may have a duplicate.
            let stream = adopted::take(&place.core, place.key, socket.is_some());
            connection.home.leave(py);
            drop(stream);
        }
        let registry = connection.inner.with(py, |inner, _| inner.registry.take());
        if let Some(registry) = registry {
            registry.bind(py).discard(slf)?;
        }
        if socket.is_some() {
            names::TWISTED_CLOSE_SOCKET.get(py)?.call1((slf, orderly))?;
        } else if connection.fd.get() >= 0 {
            connection.close_fd(orderly);
        } else {
            return Err(PyAttributeError::new_err("socket"));
        }
        Ok(())
    }

    /// Like `tcp.Connection.connectionLost`: the second time nothing.
    #[pyo3(name = "connectionLost")]
    fn connection_lost(slf: &Bound<'_, Self>, reason: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let connection = slf.get();
        if connection.socket_object(py).is_none() && connection.fd.get() < 0 {
            return Ok(());
        }
        connection.disconnected.set(true);
        connection.connected.set(false);
        if connection.has_producer.get() {
            slf.getattr(intern!(py, "producer"))?
                .call_method0(intern!(py, "stopProducing"))?;
            slf.setattr(intern!(py, "producer"), py.None())?;
        }
        // Through the instance, as Twisted's own does.
        call::call_method0(slf, intern!(py, "stopReading"))?;
        call::call_method0(slf, intern!(py, "stopWriting"))?;
        let orderly = reason.is(names::TWISTED_CONNECTION_DONE.get(py)?)
            || reason.is(names::TWISTED_CONNECTION_LOST.get(py)?)
            || !reason
                .call_method1(
                    intern!(py, "check"),
                    (names::TWISTED_CONNECTION_ABORTED.get(py)?,),
                )?
                .is_truthy()?;
        slf.call_method1(intern!(py, "_closeSocket"), (orderly,))?;
        let protocol = slf.getattr(intern!(py, "protocol"))?;
        slf.delattr(intern!(py, "protocol"))?;
        // For `repr()`, which log messages of the end have.
        slf.setattr(intern!(py, "_protocol_class"), protocol.get_type())?;
        // Looked for again: what was called may have asked for one.
        let socket = connection.inner.with(py, |inner, _| inner.socket.take());
        if socket.is_some() {
            drop(socket);
            // The bound method that Twisted's own constructor keeps.
            if let Err(error) = slf.delattr(intern!(py, "fileno"))
                && !error.is_instance_of::<PyAttributeError>(py)
            {
                return Err(error);
            }
        }
        call::call_method1(&protocol, intern!(py, "connectionLost"), reason)?;
        Ok(())
    }

    /// Like `tcp.Connection.readConnectionLost`.
    #[pyo3(name = "readConnectionLost")]
    fn read_connection_lost(slf: &Bound<'_, Self>, reason: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let protocol = slf.getattr(intern!(py, "protocol"))?;
        if let Some(half_closeable) = declared::half_closeable(&protocol)? {
            names::TWISTED_HALF_CLOSED
                .get(py)?
                .call1((slf, half_closeable))?;
        } else {
            call::call_method1(slf, intern!(py, "connectionLost"), reason)?;
        }
        Ok(())
    }
}
