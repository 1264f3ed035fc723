//! Scheduling: call_soon, call_later, call_at, call_soon_threadsafe.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList, PyTuple};

use super::LoopCore;
use super::handle::{Handle, TimerHandle};
use super::state::{Item, Timed, Timer};
use super::turn;
use crate::py::{errors, threads};
use crate::queue::timers::TimerKey;

impl LoopCore {
    /// Debug mode's checks of a callback; the thread's too, but for call_soon_threadsafe.
    #[cold]
    fn check_in_debug(
        slf: &Bound<'_, Self>,
        callback: &Bound<'_, PyAny>,
        method: &str,
        own_thread: bool,
    ) -> PyResult<()> {
        if own_thread {
            slf.call_method0("_check_thread")?;
        }
        slf.call_method1("_check_callback", (callback, method))?;
        Ok(())
    }

    /// Queues an item behind everything that is ready.
    #[inline]
    pub fn push(&self, py: Python<'_>, item: Item) {
        // What other threads sent before comes before: the caller may know of it.
        if !self.remote.is_empty() {
            turn::take_remote(py, self);
        }
        self.state.with(py, |state, _| state.ready.push_back(item));
    }

    /// Runs `call(object)` as soon as possible: with the callbacks of the next turn, behind what is ready; but behind
    /// timers that are due, too, where there are such. Answers the ticket, and the key if it is a timer.
    pub fn schedule_now(
        slf: &Bound<'_, Self>,
        object: Py<PyAny>,
        call: Timed,
    ) -> PyResult<(u32, Option<TimerKey>)> {
        let py = slf.py();
        let core = slf.get();
        let next = core.state.with(py, |state, _| state.timers.peek_deadline());
        if let Some(deadline) = next {
            let now = Self::now(slf)?;
            if deadline <= now {
                let key = core.schedule_call(py, now, object, call);
                return Ok((key.ticket(), Some(key)));
            }
        }
        let ticket = core.state.with(py, |state, _| state.timers.ticket());
        core.push(py, Item::Timed(object, call, ticket));
        Ok((ticket, None))
    }

    /// Runs `call(object)` at `when` on the loop's clock.
    #[inline]
    pub fn schedule_call(
        &self,
        py: Python<'_>,
        when: f64,
        object: Py<PyAny>,
        call: Timed,
    ) -> TimerKey {
        self.state.with(py, |state, _| {
            state.timers.insert(when, Timer::Call(object, call))
        })
    }

    /// Queues a handle from any thread, and wakes the loop when it sleeps.
    pub fn send(slf: &Bound<'_, Self>, handle: Py<Handle>) -> PyResult<()> {
        let py = slf.py();
        let core = slf.get();
        let thread = core.thread.get();
        if thread == 0 || thread == threads::current(py) {
            // From the loop's own thread, and while no thread runs the loop, it keeps its order with call_soon.
            // Nobody sleeps: a signal handler that interrupts the poll runs before the timeout is
            // computed again.
            core.push(py, Item::Call(handle));
        } else if core.remote.push(handle) {
            core.state
                .with(py, |state, _| match &state.kernel {
                    Some(kernel) => kernel.waker.wake(),
                    None => Ok(()),
                })
                .map_err(|error| errors::os_error(py, &error))?;
        }
        Ok(())
    }

    fn schedule_at<'py>(
        slf: &Bound<'py, Self>,
        (when, whole): (f64, bool),
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, TimerHandle>> {
        let py = slf.py();
        let base = Handle::build(slf, callback, args, context)?;
        let timer = Bound::new(
            py,
            PyClassInitializer::from(base).add_subclass(TimerHandle::new(when, whole)),
        )?;
        let handle = timer.as_super().clone().unbind();
        let key = slf.get().state.with(py, |state, _| {
            state.timers.insert(when, Timer::Handle(handle))
        });
        timer.get().key.set(Some(key));
        Ok(timer)
    }

    /// What other hosts have scheduled, with the ticket of each: first what is ready to run, then what waits for its
    /// time, soonest first. A snapshot.
    pub fn timed_calls(&self, py: Python<'_>) -> Vec<(Py<PyAny>, u32)> {
        self.state.with(py, |state, refs| {
            let ready = state.ready.iter().filter_map(|item| match item {
                Item::Timed(object, _, ticket) => Some((refs.clone(object), *ticket)),
                _ => None,
            });
            let waiting = state.timers.iter_sorted();
            ready
                .chain(waiting.filter_map(|(key, _, timer)| match timer {
                    Timer::Call(object, _) => Some((refs.clone(object), key.ticket())),
                    Timer::Handle(_) => None,
                }))
                .collect()
        })
    }
}

#[pymethods]
impl LoopCore {
    /// Runs `callback(*args)` in the next turn, in `context` or a copy of the current one. The loop's thread.
    /// Errors: RuntimeError when the loop is closed; in debug mode when called from another thread.
    #[pyo3(signature = (callback, *args, context=None))]
    fn call_soon<'py>(
        slf: &Bound<'py, Self>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Handle>> {
        let core = slf.get();
        core.check_closed()?;
        if core.is_debug() {
            Self::check_in_debug(slf, &callback, "call_soon", true)?;
        }
        let handle = Handle::obtain(slf, callback, args, context)?;
        let item = Item::Call(handle.clone().unbind());
        core.push(slf.py(), item);
        Ok(handle)
    }

    /// Like `call_soon`, from any thread; wakes the loop when it sleeps.
    #[pyo3(signature = (callback, *args, context=None))]
    fn call_soon_threadsafe<'py>(
        slf: &Bound<'py, Self>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Handle>> {
        let core = slf.get();
        core.check_closed()?;
        if core.is_debug() {
            Self::check_in_debug(slf, &callback, "call_soon_threadsafe", false)?;
        }
        let handle = Handle::obtain(slf, callback, args, context)?;
        Self::send(slf, handle.clone().unbind())?;
        Ok(handle)
    }

    /// Runs `callback(*args)` at `when`, in seconds on the loop's clock; callbacks of one time run in the
    /// order of the calls. The loop's thread.
    #[pyo3(signature = (when, callback, *args, context=None))]
    fn call_at<'py>(
        slf: &Bound<'py, Self>,
        when: &Bound<'py, PyAny>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, TimerHandle>> {
        if when.is_none() {
            return Err(PyTypeError::new_err("when cannot be None"));
        }
        let core = slf.get();
        core.check_closed()?;
        if core.is_debug() {
            Self::check_in_debug(slf, &callback, "call_at", true)?;
        }
        let whole = when.is_instance_of::<PyInt>();
        let when = (when.extract()?, whole);
        Self::schedule_at(slf, when, callback, args, context)
    }

    /// Runs `callback(*args)` in `delay` seconds. A delay in the past keeps its place before later ones.
    /// The loop's thread.
    #[pyo3(signature = (delay, callback, *args, context=None))]
    fn call_later<'py>(
        slf: &Bound<'py, Self>,
        delay: &Bound<'py, PyAny>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, TimerHandle>> {
        if delay.is_none() {
            return Err(PyTypeError::new_err("delay must not be None"));
        }
        let core = slf.get();
        core.check_closed()?;
        if core.is_debug() {
            Self::check_in_debug(slf, &callback, "call_later", true)?;
        }
        let when = Self::now(slf)? + delay.extract::<f64>()?;
        Self::schedule_at(slf, (when, false), callback, args, context)
    }

    /// The timers that wait, soonest first: a snapshot. Other hosts' calls are not handles and are left out.
    #[getter]
    fn _scheduled<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        let handles: Vec<Py<Handle>> = slf.get().state.with(py, |state, refs| {
            state
                .timers
                .iter_sorted()
                .filter_map(|(_, _, timer)| match timer {
                    Timer::Handle(handle) => Some(refs.clone(handle)),
                    Timer::Call(..) => None,
                })
                .collect()
        });
        PyList::new(py, handles)
    }

    /// For asyncio's own constructor, which writes an empty list.
    #[setter(_scheduled)]
    fn set_own_scheduled(&self, _value: &Bound<'_, PyAny>) {}

    /// The handles that are ready to run: a snapshot. Entries for I/O are not handles and are left out.
    #[getter]
    fn _ready<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        let handles: Vec<Py<Handle>> = slf.get().state.with(py, |state, refs| {
            state
                .ready
                .iter()
                .filter_map(|item| match item {
                    Item::Call(handle) => Some(refs.clone(handle)),
                    Item::Run(..) | Item::Wake(..) | Item::Timed(..) => None,
                })
                .collect()
        });
        PyList::new(py, handles)
    }

    /// For asyncio's own constructor, which writes an empty deque.
    #[setter(_ready)]
    fn set_own_ready(&self, _value: &Bound<'_, PyAny>) {}
}
