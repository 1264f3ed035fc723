//! The limits of a stream, in bytes. Tornado only compares them with what there is, so any number will do: Distributed's is half
//! of the machine's memory, a float.

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;

/// The most that a count of bytes can be (Python's `sys.maxsize`): what stands for infinity.
const MOST: usize = isize::MAX as usize;

/// A number from Python: how many whole bytes are within it.
pub struct Limit(pub usize);

impl<'a, 'py> FromPyObject<'a, 'py> for Limit {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(count) = object.extract::<usize>() {
            return Ok(Limit(count.min(MOST)));
        }
        match object.extract::<f64>() {
            // No count is greater than what is not a number.
            Ok(number) if number.is_nan() => Ok(Limit(MOST)),
            // Stops at 0 and at the greatest: there is no smaller count than 0.
            Ok(number) => Ok(Limit((number as usize).min(MOST))),
            Err(error) if error.is_instance_of::<PyOverflowError>(object.py()) => {
                Ok(Limit(if object.lt(0)? { 0 } else { MOST }))
            }
            Err(error) => Err(error),
        }
    }
}
