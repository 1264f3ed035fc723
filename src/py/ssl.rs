//! The `ssl` module's objects, seen from beneath: where OpenSSL's own objects are in them.

use std::ffi::{CString, c_ulong, c_void};

use pyo3::ffi;
use pyo3::prelude::*;

/// Where `_ssl` was loaded from, and the version number of the OpenSSL that it was started with. `None` when it is
/// built into the interpreter. Errors: those of a broken module.
pub fn library(py: Python<'_>) -> PyResult<Option<(CString, c_ulong)>> {
    let Ok(path) = py.import("_ssl")?.getattr("__file__") else {
        return Ok(None);
    };
    let os = py.import("os")?;
    let path: Vec<u8> = os.call_method1("fsencode", (path,))?.extract()?;
    let version = py
        .import("ssl")?
        .getattr("OPENSSL_VERSION_NUMBER")?
        .extract()?;
    Ok(CString::new(path).ok().map(|path| (path, version)))
}

/// The addresses in a new `_ssl._SSLSocket` that was made for two memory BIOs.
#[derive(Clone, Copy, Debug)]
pub struct Inside {
    pub ssl: *mut c_void,
    pub context: *mut c_void,
    pub incoming: *mut c_void,
    pub outgoing: *mut c_void,
}

/// The interpreters whose structures are known: a head, then in `_SSLSocket` a weak reference (null for memory BIOs),
/// `SSL *` and the context object; in `_SSLContext` the `SSL_CTX *`, in `MemoryBIO` the `BIO *`.
const KNOWN: std::ops::RangeInclusive<u8> = 11..=14;

/// What `ssl.SSLObject` keeps in `_sslobj`, with the addresses in it. `None` when anything about the objects is not as
/// expected; the addresses are still to be compared with what OpenSSL itself says about them.
pub fn inside<'py>(
    object: &Bound<'py, PyAny>,
    incoming: &Bound<'py, PyAny>,
    outgoing: &Bound<'py, PyAny>,
) -> PyResult<Option<(Bound<'py, PyAny>, Inside)>> {
    let py = object.py();
    let version = py.version_info();
    if version.major != 3 || !KNOWN.contains(&version.minor) {
        return Ok(None);
    }
    let module = py.import("_ssl")?;
    let Ok(socket) = object.getattr("_sslobj") else {
        return Ok(None);
    };
    let Ok(context) = socket.getattr("context") else {
        return Ok(None);
    };
    let bio = module.getattr("MemoryBIO")?;
    let expected = socket.get_type().is(&module.getattr("_SSLSocket")?)
        && context.is_instance(&module.getattr("_SSLContext")?)?
        && incoming.get_type().is(&bio)
        && outgoing.get_type().is(&bio)
        && has_slots(&socket, 3)
        && has_slots(&context, 1)
        && has_slots(incoming, 1)
        && has_slots(outgoing, 1);
    if !expected {
        return Ok(None);
    }
    // SAFETY: each object's own size says that it has so many words behind its head; they are read, nothing else.
    let (weak, inside, owner) = unsafe {
        (
            slot(&socket, 0),
            Inside {
                ssl: slot(&socket, 1),
                context: slot(&context, 0),
                incoming: slot(incoming, 0),
                outgoing: slot(outgoing, 0),
            },
            slot(&socket, 2),
        )
    };
    // What lies around the address is where it should be: then so is the address.
    let found = weak.is_null()
        && owner == context.as_ptr().cast()
        && [inside.ssl, inside.context, inside.incoming, inside.outgoing]
            .iter()
            .all(|address| !address.is_null() && address.addr() % align_of::<usize>() == 0);
    Ok(found.then_some((socket, inside)))
}

/// The addresses in the `_ssl._SSLSocket` of an `ssl.SSLSocket`.
#[derive(Clone, Copy, Debug)]
pub struct OnSocket {
    pub ssl: *mut c_void,
    pub context: *mut c_void,
}

/// What an `ssl.SSLSocket` keeps in `_sslobj`, with the addresses in it. `None` when anything about the objects is not as
/// expected (a class of somebody's own, a socket that is not connected); the addresses are still to be compared with what
/// OpenSSL itself says about them.
pub fn on_socket<'py>(
    socket: &Bound<'py, PyAny>,
) -> PyResult<Option<(Bound<'py, PyAny>, OnSocket)>> {
    let py = socket.py();
    let version = py.version_info();
    if version.major != 3
        || !KNOWN.contains(&version.minor)
        || !socket
            .get_type()
            .is(&py.import("ssl")?.getattr("SSLSocket")?)
    {
        return Ok(None);
    }
    let module = py.import("_ssl")?;
    let Ok(inner) = socket.getattr("_sslobj") else {
        return Ok(None);
    };
    if !inner.get_type().is(&module.getattr("_SSLSocket")?) || !has_slots(&inner, 3) {
        return Ok(None);
    }
    let context = inner.getattr("context")?;
    if !context.is_instance(&module.getattr("_SSLContext")?)? || !has_slots(&context, 1) {
        return Ok(None);
    }
    // SAFETY: each object's own size says that it has so many words behind its head; they are read, nothing else.
    let (weak, inside, owner) = unsafe {
        (
            slot(&inner, 0),
            OnSocket {
                ssl: slot(&inner, 1),
                context: slot(&context, 0),
            },
            slot(&inner, 2),
        )
    };
    let found = !weak.is_null()
        && owner == context.as_ptr().cast()
        && [weak, inside.ssl, inside.context]
            .iter()
            .all(|address| !address.is_null() && address.addr() % align_of::<usize>() == 0);
    Ok(found.then_some((inner, inside)))
}

/// Whether the object is large enough for `count` words behind its head.
fn has_slots(object: &Bound<'_, PyAny>, count: usize) -> bool {
    // SAFETY: a live object; its type says how large it is.
    let size = unsafe { (*ffi::Py_TYPE(object.as_ptr())).tp_basicsize };
    usize::try_from(size)
        .is_ok_and(|size| size >= size_of::<ffi::PyObject>() + count * size_of::<usize>())
}

/// # Safety
/// The object has more than `index` words behind its head.
unsafe fn slot(object: &Bound<'_, PyAny>, index: usize) -> *mut c_void {
    // SAFETY: the caller says that the word is there; objects are aligned to words.
    unsafe {
        object
            .as_ptr()
            .byte_add(size_of::<ffi::PyObject>())
            .cast::<*mut c_void>()
            .add(index)
            .read()
    }
}
