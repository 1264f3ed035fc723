//! `DatagramTransport`: what asyncio programs hold for a UDP or Unix datagram socket.

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::protocol::Target;
use crate::io::datagram::{self, Datagrams, Face, Options, Phase, Port, Sink};
use crate::io::sink::Failed;
use crate::poll::Key;
use crate::proto::marks::{Pressure, WaterMarks};
use crate::py::address::{Kind, Naming};
use crate::py::bytes::Data;
use crate::py::cell::{Flag, StateCell};
use crate::py::{call, errors, names};
use crate::runtime::LoopCore;
use crate::runtime::core::SCRATCH;
use crate::sys::{Fd, socket};

/// From 3.13 on an empty datagram is sent, and each that waits counts a little more than its bytes.
const OVERHEAD: usize = if cfg!(Py_3_13) { 8 } else { 0 };
const SENDS_EMPTY: bool = cfg!(Py_3_13);

struct Inner {
    protocol: Option<Py<PyAny>>,
    context: Option<Py<PyAny>>,
    extra: Option<Py<PyAny>>,
    waiter: Option<Py<PyAny>>,
    sock: Option<Py<PyAny>>,
    /// `remote_addr`, as it was resolved: the only address that may be sent to.
    address: Option<Py<PyAny>>,
}

/// A UDP or Unix datagram socket, like the transport of `loop.create_datagram_endpoint()`; isinstance says
/// `asyncio.DatagramTransport`. All methods belong to the loop's thread.
#[pyclass(frozen, dict, weakref, module = "interloop._core")]
pub struct DatagramTransport {
    core: Py<LoopCore>,
    key: Flag<Key>,
    inner: StateCell<Inner>,
    fd: Flag<Fd>,
    connected: Flag<bool>,
    /// How many datagrams came after the end was decided.
    late: Flag<u32>,
    /// See `Handle`: false while CPython 3.11 makes the instance dict.
    built: bool,
}

impl DatagramTransport {
    fn core<'py>(&self, py: Python<'py>) -> &Bound<'py, LoopCore> {
        self.core.bind(py)
    }

    fn with<R: Send>(
        slf: &Bound<'_, Self>,
        body: impl FnOnce(&mut Datagrams) -> R + Send,
    ) -> Option<R> {
        let transport = slf.get();
        datagram::with(transport.core(slf.py()), transport.key.get(), body)
    }

    fn phase(slf: &Bound<'_, Self>) -> Option<Phase> {
        Self::with(slf, |port| port.phase())
    }

    #[inline]
    fn target<'py>(&self, py: Python<'py>) -> Option<Target<'py>> {
        let (protocol, context) = self.inner.with(py, |inner, refs| {
            Some((
                refs.clone(inner.protocol.as_ref()?),
                refs.clone(inner.context.as_ref()?),
            ))
        })?;
        Some(Target {
            protocol: protocol.into_bound(py),
            context: context.into_bound(py),
            buffered: false,
            streams: false,
        })
    }

    fn get<'py>(
        &self,
        py: Python<'py>,
        pick: impl FnOnce(&Inner) -> Option<&Py<PyAny>> + Send,
    ) -> Option<Bound<'py, PyAny>> {
        self.inner
            .with(py, |inner, refs| {
                pick(inner).map(|object| refs.clone(object))
            })
            .map(|object| object.into_bound(py))
    }

    /// A callback raised: as stock runs them, the loop's exception handler is told and the transport stays open.
    #[cold]
    fn report(
        slf: &Bound<'_, Self>,
        target: &Target<'_>,
        name: &str,
        error: PyErr,
        arguments: &Bound<'_, PyTuple>,
    ) -> PyResult<()> {
        let py = slf.py();
        if errors::is_fatal(py, &error) {
            return Err(error);
        }
        let _entered = call::enter(&target.context);
        names::REPORT_PORT.get(py)?.call1((
            slf.get().core(py),
            slf,
            error,
            target.protocol.getattr(name)?,
            arguments,
        ))?;
        Ok(())
    }
}

#[pymethods]
impl DatagramTransport {
    #[new]
    #[pyo3(signature = (r#loop, sock, protocol, address=None, waiter=None, extra=None))]
    fn new<'py>(
        r#loop: &Bound<'py, LoopCore>,
        sock: Bound<'py, PyAny>,
        protocol: Bound<'py, PyAny>,
        address: Option<Bound<'py, PyAny>>,
        waiter: Option<Bound<'py, PyAny>>,
        extra: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let py = sock.py();
        r#loop.get().check_closed()?;
        let fd: Fd = call::call_method0(&sock, intern!(py, "fileno"))?.extract()?;
        let local = socket::local_address(fd).map_err(|error| errors::os_error(py, &error))?;
        let has_peer = socket::peer_address(fd).is_ok();
        let extra = names::DATAGRAM_EXTRA.get(py)?.call1((&sock, extra))?;
        let owner = sock.clone().unbind();
        let transport = Bound::new(
            py,
            DatagramTransport {
                core: r#loop.clone().unbind(),
                key: Flag::new(Key::NONE),
                inner: StateCell::new(Inner {
                    protocol: Some(protocol.unbind()),
                    context: Some(call::copy_context(py)?.unbind()),
                    extra: Some(extra.unbind()),
                    waiter: waiter.map(Bound::unbind),
                    sock: Some(sock.unbind()),
                    address: address
                        .filter(|address| !address.is_none())
                        .map(Bound::unbind),
                }),
                fd: Flag::new(fd),
                connected: Flag::new(false),
                late: Flag::new(0),
                built: true,
            },
        )?;
        let face = Face {
            object: transport.clone().into_any().unbind(),
            sink: &AsyncioPort,
        };
        let options = Options {
            marks: WaterMarks::ASYNCIO,
            overhead: OVERHEAD,
            names: Naming::Full,
            outlives: false,
        };
        let port = Datagrams::new(fd, owner, Kind::of(&local), has_peer, face, options);
        transport.get().key.set(datagram::open(r#loop, port));
        Ok(transport)
    }

    /// Sends one datagram, to `addr` or to the peer; what the kernel has no room for waits. Errors of the network go to
    /// `error_received()`. Errors: TypeError for what is not bytes-like; ValueError for another address than
    /// `remote_addr`. After the end it warns.
    #[pyo3(signature = (data, addr=None))]
    fn sendto(
        slf: &Bound<'_, Self>,
        data: &Bound<'_, PyAny>,
        addr: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let transport = slf.get();
        let data = Data::new(data)?;
        if !SENDS_EMPTY && data.as_slice().is_empty() {
            return Ok(());
        }
        let core = transport.core(py);
        let key = transport.key.get();
        if let Some(remote) = transport.get(py, |inner| inner.address.as_ref()) {
            if let Some(addr) = addr
                && !addr.is(&remote)
                && !addr.eq(&remote)?
            {
                return Err(PyValueError::new_err(format!(
                    "Invalid address: must be None or {}",
                    remote.str()?
                )));
            }
            let ending = Self::phase(slf).is_none_or(|phase| phase == Phase::Ending);
            if !ending && datagram::send(core, key, data, Some(&remote))? {
                return Ok(());
            }
        } else if datagram::send(core, key, data, addr)? {
            return Ok(());
        }
        let count = transport.late.get() + 1;
        transport.late.set(count);
        names::WARN_WRITE.get(py)?.call1((count,))?;
        Ok(())
    }

    /// Sends what waits, then ends; `connection_lost(None)` follows. Receiving ends at once.
    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        datagram::close(slf.get().core(slf.py()), slf.get().key.get())
    }

    /// Ends at once; what waits is lost. `connection_lost(None)` follows.
    fn abort(slf: &Bound<'_, Self>) -> PyResult<()> {
        // Through the instance, as stock does.
        slf.call_method1(intern!(slf.py(), "_force_close"), (slf.py().None(),))?;
        Ok(())
    }

    /// Ends at once, for a reason.
    fn _force_close(slf: &Bound<'_, Self>, exc: Option<Bound<'_, PyAny>>) {
        let reason = exc.map(PyErr::from_value);
        datagram::abort(slf.get().core(slf.py()), slf.get().key.get(), reason);
    }

    /// Reports an error as fatal and ends.
    #[pyo3(signature = (exc, message="Fatal error on transport"))]
    fn _fatal_error(slf: &Bound<'_, Self>, exc: Bound<'_, PyAny>, message: &str) -> PyResult<()> {
        names::REPORT_FATAL
            .get(slf.py())?
            .call1((slf, &exc, message))?;
        slf.call_method1("_force_close", (exc,))?;
        Ok(())
    }

    /// Whether it is closing or closed.
    fn is_closing(slf: &Bound<'_, Self>) -> bool {
        Self::phase(slf).is_none_or(|phase| phase != Phase::Open)
    }

    /// No `datagram_received` until `resume_reading()`. Idempotent.
    fn pause_reading(slf: &Bound<'_, Self>) -> PyResult<()> {
        datagram::pause(slf.get().core(slf.py()), slf.get().key.get())
    }

    /// Datagrams are received again. Idempotent.
    fn resume_reading(slf: &Bound<'_, Self>) -> PyResult<()> {
        datagram::resume(slf.get().core(slf.py()), slf.get().key.get())
    }

    /// Whether datagrams are being received.
    fn is_reading(slf: &Bound<'_, Self>) -> bool {
        Self::with(slf, |port| port.is_reading()).unwrap_or(false)
    }

    /// Bytes that wait to be sent; since Python 3.13 with 8 more for each datagram.
    fn get_write_buffer_size(slf: &Bound<'_, Self>) -> usize {
        Self::with(slf, |port| port.buffered()).unwrap_or(0)
    }

    /// The water marks (low, high) in bytes.
    fn get_write_buffer_limits(slf: &Bound<'_, Self>) -> (usize, usize) {
        Self::with(slf, |port| port.marks().limits())
            .unwrap_or_else(|| WaterMarks::ASYNCIO.limits())
    }

    /// Sets the water marks in bytes; ValueError unless `high >= low >= 0`.
    #[pyo3(signature = (high=None, low=None))]
    fn set_write_buffer_limits(
        slf: &Bound<'_, Self>,
        high: Option<i64>,
        low: Option<i64>,
    ) -> PyResult<()> {
        let core = slf.get().core(slf.py());
        datagram::set_limits(core, slf.get().key.get(), high, low)
    }

    /// Another protocol takes over.
    fn set_protocol(&self, py: Python<'_>, protocol: Py<PyAny>) {
        let old = self
            .inner
            .with(py, |inner, _| inner.protocol.replace(protocol));
        drop(old);
    }

    /// The protocol; None once `connection_lost` was called.
    fn get_protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.get(py, |inner| inner.protocol.as_ref())
    }

    #[getter]
    fn _protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.get_protocol(py)
    }

    #[setter(_protocol)]
    fn set_own_protocol(&self, py: Python<'_>, protocol: Py<PyAny>) {
        self.set_protocol(py, protocol);
    }

    #[getter]
    fn _loop(&self) -> &Py<LoopCore> {
        &self.core
    }

    /// The Python socket; None once it is closed.
    #[getter]
    fn _sock<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.get(py, |inner| inner.sock.as_ref())
    }

    /// The descriptor's number; it stays when the socket is closed.
    #[getter]
    fn _sock_fd(&self) -> Fd {
        self.fd.get()
    }

    #[getter]
    fn _address<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.get(py, |inner| inner.address.as_ref())
    }

    /// What `get_extra_info` answers from.
    #[getter]
    fn _extra<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.get(py, |inner| inner.extra.as_ref())
    }

    #[setter(_extra)]
    fn set_own_extra(&self, py: Python<'_>, extra: Py<PyAny>) {
        let old = self.inner.with(py, |inner, _| inner.extra.replace(extra));
        drop(old);
    }

    /// The datagrams that wait, as a deque of (bytes, address): a snapshot.
    #[getter]
    fn _buffer<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let waiting = datagram::waiting(slf.get().core(py), slf.get().key.get());
        names::DEQUE.get(py)?.call1((waiting,))
    }

    #[getter]
    fn _buffer_size(slf: &Bound<'_, Self>) -> usize {
        Self::get_write_buffer_size(slf)
    }

    #[getter]
    fn _closing(slf: &Bound<'_, Self>) -> bool {
        Self::is_closing(slf)
    }

    #[getter]
    fn _paused(slf: &Bound<'_, Self>) -> bool {
        !Self::is_reading(slf)
    }

    /// How often the end was decided or ignored, as stock counts.
    #[getter]
    fn _conn_lost(slf: &Bound<'_, Self>) -> u32 {
        let ending = Self::phase(slf).is_none_or(|phase| phase == Phase::Ending);
        u32::from(ending) + slf.get().late.get()
    }

    #[getter]
    fn _protocol_paused(slf: &Bound<'_, Self>) -> bool {
        Self::with(slf, |port| port.marks().paused()).unwrap_or(false)
    }

    /// The largest datagram that is received whole.
    #[classattr]
    fn max_size() -> usize {
        SCRATCH
    }

    #[getter]
    fn __class__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        names::DATAGRAM_TRANSPORT.get(py)
    }

    fn __repr__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        names::TRANSPORT_REPR.get(slf.py())?.call1((slf,))
    }

    /// For the repr: (fd, closed, closing, reading, bytes waiting).
    fn _describe(slf: &Bound<'_, Self>) -> (Fd, bool, bool, bool, usize) {
        let transport = slf.get();
        let closed = transport
            .inner
            .with(slf.py(), |inner, _| inner.sock.is_none());
        (
            transport.fd.get(),
            closed,
            Self::is_closing(slf),
            Self::is_reading(slf),
            Self::get_write_buffer_size(slf),
        )
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if !self.built {
            return Ok(());
        }
        visit.call(&self.core)?;
        self.inner
            .try_with(|inner| {
                visit.call(inner.protocol.as_ref())?;
                visit.call(inner.context.as_ref())?;
                visit.call(inner.extra.as_ref())?;
                visit.call(inner.waiter.as_ref())?;
                visit.call(inner.sock.as_ref())?;
                visit.call(inner.address.as_ref())
            })
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let taken = self.inner.with(py, |inner, _| {
            (
                inner.protocol.take(),
                inner.context.take(),
                inner.extra.take(),
                inner.waiter.take(),
                inner.sock.take(),
                inner.address.take(),
            )
        });
        drop(taken);
    }
}

/// The sink of every [`DatagramTransport`].
struct AsyncioPort;

fn face<'a, 'py>(port: &Port<'a, 'py>) -> PyResult<&'a Bound<'py, DatagramTransport>> {
    Ok(port.object.cast::<DatagramTransport>()?)
}

impl Sink for AsyncioPort {
    fn made(&self, port: &Port<'_, '_>) -> PyResult<()> {
        let transport = face(port)?;
        let py = transport.py();
        let told = match transport.get().target(py) {
            None => Ok(()),
            Some(target) => match target.connection_made(transport.as_any()) {
                Ok(()) => Ok(()),
                Err(error) => {
                    let arguments = (transport,).into_pyobject(py)?;
                    DatagramTransport::report(
                        transport,
                        &target,
                        "connection_made",
                        error,
                        &arguments,
                    )
                }
            },
        };
        // Whatever the protocol raised: for stock these are callbacks of their own.
        transport.get().connected.set(true);
        let started = datagram::start(port.core, port.key);
        let waiter = transport
            .get()
            .inner
            .with(py, |inner, _| inner.waiter.take());
        let woken = match waiter {
            None => Ok(()),
            Some(waiter) => names::SET_RESULT_UNLESS_CANCELLED
                .get(py)?
                .call1((waiter, py.None()))
                .map(drop),
        };
        told.and(started).and(woken)
    }

    #[inline]
    fn received(
        &self,
        port: &Port<'_, '_>,
        data: &Bound<'_, PyBytes>,
        sender: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let transport = face(port)?;
        let py = transport.py();
        let Some(target) = transport.get().target(py) else {
            return Ok(());
        };
        match target.datagram_received(data, sender) {
            Ok(()) => Ok(()),
            Err(error) => {
                let arguments = (data, sender).into_pyobject(py)?;
                DatagramTransport::report(
                    transport,
                    &target,
                    "datagram_received",
                    error,
                    &arguments,
                )
            }
        }
    }

    fn failed(
        &self,
        port: &Port<'_, '_>,
        what: Failed,
        error: PyErr,
        inside: bool,
    ) -> PyResult<()> {
        let transport = face(port)?;
        let py = transport.py();
        if errors::is_fatal(py, &error) {
            return Err(error);
        }
        if !error.is_instance_of::<PyOSError>(py) {
            let message = match what {
                Failed::Write => "Fatal write error on datagram transport",
                Failed::Read | Failed::Register => "Fatal read error on datagram transport",
            };
            // Through the instance, as stock does.
            transport.call_method1(intern!(py, "_fatal_error"), (error, message))?;
            return Ok(());
        }
        let Some(target) = transport.get().target(py) else {
            return Ok(());
        };
        let error = error.into_value(py).into_bound(py).into_any();
        match target.error_received(&error, inside) {
            Ok(()) => Ok(()),
            // In the program's own sendto(): it learns what its protocol raised.
            Err(raised) if inside => Err(raised),
            Err(raised) => {
                let arguments = (&error,).into_pyobject(py)?;
                DatagramTransport::report(transport, &target, "error_received", raised, &arguments)
            }
        }
    }

    fn pressure(&self, port: &Port<'_, '_>, pressure: Pressure) -> PyResult<()> {
        let transport = face(port)?;
        let Some(target) = transport.get().target(transport.py()) else {
            return Ok(());
        };
        target.pressure(transport, pressure)
    }

    fn lost(&self, port: &Port<'_, '_>, reason: Option<PyErr>) -> PyResult<()> {
        let transport = face(port)?;
        let py = transport.py();
        let reason = match reason {
            Some(error) => error.into_value(py).into_bound(py).into_any(),
            None => py.None().into_bound(py),
        };
        let mut result = Ok(());
        if let Some(target) = transport.get().target(py)
            && transport.get().connected.get()
            && let Err(error) = target.connection_lost(&reason)
        {
            let arguments = (&reason,).into_pyobject(py)?;
            result =
                DatagramTransport::report(transport, &target, "connection_lost", error, &arguments);
        }
        let taken = transport.get().inner.with(py, |inner, _| {
            (
                inner.protocol.take(),
                inner.context.take(),
                inner.sock.take(),
            )
        });
        drop(taken);
        result
    }
}
