//! What `Deferred.__await__` answers: an iterator that yields itself, to whoever drives the coroutine.
//!
//! It never asks who that is. A task of asyncio finds a Future: it calls `add_done_callback()`, and goes on in a turn of
//! its own. Twisted finds a Deferred: it calls `addBoth()`, and goes on while the Deferred fires. [`super::task`] knows it.

mod future;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::failure::{cancelled_error, is_cancellation, is_failure};
use super::task::TwistedTask;
use super::wake::{go_on, schedule};
use crate::py::cell::{Flag, StateCell};
use crate::py::{call, coroutine, names};
use crate::runtime::LoopCore;
use crate::runtime::done::Callback;
use crate::runtime::state::Item;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    New,
    /// Yielded; nobody has said yet how he waits.
    Offered,
    /// A task waits.
    InTask,
    /// A coroutine that Twisted drives waits, by our driver.
    InTwisted,
    /// The same, by Twisted's own.
    InForeign,
    /// It has the outcome.
    Fired,
    /// The outcome was taken, or nobody wants it any more.
    Over,
}

struct Inner {
    callback: Option<Callback>,
    more: Vec<Callback>,
    event_loop: Option<Py<PyAny>>,
    /// Who waits, in phase `InTwisted`.
    driver: Option<Py<TwistedTask>>,
    /// What the Deferred fired with, a Failure perhaps.
    outcome: Option<Py<PyAny>>,
    cancel_message: Option<Py<PyAny>>,
}

/// What comes of going on.
enum Step<'py> {
    /// It waits.
    Yield,
    Return(Bound<'py, PyAny>),
}

/// One `await` of one Deferred.
#[pyclass(frozen, module = "interloop._core")]
pub struct DeferredAwaiter {
    deferred: Py<PyAny>,
    inner: StateCell<Inner>,
    phase: Flag<Phase>,
    blocking: Flag<Option<bool>>,
    /// Whether the task that waits was cancelled.
    requested: Flag<bool>,
    /// Whether it was made by `await`, and not for a Deferred that was yielded.
    awaited: Flag<bool>,
}

impl DeferredAwaiter {
    #[inline]
    pub fn new(deferred: Py<PyAny>) -> Self {
        DeferredAwaiter {
            deferred,
            inner: StateCell::new(Inner {
                callback: None,
                more: Vec::new(),
                event_loop: None,
                driver: None,
                outcome: None,
                cancel_message: None,
            }),
            phase: Flag::new(Phase::New),
            blocking: Flag::new(None),
            requested: Flag::new(false),
            awaited: Flag::new(false),
        }
    }

    #[inline]
    pub fn is_in_task(&self) -> bool {
        self.phase.get() == Phase::InTask
    }

    #[inline]
    pub fn set_awaited(&self) {
        self.awaited.set(true);
    }

    #[inline]
    pub fn is_awaited(&self) -> bool {
        self.awaited.get()
    }

    #[inline]
    pub fn deferred<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.deferred.bind(py)
    }

    /// Has `driver` go on with what the Deferred fires with. Answers that if it has fired already.
    #[inline]
    pub fn wait<'py>(
        slf: &Bound<'py, Self>,
        driver: &Bound<'py, TwistedTask>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        let awaiter = slf.get();
        awaiter.phase.set(Phase::Offered);
        Self::add_both(slf)?;
        if awaiter.phase.get() == Phase::Fired {
            return Ok(awaiter.take_outcome(py));
        }
        awaiter.phase.set(Phase::InTwisted);
        let driver = driver.clone().unbind();
        awaiter
            .inner
            .with(py, |inner, _| inner.driver = Some(driver));
        Ok(None)
    }

    /// For the driver, which has the outcome: what `await` gives is that value.
    #[inline]
    pub fn give(&self, py: Python<'_>, value: Py<PyAny>) {
        self.phase.set(Phase::Fired);
        let old = self.inner.with(py, |inner, _| inner.outcome.replace(value));
        drop(old);
    }

    #[inline]
    fn step<'py>(slf: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> PyResult<Step<'py>> {
        let py = slf.py();
        let awaiter = slf.get();
        let outcome = match awaiter.phase.get() {
            Phase::New => {
                let ready = awaiter.ready(py)?;
                // Which CancelledError it is to be, only the driver can say.
                let Some(result) = ready.filter(|result| !is_cancellation(result)) else {
                    awaiter.phase.set(Phase::Offered);
                    awaiter.blocking.set(Some(true));
                    return Ok(Step::Yield);
                };
                result
            }
            // Nothing has happened: it goes on waiting.
            Phase::Offered | Phase::InTask | Phase::InTwisted => {
                awaiter.blocking.set(Some(true));
                return Ok(Step::Yield);
            }
            Phase::InForeign => value.clone(),
            Phase::Fired => match awaiter.take_outcome(py) {
                Some(outcome) => outcome,
                None => {
                    awaiter.phase.set(Phase::Over);
                    return Err(awaiter.cancelled(py));
                }
            },
            Phase::Over => {
                return Err(pyo3::exceptions::PyRuntimeError::new_err(
                    "cannot reuse already awaited Deferred.__await__()",
                ));
            }
        };
        awaiter.phase.set(Phase::Over);
        awaiter.deliver(py, outcome).map(Step::Return)
    }

    #[inline]
    fn add_both(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let deferred = slf.get().deferred.bind(py);
        if deferred.get_type().is(&names::TWISTED_DEFERRED.get(py)?)
            && !deferred.getattr(pyo3::intern!(py, "called"))?.is_truthy()?
        {
            // As Twisted itself does it where it matters.
            let call = (slf, PyTuple::empty(py), names::NO_KEYWORDS.get(py)?).into_pyobject(py)?;
            let callbacks = deferred.getattr(pyo3::intern!(py, "_callbacks"))?;
            callbacks.cast::<PyList>()?.append((&call, &call))?;
            return Ok(());
        }
        call::call_method1(deferred, pyo3::intern!(py, "addBoth"), slf.as_any())?;
        Ok(())
    }

    #[inline]
    fn take_outcome<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.inner
            .with(py, |inner, _| inner.outcome.take())
            .map(|outcome| outcome.into_bound(py))
    }

    /// Whether `await` will give a value, and not raise.
    #[inline]
    pub fn has_value(&self, py: Python<'_>) -> PyResult<bool> {
        if self.phase.get() != Phase::Fired {
            return Ok(false);
        }
        let outcome = self.inner.with(py, |inner, refs| {
            inner.outcome.as_ref().map(|outcome| refs.clone(outcome))
        });
        match outcome {
            Some(outcome) => Ok(!is_failure(outcome.bind(py))?),
            None => Ok(false),
        }
    }

    /// What `await` gives or raises.
    #[inline]
    fn deliver<'py>(
        &self,
        py: Python<'py>,
        outcome: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if !is_failure(&outcome)? {
            return Ok(outcome);
        }
        let given = (
            &self.deferred,
            &outcome,
            self.requested.get(),
            self.take_message(py),
        );
        let told = names::TWISTED_OUTCOME.get(py)?.call1(given)?;
        Err(PyErr::from_value(told))
    }

    fn take_message(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, _| inner.cancel_message.take())
    }

    /// For a task that was cancelled and has nothing to wait for.
    #[cold]
    fn cancelled(&self, py: Python<'_>) -> PyErr {
        cancelled_error(py, self.take_message(py))
    }

    /// The Deferred's result, if it has one that nobody holds back.
    #[inline]
    fn ready<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let deferred = self.deferred.bind(py);
        if !deferred.getattr(pyo3::intern!(py, "called"))?.is_truthy()?
            || deferred.getattr(pyo3::intern!(py, "paused"))?.is_truthy()?
        {
            return Ok(None);
        }
        deferred.getattr(pyo3::intern!(py, "result")).map(Some)
    }

    /// The Deferred has fired. Answers what the next callback gets: after a task the same, so that each who awaits the
    /// Deferred has it; after a coroutine of Twisted's None, as there.
    #[inline]
    pub fn fired<'py>(
        slf: &Bound<'py, Self>,
        result: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        let awaiter = slf.get();
        match awaiter.phase.get() {
            Phase::InTask => {
                awaiter.give(py, result.clone().unbind());
                match Self::wake(slf) {
                    // The loop is closed. A failure stays with the Deferred, for Twisted to report.
                    Err(error) if !is_failure(result)? => Err(error),
                    _ => Ok(Some(result.clone())),
                }
            }
            Phase::Offered => {
                awaiter.give(py, result.clone().unbind());
                Ok(None)
            }
            Phase::InTwisted => {
                let driver = awaiter.inner.with(py, |inner, _| inner.driver.take());
                if let Some(driver) = driver {
                    awaiter.phase.set(Phase::Over);
                    return TwistedTask::fired(driver.bind(py), slf, result);
                }
                Ok(Some(result.clone()))
            }
            _ => Ok(Some(result.clone())),
        }
    }

    pub(in crate::futures) fn take_callbacks(
        &self,
        py: Python<'_>,
    ) -> (Option<Callback>, Vec<Callback>) {
        self.inner.with(py, |inner, _| {
            (inner.callback.take(), std::mem::take(&mut inner.more))
        })
    }

    /// Has the task that waits go on, in a turn of its own.
    #[inline]
    fn wake(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let event_loop = slf.get().inner.with(py, |inner, refs| {
            inner
                .event_loop
                .as_ref()
                .map(|event_loop| refs.clone(event_loop))
        });
        let Some(event_loop) = event_loop.map(|event_loop| event_loop.into_bound(py)) else {
            return Ok(());
        };
        if let Ok(core) = event_loop.cast::<LoopCore>() {
            let ours = core.get();
            if !ours.is_debug() && !ours.is_elsewhere(py) {
                ours.check_closed()?;
                ours.push(py, Item::Wake(slf.clone().into_any().unbind(), go_on));
                return Ok(());
            }
        }
        let (first, more) = slf.get().take_callbacks(py);
        for (callback, context) in first.into_iter().chain(more) {
            schedule(&event_loop, &callback.into_bound(py), slf.as_any(), context)?;
        }
        Ok(())
    }
}

// The iterator.
#[pymethods]
impl DeferredAwaiter {
    fn __await__<'a, 'py>(slf: &'a Bound<'py, Self>) -> &'a Bound<'py, Self> {
        slf
    }

    fn __iter__<'a, 'py>(slf: &'a Bound<'py, Self>) -> &'a Bound<'py, Self> {
        slf
    }

    #[inline]
    fn __next__<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match Self::step(slf, slf.py().None().bind(slf.py()))? {
            Step::Yield => Ok(Some(slf.clone().into_any())),
            // To end without an exception means the same.
            Step::Return(value) if value.is_none() => Ok(None),
            Step::Return(value) => Err(coroutine::finish(&value)),
        }
    }

    /// As a generator's.
    #[pyo3(signature = (value, /))]
    fn send<'py>(slf: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        match Self::step(slf, value)? {
            Step::Yield => Ok(slf.clone().into_any()),
            Step::Return(value) => Err(coroutine::finish(&value)),
        }
    }

    /// As a generator's.
    #[pyo3(signature = (typ, val=None, tb=None, /))]
    fn throw<'py>(
        slf: &Bound<'py, Self>,
        typ: &Bound<'py, PyAny>,
        val: Option<&Bound<'py, PyAny>>,
        tb: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::close(slf);
        Err(coroutine::not_a_return(
            slf.py(),
            coroutine::thrown(typ, val, tb)?,
        ))
    }

    /// As a generator's. The Deferred goes on; its result goes to who else waits.
    fn close(slf: &Bound<'_, Self>) {
        let awaiter = slf.get();
        // Twisted resumes a coroutine that somebody else has closed, too: that is how its Deferred comes to an end.
        if awaiter.phase.get() != Phase::InTwisted {
            awaiter.phase.set(Phase::Over);
        }
        let callbacks = awaiter.take_callbacks(slf.py());
        drop(callbacks);
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<awaiting {}>", self.deferred.bind(py).repr()?))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.deferred)?;
        self.inner
            .try_with(|inner| {
                for (callback, context) in inner.callback.iter().chain(&inner.more) {
                    visit.call(callback)?;
                    visit.call(context.as_ref())?;
                }
                visit.call(inner.event_loop.as_ref())?;
                visit.call(inner.driver.as_ref())?;
                visit.call(inner.outcome.as_ref())?;
                visit.call(inner.cancel_message.as_ref())
            })
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let callbacks = self.take_callbacks(py);
        let rest = self.inner.with(py, |inner, _| {
            (
                inner.event_loop.take(),
                inner.driver.take(),
                inner.outcome.take(),
            )
        });
        drop((callbacks, rest));
    }
}
