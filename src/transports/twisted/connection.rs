//! `TwistedConnection`: what runs per event and per byte in a Twisted TCP or Unix transport.
//!
//! It is the first base of classes whose second is Twisted's own transport: what is not here is Twisted's, among it
//! everything that runs once per connection (addresses, socket options, log prefix, closing, TLS set-up).

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PySet, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::home::{Home, Place, Resident};
use super::pieces::Pieces;
use super::receivers::Seen;
use super::sink::TwistedSink;
use super::tls::TwistedTls;
use crate::io::medium::{Medium, Owner};
use crate::io::receive::Lately;
use crate::io::sink::Face;
use crate::io::stream::{self, Flush, Options, Stream};
use crate::io::{adopted, read, write};
use crate::proto::marks::WaterMarks;
use crate::proto::phase::WriteRules;
use crate::py::bytes::Data;
use crate::py::cell::{Flag, StateCell};
use crate::py::{call, names, sockets};
use crate::runtime::LoopCore;
use crate::sys::Fd;

const OPTIONS: Options = Options {
    flush: Flush::EndOfTurn,
    rules: WriteRules::TWISTED,
    // A producer is paused at each write beyond the limit, not once: the face looks itself.
    marks: WaterMarks::NONE,
    reading: true,
    reads: 1,
};

pub(super) struct Inner {
    pub(super) producer: Option<Py<PyAny>>,
    /// The local address, once it was asked for.
    pub(super) host: Option<Py<PyTuple>>,
    /// The Python socket that owns the descriptor, if there is one.
    pub(super) socket: Option<Py<PyAny>>,
    /// The reactor's set of its connections.
    pub(super) registry: Option<Py<PySet>>,
    /// Who makes records of what its protocol wrote in a turn.
    pub(super) filler: Option<Py<TwistedTls>>,
}

/// The native half of a Twisted transport. All methods belong to the reactor's thread.
#[pyclass(frozen, subclass, dict, weakref, module = "interloop._core")]
pub struct TwistedConnection {
    pub(super) home: Home,
    pub(super) inner: StateCell<Inner>,
    /// The descriptor while only we know it, else negative.
    pub(super) fd: Flag<Fd>,
    pub(super) connected: Flag<bool>,
    pub(super) disconnected: Flag<bool>,
    pub(super) disconnecting: Flag<bool>,
    pub(super) write_disconnecting: Flag<bool>,
    pub(super) write_disconnected: Flag<bool>,
    pub(super) aborting: Flag<bool>,
    pub(super) tls: Flag<bool>,
    pub(super) has_producer: Flag<bool>,
    has_filler: Flag<bool>,
    /// A Unix socket: descriptors may come beside its bytes.
    pub(super) passes: Flag<bool>,
    pub(super) lately: Lately,
    pub(super) seen: Flag<Seen>,
    /// Where `protocol` is in the instance dict; see `Fields::get_at`.
    pub(super) protocol_at: Flag<isize>,
    /// See `Handle`: false while CPython 3.11 makes the instance dict.
    built: bool,
}

impl Resident for TwistedConnection {
    #[inline]
    fn home(&self) -> &Home {
        &self.home
    }
}

impl TwistedConnection {
    /// Puts a connected descriptor into the loop. Its protocol is called in `context`.
    pub(super) fn enter_loop(
        slf: &Bound<'_, Self>,
        core: &Bound<'_, LoopCore>,
        fd: Fd,
        medium: Medium,
        owner: Owner,
        context: Bound<'_, PyAny>,
        connections: &Bound<'_, PySet>,
    ) -> PyResult<()> {
        let connection = slf.get();
        connection.passes.set(medium == Medium::Passing);
        let face = Face {
            object: slf.clone().into_any().unbind(),
            sink: &TwistedSink,
        };
        let stream = Stream::new(fd, medium, owner, face, OPTIONS);
        let registry = connections.clone().unbind();
        connection.home.enter(core, adopted::adopt(core, stream)?);
        connection.home.set_context(context);
        let old = connection
            .inner
            .with(slf.py(), |inner, _| inner.registry.replace(registry));
        drop(old);
        connection.tell_drained(slf.py());
        connections.add(slf)
    }

    /// Whether the end of the buffer has a consequence, which the face wants to hear of.
    pub(super) fn tell_drained(&self, py: Python<'_>) {
        if let Some(place) = self.home.place(py) {
            let ending = self.disconnecting.get()
                || self.write_disconnecting.get() && !self.write_disconnected.get();
            let tell = (self.has_producer.get() || ending) && !self.aborting.get();
            adopted::tell_drained(&place.core, place.key, tell);
        }
    }

    /// Everything has left: the end of `FileDescriptor.doWrite`. Answers the function of the Python half that goes on.
    pub(super) fn after_drain(slf: &Bound<'_, Self>) -> PyResult<Option<&'static names::Imported>> {
        let py = slf.py();
        let connection = slf.get();
        // Asked with every write while a server answers: a producer that runs needs nothing.
        if connection.has_producer.get()
            && (!slf.getattr(intern!(py, "streamingProducer"))?.is_truthy()?
                || slf.getattr(intern!(py, "producerPaused"))?.is_truthy()?)
        {
            return Ok(Some(&names::TWISTED_RESUME_PRODUCER));
        }
        if connection.disconnecting.get() {
            Self::_finish(slf);
            return Ok(None);
        }
        let shut = connection.write_disconnecting.get() && !connection.write_disconnected.get();
        Ok(shut.then_some(&names::TWISTED_END_WRITING))
    }

    #[inline]
    fn accepts(&self) -> bool {
        self.connected.get() && !self.write_disconnected.get() && !self.aborting.get()
    }

    /// Queues bytes for the end of the turn.
    #[inline]
    fn send(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let connection = slf.get();
        let Ok(data) = data.cast::<PyBytes>() else {
            return Err(PyTypeError::new_err("Data must be bytes"));
        };
        if data.as_bytes().is_empty() || !connection.accepts() {
            return Ok(());
        }
        let Some(place) = connection.home.place(slf.py()) else {
            return Ok(());
        };
        // Refused: it is ending, and what is written then is lost, as in Twisted.
        let _ = write::write_held(&place.core, place.key, data)?;
        if connection.has_producer.get() {
            Self::pause_producer(slf, &place)?;
        }
        Ok(())
    }

    /// Sends records that were made for it: `now`, at the end of a turn, or then.
    pub(super) fn send_records(slf: &Bound<'_, Self>, wire: &[u8], now: bool) -> PyResult<()> {
        let connection = slf.get();
        if !connection.accepts() {
            return Ok(());
        }
        let Some(place) = connection.home.place(slf.py()) else {
            return Ok(());
        };
        write::send_made(&place.core, place.key, wire, now)?;
        if connection.has_producer.get() {
            Self::pause_producer(slf, &place)?;
        }
        Ok(())
    }

    /// The connection's protocol, when it is TLS that takes records as they were received.
    #[inline]
    pub(super) fn reader<'a, 'py>(
        slf: &Bound<'py, Self>,
        protocol: &'a Bound<'py, PyAny>,
    ) -> PyResult<Option<&'a Bound<'py, TwistedTls>>> {
        if !slf.get().has_filler.get() {
            return Ok(None);
        }
        let Ok(tls) = protocol.cast::<TwistedTls>() else {
            return Ok(None);
        };
        Ok(TwistedTls::takes_records(tls)?.then_some(tls))
    }

    /// From now on that one is asked before what was written in a turn leaves.
    pub(super) fn set_filler(slf: &Bound<'_, Self>, filler: Option<Py<TwistedTls>>) {
        slf.get().has_filler.set(filler.is_some());
        let old = slf.get().inner.with(slf.py(), |inner, _| {
            std::mem::replace(&mut inner.filler, filler)
        });
        drop(old);
    }

    #[cold]
    fn pause_producer(slf: &Bound<'_, Self>, place: &Place<'_>) -> PyResult<()> {
        let waiting = stream::with(&place.core, place.key, |stream| stream.buffered());
        // An attribute of the class that programs set on an instance.
        let limit: usize = slf.getattr(intern!(slf.py(), "bufferSize"))?.extract()?;
        if waiting.unwrap_or(0) > limit {
            slf.call_method0(intern!(slf.py(), "_maybePauseProducer"))?;
        }
        Ok(())
    }

    fn send_sequence(slf: &Bound<'_, Self>, iovec: &Bound<'_, PyAny>) -> PyResult<()> {
        let pieces = Pieces::of(iovec)?;
        let connection = slf.get();
        if !connection.accepts() {
            return Ok(());
        }
        let Some(place) = connection.home.place(slf.py()) else {
            return Ok(());
        };
        match pieces {
            Pieces::Joined(data) => {
                let _ = write::write(&place.core, place.key, Data::Copied(data))?;
            }
            Pieces::Apart(pieces) => {
                for piece in pieces {
                    let _ = write::write(&place.core, place.key, Data::Bytes(piece))?;
                }
            }
        }
        if connection.has_producer.get() && iovec.is_truthy()? {
            Self::pause_producer(slf, &place)?;
        }
        Ok(())
    }

    fn lose(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let connection = slf.get();
        if !connection.connected.get() || connection.disconnecting.get() {
            return Ok(());
        }
        if connection.write_disconnected.get() {
            slf.call_method0(intern!(py, "_lose_at_once"))?;
            return Ok(());
        }
        connection.disconnecting.set(true);
        // Through the instance, as Twisted's own does.
        slf.call_method0(intern!(py, "stopReading"))?;
        connection.tell_drained(py);
        slf.call_method0(intern!(py, "startWriting"))?;
        Ok(())
    }
}

#[pymethods]
impl TwistedConnection {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        TwistedConnection {
            home: Home::new(),
            inner: StateCell::new(Inner {
                producer: None,
                host: None,
                socket: None,
                registry: None,
                filler: None,
            }),
            fd: Flag::new(-1),
            connected: Flag::new(false),
            disconnected: Flag::new(false),
            disconnecting: Flag::new(false),
            write_disconnecting: Flag::new(false),
            write_disconnected: Flag::new(false),
            aborting: Flag::new(false),
            tls: Flag::new(false),
            has_producer: Flag::new(false),
            has_filler: Flag::new(false),
            passes: Flag::new(false),
            lately: Lately::default(),
            seen: Flag::new(Seen::NOTHING),
            protocol_at: Flag::new(0),
            built: true,
        }
    }

    /// Puts the connected socket into the loop, and into the set `connections`: it is read from now on. The socket stays
    /// the caller's to close, after `_leave()`. RuntimeError when it is in a loop already.
    fn _join(
        slf: &Bound<'_, Self>,
        r#loop: &Bound<'_, LoopCore>,
        socket: &Bound<'_, PyAny>,
        tcp: bool,
        connections: &Bound<'_, PySet>,
    ) -> PyResult<()> {
        let py = slf.py();
        r#loop.get().check_closed()?;
        let fd: Fd = socket.call_method0(intern!(py, "fileno"))?.extract()?;
        sockets::learn(socket)?;
        if slf.get().home.place(py).is_some() {
            return Err(PyRuntimeError::new_err(
                "the connection is in a loop already",
            ));
        }
        // The socket closes the descriptor, not the stream.
        let owner = Owner::Object(socket.clone().unbind());
        let medium = if tcp { Medium::Tcp } else { Medium::Passing };
        Self::enter_loop(
            slf,
            r#loop,
            fd,
            medium,
            owner,
            call::copy_context(py)?,
            connections,
        )
    }

    /// Takes the connection out of its loop without a word; the socket stays open, what waited to be sent is dropped.
    /// Nothing when it is in none.
    fn _leave(slf: &Bound<'_, Self>) {
        let py = slf.py();
        if let Some(place) = slf.get().home.place(py) {
            let stream = adopted::take(&place.core, place.key, true);
            slf.get().home.leave(py);
            drop(stream);
        }
    }

    /// Goes over to another loop, with what waits to be sent. Nothing when it is in none.
    fn _move(slf: &Bound<'_, Self>, r#loop: &Bound<'_, LoopCore>) -> PyResult<()> {
        let py = slf.py();
        r#loop.get().check_closed()?;
        let Some(place) = slf.get().home.place(py) else {
            return Ok(());
        };
        let Some(stream) = adopted::take(&place.core, place.key, true) else {
            return Ok(());
        };
        let key = adopted::adopt(r#loop, *stream)?;
        slf.get().home.enter(r#loop, key);
        Ok(())
    }

    /// Whether it is in a loop.
    #[getter]
    fn _joined(&self, py: Python<'_>) -> bool {
        self.home.place(py).is_some()
    }

    /// Whether it is being read.
    #[getter]
    fn _reading(&self, py: Python<'_>) -> bool {
        self.home.place(py).is_some_and(|place| {
            stream::with(&place.core, place.key, |stream| stream.is_reading()).unwrap_or(false)
        })
    }

    /// Bytes that wait to be sent.
    #[getter]
    fn _waiting(&self, py: Python<'_>) -> usize {
        self.home
            .place(py)
            .and_then(|place| stream::with(&place.core, place.key, |stream| stream.buffered()))
            .unwrap_or(0)
    }

    /// Ends the connection as one that everything was sent on: `connectionLost(ConnectionDone)` in the next turn.
    fn _finish(slf: &Bound<'_, Self>) {
        if let Some(place) = slf.get().home.place(slf.py()) {
            stream::close(&place.core, place.key);
        }
    }

    /// Like `ITransport.write`: sent at the end of the turn. TypeError for what is no bytes.
    #[inline]
    fn write(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let connection = slf.get();
        if connection.tls.get() {
            if connection.connected.get() {
                slf.getattr(intern!(slf.py(), "protocol"))?
                    .call_method1(intern!(slf.py(), "write"), (data,))?;
            }
            return Ok(());
        }
        Self::send(slf, data)
    }

    /// Like `ITransport.writeSequence`.
    #[pyo3(name = "writeSequence")]
    fn write_sequence(slf: &Bound<'_, Self>, iovec: &Bound<'_, PyAny>) -> PyResult<()> {
        let connection = slf.get();
        if connection.tls.get() {
            if connection.connected.get() {
                slf.getattr(intern!(slf.py(), "protocol"))?
                    .call_method1(intern!(slf.py(), "writeSequence"), (iovec,))?;
            }
            return Ok(());
        }
        Self::send_sequence(slf, iovec)
    }

    /// Like `ITransport.loseConnection`: once what was written has left, and a producer has no more.
    #[pyo3(name = "loseConnection")]
    fn lose_connection(slf: &Bound<'_, Self>) -> PyResult<()> {
        let connection = slf.get();
        if connection.tls.get() {
            if connection.connected.get() && !connection.disconnecting.get() {
                slf.getattr(intern!(slf.py(), "protocol"))?
                    .call_method0(intern!(slf.py(), "loseConnection"))?;
            }
            return Ok(());
        }
        Self::lose(slf)
    }

    /// `write` beneath TLS.
    fn _write(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::send(slf, data)
    }

    /// `writeSequence` beneath TLS.
    fn _write_sequence(slf: &Bound<'_, Self>, iovec: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::send_sequence(slf, iovec)
    }

    /// `loseConnection` beneath TLS.
    fn _lose_connection(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::lose(slf)
    }

    /// Like `FileDescriptor.startReading`.
    #[pyo3(name = "startReading")]
    fn start_reading(slf: &Bound<'_, Self>) -> PyResult<()> {
        match slf.get().home.place(slf.py()) {
            Some(place) => read::resume(&place.core, place.key),
            None => {
                slf.call_method0(intern!(slf.py(), "_start_reading"))?;
            }
        }
        Ok(())
    }

    /// Like `FileDescriptor.stopReading`.
    #[pyo3(name = "stopReading")]
    fn stop_reading(slf: &Bound<'_, Self>) -> PyResult<()> {
        match slf.get().home.place(slf.py()) {
            Some(place) => read::pause(&place.core, place.key),
            None => {
                slf.call_method0(intern!(slf.py(), "_stop_reading"))?;
            }
        }
        Ok(())
    }

    /// Like `FileDescriptor.startWriting`: what waits leaves at the end of the turn, and what waits for that happens.
    #[pyo3(name = "startWriting")]
    fn start_writing(slf: &Bound<'_, Self>) -> PyResult<()> {
        match slf.get().home.place(slf.py()) {
            Some(place) => adopted::hold(&place.core, place.key),
            None => {
                slf.call_method0(intern!(slf.py(), "_start_writing"))?;
            }
        }
        Ok(())
    }

    /// Like `FileDescriptor.stopWriting`, before it is connected. Later there is nothing to stop: writes leave by
    /// themselves.
    #[pyo3(name = "stopWriting")]
    fn stop_writing(slf: &Bound<'_, Self>) -> PyResult<()> {
        if slf.get().home.place(slf.py()).is_none() {
            slf.call_method0(intern!(slf.py(), "_stop_writing"))?;
        }
        Ok(())
    }

    /// Like `FileDescriptor.loseWriteConnection`.
    #[pyo3(name = "loseWriteConnection")]
    fn lose_write_connection(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        slf.get().write_disconnecting.set(true);
        slf.get().tell_drained(py);
        slf.call_method0(intern!(py, "startWriting"))?;
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if !self.built {
            return Ok(());
        }
        self.inner
            .try_with(|inner| {
                visit.call(inner.producer.as_ref())?;
                visit.call(inner.filler.as_ref())?;
                visit.call(inner.socket.as_ref())?;
                visit.call(inner.registry.as_ref())
            })
            .unwrap_or(Ok(()))?;
        self.home.visit(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        let taken = self.inner.with(py, |inner, _| {
            (
                inner.producer.take(),
                inner.socket.take(),
                inner.registry.take(),
                inner.filler.take(),
            )
        });
        drop(taken);
        self.home.clear(py);
    }
}
