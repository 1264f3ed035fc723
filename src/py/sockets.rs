//! The descriptor of a Python socket.

use std::ops::RangeInclusive;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

use super::cell::Flag;
use super::{call, names};
use crate::sys::Fd;

/// The interpreters whose sockets are known: a head, the descriptor, the address family.
const KNOWN: RangeInclusive<u8> = 11..=14;

/// Whether the descriptor is where it is believed to be, once that was looked at.
static FOUND: Flag<Option<bool>> = Flag::new(None);

/// The address of the class `socket.socket`, once descriptors were found there; else 0.
static CLASS: Flag<usize> = Flag::new(0);

/// `sock.fileno()` of an object whose class is `socket.socket` itself: -1 when it is closed. Asking its method costs as much
/// as all else that an operation on it asks for.
#[inline]
pub fn fileno(sock: &Bound<'_, PyAny>) -> PyResult<Fd> {
    match FOUND.get() {
        // SAFETY: a `socket.socket`, says the caller, and they were found to be made so.
        Some(true) => Ok(unsafe { words(sock.as_ptr()) }[0]),
        _ => ask(sock),
    }
}

#[cold]
fn ask(sock: &Bound<'_, PyAny>) -> PyResult<Fd> {
    let py = sock.py();
    let fd: Fd = call::call1(&names::SOCKET_FILENO.get(py)?, sock)?.extract()?;
    if FOUND.get().is_none() && fd >= 0 {
        let version = py.version_info();
        let known = version.major == 3 && KNOWN.contains(&version.minor);
        let family: i32 = sock.getattr(intern!(py, "family"))?.extract()?;
        // SAFETY: the first question is whether the object is long enough for that.
        let found =
            known && is_long_enough(sock) && unsafe { words(sock.as_ptr()) } == [fd, family];
        FOUND.set(Some(found));
        if found {
            CLASS.set(sock.get_type_ptr() as usize);
        }
    }
    Ok(fd)
}

/// Makes [`may_have`] able to tell. Errors: those of asking.
pub fn learn(object: &Bound<'_, PyAny>) -> PyResult<()> {
    if FOUND.get().is_none() && object.get_type().is(&names::SOCKET.get(object.py())?) {
        ask(object)?;
    }
    Ok(())
}

/// Whether an object may have this descriptor: not when it is a `socket.socket` that has been closed, or has given it away.
/// Calls no Python.
#[inline]
pub fn may_have(object: &Py<PyAny>, fd: Fd) -> bool {
    // SAFETY: a live object. Its class does not change without the GIL, which who has the reference in a `StateCell` holds.
    let class = unsafe { ffi::Py_TYPE(object.as_ptr()) } as usize;
    // SAFETY: a class with that address is the one whose objects were found to be made so; it lives as long as its module.
    class != CLASS.get() || unsafe { words(object.as_ptr()) }[0] == fd
}

fn is_long_enough(sock: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a live object and the GIL.
    let size = unsafe { (*ffi::Py_TYPE(sock.as_ptr())).tp_basicsize };
    usize::try_from(size)
        .is_ok_and(|size| size >= size_of::<ffi::PyObject>() + size_of::<[i32; 2]>())
}

/// The first two numbers behind the object's head.
///
/// # Safety
/// The object lives, and is so long.
#[inline]
unsafe fn words(object: *mut ffi::PyObject) -> [i32; 2] {
    // SAFETY: behind the head, within the object, and no stricter aligned than that.
    unsafe { object.add(1).cast::<[i32; 2]>().read() }
}
