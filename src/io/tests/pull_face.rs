//! A face that pulls, as Tornado's streams will be: it owns a read buffer, reads complete from it, and are tried at
//! once.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard};

use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::prelude::*;

use super::harness;
use crate::io::read::{self, Received};
use crate::io::sink::{AfterEof, Failed, Sink, Stream, Taken};
use crate::io::stream;
use crate::poll::Key;
use crate::proto::marks::Pressure;
use crate::proto::pending_read::{PendingRead, Want};
use crate::proto::read_buffer::ReadBuffer;
use crate::py::bytes;
use crate::runtime::LoopCore;

/// Tornado's `read_chunk_size`, made small.
pub const CHUNK: usize = 1024;

/// How a read ended: with its bytes, or because the stream was closed, with the real error's text.
pub type Outcome = Result<Vec<u8>, Option<String>>;

pub struct Inner {
    pub buffer: ReadBuffer,
    pub pending: Option<PendingRead>,
    pub outcomes: Vec<Outcome>,
    pub closed: bool,
    pub real_error: Option<String>,
    pub lost: usize,
    /// How many bytes each read from the stream brought.
    pub reads: Vec<usize>,
}

#[pyclass(frozen)]
pub struct Pull(Mutex<Inner>);

pub struct PullSink;

pub fn new(py: Python<'_>, limit: usize) -> Py<Pull> {
    let inner = Inner {
        buffer: ReadBuffer::new(limit),
        pending: None,
        outcomes: Vec::new(),
        closed: false,
        real_error: None,
        lost: 0,
        reads: Vec::new(),
    };
    Py::new(py, Pull(Mutex::new(inner))).unwrap()
}

pub fn open(core: &Bound<'_, LoopCore>, fd: OwnedFd, tcp: bool, pull: &Py<Pull>) -> Key {
    harness::open(core, fd, tcp, pull, &PullSink, harness::PULLED)
}

pub fn until(delimiter: &[u8]) -> Want {
    Want::Until {
        delimiter: delimiter.into(),
        max_bytes: None,
    }
}

impl Inner {
    /// Completes the pending read when it can be. Errors: it never can.
    fn complete(&mut self) -> Result<(), String> {
        let Some(pending) = &mut self.pending else {
            return Ok(());
        };
        let found = if self.closed {
            let clean = self.real_error.is_none();
            let found = pending.poll_at_close(&self.buffer, clean);
            if found.is_none() {
                self.pending = None;
                self.outcomes.push(Err(self.real_error.clone()));
            }
            found
        } else {
            pending
                .poll(&self.buffer)
                .map_err(|impossible| impossible.to_string())?
        };
        if let Some(count) = found {
            self.pending = None;
            let bytes = self.buffer.consume(count);
            self.outcomes.push(Ok(bytes));
        }
        Ok(())
    }

    fn close(&mut self, real_error: Option<String>) {
        if !self.closed {
            self.closed = true;
            self.real_error = real_error;
            self.complete().unwrap();
        }
    }
}

impl Pull {
    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub fn outcomes(&self) -> Vec<Outcome> {
        std::mem::take(&mut self.inner().outcomes)
    }

    /// A read call: completes from the buffer, or is tried at once, or waits.
    pub fn ask(&self, core: &Bound<'_, LoopCore>, key: Key, want: Want) {
        let result = {
            let mut inner = self.inner();
            assert!(inner.pending.is_none(), "Already reading");
            inner.pending = Some(PendingRead::new(want, &inner.buffer));
            inner.complete()
        };
        if let Err(text) = result {
            self.close(core, key, Some(PyValueError::new_err(text)));
            return;
        }
        let waits = self.inner().pending.is_some();
        if waits {
            read::try_now(core, key).unwrap();
        } else {
            // The buffer may be empty now: the end of the stream has to be noticed again.
            read::resume(core, key);
        }
    }

    /// Tornado's `close(exc_info)`: at once, and what waits fails with the real error.
    pub fn close(&self, core: &Bound<'_, LoopCore>, key: Key, error: Option<PyErr>) {
        let text = error.as_ref().map(|error| error.to_string());
        stream::abort(core, key, error);
        self.inner().close(text);
    }
}

fn face<'a>(stream: &'a Stream<'_, '_>) -> &'a Pull {
    stream.object.cast::<Pull>().unwrap().get()
}

impl Sink for PullSink {
    fn made(&self, stream: &Stream<'_, '_>) -> PyResult<()> {
        stream::start(stream.core, stream.key)
    }

    fn read(&self, stream: &Stream<'_, '_>) -> PyResult<Taken> {
        let face = face(stream);
        {
            let inner = face.inner();
            if inner.pending.is_none() && !inner.buffer.is_empty() {
                // Unasked, one chunk is enough to know that the stream lives.
                return Ok(Taken::Nothing);
            }
        }
        let mut buffer = Box::new_uninit_slice(CHUNK);
        let count = match read::receive(stream.core, stream.key, &mut buffer) {
            Received::Bytes(count) => count,
            Received::Eof => return Ok(Taken::Eof),
            Received::WouldBlock | Received::Gone => return Ok(Taken::Nothing),
            Received::Failed(error) => return read::failed(stream.core, stream.key, error),
        };
        // SAFETY: `receive` says that it has written them.
        let bytes = unsafe { bytes::from_received(stream.core.py(), &buffer, count) };
        let failed = {
            let mut inner = face.inner();
            inner.reads.push(count);
            let full = inner.buffer.append(bytes.as_bytes());
            let result = inner.complete();
            match (full, result) {
                (_, Err(text)) => Some(PyValueError::new_err(text)),
                (Err(full), _) => Some(PyBufferError::new_err(full.to_string())),
                _ => None,
            }
        };
        if let Some(error) = failed {
            face.close(stream.core, stream.key, Some(error));
        }
        Ok(Taken::Bytes)
    }

    fn eof(&self, stream: &Stream<'_, '_>) -> PyResult<AfterEof> {
        face(stream).inner().close(None);
        Ok(AfterEof::Abort)
    }

    fn pressure(&self, _stream: &Stream<'_, '_>, _pressure: Pressure) -> PyResult<()> {
        Ok(())
    }

    fn failed(&self, stream: &Stream<'_, '_>, _what: Failed, error: &PyErr) -> PyResult<()> {
        face(stream).inner().close(Some(error.to_string()));
        Ok(())
    }

    fn lost(&self, stream: &Stream<'_, '_>, reason: Option<PyErr>) -> PyResult<()> {
        let mut inner = face(stream).inner();
        inner.lost += 1;
        inner.close(reason.map(|error| error.to_string()));
        Ok(())
    }
}
