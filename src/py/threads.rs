//! Which thread this is, as Python counts them.

use pyo3::ffi;
use pyo3::prelude::*;

/// `threading.get_ident()` of the calling thread; never 0.
#[inline]
pub fn current(_py: Python<'_>) -> u64 {
    // SAFETY: takes nothing and cannot fail on a thread that Python knows.
    unsafe { ffi::PyThread_get_thread_ident() as u64 }
}
