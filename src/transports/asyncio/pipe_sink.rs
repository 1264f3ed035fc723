//! What the stream core asks and tells the ends of pipes, answered as asyncio's pipe transports do: what a protocol
//! raises is reported and ends nothing.

use pyo3::exceptions::PyBrokenPipeError;
use pyo3::prelude::*;

use super::pipe::PipeTransport;
use super::protocol::Target;
use crate::io::read::{self, Received};
use crate::io::receive;
use crate::io::sink::{AfterEof, Failed, Sink, Stream, Taken};
use crate::io::stream;
use crate::proto::marks::Pressure;
use crate::py::{call, errors, names};
use crate::sys::plain::Kind;

/// The sink of a reading end.
pub struct ReadEnd;

/// The sink of a writing end.
pub struct WriteEnd;

fn face<'a, 'py>(stream: &Stream<'a, 'py>) -> PyResult<&'a Bound<'py, PipeTransport>> {
    Ok(stream.object.cast::<PipeTransport>()?)
}

/// What raised: for stock a callback of its own, so it is reported as one.
#[derive(Clone, Copy)]
enum Callback {
    /// A method of the protocol, with its argument.
    Protocol(&'static str),
    /// A private method of the stock transport.
    Transport(&'static str),
}

/// Reports what a callback raised to the exception handler, in the transport's context. Errors: what leaves the loop.
fn report(
    stream: &Stream<'_, '_>,
    target: &Target<'_>,
    callback: Callback,
    argument: Option<&Bound<'_, PyAny>>,
    error: PyErr,
) -> PyResult<()> {
    let py = stream.core.py();
    if errors::is_fatal(py, &error) {
        return Err(error);
    }
    let (owner, name) = match callback {
        Callback::Protocol(name) => (&target.protocol, name),
        Callback::Transport(name) => (stream.object, name),
    };
    let _entered = call::enter(&target.context);
    names::REPORT_PIPE_CALLBACK
        .get(py)?
        .call1((stream.core, owner, name, argument, error))?;
    Ok(())
}

fn made(stream: &Stream<'_, '_>, registers: bool) -> PyResult<()> {
    let transport = face(stream)?;
    let py = transport.py();
    if let Some(target) = transport.get().target(py) {
        let name = pyo3::intern!(py, "connection_made");
        let entered = call::enter(&target.context);
        let result = call::call_method1(&target.protocol, name, stream.object);
        drop(entered);
        if let Err(error) = result {
            let callback = Callback::Protocol("connection_made");
            report(stream, &target, callback, Some(stream.object), error)?;
        }
        if registers && let Err(error) = stream::register(stream.core, stream.key) {
            // A device like /dev/null, which is always ready and which the poller refuses: it stays open, and unread.
            let callback = Callback::Transport("_add_reader");
            report(
                stream,
                &target,
                callback,
                None,
                errors::os_error(py, &error),
            )?;
        }
    }
    if let Some(waiter) = transport.get().take_waiter(py) {
        names::SET_RESULT_UNLESS_CANCELLED
            .get(py)?
            .call1((waiter, py.None()))?;
    }
    Ok(())
}

fn log_closed_by_peer(transport: &Bound<'_, PipeTransport>) -> PyResult<()> {
    if transport.get().is_debug() {
        names::LOG_PIPE_CLOSED
            .get(transport.py())?
            .call1((transport,))?;
    }
    Ok(())
}

fn failed(stream: &Stream<'_, '_>, what: Failed, error: &PyErr, reading: bool) -> PyResult<()> {
    let py = stream.core.py();
    let message = match what {
        Failed::Register | Failed::Read => "Fatal read error on pipe transport",
        Failed::Write => "Fatal write error on pipe transport",
    };
    names::REPORT_PIPE_ERROR.get(py)?.call1((
        stream.object,
        error.clone_ref(py),
        message,
        reading,
    ))?;
    Ok(())
}

fn lost(stream: &Stream<'_, '_>, reason: Option<PyErr>) -> PyResult<()> {
    let transport = face(stream)?;
    let py = transport.py();
    let reason = match reason {
        Some(error) => error.into_value(py).into_bound(py).into_any(),
        None => py.None().into_bound(py),
    };
    let Some(target) = transport.get().target(py) else {
        return transport.get().release(py);
    };
    let told = target.connection_lost(&reason);
    // Whatever it raised: the pipe is closed. A file object with something left to flush may fail at that.
    let closed = transport.get().release(py);
    let callback = Callback::Transport("_call_connection_lost");
    let mut result = Ok(());
    for error in [told.err(), closed.err()].into_iter().flatten() {
        result = result.and(report(stream, &target, callback, Some(&reason), error));
    }
    result
}

impl Sink for ReadEnd {
    fn made(&self, stream: &Stream<'_, '_>) -> PyResult<()> {
        made(stream, true)
    }

    fn read(&self, stream: &Stream<'_, '_>) -> PyResult<Taken> {
        let transport = face(stream)?;
        let Some(target) = transport.get().target(transport.py()) else {
            return Ok(Taken::Nothing);
        };
        let data = match receive::small(stream) {
            Ok(data) => data,
            Err(Received::Eof) => return Ok(Taken::Eof),
            Err(Received::Failed(error)) => return read::failed(stream.core, stream.key, error),
            Err(_) => return Ok(Taken::Nothing),
        };
        if let Err(error) = target.data_received(&data) {
            report(
                stream,
                &target,
                Callback::Transport("_read_ready"),
                None,
                error,
            )?;
        }
        Ok(Taken::Bytes)
    }

    fn eof(&self, stream: &Stream<'_, '_>) -> PyResult<AfterEof> {
        let transport = face(stream)?;
        log_closed_by_peer(transport)?;
        // It is closing by the time the protocol hears of it, and stays so whatever that answers.
        stream::abort(stream.core, stream.key, None);
        if let Some(target) = transport.get().target(transport.py())
            && let Err(error) = target.eof_received(transport.py())
        {
            report(
                stream,
                &target,
                Callback::Protocol("eof_received"),
                None,
                error,
            )?;
        }
        Ok(AfterEof::Keep)
    }

    fn pressure(&self, _stream: &Stream<'_, '_>, _pressure: Pressure) -> PyResult<()> {
        // Nothing is ever written.
        Ok(())
    }

    fn failed(&self, stream: &Stream<'_, '_>, what: Failed, error: &PyErr) -> PyResult<()> {
        failed(stream, what, error, true)
    }

    fn lost(&self, stream: &Stream<'_, '_>, reason: Option<PyErr>) -> PyResult<()> {
        lost(stream, reason)
    }
}

impl Sink for WriteEnd {
    fn made(&self, stream: &Stream<'_, '_>) -> PyResult<()> {
        let registers = face(stream)?.get().kind() != Kind::Character;
        made(stream, registers)
    }

    /// The end of a pipe that is written to becomes "readable" when nobody reads it any more, a socket also when its
    /// peer, who is not supposed to, writes.
    fn read(&self, stream: &Stream<'_, '_>) -> PyResult<Taken> {
        log_closed_by_peer(face(stream)?)?;
        let left = stream::with(stream.core, stream.key, |stream| stream.buffered());
        let reason = left
            .is_some_and(|left| left > 0)
            .then(|| PyBrokenPipeError::new_err(()));
        stream::abort(stream.core, stream.key, reason);
        Ok(Taken::Nothing)
    }

    fn eof(&self, _stream: &Stream<'_, '_>) -> PyResult<AfterEof> {
        // `read` never says so.
        Ok(AfterEof::Abort)
    }

    fn pressure(&self, stream: &Stream<'_, '_>, pressure: Pressure) -> PyResult<()> {
        let transport = face(stream)?;
        let Some(target) = transport.get().target(transport.py()) else {
            return Ok(());
        };
        target.pressure(transport, pressure)
    }

    fn failed(&self, stream: &Stream<'_, '_>, what: Failed, error: &PyErr) -> PyResult<()> {
        face(stream)?.get().count_lost_write();
        failed(stream, what, error, false)
    }

    fn lost(&self, stream: &Stream<'_, '_>, reason: Option<PyErr>) -> PyResult<()> {
        lost(stream, reason)
    }
}
