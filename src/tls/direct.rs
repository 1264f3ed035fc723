//! The engine that drives the OpenSSL inside the interpreter's own `ssl.SSLObject`: any `ssl.SSLContext` works, and
//! no record passes through Python.
//!
//! The handshake goes through the Python object, whose callbacks (server names, keys to be logged) and errors are its
//! own. Once it is over, records are read and written by OpenSSL's functions, with the GIL held: nothing in them
//! runs Python, since a context that wants to hear of each message is left to the other engine.

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::engine::Engine;
use super::layer::{Input, Place};
use super::object::wants_more;
use super::openssl::{
    Bio, OpenSsl, SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_ZERO_RETURN, Ssl, length,
};
use super::transfer::{Transfer, openssl};
use crate::py::{names, ssl};

/// Drives one `SSL *`.
pub struct Direct {
    openssl: &'static OpenSsl,
    ssl: *mut Ssl,
    transfer: Transfer,
    /// What keeps `ssl` alive: the interpreter's inner object, and the one that programs see.
    _inner: Py<PyAny>,
    object: Py<PyAny>,
}

// SAFETY: `ssl` is kept alive by `_inner` and used only through `&mut self`.
unsafe impl Send for Direct {}

/// Whether a context's owner is called for each record.
fn listens_to_messages(inner: &Bound<'_, PyAny>) -> PyResult<bool> {
    let context = inner.getattr("context")?;
    Ok(context
        .getattr("_msg_callback")
        .is_ok_and(|callback| !callback.is_none()))
}

/// What an `ssl.SSLSocket` has inside, when it is of the copy that we drive.
fn of_socket<'py>(
    socket: &Bound<'py, PyAny>,
) -> PyResult<Option<(&'static OpenSsl, Bound<'py, PyAny>, *mut Ssl)>> {
    let Some((inner, inside)) = ssl::on_socket(socket)? else {
        return Ok(None);
    };
    let Some(openssl) = openssl(socket.py()) else {
        return Ok(None);
    };
    let ssl = inside.ssl.cast::<Ssl>();
    // SAFETY: as in `Direct::new`.
    let ours = unsafe {
        openssl.made(inside.context.cast())
            && (openssl.functions.SSL_get_SSL_CTX)(ssl).cast() == inside.context
    };
    Ok(ours.then_some((openssl, inner, ssl)))
}

/// An `ssl.SSLSocket` that was driven ([`Direct::over_socket`]; the engine is gone) reads and writes its socket again.
/// Nothing when it has been closed since. Errors: OSError when OpenSSL has no memory.
pub fn to_socket(socket: &Bound<'_, PyAny>) -> PyResult<()> {
    let Some((openssl, _inner, ssl)) = of_socket(socket)? else {
        return Ok(());
    };
    let fd: c_int = socket.call_method0("fileno")?.extract()?;
    if fd < 0 {
        return Ok(());
    }
    // SAFETY: an object of this copy, which `_inner` keeps alive. Its BIO is one of ours without sides, or a socket's, and
    // is let go of for a new one.
    if unsafe { (openssl.functions.SSL_set_fd)(ssl, fd) } == 1 {
        return Ok(());
    }
    Err(PyOSError::new_err("OpenSSL takes no descriptor"))
}

impl Direct {
    /// Drives what is inside `object`, which `SSLContext.wrap_bio(incoming, outgoing)` has just made. `None` when it
    /// is not what it should be in every respect. Errors: those of asking the objects.
    pub fn new(
        object: &Bound<'_, PyAny>,
        incoming: &Bound<'_, PyAny>,
        outgoing: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Direct>> {
        let py = object.py();
        let Some((inner, inside)) = ssl::inside(object, incoming, outgoing)? else {
            return Ok(None);
        };
        if listens_to_messages(&inner)? {
            return Ok(None);
        }
        let Some(openssl) = openssl(py) else {
            return Ok(None);
        };
        let functions = &openssl.functions;
        let ssl = inside.ssl.cast::<Ssl>();
        // SAFETY: the addresses lie where this interpreter has those of OpenSSL's objects, which the objects keep
        // alive. Each call reads one field; a context of another copy of the same version has it at the same place.
        let ours = unsafe {
            openssl.made(inside.context.cast())
                && (functions.SSL_get_SSL_CTX)(ssl).cast() == inside.context
                && (functions.SSL_get_rbio)(ssl) == inside.incoming.cast::<Bio>()
                && (functions.SSL_get_wbio)(ssl) == inside.outgoing.cast::<Bio>()
        };
        if !ours {
            return Ok(None);
        }
        // SAFETY: an object of this copy, as has been made sure, which nobody else has used yet.
        let transfer = unsafe { Transfer::new(openssl, ssl) };
        Ok(transfer.map(|transfer| Direct {
            openssl,
            ssl,
            transfer,
            _inner: inner.unbind(),
            object: object.clone().unbind(),
        }))
    }

    /// Drives what is inside an `ssl.SSLSocket` whose handshake is over, in the place of the socket: from now on its
    /// methods reach no byte, until [`to_socket`]. `None` when it is not what it should be in every respect.
    /// Errors: those of asking the objects.
    pub fn over_socket(socket: &Bound<'_, PyAny>) -> PyResult<Option<Direct>> {
        let Some((openssl, inner, ssl)) = of_socket(socket)? else {
            return Ok(None);
        };
        let fd: c_int = socket.call_method0("fileno")?.extract()?;
        // SAFETY: an object of this copy, as has been made sure; reads a field of its BIO.
        if unsafe { (openssl.functions.SSL_get_fd)(ssl) } != fd
            // An end without a last word is an error there.
            || !socket.getattr("suppress_ragged_eofs")?.is_truthy()?
            || listens_to_messages(&inner)?
        {
            return Ok(None);
        }
        // SAFETY: as above; whoever else has it calls it with the GIL held, as we do.
        let transfer = unsafe { Transfer::new(openssl, ssl) };
        Ok(transfer.map(|transfer| Direct {
            openssl,
            ssl,
            transfer,
            object: inner.clone().unbind(),
            _inner: inner.unbind(),
        }))
    }

    /// The exception for what OpenSSL has just failed at. Its queue of errors still holds why, and that is where
    /// the interpreter's own method, which fails in the same way, looks.
    #[cold]
    fn error(&mut self, py: Python<'_>, method: &str, argument: &Bound<'_, PyTuple>) -> PyErr {
        let functions = &self.openssl.functions;
        // SAFETY: reads this thread's queue; what it answers is a string that lives as long as the process, or null.
        let reason = unsafe {
            let reason = (functions.ERR_reason_error_string)((functions.ERR_peek_last_error)());
            (!reason.is_null()).then(|| CStr::from_ptr(reason).to_string_lossy().into_owned())
        };
        let object = self.object.bind(py);
        let mut wire = Vec::new();
        let result = self.transfer.during(&mut &[][..], &mut wire, |_| {
            object.call_method1(method, argument)
        });
        match result {
            Err(error) if !wants_more(py, &error) => error,
            _ => {
                let reason = reason.unwrap_or_else(|| "the connection failed".to_owned());
                names::SSL_ERROR
                    .get(py)
                    .and_then(|class| class.call1((1, reason)))
                    .map_or_else(|error| error, PyErr::from_value)
            }
        }
    }
}

impl Engine for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn handshake(
        &mut self,
        py: Python<'_>,
        input: &mut &[u8],
        wire: &mut Vec<u8>,
    ) -> PyResult<bool> {
        let object = self.object.bind(py);
        let result = self.transfer.during(input, wire, |_| {
            object.call_method0(pyo3::intern!(py, "do_handshake"))
        });
        match result {
            Ok(_) => Ok(true),
            Err(error) if wants_more(py, &error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    #[inline]
    fn read(
        &mut self,
        py: Python<'_>,
        input: &mut &[u8],
        place: &mut Place<'_>,
        wire: &mut Vec<u8>,
    ) -> PyResult<Input> {
        let functions = &self.openssl.functions;
        let ssl = self.ssl;
        // SAFETY: `_inner` keeps `ssl` alive. What others left in this thread's queue is no error of ours.
        let pending = unsafe {
            (functions.ERR_clear_error)();
            (functions.SSL_pending)(ssl) > 0
        };
        if !pending && input.is_empty() {
            return Ok(Input::More);
        }
        let last = self.transfer.during(input, wire, |any_left| {
            loop {
                let rest: &mut [MaybeUninit<u8>] = place.rest();
                if rest.is_empty() {
                    return None;
                }
                // SAFETY: room for so many bytes, of which it answers how many it has written.
                unsafe {
                    let count =
                        (functions.SSL_read)(ssl, rest.as_mut_ptr().cast(), length(rest.len()));
                    let Ok(count @ 1..) = usize::try_from(count) else {
                        return Some((functions.SSL_get_error)(ssl, count));
                    };
                    place.advance(count);
                    // Saves the call that would say so.
                    if !any_left() && (functions.SSL_pending)(ssl) <= 0 {
                        return Some(SSL_ERROR_WANT_READ);
                    }
                }
            }
        });
        match last {
            None => Ok(Input::Full),
            Some(SSL_ERROR_WANT_READ | SSL_ERROR_WANT_WRITE) => Ok(Input::More),
            Some(SSL_ERROR_ZERO_RETURN) => Ok(Input::End),
            Some(_) => {
                let argument = PyTuple::new(py, [1])?;
                Err(self.error(py, "read", &argument))
            }
        }
    }

    #[inline]
    fn write(&mut self, py: Python<'_>, bytes: &[u8], wire: &mut Vec<u8>) -> PyResult<usize> {
        let functions = &self.openssl.functions;
        let ssl = self.ssl;
        let mut written = 0;
        let last = self.transfer.during(&mut &[][..], wire, |_| {
            // SAFETY: this thread's queue: what others left there is no error of ours.
            unsafe { (functions.ERR_clear_error)() };
            while written < bytes.len() {
                let rest = &bytes[written..];
                // SAFETY: `_inner` keeps `ssl` alive; so many bytes are readable.
                unsafe {
                    let count =
                        (functions.SSL_write)(ssl, rest.as_ptr().cast(), length(rest.len()));
                    let Ok(count @ 1..) = usize::try_from(count) else {
                        return Some((functions.SSL_get_error)(ssl, count));
                    };
                    written += count;
                }
            }
            None
        });
        match last {
            None | Some(SSL_ERROR_WANT_READ | SSL_ERROR_WANT_WRITE) => Ok(written),
            Some(_) => {
                let rest = pyo3::types::PyBytes::new(py, &bytes[written..]);
                let argument = PyTuple::new(py, [rest])?;
                Err(self.error(py, "write", &argument))
            }
        }
    }

    fn close(&mut self, _py: Python<'_>, wire: &mut Vec<u8>) -> PyResult<()> {
        let functions = &self.openssl.functions;
        let ssl = self.ssl;
        self.transfer.during(&mut &[][..], wire, |_| {
            // SAFETY: `_inner` keeps `ssl` alive. A connection that has failed has no last word to say, which is no
            // news: the queue is left as it was found.
            unsafe {
                (functions.ERR_clear_error)();
                (functions.SSL_shutdown)(ssl);
                (functions.ERR_clear_error)();
            }
        });
        Ok(())
    }

    fn visit(&self, visitor: &mut dyn FnMut(&Py<PyAny>)) {
        visitor(&self._inner);
        visitor(&self.object);
    }
}
