//! A face that is pushed to, as Twisted's transports will be. It keeps a record of what it was told, and what a test
//! wants done from inside a callback.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::harness;
use crate::io::read::{self, Received};
use crate::io::sink::{AfterEof, Failed, Sink, Stream, Taken};
use crate::io::stream::{self, Options};
use crate::io::write::{self, Written};
use crate::poll::Key;
use crate::proto::marks::Pressure;
use crate::py::bytes::{self, Data};
use crate::runtime::LoopCore;

/// What a face was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    Made,
    Data(Vec<u8>),
    Eof,
    Pressure(Pressure),
    /// With the error's text.
    Failed(Failed, String),
    /// With the reason's text.
    Lost(Option<String>),
}

/// From inside which callback.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum On {
    Made,
    Data,
    Eof,
    Pause,
    Resume,
    Failed,
    Lost,
}

pub type Hook = Box<dyn FnMut(&Stream<'_, '_>) + Send>;

#[pyclass(frozen)]
pub struct Push {
    told: Mutex<Vec<Told>>,
    hooks: Mutex<HashMap<On, Hook>>,
    /// How much it reads at once.
    chunk: usize,
    after_eof: AfterEof,
    raises: std::sync::atomic::AtomicBool,
}

pub struct PushSink;

/// Twisted without half-close: the peer's end of file is the connection's.
pub fn whole(py: Python<'_>) -> Py<Push> {
    with(py, 64 * 1024, AfterEof::Abort)
}

/// Twisted with `IHalfCloseableProtocol`.
pub fn half_closeable(py: Python<'_>) -> Py<Push> {
    with(py, 64 * 1024, AfterEof::Keep)
}

pub fn with(py: Python<'_>, chunk: usize, after_eof: AfterEof) -> Py<Push> {
    let push = Push {
        told: Mutex::default(),
        hooks: Mutex::default(),
        chunk,
        after_eof,
        raises: false.into(),
    };
    Py::new(py, push).unwrap()
}

impl Push {
    pub fn told(&self) -> MutexGuard<'_, Vec<Told>> {
        self.told.lock().unwrap()
    }

    /// All bytes it was given.
    pub fn data(&self) -> Vec<u8> {
        let told = self.told();
        let pieces = told.iter().filter_map(|told| match told {
            Told::Data(bytes) => Some(bytes.as_slice()),
            _ => None,
        });
        pieces.collect::<Vec<_>>().concat()
    }

    /// How often it was told exactly that.
    pub fn count(&self, what: &Told) -> usize {
        self.told().iter().filter(|told| *told == what).count()
    }

    pub fn is_lost(&self) -> bool {
        self.told().iter().any(|told| matches!(told, Told::Lost(_)))
    }

    /// From now on does `hook` inside that callback.
    pub fn on(&self, callback: On, hook: impl FnMut(&Stream<'_, '_>) + Send + 'static) {
        self.hooks.lock().unwrap().insert(callback, Box::new(hook));
    }

    /// As [`Push::on`], the first time only.
    pub fn once(&self, callback: On, hook: impl FnOnce(&Stream<'_, '_>) + Send + 'static) {
        let mut hook = Some(hook);
        self.on(callback, move |stream| {
            if let Some(hook) = hook.take() {
                hook(stream);
            }
        });
    }

    /// The next time it is resumed it raises SystemExit.
    pub fn raise_on_resume(&self) {
        self.raises
            .store(true, std::sync::atomic::Ordering::Relaxed);
    }

    fn tell(&self, callback: On, told: Told, stream: &Stream<'_, '_>) {
        self.told().push(told);
        // Taken out: it may come back to this very face.
        let hook = self.hooks.lock().unwrap().remove(&callback);
        if let Some(mut hook) = hook {
            hook(stream);
            self.hooks.lock().unwrap().entry(callback).or_insert(hook);
        }
    }
}

fn face<'a>(stream: &'a Stream<'_, '_>) -> &'a Push {
    stream.object.cast::<Push>().unwrap().get()
}

impl Sink for PushSink {
    fn made(&self, stream: &Stream<'_, '_>) -> PyResult<()> {
        face(stream).tell(On::Made, Told::Made, stream);
        stream::start(stream.core, stream.key)
    }

    fn read(&self, stream: &Stream<'_, '_>) -> PyResult<Taken> {
        let face = face(stream);
        let mut buffer = Box::new_uninit_slice(face.chunk);
        match read::receive(stream.core, stream.key, &mut buffer) {
            Received::Bytes(count) => {
                // SAFETY: `receive` says that it has written them.
                let bytes = unsafe { bytes::from_received(stream.core.py(), &buffer, count) };
                let bytes = bytes.as_bytes().to_vec();
                face.tell(On::Data, Told::Data(bytes), stream);
                Ok(Taken::Bytes)
            }
            Received::Eof => Ok(Taken::Eof),
            Received::WouldBlock | Received::Gone => Ok(Taken::Nothing),
            Received::Failed(error) => read::failed(stream.core, stream.key, error),
        }
    }

    fn eof(&self, stream: &Stream<'_, '_>) -> PyResult<AfterEof> {
        face(stream).tell(On::Eof, Told::Eof, stream);
        Ok(face(stream).after_eof)
    }

    fn pressure(&self, stream: &Stream<'_, '_>, pressure: Pressure) -> PyResult<()> {
        let callback = match pressure {
            Pressure::Pause => On::Pause,
            Pressure::Resume => On::Resume,
        };
        face(stream).tell(callback, Told::Pressure(pressure), stream);
        let raises = &face(stream).raises;
        if callback == On::Resume && raises.swap(false, std::sync::atomic::Ordering::Relaxed) {
            return Err(pyo3::exceptions::PySystemExit::new_err(()));
        }
        Ok(())
    }

    fn failed(&self, stream: &Stream<'_, '_>, what: Failed, error: &PyErr) -> PyResult<()> {
        let told = Told::Failed(what, error.to_string());
        face(stream).tell(On::Failed, told, stream);
        Ok(())
    }

    fn lost(&self, stream: &Stream<'_, '_>, reason: Option<PyErr>) -> PyResult<()> {
        let told = Told::Lost(reason.map(|error| error.to_string()));
        face(stream).tell(On::Lost, told, stream);
        Ok(())
    }
}

/// Puts a pushed stream into the loop.
pub fn open(core: &Bound<'_, LoopCore>, fd: OwnedFd, tcp: bool, push: &Py<Push>) -> Key {
    open_with(core, fd, tcp, push, harness::PUSHED)
}

pub fn open_with(
    core: &Bound<'_, LoopCore>,
    fd: OwnedFd,
    tcp: bool,
    push: &Py<Push>,
    options: Options,
) -> Key {
    harness::open(core, fd, tcp, push, &PushSink, options)
}

/// Writes a `bytes` object.
pub fn send(core: &Bound<'_, LoopCore>, key: Key, bytes: &[u8]) -> Written {
    let data = Data::Bytes(PyBytes::new(core.py(), bytes));
    write::write(core, key, data).unwrap()
}
