//! What `writeSequence` was given.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Up to so many bytes they are copied into one piece: that costs less than keeping a reference to each header, colon and line
/// end of a response and naming all of them to the kernel.
const JOINED: usize = 4 * 1024;

/// The pieces of a sequence that has anything in it.
pub enum Pieces<'py> {
    Joined(Vec<u8>),
    Apart(Vec<Bound<'py, PyBytes>>),
}

impl<'py> Pieces<'py> {
    /// Errors: TypeError for a piece that is not bytes, and what iterating raises.
    pub fn of(iovec: &Bound<'py, PyAny>) -> PyResult<Self> {
        let mut pieces = Vec::with_capacity(iovec.len().unwrap_or(0));
        let mut size = 0;
        for piece in iovec.try_iter()? {
            let Ok(piece) = piece?.cast_into::<PyBytes>() else {
                return Err(PyTypeError::new_err("Data must be bytes"));
            };
            size += piece.as_bytes().len();
            pieces.push(piece);
        }
        if size > JOINED {
            return Ok(Pieces::Apart(pieces));
        }
        let mut joined = Vec::with_capacity(size);
        for piece in &pieces {
            joined.extend_from_slice(piece.as_bytes());
        }
        Ok(Pieces::Joined(joined))
    }
}
