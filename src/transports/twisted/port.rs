//! `TwistedPort`: accepting for a Twisted port, each connection made in one go.

use std::io;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyDict, PySet, PyString, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::connection::TwistedConnection;
use super::{addresses, declared, log_context};
use crate::io::listener::{self, Acceptor, Listening};
use crate::io::medium::{Medium, Owner};
use crate::py::call::{self, Entered};
use crate::py::cell::{Flag, StateCell};
use crate::py::{address, names};
use crate::runtime::LoopCore;
use crate::sys::addr::{Address, Named};
use crate::sys::{Fd, IntoRawFd, OwnedFd};

/// As many as Twisted's ports accept in a turn at first.
const ACCEPTS: usize = 100;

struct Inner {
    core: Option<Py<LoopCore>>,
    /// In whose copies the connections live: the one in which the port began to listen.
    context: Option<Py<PyAny>>,
    /// What every connection's instance dict begins as.
    template: Option<Py<PyDict>>,
    registry: Option<Py<PySet>>,
}

/// The native half of a Twisted port. All methods belong to the reactor's thread.
#[pyclass(frozen, subclass, dict, weakref, module = "interloop._core")]
pub struct TwistedPort {
    inner: StateCell<Inner>,
    log: log_context::Kept,
    fd: Flag<Fd>,
    session: Flag<u64>,
    /// See `Handle`: false while CPython 3.11 makes the instance dict.
    built: bool,
}

#[pymethods]
impl TwistedPort {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        TwistedPort {
            inner: StateCell::new(Inner {
                core: None,
                context: None,
                template: None,
                registry: None,
            }),
            log: StateCell::new(None),
            fd: Flag::new(-1),
            session: Flag::new(0),
            built: true,
        }
    }

    /// Accepts connections on `fd`, which stays the caller's. Each gets a copy of `template` for its instance dict, and a
    /// place in `connections`. Nothing when it accepts already.
    fn _listen(
        slf: &Bound<'_, Self>,
        r#loop: &Bound<'_, LoopCore>,
        fd: Fd,
        template: Py<PyDict>,
        connections: Py<PySet>,
    ) -> PyResult<()> {
        let py = slf.py();
        r#loop.get().check_closed()?;
        if slf.get()._listening(py) {
            return Ok(());
        }
        listener::listen(
            r#loop,
            fd,
            ACCEPTS,
            slf.clone().into_any().unbind(),
            &TwistedAcceptor,
        )?;
        let context = call::copy_context(py)?.unbind();
        let core = r#loop.clone().unbind();
        slf.get().fd.set(fd);
        let old = slf.get().inner.with(py, |inner, _| {
            std::mem::replace(
                inner,
                Inner {
                    core: Some(core),
                    context: Some(context),
                    template: Some(template),
                    registry: Some(connections),
                },
            )
        });
        drop(old);
        Ok(())
    }

    /// Stops accepting. Nothing when it does not.
    fn _unlisten(&self, py: Python<'_>) {
        let core = self.inner.with(py, |inner, _| inner.core.take());
        let fd = self.fd.replace(-1);
        if let Some(core) = core {
            listener::stop(core.bind(py), fd);
        }
    }

    /// Whether it accepts.
    #[getter]
    fn _listening(&self, py: Python<'_>) -> bool {
        self.inner.with(py, |inner, _| inner.core.is_some())
    }

    /// How many connections it has accepted.
    #[getter]
    fn sessionno(&self) -> u64 {
        self.session.get()
    }

    #[setter]
    fn set_sessionno(&self, value: u64) {
        self.session.set(value);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if !self.built {
            return Ok(());
        }
        self.inner
            .try_with(|inner| {
                visit.call(inner.core.as_ref())?;
                visit.call(inner.context.as_ref())?;
                visit.call(inner.template.as_ref())?;
                visit.call(inner.registry.as_ref())
            })
            .unwrap_or(Ok(()))?;
        log_context::visit(&self.log, &visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        let taken = self.inner.with(py, |inner, _| {
            (
                inner.core.take(),
                inner.context.take(),
                inner.template.take(),
                inner.registry.take(),
            )
        });
        let log = self.log.with(py, |log, _| log.take());
        drop((taken, log));
    }
}

struct TwistedAcceptor;

impl Acceptor for TwistedAcceptor {
    fn accepted(&self, listening: &Listening<'_, '_>, fd: OwnedFd, peer: &Address) -> PyResult<()> {
        let port = listening.object.cast::<TwistedPort>()?;
        in_context(port, |context| {
            make(listening.core, port, context, fd, peer)
        })
    }

    fn failed(&self, listening: &Listening<'_, '_>, _error: &io::Error) -> PyResult<bool> {
        // Twisted's own method meets the same error, and knows what to do: it keeps a descriptor for the case that there
        // are no more.
        let port = listening.object.cast::<TwistedPort>()?;
        in_context(port, |_| {
            names::TWISTED_CANNOT_ACCEPT
                .get(port.py())?
                .call1((port,))?;
            Ok(())
        })?;
        Ok(false)
    }
}

/// Runs `body` in a copy of the port's context, and in its log context. What is raised is logged, whatever it is, as
/// Twisted's ports do.
fn in_context<'py>(
    port: &Bound<'py, TwistedPort>,
    body: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<()>,
) -> PyResult<()> {
    let py = port.py();
    let context = port.get().inner.with(py, |inner, refs| {
        inner.context.as_ref().map(|context| refs.clone(context))
    });
    let Some(context) = context else {
        return Ok(());
    };
    let context = call::copy_of_context(context.bind(py))?;
    let _entered = Entered::new(&context)?;
    // What its prefix is made of.
    let logging = port
        .getattr(intern!(py, "factory"))
        .and_then(|factory| log_context::enter_kept(&port.get().log, port.as_any(), factory));
    let result = match &logging {
        Ok(_) => body(&context),
        Err(error) => Err(error.clone_ref(py)),
    };
    if let Err(error) = result {
        names::TWISTED_ACCEPT_FAILED.get(py)?.call1((port, error))?;
    }
    Ok(())
}

/// Who has come, and what becomes of it.
struct Caller<'py> {
    class: Bound<'py, PyAny>,
    medium: Medium,
    /// What the factory is asked with.
    address: Bound<'py, PyAny>,
    client: Bound<'py, PyTuple>,
}

/// None for a port whose `transport` is none of ours, and for an address that Python's socket module has to name.
fn caller<'py>(
    port: &Bound<'py, TwistedPort>,
    peer: &Address,
    name: Option<&Py<PyAny>>,
) -> PyResult<Option<Caller<'py>>> {
    let py = port.py();
    let class = port.getattr(intern!(py, "transport"))?;
    if let Some(name) = name {
        if !class.is(names::TWISTED_UNIX_SERVER.get(py)?) {
            return Ok(None);
        }
        return Ok(Some(Caller {
            class,
            medium: Medium::Passing,
            address: call::call_method1(port, intern!(py, "_buildAddr"), name.bind(py))?,
            client: (name, py.None()).into_pyobject(py)?,
        }));
    }
    if !class.is(names::TWISTED_SERVER.get(py)?) {
        return Ok(None);
    }
    let Some(client) = addresses::tuple(py, peer)? else {
        return Ok(None);
    };
    Ok(Some(Caller {
        class,
        medium: Medium::Tcp,
        address: addresses::make(&client)?,
        client,
    }))
}

/// Makes a protocol and a transport.
fn make(
    core: &Bound<'_, LoopCore>,
    port: &Bound<'_, TwistedPort>,
    context: &Bound<'_, PyAny>,
    fd: OwnedFd,
    peer: &Address,
) -> PyResult<()> {
    let py = port.py();
    let name = match peer.named() {
        named @ Named::Unix(_) => Some(address::to_python(py, Some(&named))?),
        _ => None,
    };
    let Some(caller) = caller(port, peer, name.as_ref())? else {
        // With a Python socket, which closes it.
        names::TWISTED_ACCEPT
            .get(py)?
            .call1((port, fd.into_raw_fd(), name))?;
        return Ok(());
    };
    let factory = port.getattr(intern!(py, "factory"))?;
    let protocol = call::call_method1(&factory, intern!(py, "buildProtocol"), &caller.address)?;
    if protocol.is_none() {
        return Ok(());
    }
    let session = port.get().session.get();
    port.get().session.set(session + 1);
    let state = port.get().inner.with(py, |inner, refs| {
        Some((
            refs.clone(inner.template.as_ref()?),
            refs.clone(inner.registry.as_ref()?),
        ))
    });
    let Some((template, registry)) = state else {
        return Ok(());
    };
    let class = &caller.class;
    let transport = class
        .call_method1(intern!(py, "__new__"), (class,))?
        .cast_into::<TwistedConnection>()?;
    let host = caller.client.get_item(0)?;
    let attributes = template.bind(py).copy()?;
    attributes.set_item(intern!(py, "protocol"), &protocol)?;
    attributes.set_item(intern!(py, "client"), &caller.client)?;
    attributes.set_item(intern!(py, "hostname"), &host)?;
    attributes.set_item(intern!(py, "sessionno"), session)?;
    if caller.client.len() != 2 {
        attributes.set_item(intern!(py, "_addressType"), caller.address.get_type())?;
    }
    // As `tcp.Server` makes it: the protocol's prefix, the session, the peer.
    let prefix = declared::log_prefix(&transport, &protocol)?;
    let host = host.str()?;
    let log_string = format!("{},{session},{}", prefix.to_str()?, host.to_str()?);
    let log_string = PyString::new(py, &log_string);
    log_context::derive(&port.get().log, &transport, &log_string)?;
    attributes.set_item(intern!(py, "logstr"), log_string)?;
    transport.setattr(intern!(py, "__dict__"), attributes)?;
    let fd = fd.into_raw_fd();
    transport.get().fd.set(fd);
    TwistedConnection::enter_loop(
        &transport,
        core,
        fd,
        caller.medium,
        Owner::Face,
        context.clone(),
        registry.bind(py),
    )?;
    transport.get().connected.set(true);
    call::call_method1(&protocol, intern!(py, "makeConnection"), &transport)?;
    Ok(())
}
