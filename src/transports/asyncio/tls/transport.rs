//! `TlsTransport`: what asyncio programs hold for a connection with TLS.

use pyo3::exceptions::{PyNotImplementedError, PyTimeoutError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use super::super::opening::{OPTIONS, Start};
use super::super::transport::StreamTransport;
use super::settings::Settings;
use super::sink::TlsSink;
use crate::io::sink::Face;
use crate::io::stream::{self, Options};
use crate::io::{layer, read, write};
use crate::proto::marks::WaterMarks;
use crate::proto::phase::WriteRules;
use crate::py::bytes::Data;
use crate::py::cell::{Flag, StateCell};
use crate::py::names;
use crate::runtime::LoopCore;
use crate::tls::session::Session;

/// As plain streams, but for the water marks; and a write during the shutdown is refused.
const TLS_OPTIONS: Options = Options {
    marks: WaterMarks::ASYNCIO_TLS,
    rules: WriteRules::TORNADO,
    ..OPTIONS
};

/// Where in its life a TLS connection is, as asyncio sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    Handshake,
    Open,
    /// The host or the peer has ended it: our close_notify leaves, and the peer's is waited for.
    Shutdown,
    /// The handshake failed, the connection was aborted, or it is lost.
    Over,
}

pub(super) struct Inner {
    pub(super) context: Option<Py<PyAny>>,
    /// The `ssl.SSLObject`.
    pub(super) object: Option<Py<PyAny>>,
    handshake_timeout: Option<Py<PyAny>>,
    shutdown_timeout: Option<Py<PyAny>>,
    /// The session until it is put into the stream.
    session: Option<Session>,
    /// The timer of the stage.
    timer: Option<Py<PyAny>>,
    /// The transport whose stream this one has taken over, with `start_tls`.
    pub(super) beneath: Option<Py<StreamTransport>>,
    /// What stands for asyncio's `SSLProtocol`, made when somebody looks.
    pub(super) view: Option<Py<PyAny>>,
    /// When the handshake began, by the loop's clock; in debug mode only.
    pub(super) started: Option<f64>,
    /// Limits of asyncio's read buffer, (low, high): see `set_read_buffer_limits`.
    read_limits: (usize, usize),
}

/// A connection with TLS, like the transport of `loop.create_connection(ssl=...)`; isinstance says `asyncio.Transport`.
/// All methods belong to the loop's thread.
#[pyclass(frozen, extends = StreamTransport, module = "interloop._core")]
pub struct TlsTransport {
    pub(super) inner: StateCell<Inner>,
    pub(super) stage: Flag<Stage>,
    /// The handshake is over and was good: `get_extra_info` knows more.
    pub(super) established: Flag<bool>,
    /// The protocol has heard that the peer says no more.
    pub(super) eof_told: Flag<bool>,
    /// `get_extra_info`'s dict has all it will have.
    pub(super) extra_complete: Flag<bool>,
    /// Which engine makes the records.
    pub(super) engine: &'static str,
}

fn build(
    base: StreamTransport,
    settings: Settings<'_>,
    beneath: Option<Py<StreamTransport>>,
) -> PyClassInitializer<TlsTransport> {
    let tls = TlsTransport {
        engine: settings.engine.name(),
        inner: StateCell::new(Inner {
            context: Some(settings.context.unbind()),
            object: Some(settings.object.unbind()),
            handshake_timeout: Some(settings.handshake_timeout.unbind()),
            shutdown_timeout: Some(settings.shutdown_timeout.unbind()),
            session: Some(Session::new(settings.engine)),
            timer: None,
            beneath,
            view: None,
            started: None,
            read_limits: READ_LIMITS,
        }),
        stage: Flag::new(Stage::Handshake),
        established: Flag::new(false),
        eof_told: Flag::new(false),
        extra_complete: Flag::new(false),
    };
    let base = StreamTransport {
        fatal_text: Some("Fatal error on SSL protocol"),
        ..base
    };
    PyClassInitializer::from(base).add_subclass(tls)
}

/// asyncio's defaults (low, high) in bytes.
const READ_LIMITS: (usize, usize) = (64 * 1024, 256 * 1024);

impl TlsTransport {
    /// Puts a connected descriptor into the loop. Its handshake begins in the next turn.
    pub fn open<'py>(
        core: &Bound<'py, LoopCore>,
        start: Start<'py>,
        settings: Settings<'py>,
    ) -> PyResult<Bound<'py, Self>> {
        let (base, launch) = StreamTransport::build(core, start)?;
        let transport = Bound::new(core.py(), build(base, settings, None))?;
        launch.go(core, transport.as_super(), &TlsSink, TLS_OPTIONS)?;
        Ok(transport)
    }

    /// Takes over the stream of `beneath`, which goes on reading for the handshake.
    pub fn open_over<'py>(
        beneath: &Bound<'py, StreamTransport>,
        protocol: Bound<'py, PyAny>,
        settings: Settings<'py>,
        waiter: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Self>> {
        let py = beneath.py();
        let base = StreamTransport::build_over(beneath, protocol, waiter)?;
        let transport = Bound::new(py, build(base, settings, Some(beneath.clone().unbind())))?;
        let face = Face {
            object: transport.clone().into_any().unbind(),
            sink: &TlsSink,
        };
        let core = beneath.get().bound_core(py);
        let key = beneath.get().key();
        let old = stream::with(core, key, |stream| {
            stream.set_marks(WaterMarks::ASYNCIO_TLS);
            stream.set_rules(TLS_OPTIONS.rules);
            stream.set_face(face)
        });
        drop(old);
        if StreamTransport::is_closing(beneath) {
            // No handshake begins any more: the protocol and the waiter hear of the end.
            transport.get().stage.set(Stage::Over);
        } else {
            read::resume(core, key);
            Self::begin(&transport)?;
        }
        Ok(transport)
    }

    pub(super) fn base<'a, 'py>(slf: &'a Bound<'py, Self>) -> &'a StreamTransport {
        slf.as_super().get()
    }

    /// Begins the handshake.
    pub(super) fn begin(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let base = Self::base(slf);
        let core = base.bound_core(py);
        let (session, timeout) = slf.get().inner.with(py, |inner, refs| {
            let timeout = inner.handshake_timeout.as_ref();
            (
                inner.session.take(),
                timeout.map(|object| refs.clone(object)),
            )
        });
        let (Some(session), Some(timeout)) = (session, timeout) else {
            return Ok(());
        };
        if core.get().is_debug() {
            names::TLS_STARTS.get(py)?.call1((slf,))?;
            let now = LoopCore::now(core)?;
            slf.get()
                .inner
                .with(py, |inner, _| inner.started = Some(now));
        }
        Self::set_timer(slf, &timeout, intern!(py, "_handshake_timed_out"))?;
        layer::insert(core, base.key(), Box::new(session), b"")
    }

    fn set_timer(
        slf: &Bound<'_, Self>,
        seconds: &Py<PyAny>,
        method: &Bound<'_, pyo3::types::PyString>,
    ) -> PyResult<()> {
        let py = slf.py();
        let core = Self::base(slf).bound_core(py);
        let callback = slf.getattr(method)?;
        let timer = core.call_method1(intern!(py, "call_later"), (seconds, callback))?;
        let timer = timer.unbind();
        let old = slf
            .get()
            .inner
            .with(py, |inner, _| inner.timer.replace(timer));
        match old {
            Some(old) => old.bind(py).call_method0(intern!(py, "cancel")).map(drop),
            None => Ok(()),
        }
    }

    pub(super) fn cancel_timer(&self, py: Python<'_>) -> PyResult<()> {
        match self.inner.with(py, |inner, _| inner.timer.take()) {
            Some(timer) => timer.bind(py).call_method0(intern!(py, "cancel")).map(drop),
            None => Ok(()),
        }
    }

    /// Ends the connection in good order: what is buffered, close_notify, the peer's; `connection_lost` follows.
    pub(super) fn shut_down(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        if slf.get().stage.get() != Stage::Open {
            return Ok(());
        }
        slf.get().stage.set(Stage::Shutdown);
        let base = Self::base(slf);
        stream::close(base.bound_core(py), base.key());
        let timeout = slf.get().inner.with(py, |inner, refs| {
            inner
                .shutdown_timeout
                .as_ref()
                .map(|object| refs.clone(object))
        });
        match timeout {
            Some(timeout) => Self::set_timer(slf, &timeout, intern!(py, "_shutdown_timed_out")),
            None => Ok(()),
        }
    }

    pub(super) fn abort_with(slf: &Bound<'_, Self>, reason: Option<PyErr>) {
        let base = Self::base(slf);
        stream::abort(base.bound_core(slf.py()), base.key(), reason);
    }

    fn write_data(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let data = Data::new(data).map_err(|error| {
            if error.is_instance_of::<PyTypeError>(py) {
                let name = data
                    .get_type()
                    .name()
                    .map_or_else(|_| "?".into(), |name| name.to_string());
                PyTypeError::new_err(format!("data: expecting a bytes-like instance, got {name}"))
            } else {
                error
            }
        })?;
        let base = Self::base(slf);
        if matches!(slf.get().stage.get(), Stage::Handshake | Stage::Open)
            && write::write(base.bound_core(py), base.key(), data)?.is_ok()
        {
            return Ok(());
        }
        let before = base.count_lost_write();
        names::TLS_WARN_WRITE.get(py)?.call1((before,))?;
        Ok(())
    }
}

#[pymethods]
impl TlsTransport {
    /// Sends bytes, a bytearray or a memoryview; before the handshake is over they wait for it. Errors: TypeError.
    /// After the end it warns.
    fn write(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::write_data(slf, data)
    }

    /// NotImplementedError: asyncio has no half-closed TLS.
    fn write_eof(&self) -> PyResult<()> {
        Err(PyNotImplementedError::new_err(()))
    }

    /// Whether `write_eof()` works: never.
    fn can_write_eof(&self) -> bool {
        false
    }

    /// Flushes, says close_notify, and waits for the peer's, as long as the shutdown timeout says; `connection_lost`
    /// follows. Reading stops at once. During the handshake: aborts.
    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        if slf.get().stage.get() == Stage::Handshake {
            slf.get().stage.set(Stage::Over);
            Self::abort_with(slf, None);
            return Ok(());
        }
        Self::shut_down(slf)
    }

    /// Ends the connection at once; what is buffered is lost. `connection_lost(None)` follows.
    fn abort(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.call_method1(intern!(slf.py(), "_force_close"), (slf.py().None(),))
            .map(drop)
    }

    /// Ends the connection at once, for a reason.
    fn _force_close(slf: &Bound<'_, Self>, exc: Option<Bound<'_, PyAny>>) {
        slf.get().stage.set(Stage::Over);
        Self::abort_with(slf, exc.map(PyErr::from_value));
    }

    fn _handshake_timed_out(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        if slf.get().stage.get() != Stage::Handshake {
            return Ok(());
        }
        let timeout = slf.get().inner.with(py, |inner, refs| {
            inner
                .handshake_timeout
                .as_ref()
                .map(|object| refs.clone(object))
        });
        let error = names::TLS_HANDSHAKE_TIMEOUT
            .get(py)?
            .call1((slf, timeout))?;
        Self::abort_with(slf, Some(PyErr::from_value(error)));
        Ok(())
    }

    fn _shutdown_timed_out(slf: &Bound<'_, Self>) {
        if slf.get().stage.get() == Stage::Shutdown {
            let error = PyTimeoutError::new_err("SSL shutdown timed out");
            Self::abort_with(slf, Some(error));
        }
    }

    /// Sets the water marks of the write buffer in bytes; ValueError unless `high >= low >= 0`.
    #[pyo3(signature = (high=None, low=None))]
    fn set_write_buffer_limits(
        slf: &Bound<'_, Self>,
        high: Option<i64>,
        low: Option<i64>,
    ) -> PyResult<()> {
        let base = Self::base(slf);
        let high = match (high, low) {
            (None, None) => i64::try_from(WaterMarks::ASYNCIO_TLS.limits().1).ok(),
            _ => high,
        };
        write::set_limits(base.bound_core(slf.py()), base.key(), high, low)
    }

    /// The water marks of the write buffer (low, high) in bytes.
    fn get_write_buffer_limits(slf: &Bound<'_, Self>) -> (usize, usize) {
        let base = Self::base(slf);
        stream::with(base.bound_core(slf.py()), base.key(), |stream| {
            stream.marks().limits()
        })
        .unwrap_or_else(|| WaterMarks::ASYNCIO_TLS.limits())
    }

    /// asyncio's transport reads ahead of a protocol that has paused, up to these marks in bytes. Ours does not: what
    /// it keeps is the rest of one read. So they are kept to be asked for. ValueError unless `high >= low >= 0`.
    #[pyo3(signature = (high=None, low=None))]
    fn set_read_buffer_limits(
        &self,
        py: Python<'_>,
        high: Option<i64>,
        low: Option<i64>,
    ) -> PyResult<()> {
        let mut marks = WaterMarks::ASYNCIO;
        let high = match (high, low) {
            (None, None) => i64::try_from(READ_LIMITS.1).ok(),
            _ => high,
        };
        marks
            .set_limits(high, low)
            .map_err(|bad| pyo3::exceptions::PyValueError::new_err(bad.to_string()))?;
        self.inner
            .with(py, |inner, _| inner.read_limits = marks.limits());
        Ok(())
    }

    /// The marks (low, high) that were set.
    fn get_read_buffer_limits(&self, py: Python<'_>) -> (usize, usize) {
        self.inner.with(py, |inner, _| inner.read_limits)
    }

    /// Received bytes that have not been decrypted.
    fn get_read_buffer_size(slf: &Bound<'_, Self>) -> usize {
        let base = Self::base(slf);
        stream::with(base.bound_core(slf.py()), base.key(), |stream| {
            stream.unread()
        })
        .unwrap_or(0)
    }

    #[getter]
    fn __class__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        names::ASYNCIO_TLS_TRANSPORT.get(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.inner
            .try_with(|inner| {
                visit.call(inner.context.as_ref())?;
                visit.call(inner.object.as_ref())?;
                visit.call(inner.handshake_timeout.as_ref())?;
                visit.call(inner.shutdown_timeout.as_ref())?;
                visit.call(inner.timer.as_ref())?;
                visit.call(inner.beneath.as_ref())?;
                visit.call(inner.view.as_ref())
            })
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let taken = self.inner.with(py, |inner, _| {
            (
                inner.context.take(),
                inner.object.take(),
                inner.handshake_timeout.take(),
                inner.shutdown_timeout.take(),
                inner.session.take(),
                inner.timer.take(),
                inner.beneath.take(),
                inner.view.take(),
            )
        });
        drop(taken);
    }
}
