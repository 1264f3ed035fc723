//! What connections and datagram ports have in common: where they are, and in what their callbacks run.

use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::{PyClass, PyTraverseError, PyVisit};

use super::log_context;
use crate::poll::Key;
use crate::py::call;
use crate::py::cell::{Flag, StateCell};
use crate::runtime::LoopCore;

/// Where a connection's stream is, or a port's socket.
pub struct Place<'py> {
    pub core: Bound<'py, LoopCore>,
    pub key: Key,
}

#[derive(Default)]
struct Inner {
    /// The loop that has it.
    core: Option<Py<LoopCore>>,
    /// In which the protocol is called.
    context: Option<Py<PyAny>>,
}

/// A transport's part of it.
pub struct Home {
    inner: StateCell<Inner>,
    key: Flag<Key>,
    pub log: log_context::Kept,
    /// Where `logstr` is in the instance dict; see `Fields::get_at`.
    pub prefix_at: Flag<isize>,
}

/// A transport that has one.
pub trait Resident: PyClass<Frozen = True> + Sync {
    fn home(&self) -> &Home;
}

impl Home {
    pub const fn new() -> Self {
        Home {
            inner: StateCell::new(Inner {
                core: None,
                context: None,
            }),
            key: Flag::new(Key::NONE),
            log: StateCell::new(None),
            prefix_at: Flag::new(0),
        }
    }

    /// None when it is in no loop.
    #[inline]
    pub fn place<'py>(&self, py: Python<'py>) -> Option<Place<'py>> {
        let core = self.inner.with(py, |inner, refs| {
            inner.core.as_ref().map(|core| refs.clone(core))
        })?;
        Some(Place {
            core: core.into_bound(py),
            key: self.key.get(),
        })
    }

    /// It is in that loop now.
    pub fn enter(&self, core: &Bound<'_, LoopCore>, key: Key) {
        self.set(core.py(), Some(core.clone().unbind()), key);
    }

    /// It has left its loop.
    pub fn leave(&self, py: Python<'_>) {
        self.set(py, None, Key::NONE);
    }

    fn set(&self, py: Python<'_>, core: Option<Py<LoopCore>>, key: Key) {
        self.key.set(key);
        let old = self
            .inner
            .with(py, |inner, _| std::mem::replace(&mut inner.core, core));
        drop(old);
    }

    /// The context in which the protocol is called.
    #[inline]
    pub fn context<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.inner
            .with(py, |inner, refs| {
                inner.context.as_ref().map(|context| refs.clone(context))
            })
            .map(|context| context.into_bound(py))
    }

    pub fn set_context(&self, context: Bound<'_, PyAny>) {
        let py = context.py();
        let context = context.unbind();
        let old = self
            .inner
            .with(py, |inner, _| inner.context.replace(context));
        drop(old);
    }

    pub fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.inner
            .try_with(|inner| {
                visit.call(inner.core.as_ref())?;
                visit.call(inner.context.as_ref())
            })
            .unwrap_or(Ok(()))?;
        log_context::visit(&self.log, visit)
    }

    pub fn clear(&self, py: Python<'_>) {
        let inner = self.inner.with(py, |inner, _| std::mem::take(inner));
        let log = self.log.with(py, |log, _| log.take());
        drop((inner, log));
    }
}

/// Runs `body` in the contexts of a transport. Errors: its, and KeyboardInterrupt from `logPrefix()`.
#[inline]
pub fn inside<T: Resident>(
    transport: &Bound<'_, T>,
    body: impl FnOnce() -> PyResult<()>,
) -> PyResult<()> {
    let context = transport.get().home().context(transport.py());
    let _entered = context.as_ref().and_then(call::enter);
    let _logging = log_context::enter(transport)?;
    body()
}
