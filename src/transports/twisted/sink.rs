//! What the stream core asks and tells, answered as Twisted's transports do. Whatever raises is logged, and the connection
//! is lost for that reason; nothing leaves the loop, SystemExit included.

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::connection::TwistedConnection;
use super::home::inside;
use super::receivers::Receiver;
use super::tls::TwistedTls;
use super::{log_context, passing};
use crate::io::read::{self, Received};
use crate::io::sink::{AfterEof, Failed, Sink, Stream, Taken};
use crate::io::stream;
use crate::proto::marks::Pressure;
use crate::py::fields::Fields;
use crate::py::{call, names};
use crate::sys::ancillary::Message;

/// The sink of every [`TwistedConnection`].
pub struct TwistedSink;

fn face<'a, 'py>(stream: &Stream<'a, 'py>) -> PyResult<&'a Bound<'py, TwistedConnection>> {
    debug_assert!(stream.object.is_instance_of::<TwistedConnection>());
    // SAFETY: only `TwistedConnection::enter_loop` makes faces with this sink, for itself.
    Ok(unsafe { stream.object.cast_unchecked() })
}

/// Calls a method of the connection with one of the Failures that all share, in its contexts. What it raises is logged.
fn tell(
    connection: &Bound<'_, TwistedConnection>,
    method: &Bound<'_, PyString>,
    reason: &names::Imported,
) -> PyResult<()> {
    let py = connection.py();
    inside(connection, || {
        match call::call_method1(connection, method, &reason.get(py)?) {
            Err(error) if error.is_instance_of::<PyKeyboardInterrupt>(py) => Err(error),
            Err(error) => {
                names::TWISTED_FAILED.get(py)?.call1((connection, error))?;
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    })
}

/// Has bytes taken straight from where they were received, by what `tell` does for that protocol.
#[inline]
fn read_in_place(
    stream: &Stream<'_, '_>,
    connection: &Bound<'_, TwistedConnection>,
    protocol: &Bound<'_, PyAny>,
    tell: impl FnOnce(&[u8]) -> PyResult<()>,
) -> PyResult<Taken> {
    let py = connection.py();
    let core = stream.core.get();
    let mut scratch = core.take_scratch(py);
    let taken = match read::receive(stream.core, stream.key, &mut scratch) {
        Received::Bytes(count) => {
            // SAFETY: `receive` says that it has written them.
            let data = unsafe { scratch[..count].assume_init_ref() };
            let beside = passing::received(stream, connection);
            told(connection, |made| {
                match other_protocol(connection, protocol, beside, made)? {
                    None => tell(data),
                    Some(other) => hand_over(&other, &PyBytes::new(py, data)),
                }
            })
        }
        Received::Eof => Ok(Taken::Eof),
        Received::Failed(error) => read::failed(stream.core, stream.key, error),
        Received::WouldBlock | Received::Gone => Ok(Taken::Nothing),
    };
    core.give_scratch(py, scratch);
    taken
}

/// Tells of what came beside the bytes. Answers the protocol that the connection has after that and after its `logPrefix()`,
/// if one of these ran and it is another one.
#[inline]
fn other_protocol<'py>(
    connection: &Bound<'py, TwistedConnection>,
    protocol: &Bound<'py, PyAny>,
    beside: Vec<Message>,
    made: bool,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if beside.is_empty() && !made {
        return Ok(None);
    }
    passing::tell(connection, beside)?;
    let name = intern!(connection.py(), "protocol");
    let now = Fields::of_ours(connection)?.look_up(name)?;
    Ok((!now.is(protocol)).then_some(now))
}

#[inline]
fn hand_over(protocol: &Bound<'_, PyAny>, data: &Bound<'_, PyBytes>) -> PyResult<()> {
    let name = intern!(protocol.py(), "dataReceived");
    call::call_method1(protocol, name, data.as_any()).map(drop)
}

/// Runs what tells a protocol of bytes in the connection's contexts; it is told whether the log context was made for that. What
/// it raises loses the connection.
#[inline]
fn told(
    connection: &Bound<'_, TwistedConnection>,
    tell: impl FnOnce(bool) -> PyResult<()>,
) -> PyResult<Taken> {
    let py = connection.py();
    let context = connection.get().home.context(py);
    let entered = context.as_ref().and_then(call::enter);
    let logging = log_context::enter(connection)?;
    let result = tell(logging.made);
    drop(logging);
    if let Err(error) = result {
        names::TWISTED_DATA_FAILED
            .get(py)?
            .call1((connection, error))?;
        return Ok(Taken::Nothing);
    }
    drop(entered);
    Ok(Taken::Bytes)
}

impl Sink for TwistedSink {
    fn made(&self, stream: &Stream<'_, '_>) -> PyResult<()> {
        // Twisted's own transport tells the protocol.
        stream::start(stream.core, stream.key)
    }

    #[inline]
    fn read(&self, stream: &Stream<'_, '_>) -> PyResult<Taken> {
        let connection = face(stream)?;
        let py = connection.py();
        let place = &connection.get().protocol_at;
        let protocol = match Fields::of_ours(connection)?.get_at(intern!(py, "protocol"), place) {
            Ok(protocol) => protocol,
            Err(error) => return told(connection, |_| Err(error)),
        };
        if let Some(tls) = TwistedConnection::reader(connection, &protocol)? {
            return read_in_place(stream, connection, &protocol, |data| {
                TwistedTls::receive(tls, data)
            });
        }
        if let Some(receiver) = Receiver::of(&connection.get().seen, &protocol)? {
            return read_in_place(stream, connection, &protocol, |data| {
                receiver.data_received(Some(connection), &protocol, data)
            });
        }
        let data = match connection.get().lately.receive(stream) {
            Ok(data) => data,
            Err(Received::Eof) => return Ok(Taken::Eof),
            Err(Received::Failed(error)) => return read::failed(stream.core, stream.key, error),
            Err(_) => return Ok(Taken::Nothing),
        };
        let beside = passing::received(stream, connection);
        told(connection, |made| {
            let other = other_protocol(connection, &protocol, beside, made)?;
            hand_over(other.as_ref().unwrap_or(&protocol), &data)
        })
    }

    fn eof(&self, stream: &Stream<'_, '_>) -> PyResult<AfterEof> {
        // Half-closed or lost: the method has done it.
        let connection = face(stream)?;
        tell(
            connection,
            intern!(connection.py(), "readConnectionLost"),
            &names::TWISTED_CONNECTION_DONE,
        )?;
        Ok(AfterEof::Keep)
    }

    fn pressure(&self, _stream: &Stream<'_, '_>, _pressure: Pressure) -> PyResult<()> {
        // There are no marks: a producer is looked after with every write.
        Ok(())
    }

    fn fill(&self, stream: &Stream<'_, '_>) -> PyResult<()> {
        let connection = face(stream)?;
        let py = connection.py();
        let filler = connection.get().inner.with(py, |inner, refs| {
            inner.filler.as_ref().map(|filler| refs.clone(filler))
        });
        if let Some(filler) = filler
            && let Err(error) = TwistedTls::fill(filler.bind(py))
        {
            names::TWISTED_FILL_FAILED
                .get(py)?
                .call1((connection, error))?;
        }
        passing::look(stream, connection)
    }

    fn drained(&self, stream: &Stream<'_, '_>) -> PyResult<()> {
        let connection = face(stream)?;
        if let Some(next) = TwistedConnection::after_drain(connection)? {
            let py = connection.py();
            inside(connection, || next.get(py)?.call1((connection,)).map(drop))?;
        }
        Ok(())
    }

    fn failed(&self, _stream: &Stream<'_, '_>, _what: Failed, _error: &PyErr) -> PyResult<()> {
        // ConnectionLost tells it.
        Ok(())
    }

    fn lost(&self, stream: &Stream<'_, '_>, reason: Option<PyErr>) -> PyResult<()> {
        let connection = face(stream)?;
        connection.get().home.leave(connection.py());
        tell(
            connection,
            intern!(connection.py(), "connectionLost"),
            if reason.is_some() {
                &names::TWISTED_CONNECTION_LOST
            } else {
                &names::TWISTED_CONNECTION_DONE
            },
        )
    }
}
