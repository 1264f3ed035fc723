//! The engine that drives the OpenSSL inside an `OpenSSL.SSL.Connection` between two memory BIOs, as Twisted has them.
//!
//! The handshake goes through the Python object, whose callbacks and errors are its own. Once it is over, records are
//! read and written by OpenSSL's functions, whose addresses cffi hands out, between the very BIOs that the object's methods
//! use: one may call those at any time between two calls of ours, and does for everything that is rare.
//!
//! Callbacks of a program's (verification, info, key log) may run in the middle of a call, for what a peer may send after
//! the handshake. They take the GIL themselves, which we hold. What they raise the object keeps in lists, to raise it when
//! its call is over: so do we.

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::ptr;

use pyo3::exceptions::{PyMemoryError, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyList;

use super::engine::Engine;
use super::layer::{Input, Place};
use super::openssl::{
    Bio, MemoryFunctions, SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_ZERO_RETURN, Ssl,
    length,
};
use crate::py::cffi::Library;
use crate::py::{errors, names};

/// What the functions must be, as cffi writes it. `BIO_get_mem_data` is a macro, of which cffi makes a function.
const TYPES: [(&CStr, &str); 9] = [
    (c"SSL_read", "int(*)(SSL *, void *, int)"),
    (c"SSL_write", "int(*)(SSL *, void *, int)"),
    (c"SSL_pending", "int(*)(SSL *)"),
    (c"SSL_shutdown", "int(*)(SSL *)"),
    (c"SSL_get_error", "int(*)(SSL *, int)"),
    (c"ERR_clear_error", "void(*)()"),
    (c"BIO_read", "int(*)(BIO *, void *, int)"),
    (c"BIO_write", "int(*)(BIO *, void *, int)"),
    (c"BIO_get_mem_data", "long(*)(BIO *, char * *)"),
];

/// How much OpenSSL is given at once: it copies what it is given, which is cheap as long as the copy stays in the cache.
const PART: usize = 32 * 1024;

/// What one record holds at most.
const RECORD: usize = 16 * 1024;

/// cryptography's copy of OpenSSL; `None` inside when it does not show all that is needed.
static FUNCTIONS: PyOnceLock<Option<MemoryFunctions>> = PyOnceLock::new();

/// cryptography's cffi library, which pyOpenSSL uses a copy of the names of. `None` where that is not so.
fn library(py: Python<'_>) -> PyResult<Option<Library<'_>>> {
    let Ok(inside) = py
        .import("cryptography.hazmat.bindings._rust")
        .and_then(|module| module.getattr("_openssl"))
    else {
        return Ok(None);
    };
    let (Ok(ffi), Ok(lib)) = (inside.getattr("ffi"), inside.getattr("lib")) else {
        return Ok(None);
    };
    let used = py.import("OpenSSL.SSL")?.getattr("_ffi")?;
    Ok(used.is(&ffi).then(|| Library::new(ffi, lib)))
}

fn functions(py: Python<'_>) -> PyResult<Option<&'static MemoryFunctions>> {
    FUNCTIONS
        .get_or_try_init(py, || {
            let Some(library) = library(py)? else {
                return Ok(None);
            };
            let mut failed = None;
            let find = |name: &'static CStr| {
                let ctype = TYPES
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, ctype)| *ctype)?;
                let found = name.to_str().ok().map(|name| library.function(name, ctype));
                found.transpose().unwrap_or_else(|error| {
                    failed = Some(error);
                    None
                })?
            };
            // SAFETY: cffi's functions of that name call OpenSSL's, and have the type that is asked for. Extension
            // modules are never unloaded.
            let found = unsafe { MemoryFunctions::find(find) };
            failed.map_or(Ok(found), Err)
        })
        .map(Option::as_ref)
}

/// Drives one `SSL *` between its two memory BIOs.
pub struct PyOpenSsl {
    functions: &'static MemoryFunctions,
    ssl: *mut Ssl,
    incoming: *mut Bio,
    outgoing: *mut Bio,
    /// The `OpenSSL.SSL.Connection`.
    connection: Py<PyAny>,
    /// cffi's own pointer, which keeps `ssl` and with it the BIOs alive.
    owner: Py<PyAny>,
    /// Where the context's and the connection's callbacks leave what they raise.
    problems: Vec<Py<PyList>>,
}

// SAFETY: the addresses are kept alive by `owner` and used only through `&mut self`, with the GIL held.
unsafe impl Send for PyOpenSsl {}

impl PyOpenSsl {
    /// Drives what is inside an `OpenSSL.SSL.Connection`. `None` when it is not between two memory BIOs, or its
    /// copy of OpenSSL does not show what is needed. Errors: those of asking.
    pub fn new(connection: &Bound<'_, PyAny>) -> PyResult<Option<PyOpenSsl>> {
        let py = connection.py();
        let Some(functions) = functions(py)? else {
            return Ok(None);
        };
        let Some(library) = library(py)? else {
            return Ok(None);
        };
        let owner = connection.getattr(intern!(py, "_ssl"))?;
        let incoming = connection.getattr(intern!(py, "_into_ssl"))?;
        let outgoing = connection.getattr(intern!(py, "_from_ssl"))?;
        if incoming.is_none() || outgoing.is_none() {
            return Ok(None);
        }
        let (Some(ssl), Some(incoming), Some(outgoing)) = (
            library.address(&owner, "SSL *")?,
            library.address(&incoming, "BIO *")?,
            library.address(&outgoing, "BIO *")?,
        ) else {
            return Ok(None);
        };
        let mut problems = Vec::new();
        let context = connection.call_method0(intern!(py, "get_context"))?;
        for (object, name) in [
            (&context, "_verify_helper"),
            (&context, "_alpn_select_helper"),
            (&context, "_ocsp_helper"),
            (connection, "_verify_helper"),
        ] {
            let helper = object.getattr(name)?;
            if !helper.is_none() {
                let list = helper
                    .getattr(intern!(py, "_problems"))?
                    .cast_into::<PyList>()?;
                problems.push(list.unbind());
            }
        }
        Ok(Some(PyOpenSsl {
            functions,
            ssl: ssl.cast().as_ptr(),
            incoming: incoming.cast().as_ptr(),
            outgoing: outgoing.cast().as_ptr(),
            connection: connection.clone().unbind(),
            owner: owner.unbind(),
            problems,
        }))
    }

    /// The Python object.
    #[inline]
    pub fn connection(&self) -> &Py<PyAny> {
        &self.connection
    }

    /// Gives OpenSSL all of `input`, to be read later, whoever reads.
    pub fn feed(&mut self, input: &mut &[u8]) -> PyResult<()> {
        while !input.is_empty() {
            self.feed_part(input)?;
        }
        Ok(())
    }

    #[inline]
    fn feed_part(&mut self, input: &mut &[u8]) -> PyResult<()> {
        let part = &input[..input.len().min(PART)];
        // SAFETY: a live memory BIO and readable bytes, which it copies.
        let count = unsafe {
            (self.functions.BIO_write)(self.incoming, part.as_ptr().cast(), length(part.len()))
        };
        let Ok(count @ 1..) = usize::try_from(count) else {
            return Err(PyMemoryError::new_err("OpenSSL has no memory"));
        };
        *input = &input[count.min(part.len())..];
        Ok(())
    }

    /// How many bytes lie in a memory BIO.
    #[inline]
    fn inside(&self, bio: *mut Bio) -> usize {
        let mut data = ptr::null_mut();
        // SAFETY: a live memory BIO; the address that it answers is not used.
        let count = unsafe { (self.functions.BIO_get_mem_data)(bio, &raw mut data) };
        usize::try_from(count).unwrap_or(0)
    }

    /// Takes what OpenSSL has to send.
    #[inline]
    fn drain(&mut self, wire: &mut Vec<u8>) {
        loop {
            let waiting = self.inside(self.outgoing).min(c_int::MAX as usize);
            if waiting == 0 {
                return;
            }
            wire.reserve(waiting);
            let place = wire.spare_capacity_mut();
            // SAFETY: room for `waiting` bytes, of which it answers how many it has written.
            unsafe {
                let count = (self.functions.BIO_read)(
                    self.outgoing,
                    place.as_mut_ptr().cast(),
                    length(waiting),
                );
                let Ok(count @ 1..) = usize::try_from(count) else {
                    return;
                };
                wire.set_len(wire.len() + count.min(waiting));
            }
        }
    }

    /// Whether a callback has raised during a call.
    #[inline]
    fn has_problems(&self, py: Python<'_>) -> bool {
        self.problems.iter().any(|list| !list.bind(py).is_empty())
    }

    /// What pyOpenSSL raises for a call that answered `result`: the queue of errors still holds why.
    #[cold]
    fn error(&self, py: Python<'_>, result: c_int) -> PyErr {
        let raised = self.connection.bind(py).call_method1(
            intern!(py, "_raise_ssl_error"),
            (self.owner.bind(py), result),
        );
        match raised {
            Err(error) => error,
            Ok(_) => PyRuntimeError::new_err("OpenSSL failed without an error"),
        }
    }
}

impl Engine for PyOpenSsl {
    fn name(&self) -> &'static str {
        "pyopenssl"
    }

    fn handshake(
        &mut self,
        py: Python<'_>,
        input: &mut &[u8],
        wire: &mut Vec<u8>,
    ) -> PyResult<bool> {
        self.feed(input)?;
        let result = self
            .connection
            .bind(py)
            .call_method0(intern!(py, "do_handshake"));
        self.drain(wire);
        match result {
            Ok(_) => Ok(true),
            Err(error) if errors::is(py, &error, &names::PYOPENSSL_WANT_READ) => Ok(false),
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
        let ssl = self.ssl;
        // SAFETY: this thread's queue: what others left there is no error of ours.
        unsafe { (self.functions.ERR_clear_error)() };
        let answer = loop {
            if !input.is_empty() && self.inside(self.incoming) == 0 {
                self.feed_part(input)?;
            }
            let rest: &mut [MaybeUninit<u8>] = place.rest();
            if rest.is_empty() {
                break Ok(Input::Full);
            }
            // SAFETY: `owner` keeps `ssl` alive; room for so many bytes, of which it answers how many it has written.
            let result = unsafe {
                (self.functions.SSL_read)(ssl, rest.as_mut_ptr().cast(), length(rest.len()))
            };
            if let Ok(count @ 1..) = usize::try_from(result) {
                // SAFETY: what it answered.
                let pending = unsafe {
                    place.advance(count);
                    (self.functions.SSL_pending)(ssl)
                };
                if self.has_problems(py) {
                    break Err(self.error(py, result));
                }
                // Saves the call that would say so.
                if input.is_empty() && pending <= 0 && self.inside(self.incoming) == 0 {
                    break Ok(Input::More);
                }
                continue;
            }
            // SAFETY: `owner` keeps `ssl` alive; nothing was called since.
            match unsafe { (self.functions.SSL_get_error)(ssl, result) } {
                SSL_ERROR_WANT_READ | SSL_ERROR_WANT_WRITE if !self.has_problems(py) => {
                    if input.is_empty() {
                        break Ok(Input::More);
                    }
                }
                SSL_ERROR_ZERO_RETURN if !self.has_problems(py) => break Ok(Input::End),
                _ => break Err(self.error(py, result)),
            }
        };
        self.drain(wire);
        answer
    }

    #[inline]
    fn write(&mut self, py: Python<'_>, bytes: &[u8], wire: &mut Vec<u8>) -> PyResult<usize> {
        let ssl = self.ssl;
        // SAFETY: this thread's queue: what others left there is no error of ours.
        unsafe { (self.functions.ERR_clear_error)() };
        let mut written = 0;
        let mut answer = Ok(());
        while written < bytes.len() {
            let rest = &bytes[written..];
            let part = &rest[..rest.len().min(RECORD)];
            // SAFETY: `owner` keeps `ssl` alive; so many bytes are readable.
            let result = unsafe {
                (self.functions.SSL_write)(ssl, part.as_ptr().cast(), length(part.len()))
            };
            if let Ok(count @ 1..) = usize::try_from(result) {
                written += count;
                if self.has_problems(py) {
                    answer = Err(self.error(py, result));
                    break;
                }
                // Record by record, so that the BIO's memory stays small, and in the cache.
                self.drain(wire);
                continue;
            }
            // SAFETY: `owner` keeps `ssl` alive; nothing was called since.
            match unsafe { (self.functions.SSL_get_error)(ssl, result) } {
                SSL_ERROR_WANT_READ | SSL_ERROR_WANT_WRITE if !self.has_problems(py) => {}
                _ => answer = Err(self.error(py, result)),
            }
            self.drain(wire);
            break;
        }
        answer.map(|()| written)
    }

    fn close(&mut self, _py: Python<'_>, wire: &mut Vec<u8>) -> PyResult<()> {
        // SAFETY: `owner` keeps `ssl` alive. A connection that has failed has no last word to say, which is no news:
        // the queue is left as it was found.
        unsafe {
            (self.functions.ERR_clear_error)();
            (self.functions.SSL_shutdown)(self.ssl);
            (self.functions.ERR_clear_error)();
        }
        self.drain(wire);
        Ok(())
    }

    fn visit(&self, visitor: &mut dyn FnMut(&Py<PyAny>)) {
        visitor(&self.connection);
        visitor(&self.owner);
    }
}
