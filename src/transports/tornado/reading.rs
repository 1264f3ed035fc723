//! What a pending read is given: from the buffer, else from the socket at once, else when the loop tells.

use std::mem::MaybeUninit;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyAssertionError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::frames;
use super::stream::{Inner, Place, TornadoStream};
use super::want::Want;
use crate::io::read::{self, Received};
use crate::io::stream;
use crate::proto::pending_read::{self, PendingRead, Unsatisfiable, Want as Bytes};
use crate::proto::read_buffer::ReadBuffer;
use crate::proto::websocket;
use crate::py::bytes::Uninit;
use crate::py::{again, call, errors, names};
use crate::runtime::core::SCRATCH;
use crate::sys::socket;

/// How many bytes a read call takes before it leaves the rest to the loop: others want their turn.
const BUDGET: usize = 16 * SCRATCH;

/// What became of an attempt to read from the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The pending read has what it wants.
    Satisfied,
    /// Bytes came, and it wants more, or nobody wants any.
    More,
    /// Nothing is there.
    Nothing,
    Closed,
}

/// Copies the first bytes of the buffer into a new object.
fn front<'py>(slf: &Bound<'py, TornadoStream>, count: usize) -> Bound<'py, PyBytes> {
    let py = slf.py();
    let inner = &slf.get().inner;
    // Lent: nothing runs meanwhile that could want it.
    let buffer = inner.with(py, |inner, _| {
        std::mem::replace(&mut inner.buffer, ReadBuffer::new(usize::MAX))
    });
    let all = buffer.as_slice();
    let bytes = again::bytes(py, &all[..count.min(all.len())]);
    inner.with(py, |inner, _| inner.buffer = buffer);
    bytes
}

/// Takes the first bytes out of the buffer.
pub fn cut<'py>(slf: &Bound<'py, TornadoStream>, count: usize) -> Bound<'py, PyBytes> {
    let bytes = front(slf, count);
    slf.get().inner.with(slf.py(), |inner, _| {
        inner.buffer.discard(count.min(inner.buffer.len()))
    });
    bytes
}

/// A copy of what has arrived and nobody has taken.
pub fn contents<'py>(slf: &Bound<'py, TornadoStream>) -> Bound<'py, PyBytes> {
    front(slf, usize::MAX)
}

/// `UnsatisfiableReadError`.
#[cold]
fn not_found(delimiter: &Bound<'_, PyAny>, max_bytes: usize) -> PyErr {
    let made = names::TORNADO_NOT_FOUND
        .get(delimiter.py())
        .and_then(|make| make.call1((delimiter, max_bytes)));
    made.map_or_else(|error| error, PyErr::from_value)
}

#[cold]
fn unsatisfiable(py: Python<'_>, impossible: &Unsatisfiable) -> PyErr {
    let delimiter = PyBytes::new(py, &impossible.delimiter);
    not_found(delimiter.as_any(), impossible.max_bytes)
}

/// Where the pattern's first match in what has arrived ends.
fn search(slf: &Bound<'_, TornadoStream>, pattern: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    let py = slf.py();
    let bytes = contents(slf);
    let found = call::call_method1(pattern, intern!(py, "search"), bytes.as_any())?;
    if found.is_none() {
        return Ok(None);
    }
    call::call_method0(&found, intern!(py, "end"))?
        .extract()
        .map(Some)
}

/// How many of the bytes that have arrived satisfy the pending read. Errors: `UnsatisfiableReadError`; those of a pattern.
pub fn poll(slf: &Bound<'_, TornadoStream>) -> PyResult<Option<usize>> {
    enum Found {
        Answer(Result<Option<usize>, Unsatisfiable>),
        /// The pattern, its limit, and how much there is to look at; where its match ends, when that is known.
        Look(Py<PyAny>, usize, usize, Option<Option<usize>>),
    }
    let py = slf.py();
    let found = slf.get().inner.with(py, |inner, refs| {
        let Inner { want, buffer, .. } = inner;
        match want {
            None => Found::Answer(Ok(None)),
            Some(Want::Bytes(read)) => Found::Answer(read.poll(buffer)),
            Some(Want::Into(into)) => Found::Answer(Ok(into.found())),
            Some(Want::Frame(most)) => Found::Answer(Ok(websocket::poll(buffer.as_slice(), *most))),
            Some(Want::Pattern(_)) if buffer.is_empty() => Found::Answer(Ok(None)),
            Some(Want::Pattern(pattern)) => {
                pattern.next = buffer.len().saturating_mul(2);
                let known = pattern
                    .of_head
                    .then(|| pending_read::end_of_head(buffer.as_slice()));
                let kept = refs.clone(&pattern.pattern);
                Found::Look(kept, pattern.max_bytes, buffer.len(), known)
            }
        }
    });
    match found {
        Found::Answer(answer) => answer.map_err(|impossible| unsatisfiable(py, &impossible)),
        Found::Look(pattern, max_bytes, held, known) => {
            let pattern = pattern.bind(py);
            let end = match known {
                Some(end) => end,
                None => search(slf, pattern)?,
            };
            if end.unwrap_or(held) > max_bytes {
                return Err(not_found(pattern, max_bytes));
            }
            Ok(end)
        }
    }
}

/// Gives the pending read its first `size` bytes.
pub fn finish(slf: &Bound<'_, TornadoStream>, size: usize) -> PyResult<()> {
    let py = slf.py();
    let inner = &slf.get().inner;
    let (into, frame) = inner.with(py, |inner, _| {
        (
            matches!(inner.want, Some(Want::Into(_))),
            matches!(inner.want, Some(Want::Frame(_))),
        )
    });
    if into {
        return finish_with(slf, size.into_pyobject(py)?.as_any());
    }
    let bytes = cut(slf, size);
    if frame {
        return finish_with(slf, &frames::answer(py, bytes.as_bytes())?);
    }
    finish_with(slf, bytes.as_any())
}

/// Gives the pending read its result.
#[inline]
fn finish_with(slf: &Bound<'_, TornadoStream>, result: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = slf.py();
    let (want, future) = slf
        .get()
        .inner
        .with(py, |inner, _| (inner.want.take(), inner.future.take()));
    drop(want);
    if let Some(future) = future {
        resolve(future.bind(py), result)?;
    }
    maybe_listen(slf)
}

/// Sets a result, unless the caller has cancelled the Future.
#[inline]
pub fn resolve(future: &Bound<'_, PyAny>, result: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = future.py();
    if !call::call_method0(future, intern!(py, "cancelled"))?.is_truthy()? {
        call::call_method1(future, intern!(py, "set_result"), result)?;
    }
    Ok(())
}

/// `BaseIOStream._maybe_add_error_listener`: the end of an idle stream is noticed for who has a close callback.
#[inline]
pub fn maybe_listen(slf: &Bound<'_, TornadoStream>) -> PyResult<()> {
    let py = slf.py();
    let stream = slf.get();
    if stream.listening.get() {
        return stream.look_again(py);
    }
    if stream.sending.get()
        || stream.is_unready()
        || stream.closed.get()
        || !stream.inner.with(py, |inner, _| inner.buffer.is_empty())
        || slf.getattr(intern!(py, "_close_callback"))?.is_none()
    {
        return Ok(());
    }
    TornadoStream::listen(slf)
}

/// One read from the socket. `inline` is whether a read call asks, who is told of errors by an exception; else they are
/// logged.
pub fn take(
    slf: &Bound<'_, TornadoStream>,
    place: Option<&Place<'_>>,
    inline: bool,
) -> PyResult<Step> {
    let py = slf.py();
    let stream = slf.get();
    let into = stream.inner.with(py, |inner, refs| match &inner.want {
        Some(Want::Into(into)) => Some((refs.clone(&into.buffer), into.filled, into.length)),
        _ => None,
    });
    if let Some((buffer, filled, length)) = into {
        return take_into(slf, place, inline, buffer.bind(py), filled..length);
    }
    let core = stream.core(py)?;
    let mut scratch = core.get().take_scratch(py);
    let asked = stream.read_chunk_size.get().clamp(1, SCRATCH);
    let received = receive(slf, place, &mut scratch[..asked]);
    let count = match received {
        Ok(Received::Bytes(count)) => count,
        other => {
            core.get().give_scratch(py, scratch);
            return ended(slf, other?, inline);
        }
    };
    // SAFETY: `receive` says that it has written `count` bytes.
    let bytes = unsafe { scratch[..count].assume_init_ref() };
    let taken = take_fresh(slf, bytes);
    let result = match taken {
        Some(Ok(Fresh::Bytes(end))) => Some(Ok(Ok(again::bytes(py, &bytes[..end]).into_any()))),
        Some(Ok(Fresh::Frame(end))) => Some(Ok(frames::answer(py, &bytes[..end]))),
        Some(Err(impossible)) => Some(Err(impossible)),
        None => None,
    };
    core.get().give_scratch(py, scratch);
    match result {
        Some(Ok(result)) => {
            finish_with(slf, &result?)?;
            return Ok(Step::Satisfied);
        }
        Some(Err(impossible)) => return Err(unsatisfiable(py, &impossible)),
        None => {}
    }
    let (held, look) = stream.inner.with(py, |inner, _| {
        let held = inner.buffer.len();
        let look = match &inner.want {
            Some(Want::Pattern(pattern)) => count < asked || held >= pattern.next,
            Some(_) => true,
            None => false,
        };
        (held, look)
    });
    if held > stream.max_buffer_size.get() {
        return too_much(slf, inline);
    }
    if look && let Some(end) = poll(slf)? {
        finish(slf, end)?;
        return Ok(Step::Satisfied);
    }
    Ok(Step::More)
}

/// How many of the bytes that were just received are the pending read's at once.
enum Fresh {
    Bytes(usize),
    Frame(usize),
}

/// Puts bytes that were just received into the buffer, but for those that satisfy the pending read at once: answers how
/// many. That saves most bytes a copy.
#[inline]
fn take_fresh(
    slf: &Bound<'_, TornadoStream>,
    bytes: &[u8],
) -> Option<Result<Fresh, Unsatisfiable>> {
    let stream = slf.get();
    let limit = stream.max_buffer_size.get();
    let full = stream.inner.with(slf.py(), |inner, _| {
        let Inner { want, buffer, .. } = inner;
        if !buffer.is_empty() || bytes.len() > limit {
            return (None, buffer.append(bytes));
        }
        let fresh = match want {
            Some(Want::Bytes(read)) => read
                .poll_bytes(bytes, buffer.position())
                .map(|end| end.map(|end| (end, Fresh::Bytes(end)))),
            Some(Want::Frame(most)) => {
                Ok(websocket::poll(bytes, *most).map(|end| (end, Fresh::Frame(end))))
            }
            _ => Ok(None),
        };
        match fresh {
            Ok(Some((end, fresh))) => (Some(Ok(fresh)), buffer.append(&bytes[end..])),
            Ok(None) => (None, buffer.append(bytes)),
            Err(impossible) => (Some(Err(impossible)), buffer.append(bytes)),
        }
    });
    let (taken, appended) = full;
    debug_assert!(appended.is_ok(), "the buffer's own limit is none");
    taken
}

/// One read from the socket into the caller's buffer.
fn take_into(
    slf: &Bound<'_, TornadoStream>,
    place: Option<&Place<'_>>,
    inline: bool,
    buffer: &Bound<'_, PyAny>,
    range: std::ops::Range<usize>,
) -> PyResult<Step> {
    let py = slf.py();
    let stream = slf.get();
    let received = {
        let mut memory = Uninit::new(PyBuffer::<u8>::get(buffer)?)?;
        let memory = memory.as_mut_slice();
        // The caller may have made it smaller.
        let end = range.end.min(memory.len());
        match memory.get_mut(range.start..end) {
            Some(rest) if !rest.is_empty() => receive(slf, place, rest)?,
            _ => return Err(PyValueError::new_err("the buffer was made smaller")),
        }
    };
    let Received::Bytes(count) = received else {
        return ended(slf, received, inline);
    };
    let filled = range.start + count;
    let found = stream.inner.with(py, |inner, _| match &mut inner.want {
        Some(Want::Into(into)) => {
            into.filled = filled;
            into.found()
        }
        _ => None,
    });
    if filled > stream.max_buffer_size.get() {
        return too_much(slf, inline);
    }
    match found {
        Some(size) => {
            finish(slf, size)?;
            Ok(Step::Satisfied)
        }
        None => Ok(Step::More),
    }
}

/// Receives through the loop's stream, or directly while there is none.
fn receive(
    slf: &Bound<'_, TornadoStream>,
    place: Option<&Place<'_>>,
    memory: &mut [MaybeUninit<u8>],
) -> PyResult<Received> {
    if let Some(place) = place {
        return Ok(read::receive(&place.core, place.key, memory));
    }
    if slf.get().handshaking.get() {
        return Ok(Received::WouldBlock);
    }
    if slf.get().tls.get() {
        slf.get().core(slf.py())?.get().check_closed()?;
        return Err(TornadoStream::has_left());
    }
    let result = socket::recv(TornadoStream::fd(slf)?, memory);
    Ok(match result {
        Ok(0) => Received::Eof,
        Ok(count) => Received::Bytes(count),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Received::WouldBlock,
        Err(error) => Received::Failed(errors::os_error(slf.py(), &error)),
    })
}

/// What follows when a read brought no bytes.
fn ended(slf: &Bound<'_, TornadoStream>, received: Received, inline: bool) -> PyResult<Step> {
    let py = slf.py();
    match received {
        Received::Bytes(_) | Received::WouldBlock => {
            // A pattern is not looked for with each piece.
            let look = slf
                .get()
                .inner
                .with(py, |inner, _| matches!(inner.want, Some(Want::Pattern(_))));
            if look && let Some(end) = poll(slf)? {
                finish(slf, end)?;
                return Ok(Step::Satisfied);
            }
            Ok(Step::Nothing)
        }
        Received::Eof => {
            let context = entering(slf, inline);
            let _entered = context.as_ref().and_then(call::enter);
            slf.call_method0(intern!(py, "close"))?;
            Ok(Step::Closed)
        }
        Received::Gone => Ok(Step::Closed),
        Received::Failed(error) => {
            let context = entering(slf, inline);
            let _entered = context.as_ref().and_then(call::enter);
            let error = error.into_value(py);
            let raised = names::TORNADO_READ_FAILED
                .get(py)?
                .call1((slf, &error, inline))?;
            if raised.is_truthy()? {
                return Err(PyErr::from_value(error.into_bound(py).into_any()));
            }
            Ok(Step::Closed)
        }
    }
}

/// The context to enter: none in a read call, which is in its caller's.
fn entering<'py>(slf: &Bound<'py, TornadoStream>, inline: bool) -> Option<Bound<'py, PyAny>> {
    if inline {
        None
    } else {
        slf.get().context(slf.py())
    }
}

/// More has arrived than may wait.
#[cold]
fn too_much(slf: &Bound<'_, TornadoStream>, inline: bool) -> PyResult<Step> {
    let py = slf.py();
    let context = entering(slf, inline);
    let _entered = context.as_ref().and_then(call::enter);
    names::TORNADO_READ_TOO_MUCH.get(py)?.call1((slf, inline))?;
    Ok(Step::Closed)
}

/// An `UnsatisfiableReadError` closes the stream, with a line in the log; other errors are answered back.
pub fn give_up(slf: &Bound<'_, TornadoStream>, error: PyErr, inline: bool) -> PyResult<()> {
    let py = slf.py();
    if !errors::is(py, &error, &names::TORNADO_UNSATISFIABLE) {
        return Err(error);
    }
    let context = entering(slf, inline);
    let _entered = context.as_ref().and_then(call::enter);
    names::TORNADO_GIVE_UP.get(py)?.call1((slf, error))?;
    Ok(())
}

/// Reads from the socket until it is drained or nobody wants more.
pub fn read_all(slf: &Bound<'_, TornadoStream>) -> PyResult<Option<usize>> {
    let py = slf.py();
    let place = slf.get().place(py)?;
    for _ in 0..BUDGET / SCRATCH {
        if take(slf, place.as_ref(), true)? != Step::More {
            break;
        }
    }
    Ok(None)
}

/// Tries the pending read: from the buffer, from the socket. Waits when neither has enough.
pub fn attempt(slf: &Bound<'_, TornadoStream>) -> PyResult<()> {
    if let Some(size) = poll(slf)? {
        return finish(slf, size);
    }
    TornadoStream::check_closed(slf)?;
    let py = slf.py();
    let place = slf.get().place(py)?;
    // It was read until nothing was left, and the poll of this very turn has reported nothing: who answers a request and
    // reads on would ask the kernel in vain each time.
    let drained = slf.get().told.get()
        && place.as_ref().is_some_and(|place| {
            stream::with(&place.core, place.key, |stream| stream.is_drained()).unwrap_or(false)
        });
    let mut budget = if drained { 0 } else { BUDGET };
    while budget > 0 {
        match take(slf, place.as_ref(), true)? {
            Step::Satisfied | Step::Closed => return Ok(()),
            Step::Nothing => break,
            Step::More => budget = budget.saturating_sub(slf.get().read_chunk_size.get().max(1)),
        }
    }
    TornadoStream::listen(slf)
}

impl TornadoStream {
    /// The Future of a new read. AssertionError while another is pending.
    pub(super) fn begin<'py>(slf: &Bound<'py, Self>, want: Want) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let pending = slf.get().inner.with(py, |inner, _| inner.future.is_some());
        if pending {
            // Closed without what it wanted: that is the error to tell.
            Self::check_closed(slf)?;
            return Err(PyAssertionError::new_err("Already reading"));
        }
        let future = slf.get().new_future(py)?;
        let kept = future.clone().unbind();
        let old = slf.get().inner.with(py, |inner, _| {
            (inner.future.replace(kept), inner.want.replace(want))
        });
        drop(old);
        Ok(future)
    }

    pub(super) fn start<'py>(slf: &Bound<'py, Self>, want: Want) -> PyResult<Bound<'py, PyAny>> {
        let future = Self::begin(slf, want)?;
        if let Err(error) = attempt(slf) {
            give_up(slf, error, true)?;
        }
        Ok(future)
    }

    pub(super) fn pending(&self, py: Python<'_>, want: Bytes) -> Want {
        Want::Bytes(
            self.inner
                .with(py, |inner, _| PendingRead::new(want, &inner.buffer)),
        )
    }
}
