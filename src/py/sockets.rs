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

/// `sock.fileno()` of an object whose class is `socket.socket` itself: -1 when it is closed. Asking its method costs as much
/// as all else that an operation on it asks for.
#[inline]
pub fn fileno(sock: &Bound<'_, PyAny>) -> PyResult<Fd> {
    match FOUND.get() {
        // SAFETY: a `socket.socket`, says the caller, and they were found to be made so.
        Some(true) => Ok(unsafe { words(sock) }[0]),
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
        let found = known && is_long_enough(sock) && unsafe { words(sock) } == [fd, family];
        FOUND.set(Some(found));
    }
    Ok(fd)
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
/// The object is so long.
#[inline]
unsafe fn words(sock: &Bound<'_, PyAny>) -> [i32; 2] {
    // SAFETY: behind the head, within the object, and no stricter aligned than that.
    unsafe { sock.as_ptr().add(1).cast::<[i32; 2]>().read() }
}
