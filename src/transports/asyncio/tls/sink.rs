//! What the stream core asks and tells, answered as asyncio's `sslproto` does.

use pyo3::prelude::*;

use super::super::sink::{AsyncioSink, fatal, wake_waiter};
use super::transport::{Stage, TlsTransport};
use crate::io::sink::{AfterEof, Failed, Sink, Stream, Taken};
use crate::io::stream;
use crate::proto::marks::Pressure;
use crate::py::{call, errors, names};
use crate::runtime::LoopCore;

/// The sink of every [`TlsTransport`].
pub struct TlsSink;

fn face<'a, 'py>(stream: &Stream<'a, 'py>) -> PyResult<&'a Bound<'py, TlsTransport>> {
    Ok(stream.object.cast::<TlsTransport>()?)
}

impl Sink for TlsSink {
    fn made(&self, stream: &Stream<'_, '_>) -> PyResult<()> {
        stream::start(stream.core, stream.key)?;
        let transport = face(stream)?;
        match TlsTransport::begin(transport) {
            Ok(()) => Ok(()),
            Err(error) => fatal(transport.as_super(), error, ""),
        }
    }

    fn ready(&self, stream: &Stream<'_, '_>) -> PyResult<()> {
        let transport = face(stream)?;
        let py = transport.py();
        let tls = transport.get();
        if tls.stage.get() != Stage::Handshake {
            return Ok(());
        }
        tls.stage.set(Stage::Open);
        tls.established.set(true);
        tls.cancel_timer(py)?;
        if let Some(started) = tls.inner.with(py, |inner, _| inner.started) {
            let now = LoopCore::now(stream.core)?;
            names::TLS_TOOK.get(py)?.call1((transport, now - started))?;
        }
        let base = transport.as_super();
        if !base.get().is_connected() {
            base.get().set_connected();
            // The handshake is finished by what was received: that is where stock's exception comes out.
            if let Some(target) = base.get().target(py)
                && let Err(error) = target.connection_made(base)
            {
                tls.stage.set(Stage::Over);
                return fatal_with(
                    transport,
                    error,
                    "Fatal error: protocol.buffer_updated() call failed.",
                );
            }
        }
        wake_waiter(base)
    }

    #[inline]
    fn read(&self, stream: &Stream<'_, '_>) -> PyResult<Taken> {
        AsyncioSink.read(stream)
    }

    fn eof(&self, stream: &Stream<'_, '_>) -> PyResult<AfterEof> {
        let transport = face(stream)?;
        if transport.get().stage.get() == Stage::Open {
            tell_eof(transport)?;
            TlsTransport::shut_down(transport)?;
        }
        Ok(AfterEof::Keep)
    }

    fn pressure(&self, stream: &Stream<'_, '_>, pressure: Pressure) -> PyResult<()> {
        AsyncioSink.pressure(stream, pressure)
    }

    fn failed(&self, stream: &Stream<'_, '_>, what: Failed, error: &PyErr) -> PyResult<()> {
        let transport = face(stream)?;
        let py = transport.py();
        let tls = transport.get();
        if tls.stage.get() != Stage::Handshake {
            if errors::is_fatal(py, error) {
                return Err(error.clone_ref(py));
            }
            let message = match what {
                Failed::Register | Failed::Read => "Fatal read error on socket transport",
                Failed::Write => "Fatal write error on socket transport",
            };
            names::TLS_REPORT
                .get(py)?
                .call1((transport, error.clone_ref(py), message))?;
            return Ok(());
        }
        if errors::is_fatal(py, error) {
            // Ctrl-C while OpenSSL ran: whoever waits for the handshake hears of the end when it comes.
            return Err(error.clone_ref(py));
        }
        tls.stage.set(Stage::Over);
        tls.cancel_timer(py)?;
        let waiter = transport.as_super().get().take_waiter(py);
        names::TLS_HANDSHAKE_FAILED
            .get(py)?
            .call1((transport, error.clone_ref(py), waiter))?;
        Ok(())
    }

    fn lost(&self, stream: &Stream<'_, '_>, reason: Option<PyErr>) -> PyResult<()> {
        let transport = face(stream)?;
        let py = transport.py();
        let tls = transport.get();
        let base = transport.as_super();
        if tls.stage.get() == Stage::Handshake {
            // Whoever waits for the handshake hears of it instead.
            base.get().forget_connected();
        }
        if tls.stage.get() == Stage::Shutdown && reason.is_none() {
            // The host has closed, and the peer has said its last word to that.
            tell_eof(transport)?;
        }
        tls.stage.set(Stage::Over);
        tls.cancel_timer(py)?;
        let waiter = base.get().take_waiter(py);
        let told = base
            .get()
            .lost(base, reason.as_ref().map(|error| error.clone_ref(py)));
        let beneath = tls.inner.with(py, |inner, _| inner.beneath.take());
        let mut below = Ok(());
        if let Some(beneath) = beneath {
            // Its protocol was replaced by this connection: nobody is told, its server forgets it.
            let beneath = beneath.bind(py);
            below = TlsTransport::lost_beneath(beneath);
        }
        if let Some(waiter) = waiter {
            names::TLS_WAKE.get(py)?.call1((waiter, reason))?;
        }
        told.and(below)
    }
}

/// The protocol hears, once, that the peer says no more. What it answers counts for nothing.
fn tell_eof(transport: &Bound<'_, TlsTransport>) -> PyResult<()> {
    let py = transport.py();
    if transport.get().eof_told.replace(true) {
        return Ok(());
    }
    let Some(target) = transport.as_super().get().target(py) else {
        return Ok(());
    };
    match target.eof_received(py) {
        Ok(false) => Ok(()),
        Ok(true) => names::TLS_WARN_EOF.get(py)?.call0().map(drop),
        Err(error) => {
            transport.get().stage.set(Stage::Over);
            fatal_with(transport, error, "Error calling eof_received()")
        }
    }
}

/// As asyncio's `_fatal_error`: told, unless it is the network's own, and the connection ends.
fn fatal_with(transport: &Bound<'_, TlsTransport>, error: PyErr, message: &str) -> PyResult<()> {
    let py = transport.py();
    if errors::is_fatal(py, &error) {
        return Err(error);
    }
    let base = transport.as_super();
    let target = base.get().target(py);
    let entered = target
        .as_ref()
        .and_then(|target| call::enter(&target.context));
    let reported = names::TLS_REPORT
        .get(py)?
        .call1((transport, error.clone_ref(py), message));
    drop(entered);
    reported?;
    TlsTransport::abort_with(transport, Some(error));
    Ok(())
}
