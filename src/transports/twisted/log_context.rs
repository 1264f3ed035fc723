//! `log.callWithLogger` without its cost: a third of what epollreactor spends on a small message.
//!
//! Twisted runs a protocol's callbacks with `{ILogContext: {..., "system": prefix}}` pushed on the thread's stack of contexts
//! (`twisted.python.context`). The dict that is pushed is the same as long as the prefix and what it builds on are.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyDict, PyList, PyString};
use pyo3::{PyTraverseError, PyVisit};

use super::connection::TwistedConnection;
use super::home::Resident;
use crate::py::cell::StateCell;
use crate::py::fields::Fields;
use crate::py::names;

/// The dict that was made last, and what from.
pub struct LogContext {
    /// What the prefix was made of: a connection's `logstr`, a port's factory.
    prefix: Py<PyAny>,
    /// The thread's stack of contexts.
    stack: Py<PyList>,
    /// What was on it alone.
    base: Py<PyAny>,
    dict: Py<PyDict>,
}

impl LogContext {
    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.prefix)?;
        visit.call(&self.base)?;
        visit.call(&self.stack)?;
        visit.call(&self.dict)
    }
}

/// In the log context for as long as it lives.
pub struct Entered<'py> {
    stack: Bound<'py, PyList>,
    /// It was made for this time: the transport's `logPrefix()` has run, and that is a program's.
    pub made: bool,
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        let count = self.stack.len();
        if count > 0
            && let Err(error) = self.stack.del_item(count - 1)
        {
            error.write_unraisable(self.stack.py(), Some(&self.stack));
        }
    }
}

/// Where a transport keeps the one it made last.
pub type Kept = StateCell<Option<LogContext>>;

/// Enters the log context of a transport whose prefix is its `logstr`. Errors: KeyboardInterrupt from its `logPrefix()`.
#[inline]
pub fn enter<'py, T: Resident>(transport: &Bound<'py, T>) -> PyResult<Entered<'py>> {
    let home = transport.get().home();
    let name = intern!(transport.py(), "logstr");
    let prefix = Fields::of_ours(transport)?.get_at(name, &home.prefix_at)?;
    enter_kept(&home.log, transport.as_any(), prefix)
}

/// Enters the log context of a transport, the one that is kept if it was made for the same `prefix`: for what the
/// transport's `logPrefix()` makes its answer of. Errors: KeyboardInterrupt from there.
#[inline]
pub fn enter_kept<'py>(
    kept: &Kept,
    transport: &Bound<'py, PyAny>,
    prefix: Bound<'py, PyAny>,
) -> PyResult<Entered<'py>> {
    let py = transport.py();
    let wanted = prefix.as_ptr() as usize;
    let known = kept.with(py, |log, refs| {
        let log = log.as_ref()?;
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
            return Ok(Entered { stack, made: false });
        }
    }
    make(kept, transport, prefix)
}

#[cold]
fn make<'py>(
    kept: &Kept,
    transport: &Bound<'py, PyAny>,
    prefix: Bound<'py, PyAny>,
) -> PyResult<Entered<'py>> {
    let py = transport.py();
    let (stack, dict): (Bound<'py, PyList>, Bound<'py, PyDict>) = names::TWISTED_LOG_CONTEXT
        .get(py)?
        .call1((transport,))?
        .extract()?;
    // Inside of another context it is good for this time only.
    if stack.len() == 1 {
        let log = LogContext {
            prefix: prefix.unbind(),
            stack: stack.clone().unbind(),
            base: stack.get_item(0)?.unbind(),
            dict: dict.clone().unbind(),
        };
        let old = kept.with(py, |kept, _| kept.replace(log));
        drop(old);
    }
    stack.append(dict)?;
    Ok(Entered { stack, made: true })
}

/// Gives a connection that a port has just made the context it will need, out of the one that the port is in: asking for it
/// costs more than everything else that is done for a message.
pub fn derive(
    port: &Kept,
    connection: &Bound<'_, TwistedConnection>,
    prefix: &Bound<'_, PyString>,
) -> PyResult<()> {
    let py = connection.py();
    let known = port.with(py, |log, refs| {
        let log = log.as_ref()?;
        Some((refs.clone(&log.stack), refs.clone(&log.base)))
    });
    let Some((stack, base)) = known else {
        return Ok(());
    };
    let interface = names::TWISTED_LOG_INTERFACE.get(py)?;
    // What `context.get(ILogContext)` answers at the bottom of the stack.
    let Some(system) = base.bind(py).cast::<PyDict>()?.get_item(&interface)? else {
        return Ok(());
    };
    let system = system.cast::<PyDict>()?.copy()?;
    system.set_item(intern!(py, "system"), prefix)?;
    let dict = PyDict::new(py);
    dict.set_item(interface, system)?;
    let log = LogContext {
        prefix: prefix.clone().into_any().unbind(),
        stack,
        base,
        dict: dict.unbind(),
    };
    let old = connection
        .get()
        .home
        .log
        .with(py, |kept, _| kept.replace(log));
    drop(old);
    Ok(())
}

/// Visits what is kept, for the garbage collector.
pub fn visit(kept: &Kept, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
    kept.try_with(|log| log.as_ref().map_or(Ok(()), |log| log.visit(visit)))
        .unwrap_or(Ok(()))
}
