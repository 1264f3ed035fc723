//! A coroutine (or a generator of `inlineCallbacks`) that Twisted drives, as asyncio sees it: a task.
//!
//! asyncio's `timeout()` and `TaskGroup` need a current task that can be cancelled, and so do aiohttp and anyio. This is
//! what they get while the coroutine runs. It is resumed as Twisted demands: by a Deferred while that fires, by a Future in
//! a turn of its own. Only a cancellation through asyncio never resumes it on the spot: who cancels a task has not done yet
//! what the task is to find (`timeout()` notes that it has expired after it cancelled).

use pyo3::prelude::*;

use super::awaiter::DeferredAwaiter;
use super::drive::{self, Input};
use super::{failure, wake};
use crate::py::cell::{Flag, StateCell};
use crate::py::nesting::Level;
use crate::py::{errors, names};

/// What it waits for.
pub enum Waiting {
    /// It runs, or has not begun, or is over.
    Nothing,
    Deferred(Py<DeferredAwaiter>),
    /// A Future, and whether its result is to be sent in: `await` asks for it itself, `yield` does not.
    Future(Py<PyAny>, bool),
    /// Its turn.
    Turn,
    /// Its turn, with a Deferred's result, which the `await` is to give.
    TurnWith(Py<PyAny>, Py<DeferredAwaiter>),
}

/// How it ended.
pub enum End {
    Value(Py<PyAny>),
    Error(Py<PyAny>),
    Cancelled(Py<PyAny>),
}

pub struct Parts {
    pub coroutine: Py<PyAny>,
    /// Twisted's `_CancellationStatus`.
    pub status: Py<PyAny>,
    pub context: Py<PyAny>,
}

pub struct Inner {
    pub parts: Option<Parts>,
    pub event_loop: Option<Py<PyAny>>,
    pub waiting: Waiting,
    pub cancel_message: Option<Py<PyAny>>,
    pub end: Option<End>,
    pub callbacks: Vec<(Py<PyAny>, Option<Py<PyAny>>)>,
    pub name: Option<Py<PyAny>>,
}

/// Counterpart: `asyncio.Task`; isinstance says so.
#[pyclass(frozen, dict, weakref, module = "interloop._core")]
pub struct TwistedTask {
    pub(super) inner: StateCell<Inner>,
    /// asyncio asked for the end while it ran or waited for its turn: it is told where it waits next.
    pub(super) must_cancel: Flag<bool>,
    /// asyncio asked the Deferred that it waits for.
    pub(super) requested: Flag<bool>,
    /// It is being asked just now: whoever asks is not to be overtaken.
    asking: Flag<bool>,
    /// Twisted's status has it for what the coroutine waits for, from a Future or turn on until a Deferred or the end.
    pub(super) is_waited_on: Flag<bool>,
    pub(super) requests: Flag<u32>,
    pub(super) blocking: Flag<bool>,
    /// CPython 3.11 makes the instance dict before PyO3 has written the fields, and that can start the collector: it
    /// then reads zeroed memory, in which this says so.
    pub(super) built: bool,
}

impl TwistedTask {
    #[inline]
    pub fn new(parts: Parts) -> Self {
        TwistedTask {
            inner: StateCell::new(Inner {
                parts: Some(parts),
                event_loop: None,
                waiting: Waiting::Nothing,
                cancel_message: None,
                end: None,
                callbacks: Vec::new(),
                name: None,
            }),
            must_cancel: Flag::new(false),
            requested: Flag::new(false),
            asking: Flag::new(false),
            is_waited_on: Flag::new(false),
            requests: Flag::new(0),
            blocking: Flag::new(false),
            built: true,
        }
    }

    #[inline]
    pub(super) fn wait_for(&self, py: Python<'_>, waiting: Waiting) -> Waiting {
        self.inner.with(py, |inner, _| {
            std::mem::replace(&mut inner.waiting, waiting)
        })
    }

    pub(super) fn event_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.inner
            .with(py, |inner, refs| {
                inner
                    .event_loop
                    .as_ref()
                    .map(|event_loop| refs.clone(event_loop))
            })
            .map(|event_loop| event_loop.into_bound(py))
    }

    pub(super) fn is_over(&self, py: Python<'_>) -> bool {
        self.inner.with(py, |inner, _| inner.end.is_some())
    }

    /// The Deferred behind `awaiter` has fired. Answers what its next callback gets.
    #[inline]
    pub fn fired<'py>(
        slf: &Bound<'py, Self>,
        awaiter: &Bound<'py, DeferredAwaiter>,
        result: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        let task = slf.get();
        let address = awaiter.as_ptr() as usize;
        let asking = task.asking.get();
        let kept = asking.then(|| (result.clone().unbind(), awaiter.clone().unbind()));
        let taken = task.inner.with(py, |inner, _| match &inner.waiting {
            Waiting::Deferred(awaited) if awaited.as_ptr() as usize == address => {
                let next = kept.map_or(Waiting::Nothing, |(result, awaiter)| {
                    Waiting::TurnWith(result, awaiter)
                });
                Some(std::mem::replace(&mut inner.waiting, next))
            }
            _ => None,
        });
        if taken.is_none() {
            // It was given up.
            return Ok(Some(result.clone()));
        }
        if asking {
            Self::go_on_later(slf)?;
        } else {
            drive::resume(slf, Some(awaiter), result)?;
        }
        Ok(None)
    }

    /// Has it take a step in a turn of the loop. Where none has ever run: now.
    pub(super) fn go_on_later(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        match slf.get().event_loop(py) {
            Some(event_loop) => wake::schedule(&event_loop, slf.as_any(), py.None().bind(py), None),
            None => Self::step(slf, py.None().bind(py)),
        }
    }

    /// What it waited for is there: its Future, or its turn.
    pub(super) fn step(slf: &Bound<'_, Self>, given: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let task = slf.get();
        let address = given.as_ptr() as usize;
        let waited = task.inner.with(py, |inner, _| {
            let expected = match &inner.waiting {
                Waiting::Turn | Waiting::TurnWith(..) => true,
                Waiting::Future(future, _) => future.as_ptr() as usize == address,
                _ => false,
            };
            expected.then(|| std::mem::replace(&mut inner.waiting, Waiting::Nothing))
        });
        let Some(waited) = waited else {
            return Ok(());
        };
        if task.must_cancel.replace(false) {
            return Self::step_cancelled(slf, waited, given);
        }
        match waited {
            Waiting::TurnWith(result, awaiter) => {
                drive::resume(slf, Some(awaiter.bind(py)), result.bind(py))
            }
            Waiting::Future(_, true) => match given.call_method0(pyo3::intern!(py, "result")) {
                Ok(value) => drive::run(slf, Input::Value(value)),
                Err(error) => drive::run(slf, Input::Error(error)),
            },
            _ => drive::run(slf, Input::Value(py.None().into_bound(py))),
        }
    }

    /// The same, but cancelled after that: it is told so in its place, as `asyncio.Task` is.
    #[cold]
    fn step_cancelled(
        slf: &Bound<'_, Self>,
        waited: Waiting,
        given: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = slf.py();
        let task = slf.get();
        let error = match waited {
            Waiting::TurnWith(result, awaiter) if failure::is_cancellation(result.bind(py)) => {
                return drive::resume(slf, Some(awaiter.bind(py)), result.bind(py));
            }
            // A failed Future that nobody asks says so.
            Waiting::Future(..) => given
                .call_method0(pyo3::intern!(py, "result"))
                .err()
                .filter(|error| errors::is(py, error, &names::CANCELLED_ERROR)),
            _ => None,
        };
        task.requested.set(false);
        let error = error.unwrap_or_else(|| task.cancelled_error(py));
        drive::run(slf, Input::Error(error))
    }

    pub(super) fn cancelled_error(&self, py: Python<'_>) -> PyErr {
        let message = self.inner.with(py, |inner, _| inner.cancel_message.take());
        failure::cancelled_error(py, message)
    }

    /// Twisted, when the coroutine's Deferred is cancelled, cancels this: also while the coroutine takes the step that
    /// follows, since it knows only what it has waited for last.
    pub(super) fn is_what_is_waited_on(
        slf: &Bound<'_, Self>,
        status: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        slf.get().is_waited_on.set(true);
        status.setattr(pyo3::intern!(slf.py(), "waitingOn"), slf)
    }

    /// Asks what it waits for to stop. `must_cancel` says afterwards whether that is still to be done.
    pub(super) fn pass_cancel_on(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        // What it waits for can be one more, and in the end this one.
        let _level = Level::enter(py)?;
        let task = slf.get();
        let (future, awaiter, message) = task.inner.with(py, |inner, refs| {
            let message = inner
                .cancel_message
                .as_ref()
                .map(|message| refs.clone(message));
            match &inner.waiting {
                Waiting::Future(future, _) => (Some(refs.clone(future)), None, message),
                Waiting::Deferred(awaiter) => (None, Some(refs.clone(awaiter)), message),
                _ => (None, None, message),
            }
        });
        if let Some(future) = future {
            let kwargs = pyo3::types::PyDict::new(py);
            kwargs.set_item(pyo3::intern!(py, "msg"), message)?;
            let asked =
                future
                    .bind(py)
                    .call_method(pyo3::intern!(py, "cancel"), (), Some(&kwargs))?;
            task.must_cancel.set(!asked.is_truthy()?);
        } else if let Some(awaiter) = awaiter {
            task.must_cancel.set(false);
            task.requested.set(true);
            let deferred = awaiter.get().deferred(py);
            let event_loop = task.event_loop(py);
            let before = task.asking.replace(true);
            let asked = names::TWISTED_CANCEL
                .get(py)
                .and_then(|cancel| cancel.call1((deferred, event_loop))?.is_truthy());
            task.asking.set(before);
            if !asked? {
                let address = awaiter.as_ptr() as usize;
                let given_up = task.inner.with(py, |inner, _| match &inner.waiting {
                    Waiting::Deferred(awaited) if awaited.as_ptr() as usize == address => {
                        Some(std::mem::replace(&mut inner.waiting, Waiting::Turn))
                    }
                    _ => None,
                });
                if given_up.is_some() {
                    task.requested.set(false);
                    task.must_cancel.set(true);
                    Self::go_on_later(slf)?;
                }
            }
        } else {
            task.must_cancel.set(true);
        }
        Ok(())
    }
}
