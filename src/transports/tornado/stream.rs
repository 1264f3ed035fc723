//! `TornadoStream`: what runs per event, per byte and per call in a Tornado stream.
//!
//! It is the first base of a class whose second is Tornado's own `IOStream`: what is not here is Tornado's, among it
//! everything that runs once per connection (connecting, closing, going over to TLS).
//!
//! As in Tornado a stream is the loop's only from the first wait on: until then it is tried directly, and one that nobody
//! keeps is collected.

use pyo3::exceptions::{PyAttributeError, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::early::Early;
use super::limit::Limit;
use super::python_path;
use super::sink::TornadoSink;
use super::want::Want;
use crate::io::medium::{Medium, Owner};
use crate::io::sink::Face;
use crate::io::stream::{Flush, Options, Stream};
use crate::io::{adopted, read};
use crate::poll::Key;
use crate::proto::marks::WaterMarks;
use crate::proto::phase::WriteRules;
use crate::proto::read_buffer::ReadBuffer;
use crate::py::bytes::Chunk;
use crate::py::cell::{Flag, StateCell};
use crate::py::{call, names, objects};
use crate::runtime::LoopCore;
use crate::runtime::state::Source;
use crate::sys::{Fd, socket};

const OPTIONS: Options = Options {
    flush: Flush::Now,
    rules: WriteRules::TORNADO,
    // Pressure is the Future of each write.
    marks: WaterMarks::NONE,
    // The face knows whether it wants bytes.
    reading: true,
    reads: 16,
};

pub(super) struct Inner {
    core: Option<Py<LoopCore>>,
    /// Here and not in the instance's dict, which an idle stream has none of.
    pub socket: Option<Py<PyAny>>,
    pub io_loop: Option<Py<PyAny>>,
    /// The one in which the stream came into the loop.
    context: Option<Py<PyAny>>,
    pub buffer: ReadBuffer,
    pub want: Option<Want>,
    /// The pending read's.
    pub future: Option<Py<PyAny>>,
    /// What waits to be sent while the stream is not the loop's: before it is connected, and what was put straight into
    /// the write buffer. With TLS what has not become records.
    pub early: Early,
    /// A deque of (the last byte's number, Future), made when a write has to wait.
    pub write_futures: Option<Py<PyAny>>,
}

/// The native half of a Tornado stream. All methods belong to the loop's thread.
#[pyclass(frozen, subclass, dict, weakref, module = "interloop._core")]
pub struct TornadoStream {
    pub(super) inner: StateCell<Inner>,
    key: Flag<Key>,
    pub(super) closed: Flag<bool>,
    pub(super) connecting: Flag<bool>,
    /// Its TLS handshake has not begun, or is going on.
    pub(super) handshaking: Flag<bool>,
    /// Its records are made and read natively.
    pub(super) tls: Flag<bool>,
    /// Bytes of the host's that have become records of which some have not left.
    pub(super) in_records: Flag<u32>,
    /// Tornado's Python path is taken when the records that wait have left.
    pub(super) python_soon: Flag<bool>,
    /// Tornado's READ state: the next event is followed by a read. An idle stream has it as long as its buffer is empty, so
    /// that its end is noticed.
    pub(super) listening: Flag<bool>,
    /// The loop has told of bytes since it has the stream.
    pub(super) told: Flag<bool>,
    /// There are writes that wait.
    pub(super) sending: Flag<bool>,
    /// Something was put into the write buffer behind `write()`'s back.
    pub(super) appended: Flag<bool>,
    /// The write buffer is gone, as Tornado's is after `close()`.
    pub(super) cleared: Flag<bool>,
    /// Not on Tornado's Python path.
    native: Flag<bool>,
    /// On Tornado's Python path. Who took a method of it before (`stream.write(await stream.read_bytes(9))` does) calls the
    /// native one still, which hands the call on.
    pub(super) handed_over: Flag<bool>,
    pub(super) total: Flag<u64>,
    /// What its socket is, once asked.
    pub(super) medium: Flag<Option<Medium>>,
    pub(super) max_buffer_size: Flag<usize>,
    pub(super) read_chunk_size: Flag<usize>,
    /// `usize::MAX` for any number.
    pub(super) max_write_buffer_size: Flag<usize>,
    /// See `Handle`: false while CPython 3.11 makes the instance dict.
    built: bool,
}

/// Where a stream is in its loop.
pub(super) struct Place<'py> {
    pub core: Bound<'py, LoopCore>,
    pub key: Key,
}

impl TornadoStream {
    /// The loop that it belongs to. RuntimeError before `__init__`.
    #[inline]
    pub(super) fn core<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, LoopCore>> {
        self.inner
            .with(py, |inner, refs| {
                inner.core.as_ref().map(|core| refs.clone(core))
            })
            .map(|core| core.into_bound(py))
            .ok_or_else(|| PyRuntimeError::new_err("the stream was not initialized"))
    }

    /// Where it is in its loop, if it is there.
    #[inline]
    pub(super) fn place<'py>(&self, py: Python<'py>) -> PyResult<Option<Place<'py>>> {
        let key = self.key.get();
        if key == Key::NONE {
            return Ok(None);
        }
        let core = self.core(py)?;
        if core.get().is_closed() {
            self.key.set(Key::NONE);
            return Ok(None);
        }
        Ok(Some(Place { core, key }))
    }

    /// Whether no byte of the host's passes yet.
    #[inline]
    pub(super) fn is_unready(&self) -> bool {
        self.connecting.get() || self.handshaking.get()
    }

    /// Keeps bytes that cannot be sent yet.
    pub(super) fn keep_early(&self, py: Python<'_>, chunk: Chunk) {
        let empty = self.inner.with(py, |inner, _| inner.early.push(chunk));
        drop(empty);
    }

    /// It has left the loop.
    pub(super) fn left(&self) {
        self.key.set(Key::NONE);
        self.listening.set(false);
        self.told.set(false);
    }

    #[inline]
    pub(super) fn context<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.inner
            .with(py, |inner, refs| {
                inner.context.as_ref().map(|context| refs.clone(context))
            })
            .map(|context| context.into_bound(py))
    }

    pub(super) fn fd(slf: &Bound<'_, Self>) -> PyResult<Fd> {
        let py = slf.py();
        let socket = slf.get().own_socket(py)?;
        call::call_method0(&socket, intern!(py, "fileno"))?.extract()
    }

    /// The socket; None once it is closed, or somebody else's. AttributeError before `__init__`.
    pub(super) fn own_socket<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.inner
            .with(py, |inner, refs| {
                inner.socket.as_ref().map(|socket| refs.clone(socket))
            })
            .map(|socket| socket.into_bound(py))
            .ok_or_else(|| PyAttributeError::new_err("socket"))
    }

    /// What the socket is. One that cannot say is any other.
    pub(super) fn medium(&self, fd: Fd) -> Medium {
        match self.medium.get() {
            Some(known) => known,
            None => {
                let found = socket::family(fd).map_or(Medium::Socket, Medium::of);
                self.medium.set(Some(found));
                found
            }
        }
    }

    /// `StreamClosedError` with the real error.
    #[cold]
    pub(super) fn closed_error(slf: &Bound<'_, Self>) -> PyErr {
        let py = slf.py();
        let made = slf.getattr(intern!(py, "error")).and_then(|error| {
            names::TORNADO_STREAM_CLOSED
                .get(py)?
                .call1((error,))
                .map(PyErr::from_value)
        });
        made.unwrap_or_else(|error| error)
    }

    #[inline]
    pub(super) fn check_closed(slf: &Bound<'_, Self>) -> PyResult<()> {
        if slf.get().closed.get() {
            return Err(Self::closed_error(slf));
        }
        Ok(())
    }

    /// A new Future on its loop.
    #[inline]
    pub(super) fn new_future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let core = self.core(py)?;
        call::call_with_keyword(
            &names::ASYNCIO_FUTURE.get(py)?,
            names::LOOP_KEYWORD.get(py)?,
            core.as_any(),
        )
    }

    /// Puts it into the loop: from now on it hears of bytes. Errors: RuntimeError when the loop is closed.
    pub(super) fn join<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Place<'py>>> {
        let py = slf.py();
        let stream = slf.get();
        if let Some(place) = stream.place(py)? {
            return Ok(Some(place));
        }
        let core = stream.core(py)?;
        core.get().check_closed()?;
        if stream.tls.get() {
            return Err(Self::has_left());
        }
        let fd = Self::fd(slf)?;
        let context = call::copy_context(py)?.unbind();
        let old = stream
            .inner
            .with(py, |inner, _| inner.context.replace(context));
        drop(old);
        let face = Face {
            object: slf.clone().into_any().unbind(),
            sink: &TornadoSink,
        };
        let medium = stream.medium(fd);
        // The socket closes the descriptor, not the stream, and stays open when the loop is closed.
        let key = adopted::adopt(&core, Stream::new(fd, medium, Owner::Face, face, OPTIONS))?;
        if stream.closed.get() {
            // It could not be registered.
            drop(adopted::take(&core, key, true));
            return Ok(None);
        }
        stream.key.set(key);
        Ok(Some(Place { core, key }))
    }

    /// TLS does not come back into a loop: its layer went with it.
    #[cold]
    pub(super) fn has_left() -> PyErr {
        PyRuntimeError::new_err("the stream has left its loop")
    }

    /// Has it hear of bytes, now or later.
    pub(super) fn listen(slf: &Bound<'_, Self>) -> PyResult<()> {
        let stream = slf.get();
        stream.listening.set(true);
        if stream.is_unready() || stream.closed.get() {
            return Ok(());
        }
        if let Some(place) = Self::join(slf)? {
            // What came in between had its edge.
            read::resume(&place.core, place.key);
        }
        Ok(())
    }

    /// Whether bytes are wanted: by a read, or to notice the end.
    #[inline]
    pub(super) fn wants_bytes(&self, py: Python<'_>) -> bool {
        self.listening.get() || self.is_reading(py)
    }

    /// Whether a read is pending.
    #[inline]
    pub(super) fn is_reading(&self, py: Python<'_>) -> bool {
        self.inner.with(py, |inner, _| inner.future.is_some())
    }

    /// Has what came in between looked at, when the stream listens.
    #[inline]
    pub(super) fn look_again(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(place) = self.place(py)? {
            read::resume(&place.core, place.key);
        }
        Ok(())
    }

    /// What Tornado does at the end of each event: an idle stream is read when its buffer is empty.
    #[inline]
    pub(super) fn after_event(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let stream = slf.get();
        let sending = stream.sending.get();
        let listening = stream.inner.with(py, |inner, _| {
            inner.future.is_some() || !sending && inner.buffer.is_empty()
        });
        stream.listening.set(listening);
        if listening {
            stream.look_again(py)?;
        }
        Ok(())
    }
}

#[pymethods]
impl TornadoStream {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        TornadoStream {
            inner: StateCell::new(Inner {
                core: None,
                socket: None,
                io_loop: None,
                context: None,
                // Its limit is looked after with every read, since programs change it.
                buffer: ReadBuffer::new(usize::MAX),
                want: None,
                future: None,
                early: Early::default(),
                write_futures: None,
            }),
            key: Flag::new(Key::NONE),
            closed: Flag::new(false),
            connecting: Flag::new(false),
            handshaking: Flag::new(false),
            tls: Flag::new(false),
            in_records: Flag::new(0),
            python_soon: Flag::new(false),
            listening: Flag::new(false),
            told: Flag::new(false),
            sending: Flag::new(false),
            appended: Flag::new(false),
            cleared: Flag::new(false),
            native: Flag::new(false),
            handed_over: Flag::new(false),
            total: Flag::new(0),
            medium: Flag::new(None),
            max_buffer_size: Flag::new(0),
            read_chunk_size: Flag::new(0),
            max_write_buffer_size: Flag::new(usize::MAX),
            built: true,
        }
    }

    /// The loop and the limits, in bytes. From now on it is native, until `read_from_fd` or `write_to_fd` is replaced.
    fn _set_up(
        &self,
        py: Python<'_>,
        r#loop: Py<LoopCore>,
        max_buffer_size: Limit,
        read_chunk_size: Limit,
        max_write_buffer_size: Option<Limit>,
    ) {
        let old = self.inner.with(py, |inner, _| inner.core.replace(r#loop));
        drop(old);
        self.max_buffer_size.set(max_buffer_size.0);
        self.read_chunk_size.set(read_chunk_size.0);
        self.set_max_write_buffer_size(max_write_buffer_size);
        self.native.set(true);
    }

    /// Notices when somebody replaces what reads or writes: then Tornado's Python does it all.
    fn __setattr__(
        slf: &Bound<'_, Self>,
        name: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        objects::generic_setattr(slf.as_any(), name, Some(value))?;
        if slf.get().native.get() {
            let py = slf.py();
            if name.eq(intern!(py, "read_from_fd"))? || name.eq(intern!(py, "write_to_fd"))? {
                super::tls::take_python_path(slf)?;
            }
        }
        Ok(())
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>) -> PyResult<()> {
        objects::generic_setattr(slf.as_any(), name, None)
    }

    /// Takes the stream out of its loop without a word; the socket stays open, what waited to be sent is dropped. Nothing
    /// when it is in none.
    fn _leave(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(place) = self.place(py)? {
            let stream = adopted::take(&place.core, place.key, true);
            self.left();
            drop(stream);
        }
        Ok(())
    }

    /// It is connected: puts it into the loop, with what waits to be sent.
    fn _connected(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().connecting.set(false);
        if Self::join(slf)?.is_some() {
            super::writing::send_early(slf)?;
        }
        if slf.get().closed.get() {
            return Ok(());
        }
        Self::after_event(slf)
    }

    /// Whether it is in its loop.
    #[getter]
    fn _joined(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.place(py)?.is_some())
    }

    /// Whether it is not on Tornado's Python path.
    #[getter]
    fn _native(&self) -> bool {
        self.native.get()
    }

    /// Leaves the loop for Tornado's Python path. Answers the attributes that Tornado's own class would have by now;
    /// `_write_buffer` as a list.
    fn _hand_over<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        super::tls::decode_rest(slf)?;
        let state = python_path::reading(slf)?;
        python_path::writing(slf, &state)?;
        let stream = slf.get();
        stream._leave(slf.py())?;
        stream.native.set(false);
        stream.handed_over.set(true);
        super::tls::give_back(slf)?;
        let (socket, io_loop) = stream.inner.with(slf.py(), |inner, _| {
            (inner.socket.take(), inner.io_loop.take())
        });
        state.set_item("socket", socket)?;
        state.set_item("io_loop", io_loop)?;
        Ok(state)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if !self.built {
            return Ok(());
        }
        self.inner
            .try_with(|inner| {
                visit.call(inner.core.as_ref())?;
                visit.call(inner.socket.as_ref())?;
                visit.call(inner.io_loop.as_ref())?;
                visit.call(inner.context.as_ref())?;
                visit.call(inner.want.as_ref().and_then(Want::object))?;
                visit.call(inner.future.as_ref())?;
                visit.call(inner.write_futures.as_ref())
            })
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let taken = self.inner.with(py, |inner, _| {
            (
                inner.core.take(),
                (inner.socket.take(), inner.io_loop.take()),
                inner.context.take(),
                inner.want.take(),
                inner.future.take(),
                inner.write_futures.take(),
            )
        });
        drop(taken);
    }
}

#[pymethods]
impl LoopCore {
    /// The Tornado streams that are in the loop.
    fn _tornado_streams<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        let faces: Vec<Py<PyAny>> = slf.get().state.with(py, |state, refs| {
            let drivers = state.sources.iter().filter_map(|(_, source)| match source {
                Source::Driver(driver) => driver.face().map(|face| refs.clone(face)),
                Source::Watcher(_) => None,
            });
            drivers.collect()
        });
        let streams = faces.into_iter().map(|face| face.into_bound(py));
        PyList::new(
            py,
            streams
                .filter(|face| face.is_instance_of::<TornadoStream>())
                .collect::<Vec<_>>(),
        )
    }
}
