//! What `Deferred.__await__` answers: an iterator that yields itself, to whoever drives the coroutine.
//!
//! It never asks who that is. A task of asyncio finds a Future: it calls `add_done_callback()`, and goes on in a turn of
//! its own. Twisted finds a Deferred: it calls `addBoth()`, and goes on while the Deferred fires. [`super::task`] knows it.

mod future;
mod iterator;
mod spare;

pub use spare::obtain;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::failure::{cancelled_error, is_cancellation, is_failure};
use super::task::TwistedTask;
use super::wake::{go_on, schedule};
use crate::py::cell::{Flag, StateCell};
use crate::py::{call, names, objects};
use crate::runtime::LoopCore;
use crate::runtime::done::Callback;
use crate::runtime::state::Item;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    New,
    /// Yielded; nobody has said yet how he waits.
    Offered,
    /// The same, and among the Deferred's callbacks already.
    Listed,
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
    /// None from when its value was taken.
    deferred: Option<Py<PyAny>>,
    callback: Option<Callback>,
    more: Vec<Callback>,
    event_loop: Option<Py<PyAny>>,
    /// Who waits, in phase `InTwisted`.
    driver: Option<Py<TwistedTask>>,
    /// What the Deferred fired with, a Failure perhaps.
    outcome: Option<Py<PyAny>>,
    cancel_message: Option<Py<PyAny>>,
    /// What stood among the Deferred's callbacks for it, and is to do so again. It holds the awaiter in turn: that must not last
    /// longer than from firing to going on, or an abandoned awaiter would be there until the next collection.
    entry: Option<Py<PyTuple>>,
    /// Its method `add_done_callback`, if it is one that serves again; it holds the awaiter, too.
    adder: Option<Py<PyAny>>,
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
    inner: StateCell<Inner>,
    phase: Flag<Phase>,
    blocking: Flag<Option<bool>>,
    /// Whether the task that waits was cancelled.
    requested: Flag<bool>,
    /// Whether it was made by `await`, and not for a Deferred that was yielded.
    awaited: Flag<bool>,
    /// Where the entry is that was made here.
    entry_address: Flag<usize>,
    /// Whether it has served before.
    serves_again: Flag<bool>,
}

impl DeferredAwaiter {
    #[inline]
    pub fn new(deferred: Py<PyAny>) -> Self {
        DeferredAwaiter {
            inner: StateCell::new(Inner {
                deferred: Some(deferred),
                callback: None,
                more: Vec::new(),
                event_loop: None,
                driver: None,
                outcome: None,
                cancel_message: None,
                entry: None,
                adder: None,
            }),
            phase: Flag::new(Phase::New),
            blocking: Flag::new(None),
            requested: Flag::new(false),
            awaited: Flag::new(false),
            entry_address: Flag::new(0),
            serves_again: Flag::new(false),
        }
    }

    #[inline]
    pub fn set_awaited(&self) {
        self.awaited.set(true);
    }

    #[inline]
    pub fn is_awaited(&self) -> bool {
        self.awaited.get()
    }

    /// The Deferred; None once it has given what that fired with.
    #[inline]
    pub fn deferred<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.inner
            .with(py, |inner, refs| {
                inner.deferred.as_ref().map(|deferred| refs.clone(deferred))
            })
            .map(|deferred| deferred.into_bound(py))
    }

    /// The loop of the task that waits.
    #[inline]
    fn event_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.inner
            .with(py, |inner, refs| {
                inner
                    .event_loop
                    .as_ref()
                    .map(|event_loop| refs.clone(event_loop))
            })
            .map(|event_loop| event_loop.into_bound(py))
    }

    /// Has `driver` go on with what the Deferred fires with. Answers that if it has fired already.
    #[inline]
    pub fn wait<'py>(
        slf: &Bound<'py, Self>,
        driver: &Bound<'py, TwistedTask>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        let awaiter = slf.get();
        if awaiter.phase.get() != Phase::Listed {
            awaiter.phase.set(Phase::Offered);
            Self::add_both(slf)?;
            if awaiter.phase.get() == Phase::Fired {
                return Ok(awaiter.take_outcome(py));
            }
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
                let deferred = awaiter.awaited_deferred(py)?;
                if is_plain(&deferred)? && !is_called(&deferred)? {
                    Self::list(slf, &deferred)?;
                    awaiter.phase.set(Phase::Listed);
                    awaiter.blocking.set(Some(true));
                    return Ok(Step::Yield);
                }
                let ready = ready(&deferred)?;
                // Which CancelledError it is to be, only the driver can say.
                let Some(result) = ready.filter(|result| !is_cancellation(result)) else {
                    awaiter.phase.set(Phase::Offered);
                    awaiter.blocking.set(Some(true));
                    return Ok(Step::Yield);
                };
                result
            }
            // Nothing has happened: it goes on waiting.
            Phase::Offered | Phase::Listed | Phase::InTask | Phase::InTwisted => {
                awaiter.blocking.set(Some(true));
                return Ok(Step::Yield);
            }
            Phase::InForeign => value.clone(),
            Phase::Fired => match awaiter.take_outcome(py) {
                Some(outcome) => outcome,
                None => {
                    awaiter.phase.set(Phase::Over);
                    awaiter.is_for_nobody(py);
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
        match awaiter.deliver(py, outcome) {
            Ok(value) => {
                Self::spare(slf);
                Ok(Step::Return(value))
            }
            Err(error) => {
                awaiter.is_for_nobody(py);
                Err(error)
            }
        }
    }

    #[inline]
    fn add_both(slf: &Bound<'_, Self>) -> PyResult<()> {
        let deferred = slf.get().awaited_deferred(slf.py())?;
        if is_plain(&deferred)? && !is_called(&deferred)? {
            return Self::list(slf, &deferred);
        }
        call::call_method1(&deferred, pyo3::intern!(slf.py(), "addBoth"), slf.as_any())?;
        Ok(())
    }

    /// `deferred.addBoth(self)`, as Twisted itself does it where it matters. For a plain one that has not fired.
    #[inline]
    fn list<'py>(slf: &Bound<'py, Self>, deferred: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let entry = Self::entry(slf)?;
        let callbacks = objects::generic_getattr(deferred, pyo3::intern!(py, "_callbacks"))?;
        callbacks.cast::<PyList>()?.append(entry)
    }

    #[inline]
    fn awaited_deferred<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.deferred(py).ok_or_else(|| {
            pyo3::exceptions::PyRuntimeError::new_err(
                "cannot reuse already awaited Deferred.__await__()",
            )
        })
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
            self.deferred(py),
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
            // Whoever it was yielded to has not come yet, and will find the result.
            Phase::Listed => {
                awaiter.give(py, result.clone().unbind());
                Ok(Some(result.clone()))
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

    /// Has a task that waits go on with `result`, as [`Self::fired`] does; false if it is no task, or that is not sure to work.
    #[inline]
    pub fn tell_task(slf: &Bound<'_, Self>, result: &Bound<'_, PyAny>) -> bool {
        let py = slf.py();
        let awaiter = slf.get();
        if awaiter.phase.get() != Phase::InTask {
            return false;
        }
        let Some(event_loop) = awaiter.event_loop(py) else {
            return false;
        };
        let Some(ours) = told_here(&event_loop).filter(|ours| ours.check_closed().is_ok()) else {
            return false;
        };
        awaiter.give(py, result.clone().unbind());
        ours.push(py, Item::Wake(slf.clone().into_any().unbind(), go_on));
        true
    }

    /// Has the task that waits go on, in a turn of its own.
    #[inline]
    fn wake(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let Some(event_loop) = slf.get().event_loop(py) else {
            return Ok(());
        };
        if let Some(ours) = told_here(&event_loop) {
            ours.check_closed()?;
            ours.push(py, Item::Wake(slf.clone().into_any().unbind(), go_on));
            return Ok(());
        }
        let (first, more) = slf.get().take_callbacks(py);
        for (callback, context) in first.into_iter().chain(more) {
            schedule(&event_loop, &callback.into_bound(py), slf.as_any(), context)?;
        }
        Ok(())
    }
}

/// A loop of ours, in its thread and not in debug mode: a task can be told without a handle.
#[inline]
fn told_here<'a>(event_loop: &'a Bound<'_, PyAny>) -> Option<&'a LoopCore> {
    let ours = event_loop.cast::<LoopCore>().ok()?.get();
    (!ours.is_debug() && !ours.is_elsewhere(event_loop.py())).then_some(ours)
}

/// Whether it is a Deferred of Twisted's own class, whose methods are known.
#[inline]
pub fn is_plain(deferred: &Bound<'_, PyAny>) -> PyResult<bool> {
    names::TWISTED_DEFERRED.is_class_of(deferred)
}

/// Whether a Deferred of that class has fired.
#[inline]
fn is_called(deferred: &Bound<'_, PyAny>) -> PyResult<bool> {
    objects::generic_getattr(deferred, pyo3::intern!(deferred.py(), "called"))?.is_truthy()
}

/// The Deferred's result, if it has one that nobody holds back.
fn ready<'py>(deferred: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = deferred.py();
    if !deferred.getattr(pyo3::intern!(py, "called"))?.is_truthy()?
        || deferred.getattr(pyo3::intern!(py, "paused"))?.is_truthy()?
    {
        return Ok(None);
    }
    deferred.getattr(pyo3::intern!(py, "result")).map(Some)
}
