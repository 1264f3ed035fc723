//! Which thread this is, as Python counts them.

use pyo3::ffi;
use pyo3::prelude::*;

/// `threading.get_ident()` of the calling thread; never 0.
#[inline]
pub fn current(_py: Python<'_>) -> u64 {
    // SAFETY: takes nothing and cannot fail on a thread that Python knows.
    unsafe { ffi::PyThread_get_thread_ident() as u64 }
}

/// Whether Python knows a thread besides this one, so that giving the GIL away may serve somebody.
#[inline]
pub fn are_others(_py: Python<'_>) -> bool {
    // SAFETY: the token says that this thread has a state, which is in the interpreter's list; a state is taken out
    // of the list only by a thread that has the GIL, and put in at the head with its successor set.
    unsafe {
        let first = ffi::PyInterpreterState_ThreadHead(ffi::PyInterpreterState_Get());
        !ffi::PyThreadState_Next(first).is_null()
    }
}
