//! How deeply native code that Python knows nothing of is nested.
//!
//! The interpreter counts its own frames, and takes each for small. Where each call of ours leads to the next one, by way of
//! the interpreter or not, the stack ends before that count does.

use std::cell::Cell;
use std::marker::PhantomData;

use pyo3::exceptions::PyRecursionError;
use pyo3::ffi;
use pyo3::prelude::*;

/// How deep it may be in any case. Not deeper than Twisted gets in Python, where each level is five frames of a thousand.
const FREE: usize = 200;

/// How much of the stack may be used, for each frame that `sys.setrecursionlimit()` allows; so 640 kB, if nobody has called
/// it: threads may have a stack of one megabyte.
const PER_FRAME: usize = 640;

/// The most, whatever was set: half of what main threads have. Then the interpreter has the rest to itself.
const MOST: usize = 4 << 20;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Where the stack was at the outermost level.
    static OUTERMOST: Cell<usize> = const { Cell::new(0) };
}

/// One level, for as long as it lives.
pub struct Level(PhantomData<*const ()>);

impl Level {
    /// RecursionError when there are too many.
    #[inline]
    pub fn enter(py: Python<'_>) -> PyResult<Self> {
        let mark = 0_u8;
        let here = (&raw const mark).addr();
        let depth = DEPTH.get();
        if depth == 0 {
            OUTERMOST.set(here);
        } else if depth >= FREE && OUTERMOST.get().abs_diff(here) > allowed(py) {
            return Err(PyRecursionError::new_err(
                "maximum recursion depth exceeded",
            ));
        }
        DEPTH.set(depth + 1);
        Ok(Level(PhantomData))
    }
}

impl Drop for Level {
    #[inline]
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

#[cold]
fn allowed(_py: Python<'_>) -> usize {
    // SAFETY: takes nothing, cannot fail, and the token says that an interpreter runs.
    let frames = unsafe { ffi::Py_GetRecursionLimit() };
    usize::try_from(frames)
        .unwrap_or(0)
        .saturating_mul(PER_FRAME)
        .min(MOST)
}
