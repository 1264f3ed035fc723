//! What the stream core asks and tells, answered as asyncio's selector transport does.

use std::mem::MaybeUninit;

use pyo3::prelude::*;

use super::protocol::Target;
use super::transport::StreamTransport;
use crate::io::read::{self, Received};
use crate::io::sink::{AfterEof, Failed, Sink, Stream, Taken};
use crate::io::stream;
use crate::proto::marks::Pressure;
use crate::py::{call, errors, names, objects};

/// The sink of every [`StreamTransport`].
pub struct AsyncioSink;

fn face<'a, 'py>(stream: &Stream<'a, 'py>) -> PyResult<&'a Bound<'py, StreamTransport>> {
    Ok(stream.object.cast::<StreamTransport>()?)
}

/// The four callbacks whose failure ends the connection, and what the exception handler is told.
pub(super) fn fatal(
    transport: &Bound<'_, StreamTransport>,
    error: PyErr,
    message: &str,
) -> PyResult<()> {
    let py = transport.py();
    let message = transport.get().fatal_text.unwrap_or(message);
    if errors::is_fatal(py, &error) {
        return Err(error);
    }
    // The handler runs in the transport's context, as the callback did.
    let target = transport.get().target(py);
    let entered = target
        .as_ref()
        .and_then(|target| call::enter(&target.context));
    let reported = names::REPORT_FATAL
        .get(py)?
        .call1((transport, error.clone_ref(py), message));
    drop(entered);
    reported?;
    let core = transport.get().core().bind(py);
    stream::abort(core, transport.get().key(), Some(error));
    Ok(())
}

pub(super) fn tell_made(
    stream: &Stream<'_, '_>,
    transport: &Bound<'_, StreamTransport>,
) -> PyResult<()> {
    let py = transport.py();
    let Some(target) = transport.get().target(py) else {
        return Ok(());
    };
    match target.connection_made(transport.as_any()) {
        Ok(()) => Ok(()),
        Err(error) if errors::is_fatal(py, &error) => Err(error),
        Err(error) => {
            let _entered = call::enter(&target.context);
            names::REPORT_PROTOCOL.get(py)?.call1((
                stream.core,
                transport,
                error,
                target.protocol.getattr("connection_made")?,
                transport,
            ))?;
            Ok(())
        }
    }
}

pub(super) fn wake_waiter(transport: &Bound<'_, StreamTransport>) -> PyResult<()> {
    let py = transport.py();
    if let Some(waiter) = transport.get().take_waiter(py) {
        names::SET_RESULT_UNLESS_CANCELLED
            .get(py)?
            .call1((waiter, py.None()))?;
    }
    Ok(())
}

impl Sink for AsyncioSink {
    fn made(&self, stream: &Stream<'_, '_>) -> PyResult<()> {
        let transport = face(stream)?;
        let told = tell_made(stream, transport);
        // Whatever the protocol raised: for stock these are callbacks of their own.
        transport.get().set_connected();
        let started = stream::start(stream.core, stream.key);
        let woken = wake_waiter(transport);
        told.and(started).and(woken)
    }

    #[inline]
    fn read(&self, stream: &Stream<'_, '_>) -> PyResult<Taken> {
        let transport = face(stream)?;
        let Some(target) = transport.get().target(transport.py()) else {
            return Ok(Taken::Nothing);
        };
        if target.buffered {
            read_buffered(stream, transport, &target)
        } else {
            read_bytes(stream, transport, &target)
        }
    }

    fn eof(&self, stream: &Stream<'_, '_>) -> PyResult<AfterEof> {
        let transport = face(stream)?;
        let py = transport.py();
        let Some(target) = transport.get().target(py) else {
            return Ok(AfterEof::Abort);
        };
        match target.eof_received(py) {
            Ok(true) => Ok(AfterEof::Keep),
            Ok(false) => {
                if transport.is_exact_instance_of::<StreamTransport>()
                    && !objects::has_attributes(transport)
                {
                    return Ok(AfterEof::Close);
                }
                // Through the instance: suites replace `close` there.
                transport.call_method0(pyo3::intern!(py, "close"))?;
                Ok(AfterEof::Keep)
            }
            Err(error) => {
                fatal(
                    transport,
                    error,
                    "Fatal error: protocol.eof_received() call failed.",
                )?;
                Ok(AfterEof::Keep)
            }
        }
    }

    fn pressure(&self, stream: &Stream<'_, '_>, pressure: Pressure) -> PyResult<()> {
        let transport = face(stream)?;
        let Some(target) = transport.get().target(transport.py()) else {
            return Ok(());
        };
        target.pressure(transport, pressure)
    }

    fn failed(&self, stream: &Stream<'_, '_>, what: Failed, error: &PyErr) -> PyResult<()> {
        let transport = face(stream)?;
        let py = transport.py();
        let message = match what {
            Failed::Register | Failed::Read => "Fatal read error on socket transport",
            Failed::Write => "Fatal write error on socket transport",
        };
        names::REPORT_FATAL
            .get(py)?
            .call1((transport, error.clone_ref(py), message))?;
        Ok(())
    }

    fn lost(&self, stream: &Stream<'_, '_>, reason: Option<PyErr>) -> PyResult<()> {
        let transport = face(stream)?;
        transport.get().lost(transport, reason)
    }
}

fn read_bytes(
    stream: &Stream<'_, '_>,
    transport: &Bound<'_, StreamTransport>,
    target: &Target<'_>,
) -> PyResult<Taken> {
    let data = match transport.get().lately.receive(stream) {
        Ok(data) => data,
        Err(other) => return other_than_bytes(stream, other),
    };
    if let Err(error) = target.data_received(&data) {
        fatal(
            transport,
            error,
            "Fatal error: protocol.data_received() call failed.",
        )?;
        return Ok(Taken::Nothing);
    }
    Ok(Taken::Bytes)
}

fn read_buffered(
    stream: &Stream<'_, '_>,
    transport: &Bound<'_, StreamTransport>,
    target: &Target<'_>,
) -> PyResult<Taken> {
    let py = transport.py();
    let mut buffer = match target.get_buffer(py) {
        Ok(buffer) => buffer,
        Err(error) => {
            fatal(
                transport,
                error,
                "Fatal error: protocol.get_buffer() call failed.",
            )?;
            return Ok(Taken::Nothing);
        }
    };
    let place: &mut [MaybeUninit<u8>] = buffer.as_mut_slice();
    let received = read::receive(stream.core, stream.key, place);
    drop(buffer);
    let count = match received {
        Received::Bytes(count) => count,
        other => return other_than_bytes(stream, other),
    };
    if let Err(error) = target.buffer_updated(py, count) {
        fatal(
            transport,
            error,
            "Fatal error: protocol.buffer_updated() call failed.",
        )?;
        return Ok(Taken::Nothing);
    }
    Ok(Taken::Bytes)
}

fn other_than_bytes(stream: &Stream<'_, '_>, received: Received) -> PyResult<Taken> {
    match received {
        Received::Eof => Ok(Taken::Eof),
        Received::Failed(error) => read::failed(stream.core, stream.key, error),
        Received::Bytes(_) | Received::WouldBlock | Received::Gone => Ok(Taken::Nothing),
    }
}
