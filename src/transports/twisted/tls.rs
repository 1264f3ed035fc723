//! `TwistedTls`: what runs per event and per byte in Twisted's TLS protocol, over our own connections.
//!
//! It is the first base of a class whose second is Twisted's `BufferingTLSTransport`. All of Twisted's state stays where
//! Twisted has it, in the instance: handshake, shutdown, producers and errors are Twisted's methods, which work on the same
//! `OpenSSL.SSL.Connection`. Once the handshake is over, records are made and read here (`tls::pyopenssl`), until anything
//! is not as expected: then that call is Twisted's.
//!
//! What a program writes in a turn becomes records at its end, straight before they are sent: Twisted gathers small writes
//! for the same reason, with a timer.

use std::mem::MaybeUninit;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::connection::TwistedConnection;
use super::receivers::{Receiver, Seen};
use crate::io::adopted;
use crate::py::bytes::Unseen;
use crate::py::call;
use crate::py::cell::{Flag, StateCell};
use crate::tls::engine::Engine;
use crate::tls::layer::{Input, Place};
use crate::tls::pyopenssl::PyOpenSsl;

/// What one record holds at most.
const RECORD: usize = 16 * 1024;

/// Up to this much, what comes out is decoded on the stack and copied; more goes straight into the object handed over.
const SMALL: usize = 8 * 1024;

/// As Twisted's `_AggregateSmallWrites`: more than that is not gathered, so that a producer hears of it.
const GATHERED: usize = 64_000;

struct Inner {
    /// `None` while it works.
    engine: Option<Box<PyOpenSsl>>,
    /// The connection beneath.
    connection: Option<Py<TwistedConnection>>,
    /// What Twisted's half takes for its transport: the connection, or what `startTLS` puts before it.
    transport: Option<Py<PyAny>>,
    /// Written in this turn.
    waiting: Vec<Py<PyBytes>>,
}

/// The native half of Twisted's TLS protocol. All methods belong to the reactor's thread.
#[pyclass(frozen, subclass, dict, weakref, module = "interloop._core")]
pub struct TwistedTls {
    inner: StateCell<Inner>,
    engaged: Flag<bool>,
    /// Bytes in `waiting`.
    count: Flag<usize>,
    seen: Flag<Seen>,
    /// See `Handle`: false while CPython 3.11 makes the instance dict.
    built: bool,
}

/// Whether what leaves is sent at once, as at the end of the turn, or waits for that.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Now,
    EndOfTurn,
}

fn is_true(slf: &Bound<'_, TwistedTls>, name: &Bound<'_, pyo3::types::PyString>) -> PyResult<bool> {
    slf.getattr(name)?.is_truthy()
}

impl TwistedTls {
    /// The engine, to work; `None` when it does already, or Twisted's half has another connection, or none.
    #[inline]
    fn lend(slf: &Bound<'_, Self>) -> PyResult<Option<Box<PyOpenSsl>>> {
        let py = slf.py();
        let tls = slf.get();
        if is_true(slf, intern!(py, "_lostTLSConnection"))? {
            return Ok(None);
        }
        let current = slf.getattr(intern!(py, "_tlsConnection"))?.as_ptr() as usize;
        Ok(tls.inner.with(py, |inner, _| {
            inner
                .engine
                .take_if(|engine| engine.connection().as_ptr() as usize == current)
        }))
    }

    /// Takes it back, unless it has been let go meanwhile.
    #[inline]
    fn give_back(&self, py: Python<'_>, engine: Box<PyOpenSsl>) {
        if self.engaged.get() {
            let old = self.inner.with(py, |inner, _| inner.engine.replace(engine));
            drop(old);
        }
    }

    #[inline]
    fn connection<'py>(&self, py: Python<'py>) -> Option<Bound<'py, TwistedConnection>> {
        self.inner
            .with(py, |inner, refs| {
                inner
                    .connection
                    .as_ref()
                    .map(|connection| refs.clone(connection))
            })
            .map(|connection| connection.into_bound(py))
    }

    /// Hands records to the transport.
    fn send(slf: &Bound<'_, Self>, wire: &[u8], leaves: Leaves) -> PyResult<()> {
        if wire.is_empty() {
            return Ok(());
        }
        let py = slf.py();
        let transport = slf.getattr(intern!(py, "transport"))?;
        let current = transport.as_ptr() as usize;
        let connection = slf.get().inner.with(py, |inner, refs| {
            let own = inner.transport.as_ref()?.as_ptr() as usize == current;
            own.then(|| inner.connection.as_ref().map(|one| refs.clone(one)))?
        });
        if let Some(connection) = connection {
            let connection = connection.into_bound(py);
            // Somebody may have put his own there.
            let own_write = transport.is(&connection)
                && transport
                    .getattr(intern!(py, "__dict__"))?
                    .contains(intern!(py, "write"))?;
            if !own_write {
                return TwistedConnection::send_records(&connection, wire, leaves == Leaves::Now);
            }
        }
        call::call_method1(
            &transport,
            intern!(py, "write"),
            PyBytes::new(py, wire).as_any(),
        )?;
        Ok(())
    }

    /// Whether [`TwistedTls::receive`] may be called for its `dataReceived`.
    #[inline]
    pub(super) fn takes_records(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let py = slf.py();
        Ok(slf.get().engaged.get()
            // Somebody may have put his own there.
            && !slf
                .getattr(intern!(py, "__dict__"))?
                .contains(intern!(py, "dataReceived"))?)
    }

    /// Reads records, and hands on what is in them. Errors: those of the protocol, and of callbacks.
    pub(super) fn receive(slf: &Bound<'_, Self>, data: &[u8]) -> PyResult<()> {
        let py = slf.py();
        let mut input = data;
        loop {
            let buffered = slf.getattr(intern!(py, "_appSendBuffer"))?.is_truthy()?;
            let engine = if buffered { None } else { Self::lend(slf)? };
            let Some(mut engine) = engine else {
                let rest = PyBytes::new(py, input);
                call::call_method1(slf, intern!(py, "_data_received"), rest.as_any())?;
                return Ok(());
            };
            let mut wire = Vec::new();
            let decoded = decode(py, engine.as_mut(), &mut input, &mut wire);
            slf.get().give_back(py, engine);
            Self::send(slf, &wire, Leaves::EndOfTurn)?;
            let (answer, bytes) = decoded?;
            if let Some(bytes) = bytes
                && !is_true(slf, intern!(py, "_aborted"))?
                && let Err(error) = Self::tell(slf, &bytes)
            {
                // Twisted's `connectionLost` hands on what is left.
                if let Some(mut engine) = Self::lend(slf)? {
                    let fed = engine.feed(&mut input);
                    slf.get().give_back(py, engine);
                    fed?;
                }
                return Err(error);
            }
            match answer {
                // Before the next connection's: else the large writes of a whole turn lie in memory at once.
                Ok(Input::More) if slf.get().count.get() > GATHERED => {
                    return Self::flush(slf, Leaves::Now);
                }
                Ok(Input::More) => return Ok(()),
                Ok(Input::Full) => {}
                Ok(Input::End) => {
                    slf.call_method0(intern!(py, "_peer_ended"))?;
                    return Ok(());
                }
                Err(error) => {
                    slf.call_method1(intern!(py, "_records_failed"), (error,))?;
                    return Ok(());
                }
            }
        }
    }

    /// Tells the protocol what was in the records.
    fn tell(slf: &Bound<'_, Self>, bytes: &Bound<'_, PyBytes>) -> PyResult<()> {
        let py = slf.py();
        let protocol = slf.getattr(intern!(py, "wrappedProtocol"))?;
        match Receiver::of(&slf.get().seen, &protocol)? {
            Some(receiver) => receiver.data_received(None, &protocol, bytes.as_bytes()),
            None => {
                call::call_method1(&protocol, intern!(py, "dataReceived"), bytes.as_any()).map(drop)
            }
        }
    }

    /// Makes records of what was written.
    fn flush(slf: &Bound<'_, Self>, leaves: Leaves) -> PyResult<()> {
        let py = slf.py();
        let tls = slf.get();
        let mut waiting = tls
            .inner
            .with(py, |inner, _| std::mem::take(&mut inner.waiting));
        tls.count.set(0);
        let result = match waiting.as_slice() {
            [] => Ok(()),
            [one] => Self::encode(slf, one.bind(py), leaves),
            several => {
                let pieces = several.iter().map(|piece| piece.as_bytes(py));
                let all = PyBytes::new(py, &pieces.collect::<Vec<_>>().concat());
                Self::encode(slf, &all, leaves)
            }
        };
        waiting.clear();
        tls.inner.with(py, |inner, _| {
            // The place stays for what is written next.
            if inner.waiting.capacity() == 0 {
                inner.waiting = waiting;
            }
        });
        result
    }

    fn encode(slf: &Bound<'_, Self>, bytes: &Bound<'_, PyBytes>, leaves: Leaves) -> PyResult<()> {
        let py = slf.py();
        if is_true(slf, intern!(py, "disconnecting"))?
            && slf.getattr(intern!(py, "_producer"))?.is_none()
        {
            return Ok(());
        }
        let Some(mut engine) = Self::lend(slf)? else {
            // At work already, or gone: Twisted's own knows.
            call::call_method1(slf, intern!(py, "_write"), bytes.as_any())?;
            return Ok(());
        };
        let core = slf
            .get()
            .connection(py)
            .and_then(|one| one.get().home.place(py));
        let core = core.as_ref().map(|place| place.core.get());
        let mut wire = core.map_or_else(Vec::new, |core| core.take_wire(py));
        let written = engine.write(py, bytes.as_bytes(), &mut wire);
        slf.get().give_back(py, engine);
        let sent = Self::send(slf, &wire, leaves);
        if let Some(core) = core {
            core.give_wire(py, wire);
        }
        sent?;
        match written {
            Ok(count) if count == bytes.as_bytes().len() => Ok(()),
            Ok(count) => {
                let rest = PyBytes::new(py, &bytes.as_bytes()[count..]);
                slf.call_method1(intern!(py, "_bufferedWrite"), (rest,))
                    .map(drop)
            }
            Err(error) => slf
                .call_method1(intern!(py, "_records_failed"), (error,))
                .map(drop),
        }
    }

    /// The turn ends, and what was written leaves.
    pub(super) fn fill(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::flush(slf, Leaves::Now)
    }
}

type Decoded<'py> = (PyResult<Input>, Option<Bound<'py, PyBytes>>);

/// Reads records. With an error, and at the end, there may be bytes before.
#[inline]
fn decode<'py>(
    py: Python<'py>,
    engine: &mut PyOpenSsl,
    input: &mut &[u8],
    wire: &mut Vec<u8>,
) -> PyResult<Decoded<'py>> {
    if input.len() <= SMALL {
        let mut block = [MaybeUninit::<u8>::uninit(); RECORD];
        let mut place = Place::new(&mut block);
        let answer = engine.read(py, input, &mut place, wire);
        let filled = place.filled();
        // SAFETY: a place says how much of its beginning has been written.
        let bytes = unsafe { block[..filled].assume_init_ref() };
        return Ok((answer, (filled > 0).then(|| PyBytes::new(py, bytes))));
    }
    // The first part of a record may have come before.
    let mut unseen = Unseen::new(py, input.len() + RECORD)?;
    let mut place = Place::new(unseen.as_mut_slice());
    let answer = engine.read(py, input, &mut place, wire);
    let filled = place.filled();
    if filled == 0 {
        return Ok((answer, None));
    }
    // SAFETY: as above, and it is not 0.
    let bytes = unsafe { unseen.finish(filled) }?;
    Ok((answer, Some(bytes)))
}

#[pymethods]
impl TwistedTls {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        TwistedTls {
            inner: StateCell::new(Inner {
                engine: None,
                connection: None,
                transport: None,
                waiting: Vec::new(),
            }),
            engaged: Flag::new(false),
            count: Flag::new(0),
            seen: Flag::new(Seen::NOTHING),
            built: true,
        }
    }

    /// Makes and reads the records of `tls`, an `OpenSSL.SSL.Connection` whose handshake is over, for `connection`,
    /// which Twisted's half knows as `transport`. False when they cannot be: then Twisted goes on as ever. Errors: those of
    /// asking the objects.
    fn _engage(
        slf: &Bound<'_, Self>,
        tls: &Bound<'_, PyAny>,
        transport: &Bound<'_, PyAny>,
        connection: &Bound<'_, TwistedConnection>,
    ) -> PyResult<bool> {
        let py = slf.py();
        let Some(engine) = PyOpenSsl::new(tls)? else {
            return Ok(false);
        };
        let engine = Box::new(engine);
        let transport = transport.clone().unbind();
        let beneath = connection.clone().unbind();
        let old = slf.get().inner.with(py, |inner, _| {
            (
                inner.engine.replace(engine),
                inner.connection.replace(beneath),
                inner.transport.replace(transport),
            )
        });
        drop(old);
        slf.get().engaged.set(true);
        TwistedConnection::set_filler(connection, Some(slf.clone().unbind()));
        Ok(true)
    }

    /// Lets go of everything; what waits to be written is lost.
    fn _disengage(slf: &Bound<'_, Self>) {
        let py = slf.py();
        slf.get().engaged.set(false);
        slf.get().count.set(0);
        let old = slf.get().inner.with(py, |inner, _| {
            (
                inner.engine.take(),
                inner.connection.take(),
                inner.transport.take(),
                std::mem::take(&mut inner.waiting),
            )
        });
        if let Some(connection) = &old.1 {
            TwistedConnection::set_filler(connection.bind(py), None);
        }
    }

    /// Whether records are made and read natively.
    #[getter]
    fn _engaged(&self) -> bool {
        self.engaged.get()
    }

    /// Like `TLSMemoryBIOProtocol.dataReceived`.
    #[pyo3(name = "dataReceived")]
    fn data_received(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        if slf.get().engaged.get()
            && let Ok(data) = data.cast::<PyBytes>()
        {
            return Self::receive(slf, data.as_bytes());
        }
        call::call_method1(slf, intern!(slf.py(), "_data_received"), data)?;
        Ok(())
    }

    /// Like `BufferingTLSTransport.write`: gathered until the end of the turn. TypeError for what is no bytes.
    fn write(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let tls = slf.get();
        let bytes = match data.cast::<PyBytes>() {
            Ok(bytes) => bytes.clone(),
            // As Twisted does, which takes a bytearray too.
            Err(_) => {
                let sum = data.add(PyBytes::new(py, b""))?;
                py.get_type::<PyBytes>().call1((sum,))?.cast_into()?
            }
        };
        if !tls.engaged.get() {
            call::call_method1(slf, intern!(py, "_plain_write"), bytes.as_any())?;
            return Ok(());
        }
        let size = bytes.as_bytes().len();
        if size == 0 {
            return Ok(());
        }
        let bytes = bytes.unbind();
        tls.inner.with(py, |inner, _| inner.waiting.push(bytes));
        let before = tls.count.replace(tls.count.get() + size);
        let Some(connection) = tls.connection(py) else {
            return Ok(());
        };
        if before + size > GATHERED && connection.get().has_producer.get() {
            return Self::flush(slf, Leaves::EndOfTurn);
        }
        if before == 0
            && let Some(place) = connection.get().home.place(py)
        {
            adopted::hold_to_fill(&place.core, place.key);
        }
        Ok(())
    }

    /// Makes records of what was written, now.
    fn _flush(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::flush(slf, Leaves::EndOfTurn)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if !self.built {
            return Ok(());
        }
        self.inner
            .try_with(|inner| {
                visit.call(inner.connection.as_ref())?;
                visit.call(inner.transport.as_ref())?;
                let mut result = Ok(());
                if let Some(engine) = &inner.engine {
                    engine.visit(&mut |object| {
                        if result.is_ok() {
                            result = visit.call(object);
                        }
                    });
                }
                result
            })
            .unwrap_or(Ok(()))
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let py = slf.py();
        slf.get().engaged.set(false);
        let old = slf.get().inner.with(py, |inner, _| {
            (
                inner.engine.take(),
                inner.connection.take(),
                inner.transport.take(),
            )
        });
        drop(old);
    }
}
