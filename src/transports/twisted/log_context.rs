//! `log.callWithLogger` without its cost: a third of what epollreactor spends on a small message.
//!
//! Twisted runs a protocol's callbacks with `{ILogContext: {..., "system": prefix}}` pushed on the thread's stack of contexts
//! (`twisted.python.context`). The dict that is pushed is the same as long as the prefix and what it builds on are.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyDict, PyList};
use pyo3::{PyTraverseError, PyVisit};

use super::connection::TwistedConnection;
use crate::py::names;

/// The dict that was made last, and what from.
pub struct LogContext {
    /// The transport's `logstr`.
    prefix: Py<PyAny>,
    /// The thread's stack of contexts.
    stack: Py<PyList>,
    /// What was on it alone.
    base: Py<PyAny>,
    dict: Py<PyDict>,
}

impl LogContext {
    pub fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.base)?;
        visit.call(&self.stack)?;
        visit.call(&self.dict)
    }
}

/// In the log context for as long as it lives.
pub struct Entered<'py>(Bound<'py, PyList>);

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        let count = self.0.len();
        if count > 0
            && let Err(error) = self.0.del_item(count - 1)
        {
            error.write_unraisable(self.0.py(), Some(&self.0));
        }
    }
}

/// Enters the log context of a connection. Errors: KeyboardInterrupt from its `logPrefix()`.
#[inline]
pub fn enter<'py>(connection: &Bound<'py, TwistedConnection>) -> PyResult<Entered<'py>> {
    let py = connection.py();
    let prefix = connection.getattr(intern!(py, "logstr"))?;
    let wanted = prefix.as_ptr() as usize;
    let known = connection.get().inner.with(py, |inner, refs| {
        let log = inner.log.as_ref()?;
        (log.prefix.as_ptr() as usize == wanted).then(|| {
            (
                refs.clone(&log.stack),
                refs.clone(&log.base),
                refs.clone(&log.dict),
            )
        })
    });
    if let Some((stack, base, dict)) = known {
        let stack = stack.into_bound(py);
        if stack.len() == 1 && stack.get_item(0)?.is(&base) {
            stack.append(dict)?;
            return Ok(Entered(stack));
        }
    }
    make(connection, prefix)
}

#[cold]
fn make<'py>(
    connection: &Bound<'py, TwistedConnection>,
    prefix: Bound<'py, PyAny>,
) -> PyResult<Entered<'py>> {
    let py = connection.py();
    let (stack, dict): (Bound<'py, PyList>, Bound<'py, PyDict>) = names::TWISTED_LOG_CONTEXT
        .get(py)?
        .call1((connection,))?
        .extract()?;
    // Inside of another context it is good for this time only.
    if stack.len() == 1 {
        let log = LogContext {
            prefix: prefix.unbind(),
            stack: stack.clone().unbind(),
            base: stack.get_item(0)?.unbind(),
            dict: dict.clone().unbind(),
        };
        let old = connection
            .get()
            .inner
            .with(py, |inner, _| inner.log.replace(log));
        drop(old);
    }
    stack.append(dict)?;
    Ok(Entered(stack))
}
