//! The engine that calls the methods of an `ssl.SSLObject`: for interpreters and contexts that the direct one does
//! not know. Every record costs a few Python objects.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::direct::Direct;
use super::engine::Engine;
use super::layer::{Input, Place};
use crate::py::cell::Flag;
use crate::py::{call, errors, names};

/// Whether the direct engine is asked at all. For tests, which run with both.
static DIRECT: Flag<bool> = Flag::new(true);

/// Lets the direct engine be used from now on, or not; answers what was. For tests: sessions that exist keep theirs.
pub fn use_direct(_py: Python<'_>, wanted: bool) -> bool {
    DIRECT.replace(wanted)
}

/// The engine for a connection, and the `ssl.SSLObject` that programs see. Errors: what
/// `SSLContext.wrap_bio()` raises.
pub fn engine<'py>(
    context: &Bound<'py, PyAny>,
    server_side: bool,
    server_hostname: Option<&Bound<'py, PyAny>>,
) -> PyResult<(Box<dyn Engine>, Bound<'py, PyAny>)> {
    let py = context.py();
    let bio = names::SSL_MEMORY_BIO.get(py)?;
    let incoming = bio.call0()?;
    let outgoing = bio.call0()?;
    let kwargs = pyo3::types::PyDict::new(py);
    kwargs.set_item("server_side", server_side)?;
    kwargs.set_item("server_hostname", server_hostname)?;
    let object = context.call_method("wrap_bio", (&incoming, &outgoing), Some(&kwargs))?;
    if DIRECT.get()
        && let Some(direct) = Direct::new(&object, &incoming, &outgoing)?
    {
        return Ok((Box::new(direct), object));
    }
    let engine = Object {
        object: object.clone().unbind(),
        incoming: incoming.unbind(),
        outgoing: outgoing.unbind(),
    };
    Ok((Box::new(engine), object))
}

/// The engine for an `ssl.SSLSocket` whose handshake is over. `None` when it cannot be driven: it stays as it is. Errors:
/// those of asking it.
pub fn over_socket(socket: &Bound<'_, PyAny>) -> PyResult<Option<Box<dyn Engine>>> {
    if !DIRECT.get() {
        return Ok(None);
    }
    Ok(Direct::over_socket(socket)?.map(|direct| Box::new(direct) as Box<dyn Engine>))
}

/// Whether an exception says that the peer has to be heard first: those that asyncio takes for that.
pub(super) fn wants_more(py: Python<'_>, error: &PyErr) -> bool {
    [&names::SSL_WANT_READ, &names::SSL_SYSCALL]
        .iter()
        .any(|name| errors::is(py, error, name))
}

/// Drives an `ssl.SSLObject` through its methods.
struct Object {
    object: Py<PyAny>,
    incoming: Py<PyAny>,
    outgoing: Py<PyAny>,
}

/// The most that one call reads: a record.
const RECORD: usize = 16 * 1024;

impl Object {
    fn feed(&self, py: Python<'_>, input: &mut &[u8]) -> PyResult<()> {
        if !input.is_empty() {
            let bytes = PyBytes::new(py, input);
            let incoming = self.incoming.bind(py);
            call::call_method1(incoming, pyo3::intern!(py, "write"), bytes.as_any())?;
            *input = &[];
        }
        Ok(())
    }

    fn drain(&self, py: Python<'_>, wire: &mut Vec<u8>) -> PyResult<()> {
        let made = call::call_method0(self.outgoing.bind(py), pyo3::intern!(py, "read"))?;
        wire.extend_from_slice(bytes(&made)?);
        Ok(())
    }
}

fn bytes<'a>(object: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    match object.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes()),
        Err(_) => Err(PyTypeError::new_err("the SSL object did not read bytes")),
    }
}

impl Engine for Object {
    fn name(&self) -> &'static str {
        "object"
    }

    fn handshake(
        &mut self,
        py: Python<'_>,
        input: &mut &[u8],
        wire: &mut Vec<u8>,
    ) -> PyResult<bool> {
        self.feed(py, input)?;
        let result = call::call_method0(self.object.bind(py), pyo3::intern!(py, "do_handshake"));
        // Also the alert that goes before an error.
        self.drain(py, wire)?;
        match result {
            Ok(_) => Ok(true),
            Err(error) if wants_more(py, &error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn read(
        &mut self,
        py: Python<'_>,
        input: &mut &[u8],
        place: &mut Place<'_>,
        wire: &mut Vec<u8>,
    ) -> PyResult<Input> {
        self.feed(py, input)?;
        let answer = loop {
            if place.room() == 0 {
                break Ok(Input::Full);
            }
            let most = place.room().min(RECORD).into_pyobject(py)?;
            let object = self.object.bind(py);
            match call::call_method1(object, pyo3::intern!(py, "read"), most.as_any()) {
                Ok(read) => {
                    let read = bytes(&read)?;
                    if read.is_empty() {
                        break Ok(Input::End);
                    }
                    place.put(read);
                }
                Err(error) if wants_more(py, &error) => break Ok(Input::More),
                // After a close_notify of our own, the peer's is told so.
                Err(error) if errors::is(py, &error, &names::SSL_ZERO_RETURN) => {
                    break Ok(Input::End);
                }
                Err(error) => break Err(error),
            }
        };
        self.drain(py, wire)?;
        answer
    }

    fn write(&mut self, py: Python<'_>, data: &[u8], wire: &mut Vec<u8>) -> PyResult<usize> {
        let mut written = 0;
        let mut result = Ok(());
        while written < data.len() {
            let rest = &data[written..];
            let part = PyBytes::new(py, &rest[..rest.len().min(RECORD)]);
            let object = self.object.bind(py);
            match call::call_method1(object, pyo3::intern!(py, "write"), part.as_any()) {
                Ok(count) => written += count.extract::<usize>()?.min(rest.len()),
                Err(error) if wants_more(py, &error) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.drain(py, wire)?;
        result.map(|()| written)
    }

    fn close(&mut self, py: Python<'_>, wire: &mut Vec<u8>) -> PyResult<()> {
        let result = call::call_method0(self.object.bind(py), pyo3::intern!(py, "unwrap"));
        self.drain(py, wire)?;
        match result {
            Ok(_) => Ok(()),
            // It would like to hear the peer's, or found bytes from before it: the close_notify has left all the same.
            Err(error) if errors::is(py, &error, &names::SSL_ERROR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn visit(&self, visitor: &mut dyn FnMut(&Py<PyAny>)) {
        visitor(&self.object);
        visitor(&self.incoming);
        visitor(&self.outgoing);
    }
}
