//! Telling who waits for something of ours that is awaited.

use pyo3::prelude::*;

use super::LoopCore;
use crate::py::call::{self, Entered};
use crate::py::{errors, names};

/// A done-callback, and the context it is to run in.
pub type Callback = (Py<PyAny>, Option<Py<PyAny>>);

/// Calls `callback(argument)`: a task takes its next step in there. What is raised goes to the loop's exception handler, with
/// `awaited`, but for what must leave the loop.
pub fn tell(
    core: &Bound<'_, LoopCore>,
    (callback, context): Callback,
    argument: &Bound<'_, PyAny>,
    awaited: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = core.py();
    let callback = callback.into_bound(py);
    let context = context.map(|context| context.into_bound(py));
    let result = match &context {
        Some(context) => {
            Entered::new(context).and_then(|_entered| call::call1(&callback, argument))
        }
        None => call::call1(&callback, argument),
    };
    match result {
        Ok(_) => Ok(()),
        Err(error) if errors::is_fatal(py, &error) => Err(error),
        Err(error) => {
            names::REPORT_OPERATION
                .get(py)?
                .call1((core, error, callback, awaited))?;
            Ok(())
        }
    }
}
