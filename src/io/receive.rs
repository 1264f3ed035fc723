//! Receiving into a new `bytes` object, for the faces that hand one over.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::read::{self, Received};
use super::sink::Stream;
use crate::py::bytes::{self, Unseen};
use crate::py::cell::Flag;
use crate::runtime::core::SCRATCH;

const PAGE: usize = 4096;

/// From this size on a payload is received straight into the object that is handed over. Below, the copy out of the kept
/// block is cheaper than cutting an object to size.
const LARGE: usize = 8 * 1024;

/// How large a stream's reads have been lately: the largest, slowly forgotten.
pub struct Lately(Flag<u32>);

impl Default for Lately {
    fn default() -> Self {
        Lately(Flag::new(0))
    }
}

impl Lately {
    /// What is there, as a new object.
    #[inline]
    pub fn receive<'py>(&self, stream: &Stream<'_, 'py>) -> Result<Bound<'py, PyBytes>, Received> {
        let (data, block) = if self.0.get() as usize >= LARGE {
            let expected = self.expected();
            (large(stream, expected)?, expected)
        } else {
            (small(stream)?, SCRATCH)
        };
        // A read takes at most SCRATCH.
        let count = data.as_bytes().len();
        // What filled its block was not all. A layer has received the rest already, and that is a read of its own: if the
        // block grew by little only, the short reads in between would undo it, and every message came in pieces for ever.
        let next = if count == block { 2 * count } else { count } as u32;
        let lately = self.0.get();
        self.0.set(next.max(lately - lately / 16));
        Ok(data)
    }

    /// How much the next read may bring, with room to spare: what fills its block was not all there was.
    #[inline]
    fn expected(&self) -> usize {
        let lately = self.0.get() as usize;
        (lately + lately / 16 + PAGE)
            .next_multiple_of(PAGE)
            .min(SCRATCH)
    }
}

/// What is there, by way of the kept block.
pub fn small<'py>(stream: &Stream<'_, 'py>) -> Result<Bound<'py, PyBytes>, Received> {
    let py = stream.core.py();
    let core = stream.core.get();
    let mut scratch = core.take_scratch(py);
    let received = read::receive(stream.core, stream.key, &mut scratch);
    let data = match received {
        // SAFETY: `receive` says that it has written `count` bytes.
        Received::Bytes(count) => Ok(unsafe { bytes::from_received(py, &scratch, count) }),
        other => Err(other),
    };
    core.give_scratch(py, scratch);
    data
}

fn large<'py>(stream: &Stream<'_, 'py>, expected: usize) -> Result<Bound<'py, PyBytes>, Received> {
    let mut unseen = Unseen::new(stream.core.py(), expected).map_err(Received::Failed)?;
    match read::receive(stream.core, stream.key, unseen.as_mut_slice()) {
        // SAFETY: `receive` says that it has written `count` bytes, and never that it has written none.
        Received::Bytes(count) => unsafe { unseen.finish(count) }.map_err(Received::Failed),
        other => Err(other),
    }
}
