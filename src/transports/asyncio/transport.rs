//! `StreamTransport`: what asyncio programs hold for a TCP or Unix connection.

use std::io;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{PyTraverseError, PyVisit};

use super::clients;
use super::opening::Start;
use super::protocol::Target;
use crate::io::medium::Medium;
use crate::io::receive::Lately;
use crate::io::stream;
use crate::io::{read, write};
use crate::poll::Key;
use crate::proto::marks::WaterMarks;
use crate::proto::phase::WriteRefused;
use crate::py::bytes::Data;
use crate::py::cell::{Flag, StateCell};
use crate::py::class::{self, OfClass};
use crate::py::{address, call, errors, names, objects};
use crate::runtime::LoopCore;
use crate::sys::addr::{Address, Named};
use crate::sys::{Fd, socket};

pub(super) struct Inner {
    pub(super) protocol: Option<Py<PyAny>>,
    pub(super) context: Option<Py<PyAny>>,
    /// `get_extra_info`'s dict, made when it is asked for: it costs a Python socket.
    pub(super) extra: Option<Py<PyAny>>,
    pub(super) server: Option<Py<PyAny>>,
    pub(super) waiter: Option<Py<PyAny>>,
    /// The Python socket: given, or made when it is asked for.
    pub(super) sock: Option<Py<PyAny>>,
    pub(super) names: Names,
}

/// A connection's addresses, its own and the peer's, for `get_extra_info`. They outlive the descriptor.
pub(super) enum Names {
    /// The kernel can be asked, but for who was accepted: it forgets the peer when that resets the connection.
    Open(Option<Named>),
    /// What the kernel said; None when it knew none (any more).
    Kept(Box<(Option<Named>, Option<Named>)>),
    /// As Python has them. Few programs ask, and making them takes longer than all else that is done for a short connection.
    Made(Box<(Py<PyAny>, Py<PyAny>)>),
}

/// A TCP or Unix connection, like the transport of `loop.create_connection()`; isinstance says `asyncio.Transport`.
/// All methods belong to the loop's thread.
#[pyclass(frozen, subclass, dict, weakref, module = "interloop._core")]
pub struct StreamTransport {
    pub(super) core: Py<LoopCore>,
    pub(super) key: Flag<Key>,
    pub(super) inner: StateCell<Inner>,
    pub(super) takes: Flag<Takes>,
    pub(super) connected: Flag<bool>,
    pub(super) fd: Flag<Fd>,
    /// The stream has left the loop; its descriptor is open for a last moment, or closed.
    pub(super) ending: Flag<bool>,
    /// `write_eof()` took effect. Outlives the stream: a write after it is an error even then.
    pub(super) eof: Flag<bool>,
    pub(super) lately: Lately,
    /// See `Handle`: false while CPython 3.11 makes the instance dict.
    pub(super) built: bool,
    /// How many writes came after the connection was lost.
    pub(super) lost_writes: Flag<u32>,
    /// What the exception handler is told when the protocol fails, where the host has one text for all of it.
    pub(super) fatal_text: Option<&'static str>,
}

impl StreamTransport {
    pub fn core(&self) -> &Py<LoopCore> {
        &self.core
    }

    pub fn key(&self) -> Key {
        self.key.get()
    }

    pub fn set_connected(&self) {
        self.connected.set(true);
    }

    /// Whether the protocol has heard of the connection, and so hears of its end.
    pub(super) fn is_connected(&self) -> bool {
        self.connected.get()
    }

    /// The protocol is not told of the end.
    pub(super) fn forget_connected(&self) {
        self.connected.set(false);
    }

    /// Counts a write that came too late, and answers how many there were before.
    pub(super) fn count_lost_write(&self) -> u32 {
        self.lost_writes.replace(self.lost_writes.get() + 1)
    }

    pub fn take_waiter(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, _| inner.waiter.take())
    }

    /// The protocol, while the connection stands.
    #[inline]
    pub fn target<'py>(&self, py: Python<'py>) -> Option<Target<'py>> {
        let (protocol, context) = self.inner.with(py, |inner, refs| {
            Some((
                refs.clone(inner.protocol.as_ref()?),
                refs.clone(inner.context.as_ref()?),
            ))
        })?;
        Some(Target {
            protocol: protocol.into_bound(py),
            context: context.into_bound(py),
            buffered: self.takes.get() == Takes::Buffered,
            streams: self.takes.get() == Takes::Streams,
        })
    }

    /// The end: the protocol hears of it, the server forgets the connection. The descriptor is closed next; the stream and
    /// the caller still have the transport.
    pub fn lost(&self, slf: &Bound<'_, Self>, reason: Option<PyErr>) -> PyResult<()> {
        let py = slf.py();
        self.ending.set(true);
        let ours = self.inner.with(py, |inner, _| inner.sock.is_none());
        if !ours {
            // The program can close it before the addresses are asked for.
            self.keep_names(py);
        }
        let reason = match reason {
            Some(error) => error.into_value(py).into_bound(py).into_any(),
            None => py.None().into_bound(py),
        };
        let mut result = Ok(());
        if let Some(target) = self.target(py)
            && self.connected.get()
            && let Err(error) = target.connection_lost(&reason)
        {
            if errors::is_fatal(py, &error) {
                result = Err(error);
            } else {
                let _entered = call::enter(&target.context);
                names::REPORT_PROTOCOL.get(py)?.call1((
                    self.core.bind(py),
                    slf,
                    error,
                    target.protocol.getattr("connection_lost")?,
                    &reason,
                ))?;
            }
        }
        let (protocol, context, server) = self.inner.with(py, |inner, _| {
            (
                inner.protocol.take(),
                inner.context.take(),
                inner.server.take(),
            )
        });
        call::release(py, protocol);
        call::release(py, context);
        let detached = match server {
            Some(server) => clients::detach(server.bind(py), slf),
            None => Ok(()),
        };
        let disowned = if ours { self.end_of_ours(slf) } else { Ok(()) };
        self.fd.set(-1);
        result.and(detached).and(disowned)
    }

    /// The descriptor that only we know is closed next: nobody who still has the transport may need it after that.
    fn end_of_ours(&self, slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let made = self.inner.with(py, |inner, refs| {
            inner.sock.as_ref().map(|sock| refs.clone(sock))
        });
        if made.is_some() || !objects::is_held_only(slf.as_any(), 2) {
            self.keep_names(py);
        }
        let Some(sock) = made else {
            return Ok(());
        };
        // Made when the protocol was told: too late to own the descriptor. It would close a number that is somebody else's.
        let sock = sock.bind(py);
        sock.call_method0(pyo3::intern!(py, "detach"))?;
        sock.call_method0(pyo3::intern!(py, "close"))?;
        Ok(())
    }

    pub(super) fn bound_core<'py>(&self, py: Python<'py>) -> &Bound<'py, LoopCore> {
        self.core.bind(py)
    }

    /// Asks for the addresses while the descriptor is open.
    pub(super) fn keep_names(&self, py: Python<'_>) {
        let fd = self.fd.get();
        self.inner.with(py, |inner, _| {
            let Names::Open(peer) = &mut inner.names else {
                return;
            };
            if fd >= 0 {
                let named =
                    |result: io::Result<Address>| result.map(|address| address.named()).ok();
                let peer = peer.take().or_else(|| named(socket::peer_address(fd)));
                inner.names = Names::Kept(Box::new((named(socket::local_address(fd)), peer)));
            }
        });
    }

    /// The addresses as Python has them, the same objects each time. None after a descriptor that nobody knew is gone.
    pub(super) fn names(&self, py: Python<'_>) -> PyResult<Option<(Py<PyAny>, Py<PyAny>)>> {
        self.keep_names(py);
        let kept = self.inner.with(py, |inner, refs| match &inner.names {
            Names::Open(_) => Err(None),
            Names::Kept(kept) => Err(Some(kept.clone())),
            Names::Made(made) => Ok((refs.clone(&made.0), refs.clone(&made.1))),
        });
        let kept = match kept {
            Ok(made) => return Ok(Some(made)),
            Err(None) => return Ok(None),
            Err(Some(kept)) => kept,
        };
        let local = address::to_python(py, kept.0.as_ref())?;
        let peer = address::to_python(py, kept.1.as_ref())?;
        let made = Names::Made(Box::new((local.clone_ref(py), peer.clone_ref(py))));
        let old = self
            .inner
            .with(py, |inner, _| std::mem::replace(&mut inner.names, made));
        drop(old);
        Ok(Some((local, peer)))
    }

    fn refuse_write(slf: &Bound<'_, Self>, refused: WriteRefused) -> PyResult<()> {
        if refused == WriteRefused::AfterEof {
            return Err(PyRuntimeError::new_err(
                "Cannot call write() after write_eof()",
            ));
        }
        if refused == WriteRefused::SendsFile {
            return Err(PyRuntimeError::new_err(
                "unable to write; sendfile is in progress",
            ));
        }
        let transport = slf.get();
        let count = transport.lost_writes.get() + 1;
        transport.lost_writes.set(count);
        names::WARN_WRITE.get(slf.py())?.call1((count,))?;
        Ok(())
    }
}

/// How a protocol takes what arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Takes {
    Bytes,
    /// In a buffer that it brings.
    Buffered,
    /// One of asyncio's streams.
    Streams,
}

/// How a protocol takes what arrives. One of asyncio's streams gets the native methods on this way.
pub(super) fn how_it_takes(protocol: &Bound<'_, PyAny>) -> PyResult<Takes> {
    static KNOWN: OfClass<Option<Takes>> = OfClass::new();
    let class = protocol.get_type();
    if let Some(takes) = KNOWN.get(&class, || takes_by_class(&class))? {
        return Ok(takes);
    }
    let py = protocol.py();
    if class.is(&names::STREAM_READER_PROTOCOL.get(py)?) {
        names::ADOPT_STREAM.get(py)?.call1((protocol,))?;
        return Ok(Takes::Streams);
    }
    if protocol.is_instance(&names::ASYNCIO_BUFFERED_PROTOCOL.get(py)?)? {
        return Ok(Takes::Buffered);
    }
    Ok(Takes::Bytes)
}

/// The same for all protocols of a class, where it does not take the protocol itself to know.
fn takes_by_class(class: &Bound<'_, PyType>) -> PyResult<Option<Takes>> {
    let py = class.py();
    if class.is(&names::STREAM_READER_PROTOCOL.get(py)?) {
        return Ok(None);
    }
    if class.is(&names::NATIVE_READER_PROTOCOL.get(py)?) {
        return Ok(Some(Takes::Streams));
    }
    // What isinstance() asks next is the protocol's `__class__`.
    if !class::has_plain_class(class)? {
        return Ok(None);
    }
    Ok(Some(
        if class.is_subclass(&names::ASYNCIO_BUFFERED_PROTOCOL.get(py)?)? {
            Takes::Buffered
        } else {
            Takes::Bytes
        },
    ))
}

#[pymethods]
impl StreamTransport {
    #[new]
    #[pyo3(signature = (r#loop, sock, protocol, waiter=None, extra=None, server=None))]
    fn new<'py>(
        r#loop: &Bound<'py, LoopCore>,
        sock: Bound<'py, PyAny>,
        protocol: Bound<'py, PyAny>,
        waiter: Option<Bound<'py, PyAny>>,
        extra: Option<Bound<'py, PyAny>>,
        server: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let py = sock.py();
        r#loop.get().check_closed()?;
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
        let transport = Self::open(r#loop, start)?;
        transport.get().keep_names(py);
        if let Some(extra) = extra
            && !extra.is_none()
        {
            transport
                .getattr("_extra")?
                .call_method1("update", (extra,))?;
        }
        Ok(transport)
    }

    /// Sends bytes, a bytearray or a memoryview; what the kernel does not take is kept (copied when it is mutable).
    /// Errors: TypeError; RuntimeError after `write_eof()`. After the connection was lost it warns.
    #[inline]
    pub(super) fn write(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let data = Data::new(data)?;
        let transport = slf.get();
        if transport.eof.get() {
            return Self::refuse_write(slf, WriteRefused::AfterEof);
        }
        let core = transport.bound_core(slf.py());
        match write::write(core, transport.key.get(), data)? {
            Ok(()) => Ok(()),
            Err(refused) => Self::refuse_write(slf, refused),
        }
    }

    /// Sends a list of bytes-like objects, in one call where the kernel takes them.
    fn writelines(slf: &Bound<'_, Self>, list_of_data: &Bound<'_, PyAny>) -> PyResult<()> {
        let joined =
            pyo3::types::PyBytes::new(slf.py(), b"").call_method1("join", (list_of_data,))?;
        // Through the instance: suites and libraries replace `write` there.
        slf.call_method1(pyo3::intern!(slf.py(), "write"), (joined,))?;
        Ok(())
    }

    /// Ends the sending direction once what is buffered has left.
    fn write_eof(slf: &Bound<'_, Self>) {
        let core = slf.get().bound_core(slf.py());
        stream::write_eof(core, slf.get().key());
        let requested = stream::with(core, slf.get().key(), |stream| {
            stream.life().write_eof_requested()
        });
        if requested == Some(true) {
            slf.get().eof.set(true);
        }
    }

    /// Whether `write_eof()` works: always.
    fn can_write_eof(&self) -> bool {
        true
    }

    /// Flushes, then ends the connection; `connection_lost(None)` follows. Reading stops at once.
    fn close(slf: &Bound<'_, Self>) {
        stream::close(slf.get().bound_core(slf.py()), slf.get().key());
    }

    /// Ends the connection at once; what is buffered is lost. `connection_lost(None)` follows.
    fn abort(slf: &Bound<'_, Self>) {
        stream::abort(slf.get().bound_core(slf.py()), slf.get().key(), None);
    }

    /// Ends the connection at once, for a reason: what `asyncio.sslproto` calls.
    fn _force_close(slf: &Bound<'_, Self>, exc: Option<Bound<'_, PyAny>>) {
        let reason = exc.map(PyErr::from_value);
        stream::abort(slf.get().bound_core(slf.py()), slf.get().key(), reason);
    }

    /// Reports an error as fatal and ends the connection.
    #[pyo3(signature = (exc, message="Fatal error on transport"))]
    fn _fatal_error(slf: &Bound<'_, Self>, exc: Bound<'_, PyAny>, message: &str) -> PyResult<()> {
        names::REPORT_FATAL
            .get(slf.py())?
            .call1((slf, &exc, message))?;
        slf.call_method1("_force_close", (exc,))?;
        Ok(())
    }

    /// Whether the connection is closing or closed.
    pub(super) fn is_closing(slf: &Bound<'_, Self>) -> bool {
        stream::with(slf.get().bound_core(slf.py()), slf.get().key(), |stream| {
            stream.life().is_closing()
        })
        .unwrap_or(true)
    }

    /// No `data_received` until `resume_reading()`. Idempotent.
    fn pause_reading(slf: &Bound<'_, Self>) {
        read::pause(slf.get().bound_core(slf.py()), slf.get().key());
    }

    /// Data is received again. Idempotent.
    fn resume_reading(slf: &Bound<'_, Self>) {
        read::resume(slf.get().bound_core(slf.py()), slf.get().key());
    }

    /// Whether data is being received.
    pub(super) fn is_reading(slf: &Bound<'_, Self>) -> bool {
        stream::with(slf.get().bound_core(slf.py()), slf.get().key(), |stream| {
            stream.is_reading()
        })
        .unwrap_or(false)
    }

    /// Bytes that wait to be sent.
    pub(super) fn get_write_buffer_size(slf: &Bound<'_, Self>) -> usize {
        stream::with(slf.get().bound_core(slf.py()), slf.get().key(), |stream| {
            stream.buffered()
        })
        .unwrap_or(0)
    }

    /// The water marks (low, high) in bytes.
    fn get_write_buffer_limits(slf: &Bound<'_, Self>) -> (usize, usize) {
        stream::with(slf.get().bound_core(slf.py()), slf.get().key(), |stream| {
            stream.marks().limits()
        })
        .unwrap_or_else(|| WaterMarks::ASYNCIO.limits())
    }

    /// Sets the water marks in bytes; ValueError unless `high >= low >= 0`.
    #[pyo3(signature = (high=None, low=None))]
    fn set_write_buffer_limits(
        slf: &Bound<'_, Self>,
        high: Option<i64>,
        low: Option<i64>,
    ) -> PyResult<()> {
        let core = slf.get().bound_core(slf.py());
        write::set_limits(core, slf.get().key(), high, low)
    }

    /// Another protocol takes over; a `BufferedProtocol` brings its own buffer.
    pub(super) fn set_protocol(slf: &Bound<'_, Self>, protocol: Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let takes = how_it_takes(&protocol)?;
        let protocol = protocol.unbind();
        let old = slf
            .get()
            .inner
            .with(py, |inner, _| inner.protocol.replace(protocol));
        slf.get().takes.set(takes);
        drop(old);
        Ok(())
    }

    /// The protocol; None once the connection is lost.
    pub(super) fn get_protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| {
            inner.protocol.as_ref().map(|object| refs.clone(object))
        })
    }

    #[getter]
    fn __class__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        names::ASYNCIO_TRANSPORT.get(py)
    }

    fn __repr__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        names::TRANSPORT_REPR.get(slf.py())?.call1((slf,))
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
                visit.call(inner.server.as_ref())?;
                visit.call(inner.waiter.as_ref())?;
                visit.call(inner.sock.as_ref())
            })
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let taken = self.inner.with(py, |inner, _| {
            (
                inner.protocol.take(),
                inner.context.take(),
                inner.extra.take(),
                inner.server.take(),
                inner.waiter.take(),
            )
        });
        drop(taken);
    }
}
