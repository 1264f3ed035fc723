//! Writing: at once or at the end of the turn, and what is left over.

use std::io::{self, ErrorKind, IoSlice};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::broken;
use super::file::Sent;
use super::layer::{self, Layer};
use super::sink::{Face, Failed};
use super::stream::{self, Flush, Parts, Stream, parts};
use crate::poll::Key;
use crate::proto::marks::Pressure;
use crate::proto::phase::WriteRefused;
use crate::proto::write_buffer::{Finished, MAX_SLICES};
use crate::py::bytes::{Chunk, Data};
use crate::py::cell::Refs;
use crate::py::errors;
use crate::runtime::LoopCore;
use crate::sys::ancillary;

/// What [`write`] answers: a refusal is the host's to comment.
pub type Written = Result<(), WriteRefused>;

enum Step {
    Done,
    Gone,
    Refused(WriteRefused),
    /// So much has left; the rest must be kept.
    Keep(usize),
    Failed(io::Error),
    /// The bytes go through the layer, lent for it unless it is at work.
    Layer(Option<Box<dyn Layer>>),
}

/// Sends `data`, or keeps what the kernel does not take. Reports water marks.
pub fn write(core: &Bound<'_, LoopCore>, key: Key, data: Data<'_>) -> PyResult<Written> {
    let py = core.py();
    let bytes = data.as_slice();
    if bytes.is_empty() {
        return Ok(Ok(()));
    }
    let step = core.get().state.with(py, |state, _| {
        let Some(parts) = parts(state, key) else {
            return Step::Gone;
        };
        let stream = parts.stream;
        if let Err(refused) = stream.life.may_write(stream.rules) {
            return Step::Refused(refused);
        }
        if stream.file.is_some() {
            return Step::Refused(WriteRefused::SendsFile);
        }
        if let Some(layered) = &mut stream.layer {
            if !layered.is_finished() {
                return Step::Layer(layered.lend());
            }
            return Step::Refused(if stream.life.write_eof_requested() {
                WriteRefused::AfterEof
            } else {
                WriteRefused::Closed
            });
        }
        if stream.flush == Flush::EndOfTurn || !stream.out.is_empty() {
            return Step::Keep(0);
        }
        stream.about_to_send();
        match stream.medium.send(stream.fd, bytes) {
            Ok(count) if count == bytes.len() => Step::Done,
            Ok(count) => Step::Keep(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Step::Keep(0),
            Err(error) => Step::Failed(error),
        }
    });
    match step {
        Step::Done => Ok(Ok(())),
        Step::Gone => Ok(Err(WriteRefused::Closed)),
        Step::Refused(refused) => Ok(Err(refused)),
        Step::Failed(error) => {
            stream::fail(core, key, Failed::Write, errors::os_error(py, &error))?;
            Ok(Ok(()))
        }
        Step::Layer(layer) => layer::write(core, key, layer, data).map(Ok),
        Step::Keep(count) => {
            let rest = (count < bytes.len()).then(|| data.keep(count));
            keep(core, key, rest)?;
            Ok(Ok(()))
        }
    }
}

/// Keeps `data` until the end of the turn, for a stream that sends then; any other one does as in [`write`].
pub fn write_held(
    core: &Bound<'_, LoopCore>,
    key: Key,
    data: &Bound<'_, PyBytes>,
) -> PyResult<Written> {
    if data.as_bytes().is_empty() {
        return Ok(Ok(()));
    }
    let chunk = Data::Bytes(data.clone()).keep(0);
    let outcome = core.get().state.with(core.py(), |state, refs| {
        let Some(mut parts) = parts(state, key) else {
            return (Err(Some(WriteRefused::Closed)), Some(chunk));
        };
        let stream = &mut *parts.stream;
        if stream.flush != Flush::EndOfTurn || stream.layer.is_some() || stream.file.is_some() {
            return (Err(None), Some(chunk));
        }
        if let Err(refused) = stream.life.may_write(stream.rules) {
            return (Err(Some(refused)), Some(chunk));
        }
        let returned = stream.out.push(chunk);
        let pressure = stream.marks.grown(stream.out.len());
        parts.hold();
        (Ok(told(&parts, refs, pressure)), returned)
    });
    match outcome {
        (Ok(told), _returned) => tell(core, key, told).map(Ok),
        (Err(Some(refused)), _) => Ok(Err(refused)),
        (Err(None), _) => write(core, key, Data::Bytes(data.clone())),
    }
}

/// Keeps a chunk until the kernel takes it, and tells the host when that makes too many.
fn keep(core: &Bound<'_, LoopCore>, key: Key, chunk: Option<Chunk>) -> PyResult<()> {
    let py = core.py();
    let outcome = core.get().state.with(py, |state, refs| {
        let mut parts = parts(state, key)?;
        let returned = chunk.and_then(|chunk| parts.stream.out.push(chunk));
        let registered = parts.arrange_sending();
        let pressure = parts.stream.marks.grown(parts.stream.backlog());
        Some((registered, told(&parts, refs, pressure), returned))
    });
    let Some((registered, told, _returned)) = outcome else {
        return Ok(());
    };
    if let Err(error) = registered {
        return stream::fail(core, key, Failed::Register, errors::os_error(py, &error));
    }
    tell(core, key, told)
}

/// Appends to what waits to be sent, without a word and without sending: [`flush`] does that.
pub fn queue(core: &Bound<'_, LoopCore>, key: Key, chunk: Chunk) {
    let returned = core
        .get()
        .state
        .with(core.py(), |state, _| match state.driver::<Stream>(key) {
            Some(stream) if stream.life.may_send() => stream.out.push(chunk),
            _ => Some(chunk),
        });
    drop(returned);
}

/// The face, when it has to be told of a crossed water mark.
fn told(parts: &Parts<'_>, refs: Refs<'_>, pressure: Option<Pressure>) -> Option<(Face, Pressure)> {
    pressure.map(|pressure| (parts.stream.face.clone_ref(refs), pressure))
}

pub(super) fn tell(
    core: &Bound<'_, LoopCore>,
    key: Key,
    told: Option<(Face, Pressure)>,
) -> PyResult<()> {
    match told {
        Some((face, pressure)) => {
            face.call(core, key, |sink, stream| sink.pressure(stream, pressure))
        }
        None => Ok(()),
    }
}

/// Appends what a layer made to the write buffer. Owned bytes: dropping them runs no code.
pub(super) fn push_wire(stream: &mut Stream, wire: &[u8]) {
    if !wire.is_empty() {
        let returned = stream.out.push(Chunk::Owned(wire.into()));
        debug_assert!(returned.is_none());
    }
}

impl Parts<'_> {
    /// Sees to it that what is buffered leaves: at the end of this turn, or when the kernel has room.
    fn arrange_sending(&mut self) -> io::Result<()> {
        let stream = &mut *self.stream;
        if stream.flush == Flush::EndOfTurn {
            self.hold();
            return Ok(());
        }
        self.wait_for_room()
    }

    /// Sees to it that the stream is flushed at the end of this turn.
    pub fn hold(&mut self) {
        if !self.stream.flush_queued {
            self.stream.flush_queued = true;
            self.flush.push((self.key, flush_held));
        }
    }

    /// Registers for writing, once for the stream's life.
    pub(super) fn wait_for_room(&mut self) -> io::Result<()> {
        let stream = &mut *self.stream;
        if stream.writing {
            return Ok(());
        }
        let Some(kernel) = self.kernel else {
            return Ok(());
        };
        let urgent = stream.medium.has_urgent();
        if !stream.registered {
            kernel.registrar.add_stream(stream.fd, self.key, urgent)?;
            stream.registered = true;
        }
        kernel
            .registrar
            .add_stream_writing(stream.fd, self.key, urgent)?;
        stream.writing = true;
        Ok(())
    }
}

/// What a stream does at the end of a turn.
enum Held {
    /// Its face has something to write first.
    Fill(Face),
    /// All that there was has left.
    Left(Option<Chunk>),
    /// There is more to it; with the answer of a send that was tried.
    More(Option<io::Result<usize>>),
}

fn flush_held(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    let held = core.get().state.with(core.py(), |state, refs| {
        let stream = state.driver::<Stream>(key)?;
        stream.flush_queued = false;
        Some(if std::mem::take(&mut stream.fill) {
            Held::Fill(stream.face.clone_ref(refs))
        } else {
            send_only(stream)
        })
    });
    match held {
        None => Ok(()),
        Some(Held::Fill(face)) => {
            face.call(core, key, |sink, stream| sink.fill(stream))?;
            flush(core, key)
        }
        Some(Held::Left(_chunk)) => Ok(()),
        Some(Held::More(tried)) => flush_from(core, key, tried),
    }
}

/// The usual end of a turn in one go: one chunk, which the kernel takes whole, and nobody to be told.
#[inline]
fn send_only(stream: &mut Stream) -> Held {
    if stream.layer.is_some()
        || stream.file.is_some()
        || stream.tell_drained
        || stream.marks.paused()
        || stream.is_ending()
        || !stream.life.may_send()
        || stream.next_leaving().is_some()
    {
        return Held::More(None);
    }
    stream.about_to_send();
    let Some(only) = stream.out.only() else {
        return Held::More(None);
    };
    match stream.medium.send(stream.fd, only) {
        Ok(count) if count == stream.out.len() => Held::Left(stream.out.take_only()),
        tried => Held::More(Some(tried)),
    }
}

/// Sends what a face has made in a block of its own, when it is asked at the end of a turn (`now`); what the kernel
/// does not take is kept, and otherwise all of it, until then. What ends already takes nothing.
pub fn send_made(core: &Bound<'_, LoopCore>, key: Key, wire: &[u8], now: bool) -> PyResult<()> {
    let py = core.py();
    let result = core.get().state.with(py, |state, _| {
        let Some(mut parts) = parts(state, key) else {
            return Ok(());
        };
        let stream = &mut *parts.stream;
        if stream.life.may_write(stream.rules).is_err() {
            return Ok(());
        }
        let mut count = 0;
        if now && stream.out.is_empty() && stream.next_leaving().is_none() {
            stream.about_to_send();
            match stream.medium.send(stream.fd, wire) {
                Ok(taken) => count = taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if count < wire.len() {
            push_wire(stream, &wire[count..]);
            parts.hold();
        }
        Ok(())
    });
    match result {
        Ok(()) => Ok(()),
        Err(error) => broken::fail(core, key, &error),
    }
}

/// Sends as much of the write buffer as the kernel takes, in as few calls as possible.
pub fn flush(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    flush_from(core, key, None)
}

/// The same; `tried` is what the first send has answered, if it was tried.
fn flush_from(
    core: &Bound<'_, LoopCore>,
    key: Key,
    mut tried: Option<io::Result<usize>>,
) -> PyResult<()> {
    // Again once at most: for a layer's last word.
    while flush_once(core, key, &mut tried)? {}
    Ok(())
}

/// What came of sending what is buffered.
enum Flushed {
    /// Nobody has to be told anything.
    Silent,
    Tell(Box<Telling>),
}

/// What has to be told and looked at with nothing borrowed.
struct Telling {
    result: io::Result<()>,
    pressure: Option<(Face, Pressure)>,
    /// The face that wants to hear what has left, and whether that was all.
    drained: Option<(Face, bool)>,
    file: Option<Sent>,
}

fn flush_once(
    core: &Bound<'_, LoopCore>,
    key: Key,
    tried: &mut Option<io::Result<usize>>,
) -> PyResult<bool> {
    let py = core.py();
    let outcome = core.get().state.with(py, |state, refs| {
        let mut parts = parts(state, key)?;
        if !parts.stream.life.may_send() {
            return None;
        }
        let mut finished = Left::default();
        let mut result = Ok(());
        while !parts.stream.out.is_empty() {
            let sent = match tried.take() {
                Some(sent) => sent,
                None => send_some(parts.stream),
            };
            match sent {
                Ok(count) => finished.add(parts.stream.out.advance(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    result = parts.wait_for_room();
                    break;
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        let file = if result.is_ok() && parts.stream.out.is_empty() {
            parts.send_file()
        } else {
            None
        };
        let pressure = if result.is_ok() {
            parts.stream.marks.update(parts.stream.backlog())
        } else {
            None
        };
        let pressure = told(&parts, refs, pressure);
        let stream = &*parts.stream;
        let empty = stream.out.is_empty();
        let drained = (stream.tell_drained && (empty || !finished.is_empty()) && result.is_ok())
            .then(|| (stream.face.clone_ref(refs), empty));
        let silent = pressure.is_none() && drained.is_none() && file.is_none();
        if silent && result.is_ok() && stream.layer.is_none() {
            return Some((Flushed::Silent, finished, parts.check_drained()));
        }
        let telling = Telling {
            result,
            pressure,
            drained,
            file,
        };
        Some((Flushed::Tell(Box::new(telling)), finished, Finished::none()))
    });
    let Some((flushed, finished, dropped)) = outcome else {
        return Ok(false);
    };
    drop((finished, dropped));
    match flushed {
        Flushed::Silent => Ok(false),
        Flushed::Tell(telling) => tell_flushed(core, key, *telling),
    }
}

/// Tells who has to be told. True when a layer has made more that is to leave.
fn tell_flushed(core: &Bound<'_, LoopCore>, key: Key, telling: Telling) -> PyResult<bool> {
    let py = core.py();
    if let Some(file) = telling.file {
        file.tell(py)?;
    }
    if let Err(error) = telling.result {
        broken::fail(core, key, &error)?;
        return Ok(false);
    }
    // May write more, which is why "drained" is looked at afterwards.
    tell(core, key, telling.pressure)?;
    if let Some((face, empty)) = telling.drained {
        face.call(core, key, |sink, stream| {
            if empty {
                sink.drained(stream)
            } else {
                sink.sent(stream)
            }
        })?;
    }
    let dropped = core.get().state.with(py, |state, _| {
        let mut parts = parts(state, key)?;
        if parts.stream.layer.is_some() {
            return Some(None);
        }
        Some(Some(parts.check_drained()))
    });
    match dropped {
        Some(None) => layer::settle(core, key),
        _ => Ok(false),
    }
}

/// The chunks that have left, by system call. The first of those costs no allocation.
#[derive(Default)]
struct Left {
    first: Option<Finished<Chunk>>,
    more: Vec<Finished<Chunk>>,
}

impl Left {
    #[inline]
    fn add(&mut self, finished: Finished<Chunk>) {
        match self.first {
            None => self.first = Some(finished),
            Some(_) => self.more.push(finished),
        }
    }

    fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

pub(super) fn send_some(stream: &mut Stream) -> io::Result<usize> {
    stream.about_to_send();
    if let Some(descriptor) = stream.next_leaving()
        && let Some(first) = stream.out.front().and_then(|front| front.get(..1))
    {
        let sent = ancillary::send(stream.fd, first, descriptor)?;
        stream.descriptor_left();
        return Ok(sent);
    }
    if let Some(only) = stream.out.only() {
        return stream.medium.send(stream.fd, only);
    }
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let count = stream.out.fill_iovec(&mut slices);
    stream.medium.send_vectored(stream.fd, &slices[..count])
}

/// Sets the water marks in bytes. Errors: limits that contradict each other, as the host words it.
pub fn set_limits(
    core: &Bound<'_, LoopCore>,
    key: Key,
    high: Option<i64>,
    low: Option<i64>,
) -> PyResult<()> {
    let outcome = core.get().state.with(core.py(), |state, refs| {
        let parts = parts(state, key)?;
        Some(parts.stream.marks.set_limits(high, low).map(|()| {
            let pressure = parts.stream.marks.grown(parts.stream.backlog());
            told(&parts, refs, pressure)
        }))
    });
    match outcome {
        None => Ok(()),
        Some(Ok(told)) => tell(core, key, told),
        Some(Err(bad)) => Err(pyo3::exceptions::PyValueError::new_err(bad.to_string())),
    }
}
