//! Listening for asyncio's servers: makes a protocol and a transport for each connection.

use std::io;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyTraverseError, PyVisit};

use super::opening::Start;
use super::streams;
use super::tls::{Settings, TlsTransport};
use super::transport::StreamTransport;
use crate::io::listener::{self, Acceptor};
use crate::io::medium::Medium;
use crate::py::call::{self, Entered};
use crate::py::cell::StateCell;
use crate::py::{errors, names};
use crate::runtime::{LoopCore, watch};
use crate::sys::addr::Address;
use crate::sys::{Fd, IntoRawFd, OwnedFd, socket};

struct Inner {
    factory: Option<Py<PyAny>>,
    server: Option<Py<PyAny>>,
    sock: Option<Py<PyAny>>,
    context: Option<Py<PyAny>>,
    /// What `interloop._loop.tls.settings` makes a connection's settings of.
    tls: Option<Py<PyTuple>>,
}

/// What a listening socket was started with; kept by the listener core.
#[pyclass(frozen, module = "interloop._core")]
pub struct Listening {
    inner: StateCell<Inner>,
    medium: Medium,
}

#[pymethods]
impl Listening {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.inner
            .try_with(|inner| {
                visit.call(inner.factory.as_ref())?;
                visit.call(inner.server.as_ref())?;
                visit.call(inner.sock.as_ref())?;
                visit.call(inner.tls.as_ref())?;
                visit.call(inner.context.as_ref())
            })
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let taken = self.inner.with(py, |inner, _| {
            (
                inner.factory.take(),
                inner.server.take(),
                inner.sock.take(),
                inner.context.take(),
                inner.tls.take(),
            )
        });
        drop(taken);
    }
}

#[pymethods]
impl LoopCore {
    /// Accepts connections on a listening socket, at most `backlog` a turn, each with a protocol of `factory`. Its
    /// callbacks run in copies of the context current now. With `tls`, a tuple of a context and two timeouts in seconds or
    /// None, each connection begins with a handshake.
    #[pyo3(signature = (factory, sock, server, backlog, tls=None))]
    fn _listen_stream(
        slf: &Bound<'_, Self>,
        factory: Py<PyAny>,
        sock: &Bound<'_, PyAny>,
        server: Option<Py<PyAny>>,
        backlog: usize,
        tls: Option<Py<PyTuple>>,
    ) -> PyResult<()> {
        let py = slf.py();
        slf.get().check_closed()?;
        let fd = watch::descriptor(sock)?;
        let family = socket::family(fd).map_err(|error| errors::os_error(py, &error))?;
        let listening = Bound::new(
            py,
            Listening {
                inner: StateCell::new(Inner {
                    factory: Some(factory),
                    server,
                    sock: Some(sock.clone().unbind()),
                    context: Some(call::copy_context(py)?.unbind()),
                    tls,
                }),
                medium: Medium::of(family),
            },
        )?;
        listener::listen(
            slf,
            fd,
            backlog.max(1),
            listening.into_any().unbind(),
            &AsyncioAcceptor,
        )?;
        Ok(())
    }

    /// Stops accepting on a listening socket; true when it did. The socket stays open.
    fn _stop_listening(slf: &Bound<'_, Self>, fd: Fd) -> bool {
        listener::stop(slf, fd)
    }
}

struct AsyncioAcceptor;

impl Acceptor for AsyncioAcceptor {
    fn accepted(
        &self,
        listening: &listener::Listening<'_, '_>,
        fd: OwnedFd,
        peer: &Address,
    ) -> PyResult<()> {
        let core = listening.core;
        let py = core.py();
        match make(listening, fd, peer) {
            Ok(()) => Ok(()),
            Err(error) if errors::is_fatal(py, &error) => Err(error),
            Err(error) => {
                names::REPORT_ACCEPT.get(py)?.call1((
                    core,
                    error,
                    "Error on transport creation for incoming connection",
                    py.None(),
                ))?;
                Ok(())
            }
        }
    }

    fn failed(&self, listening: &listener::Listening<'_, '_>, error: &io::Error) -> PyResult<bool> {
        let core = listening.core;
        let py = core.py();
        if !socket::is_out_of_resources(error) {
            return Err(errors::os_error(py, error));
        }
        let sock = listening
            .object
            .cast::<Listening>()?
            .get()
            .inner
            .with(py, |inner, refs| {
                inner.sock.as_ref().map(|sock| refs.clone(sock))
            });
        // Reports, stops listening, and starts again in a second: a level-triggered socket that cannot be accepted
        // from would turn the loop without end.
        names::REPORT_ACCEPT.get(py)?.call1((
            core,
            errors::os_error(py, error),
            "socket.accept() out of system resource",
            sock,
        ))?;
        Ok(false)
    }
}

fn make(listening: &listener::Listening<'_, '_>, fd: OwnedFd, peer: &Address) -> PyResult<()> {
    let py = listening.core.py();
    let object = listening.object.cast::<Listening>()?.get();
    let (factory, server, context, tls) = object.inner.with(py, |inner, refs| {
        (
            inner.factory.as_ref().map(|object| refs.clone(object)),
            inner.server.as_ref().map(|object| refs.clone(object)),
            inner.context.as_ref().map(|object| refs.clone(object)),
            inner.tls.as_ref().map(|object| refs.clone(object)),
        )
    });
    let (Some(factory), Some(context)) = (factory, context) else {
        return Ok(());
    };
    let context = call::copy_of_context(context.bind(py))?;
    let protocol = {
        let _entered = Entered::new(&context)?;
        streams::again(factory.bind(py).call0()?)?
    };
    let settings = match tls {
        Some(tls) => Some(Settings::of_server(tls.bind(py))?),
        None => None,
    };
    let start = Start {
        fd: fd.into_raw_fd(),
        medium: object.medium,
        sock: None,
        peer: Some(peer.named()),
        protocol,
        context,
        waiter: None,
        extra: None,
        server: server.map(|server| server.into_bound(py)),
    };
    match settings {
        None => StreamTransport::open(listening.core, start).map(drop),
        Some(settings) => TlsTransport::open(listening.core, start, settings).map(drop),
    }
}
