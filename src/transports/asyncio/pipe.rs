//! What the two ends of a pipe have in common, for asyncio: the pipe may be a FIFO, a terminal, a device or a socket.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::pipe_sink::{ReadEnd, WriteEnd};
use super::protocol::Target;
use crate::io::medium::{Medium, Owner};
use crate::io::sink::{Face, Sink};
use crate::io::stream::{self, Flush, Options, Stream};
use crate::poll::Key;
use crate::proto::marks::WaterMarks;
use crate::proto::phase::WriteRules;
use crate::py::cell::{Flag, StateCell};
use crate::py::{call, errors, names};
use crate::runtime::LoopCore;
use crate::sys::Fd;
use crate::sys::plain::{self, Kind};

/// What both ends have in common. `close()` and `write_eof()` are one for a pipe: there is no other direction that could
/// stay open, and nothing is accepted while the rest leaves.
const OPTIONS: Options = Options {
    flush: Flush::Now,
    rules: WriteRules {
        until_eof_sent: false,
        while_flushing: false,
    },
    marks: WaterMarks::ASYNCIO,
    reading: true,
    reads: 1,
};

struct Inner {
    protocol: Option<Py<PyAny>>,
    context: Option<Py<PyAny>>,
    waiter: Option<Py<PyAny>>,
    extra: Option<Py<PyAny>>,
    /// The Python object that owns the descriptor, until `connection_lost` has been called.
    pipe: Option<Py<PyAny>>,
}

/// Which end of the pipe is ours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Read,
    Write,
}

impl End {
    fn sink(self) -> &'static dyn Sink {
        match self {
            End::Read => &ReadEnd,
            End::Write => &WriteEnd,
        }
    }

    fn refusal(self) -> &'static str {
        match self {
            End::Read => "Pipe transport is for pipes/sockets only.",
            End::Write => "Pipe transport is only for pipes, sockets and character devices",
        }
    }
}

/// One end of a pipe. All methods belong to the loop's thread.
#[pyclass(frozen, subclass, dict, weakref, module = "interloop._core")]
pub struct PipeTransport {
    pub(super) core: Py<LoopCore>,
    key: Flag<Key>,
    inner: StateCell<Inner>,
    fd: Fd,
    kind: Kind,
    end: End,
    /// `pause_reading()` was called last.
    pub(super) paused: Flag<bool>,
    /// How many writes came after the end was lost, the one that failed included.
    pub(super) lost_writes: Flag<u32>,
    /// `connection_lost` has been called.
    gone: Flag<bool>,
    /// See `Handle`: false while CPython 3.11 makes the instance dict.
    built: bool,
}

impl PipeTransport {
    pub(super) fn new(
        end: End,
        core: &Bound<'_, LoopCore>,
        pipe: &Bound<'_, PyAny>,
        protocol: Bound<'_, PyAny>,
        waiter: Option<Bound<'_, PyAny>>,
        extra: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let py = core.py();
        core.get().check_closed()?;
        let fd: Fd = pipe.call_method0(pyo3::intern!(py, "fileno"))?.extract()?;
        let kind = plain::kind(fd).map_err(|error| errors::os_error(py, &error))?;
        if kind == Kind::Other {
            return Err(PyValueError::new_err(end.refusal()));
        }
        plain::set_nonblocking(fd).map_err(|error| errors::os_error(py, &error))?;
        let known = match extra {
            Some(extra) if !extra.is_none() => extra,
            _ => PyDict::new(py).into_any(),
        };
        known.set_item(pyo3::intern!(py, "pipe"), pipe)?;
        Ok(PipeTransport {
            core: core.clone().unbind(),
            key: Flag::new(Key::NONE),
            inner: StateCell::new(Inner {
                protocol: Some(protocol.unbind()),
                context: Some(call::copy_context(py)?.unbind()),
                waiter: waiter.map(Bound::unbind),
                extra: Some(known.unbind()),
                pipe: Some(pipe.clone().unbind()),
            }),
            fd,
            kind,
            end,
            paused: Flag::new(false),
            lost_writes: Flag::new(0),
            gone: Flag::new(false),
            built: true,
        })
    }

    /// Puts a new end into the loop. Its protocol hears of it in the next turn.
    pub(super) fn open(object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        let base = object.cast::<PipeTransport>()?.get();
        let core = base.bound_core(py);
        let face = Face {
            object: object.clone().unbind(),
            sink: base.end.sink(),
        };
        // A terminal is often used for both directions under one number, also with `add_reader`: each transport polls a
        // duplicate of its own, since the kernel's poller knows a number once.
        let number = base.fd;
        let shared = base.kind == Kind::Character
            || core
                .get()
                .state
                .with(py, |state, _| state.key_of(number).is_some());
        let (fd, owner) = if shared {
            let fd = plain::duplicate(base.fd).map_err(|error| errors::os_error(py, &error))?;
            (fd, Owner::Duplicate)
        } else {
            (base.fd, Owner::Face)
        };
        let medium = match base.kind {
            Kind::Character => Medium::Device,
            _ => Medium::Pipe,
        };
        let options = Options {
            // A write end "reads" that nobody reads any more. A terminal's input says nothing of that.
            reading: base.end == End::Read || base.kind != Kind::Character,
            ..OPTIONS
        };
        let stream = Stream::new(fd, medium, owner, face, options);
        base.key.set(stream::open(core, stream));
        Ok(())
    }

    pub fn bound_core<'py>(&self, py: Python<'py>) -> &Bound<'py, LoopCore> {
        self.core.bind(py)
    }

    pub fn key(&self) -> Key {
        self.key.get()
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The stock class that the transport poses as.
    fn class<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.end {
            End::Read => names::UNIX_READ_PIPE.get(py),
            End::Write => names::UNIX_WRITE_PIPE.get(py),
        }
    }

    pub fn is_debug(&self) -> bool {
        self.core.get().is_debug()
    }

    pub fn take_waiter(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, _| inner.waiter.take())
    }

    /// The protocol, until it has been told of the end.
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
            buffered: false,
            streams: false,
        })
    }

    /// Closes the pipe and lets go of the protocol: after `connection_lost`, or instead of it when the loop is closed.
    pub fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.gone.set(true);
        let (pipe, protocol, context) = self.inner.with(py, |inner, _| {
            (
                inner.pipe.take(),
                inner.protocol.take(),
                inner.context.take(),
            )
        });
        drop((protocol, context));
        match pipe {
            Some(pipe) => pipe.bind(py).call_method0("close").map(drop),
            None => Ok(()),
        }
    }

    /// Ends the stream at once. On a closed loop nobody can be told any more: only the pipe is closed.
    pub fn end(&self, py: Python<'_>, reason: Option<PyErr>) -> PyResult<()> {
        if self.core.get().is_closed() {
            return self.release(py);
        }
        stream::abort(self.bound_core(py), self.key(), reason);
        Ok(())
    }

    /// A write came too late, or failed: stock warns from the fifth on.
    pub fn count_lost_write(&self) -> u32 {
        self.lost_writes.replace(self.lost_writes.get() + 1)
    }

    pub(super) fn peek<R: Send>(
        &self,
        py: Python<'_>,
        body: impl FnOnce(&Stream) -> R + Send,
    ) -> Option<R> {
        stream::with(self.bound_core(py), self.key(), |stream| body(stream))
    }
}

impl Drop for PipeTransport {
    fn drop(&mut self) {
        // Zeroed memory, see `built`, has nothing to close.
        if !self.built {
            return;
        }
        let Some(pipe) = self.inner.get_mut().pipe.take() else {
            return;
        };
        // What stock's `__del__` does. There may be an exception under way, which must come through.
        Python::attach(|py| {
            let under_way = PyErr::take(py);
            let result = names::ABANDON_PIPE
                .get(py)
                .and_then(|abandon| abandon.call1((self.class(py)?, self.fd, &pipe)));
            if let Err(error) = result {
                error.write_unraisable(py, Some(pipe.bind(py)));
            }
            if let Some(error) = under_way {
                error.restore(py);
            }
        });
    }
}

#[pymethods]
impl PipeTransport {
    /// Whether the end is closing or closed.
    pub fn is_closing(&self, py: Python<'_>) -> bool {
        self.gone.get()
            || !self.core.get().is_closed()
                && self
                    .peek(py, |stream| stream.life().is_closing())
                    .unwrap_or(true)
    }

    /// Another protocol takes over.
    fn set_protocol(&self, py: Python<'_>, protocol: Py<PyAny>) {
        let old = self
            .inner
            .with(py, |inner, _| inner.protocol.replace(protocol));
        drop(old);
    }

    /// The protocol; None once the end is lost.
    fn get_protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| {
            inner.protocol.as_ref().map(|object| refs.clone(object))
        })
    }

    #[getter]
    fn __class__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.class(py)
    }

    fn __repr__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        names::PIPE_REPR.get(slf.py())?.call1((slf,))
    }

    #[getter]
    fn _protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.get_protocol(py)
    }

    #[getter]
    fn _loop(&self) -> Option<&Py<LoopCore>> {
        (!self.gone.get()).then_some(&self.core)
    }

    #[getter]
    fn _closing(&self, py: Python<'_>) -> bool {
        self.is_closing(py)
    }

    #[getter]
    fn _fileno(&self) -> Fd {
        self.fd
    }

    #[getter]
    fn _pipe(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| {
            inner.pipe.as_ref().map(|object| refs.clone(object))
        })
    }

    /// None takes the pipe away: the transport does not close it any more.
    #[setter(_pipe)]
    fn set_own_pipe(&self, py: Python<'_>, pipe: Option<Py<PyAny>>) {
        let old = self
            .inner
            .with(py, |inner, _| std::mem::replace(&mut inner.pipe, pipe));
        drop(old);
    }

    /// What `get_extra_info` answers from.
    #[getter]
    fn _extra(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| {
            inner.extra.as_ref().map(|object| refs.clone(object))
        })
    }

    #[setter(_extra)]
    fn set_own_extra(&self, py: Python<'_>, extra: Py<PyAny>) {
        let old = self.inner.with(py, |inner, _| inner.extra.replace(extra));
        drop(old);
    }

    /// For the repr: (whether the poller is asked, bytes buffered or None for a reading end).
    fn _describe<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let (reading, size) = self
            .peek(py, |stream| {
                let polled = stream.is_registered() && stream.is_reading();
                (polled, stream.buffered())
            })
            .unwrap_or((false, 0));
        match self.end {
            End::Read => (reading, py.None()).into_pyobject(py),
            End::Write => (size > 0, size).into_pyobject(py),
        }
    }

    /// Reports an error and ends the transport. What the other end's going causes is no news: debug log only.
    #[pyo3(signature = (exc, message="Fatal error on pipe transport"))]
    fn _fatal_error(slf: &Bound<'_, Self>, exc: Bound<'_, PyAny>, message: &str) -> PyResult<()> {
        let py = slf.py();
        names::REPORT_PIPE_ERROR.get(py)?.call1((
            slf,
            &exc,
            message,
            slf.get().end == End::Read,
        ))?;
        slf.get().end(py, Some(PyErr::from_value(exc)))
    }

    /// Ends it at once, for a reason or None: what is buffered is lost.
    fn _close(&self, py: Python<'_>, exc: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        self.end(py, exc.map(PyErr::from_value))
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
                visit.call(inner.waiter.as_ref())?;
                visit.call(inner.extra.as_ref())?;
                visit.call(inner.pipe.as_ref())
            })
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        // Not the pipe: it is closed, with a warning, when the object goes.
        let taken = self.inner.with(py, |inner, _| {
            (
                inner.protocol.take(),
                inner.context.take(),
                inner.waiter.take(),
                inner.extra.take(),
            )
        });
        drop(taken);
    }
}
