//! A DelayedCall: one object, which is itself what waits in the loop's timers.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyDict, PyFloat, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use crate::py::call::{self, Entered};
use crate::py::cell::{Flag, StateCell};
use crate::py::names;
use crate::queue::timers::TimerKey;
use crate::runtime::LoopCore;
use crate::sys::clock;

/// A call that comes early by the reactor's clock, but by less than this many seconds, waits for the rest. Timers run on
/// the monotonic clock, `getTime()` tells the wall clock's time: they differ by rounding always, and by more when the
/// wall clock is set. LoopingCall would take a call that comes a microsecond early for one interval, and the next one a
/// microsecond later for another. After a larger step the wall clock says nothing about how long to wait, and the
/// monotonic clock decides.
const SET_CLOCK: f64 = 1.0;

pub(super) struct Inner {
    /// Gone after a cancel, as in Twisted.
    pub(super) func: Option<Py<PyAny>>,
    pub(super) args: Option<Py<PyTuple>>,
    /// `None` as long as there are none and nobody has asked.
    pub(super) kw: Option<Py<PyDict>>,
    pub(super) seconds: Option<Py<PyAny>>,
    /// Gone once it was made or cancelled, like the two that follow.
    pub(super) context: Option<Py<PyAny>>,
    pub(super) core: Option<Py<LoopCore>>,
    /// The `__dict__` of the reactor whose it is. Not the reactor: Twisted's ReactorBuilder lends the dict of one under
    /// test to the global one, and code under test schedules with either.
    pub(super) owner: Option<Py<PyDict>>,
    pub(super) creator: Option<Py<PyAny>>,
    pub(super) repr: Option<Py<PyAny>>,
}

/// Like `twisted.internet.base.DelayedCall` (isinstance says so too). `time` and `delayed_time` tell the reactor's
/// `seconds()`; the deadline is the loop's monotonic time and follows every `reset` and `delay` at once. All methods
/// belong to the reactor's thread.
#[pyclass(frozen, dict, weakref, module = "interloop._core")]
pub struct DelayedCall {
    pub(super) inner: StateCell<Inner>,
    pub(super) time: Flag<f64>,
    pub(super) delayed_time: Flag<f64>,
    pub(super) cancelled: Flag<bool>,
    pub(super) called: Flag<bool>,
    pub(super) debug: Flag<Option<bool>>,
    /// Where it waits, unless it is ready to be made.
    pub(super) key: Flag<Option<TimerKey>>,
    /// Of its last scheduling: entries in the ready queue that have another one are not it any more.
    pub(super) ticket: Flag<u32>,
    /// See `Handle`: false while CPython 3.11 makes the instance dict.
    pub(super) built: bool,
}

/// `seconds()`, without the call where it is the usual one.
#[inline]
pub(super) fn tell(seconds: &Bound<'_, PyAny>) -> PyResult<f64> {
    if seconds.is(&names::TWISTED_WALL_CLOCK.get(seconds.py())?) {
        return Ok(clock::wall());
    }
    seconds.call0()?.extract()
}

#[inline]
pub(super) fn number(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    match value.cast_exact::<PyFloat>() {
        Ok(float) => Ok(float.value()),
        Err(_) => value.extract(),
    }
}

pub(super) fn debug_of_class(py: Python<'_>) -> PyResult<bool> {
    names::TWISTED_DELAYED_CALL
        .get(py)?
        .getattr(intern!(py, "debug"))?
        .is_truthy()
}

/// Makes the call, unless this is not its last scheduling.
pub(super) fn make(
    core: &Bound<'_, LoopCore>,
    object: &Bound<'_, PyAny>,
    ticket: u32,
) -> PyResult<()> {
    let slf = object.cast::<DelayedCall>()?;
    let py = slf.py();
    let delayed = slf.get();
    if delayed.ticket.get() != ticket || !delayed.active() {
        return Ok(());
    }
    match delayed.now(py) {
        Ok(now) => {
            let early = delayed.get_time() - now;
            if 0.0 < early && early < SET_CLOCK {
                delayed.put(slf, core, LoopCore::now(core)? + early);
                return Ok(());
            }
        }
        // A clock that fails is no reason never to make it.
        Err(error) => failed(slf, error)?,
    }
    delayed.called.set(true);
    delayed.key.set(None);
    let (func, args, kw, context, rest) = delayed.inner.with(py, |inner, refs| {
        (
            inner.func.as_ref().map(|func| refs.clone(func)),
            inner.args.as_ref().map(|args| refs.clone(args)),
            inner.kw.as_ref().map(|kw| refs.clone(kw)),
            inner.context.take(),
            (inner.core.take(), inner.owner.take()),
        )
    });
    call::release(py, rest.0);
    call::release(py, rest.1);
    let (Some(func), Some(args), Some(context)) = (func, args, context) else {
        return Ok(());
    };
    let (func, args, context) = (
        func.into_bound(py),
        args.into_bound(py),
        context.into_bound(py),
    );
    let _entered = Entered::new(&context)?;
    let result = match kw {
        Some(kw) => func.call(&args, Some(&kw.into_bound(py))),
        None => call::call_tuple(&func, &args),
    };
    match result {
        Ok(_) => Ok(()),
        Err(error) => failed(slf, error),
    }
}

/// Logs what a call raised, whatever it is, as Twisted does.
#[cold]
fn failed(slf: &Bound<'_, DelayedCall>, error: PyErr) -> PyResult<()> {
    names::TWISTED_CALL_FAILED
        .get(slf.py())?
        .call1((slf, error))?;
    Ok(())
}

impl DelayedCall {
    #[inline]
    fn now(&self, py: Python<'_>) -> PyResult<f64> {
        let seconds = self.inner.with(py, |inner, refs| {
            inner.seconds.as_ref().map(|seconds| refs.clone(seconds))
        });
        match seconds {
            Some(seconds) => tell(&seconds.into_bound(py)),
            None => Ok(clock::wall()),
        }
    }

    /// AlreadyCancelled or AlreadyCalled.
    #[inline]
    fn check_active(&self, py: Python<'_>) -> PyResult<()> {
        if self.active() {
            return Ok(());
        }
        let error = if self.cancelled.get() {
            &names::ALREADY_CANCELLED
        } else {
            &names::ALREADY_CALLED
        };
        Err(PyErr::from_value(error.get(py)?.call0()?))
    }

    fn core<'py>(&self, py: Python<'py>) -> Option<Bound<'py, LoopCore>> {
        self.inner
            .with(py, |inner, refs| {
                inner.core.as_ref().map(|core| refs.clone(core))
            })
            .map(|core| core.into_bound(py))
    }

    /// Schedules it anew, whether it waits or is ready.
    fn put(&self, slf: &Bound<'_, Self>, core: &Bound<'_, LoopCore>, when: f64) {
        let py = slf.py();
        if let Some(key) = self.key.get()
            && core
                .get()
                .state
                .with(py, |state, _| state.timers.reschedule(key, when))
        {
            return;
        }
        let object = slf.clone().into_any().unbind();
        let key = core.get().schedule_call(py, when, object, make);
        self.key.set(Some(key));
        self.ticket.set(key.ticket());
    }

    /// When it is due on the loop's clock. What is ready waits for its turn, not for a time, but it was due when it was: what
    /// is put off counts from there.
    fn deadline(&self, core: &Bound<'_, LoopCore>) -> PyResult<f64> {
        let waiting = self.key.get().and_then(|key| {
            core.get()
                .state
                .with(core.py(), |state, _| state.timers.deadline(key))
        });
        match waiting {
            Some(deadline) => Ok(deadline),
            None => {
                let late = self.now(core.py())? - self.get_time();
                Ok(LoopCore::now(core)? - late.max(0.0))
            }
        }
    }

    pub(super) fn is_debugged(&self, py: Python<'_>) -> PyResult<bool> {
        match self.debug.get() {
            Some(debug) => Ok(debug),
            None => debug_of_class(py),
        }
    }
}

impl Drop for DelayedCall {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: only Python's deallocator drops one, or a constructor that failed: both have the GIL.
        let py = unsafe { Python::assume_attached() };
        let inner = self.inner.get_mut();
        call::release(py, inner.func.take());
        call::release(py, inner.args.take());
        call::release(py, inner.kw.take());
        call::release(py, inner.seconds.take());
        call::release(py, inner.context.take());
        call::release(py, inner.core.take());
        call::release(py, inner.owner.take());
        call::release(py, inner.creator.take());
        call::release(py, inner.repr.take());
    }
}

#[pymethods]
impl DelayedCall {
    /// When it is to be made, by the reactor's `seconds()`.
    #[pyo3(name = "getTime")]
    fn get_time(&self) -> f64 {
        self.time.get() + self.delayed_time.get()
    }

    /// Whether it is still to be made.
    pub(super) fn active(&self) -> bool {
        !self.cancelled.get() && !self.called.get()
    }

    /// It will not be made; it lets go of function and arguments. Raises AlreadyCancelled or AlreadyCalled.
    fn cancel(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let delayed = slf.get();
        delayed.check_active(py)?;
        delayed.cancelled.set(true);
        if delayed.is_debugged(py)? {
            let repr = slf.repr()?.into_any().unbind();
            let old = delayed.inner.with(py, |inner, _| inner.repr.replace(repr));
            drop(old);
        }
        let (func, args, kw, context, core, owner) = delayed.inner.with(py, |inner, _| {
            (
                inner.func.take(),
                inner.args.take(),
                inner.kw.take(),
                inner.context.take(),
                inner.core.take(),
                inner.owner.take(),
            )
        });
        if let (Some(key), Some(core)) = (delayed.key.replace(None), &core) {
            let taken = core
                .get()
                .state
                .with(py, |state, _| state.timers.cancel(key));
            drop(taken);
        }
        call::release(py, func);
        call::release(py, args);
        call::release(py, kw);
        call::release(py, context);
        call::release(py, core);
        call::release(py, owner);
        Ok(())
    }

    /// Puts it off, or brings it forward, to so many seconds from now. Raises AlreadyCancelled or AlreadyCalled.
    #[pyo3(signature = (secondsFromNow))]
    #[allow(non_snake_case)] // the interface's name, by which it can be passed
    fn reset(slf: &Bound<'_, Self>, secondsFromNow: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let delayed = slf.get();
        delayed.check_active(py)?;
        let seconds = number(secondsFromNow)?;
        let time = delayed.now(py)? + seconds;
        if time < delayed.time.get() {
            delayed.delayed_time.set(0.0);
            delayed.time.set(time);
        } else {
            delayed.delayed_time.set(time - delayed.time.get());
        }
        if let Some(core) = delayed.core(py) {
            core.get().check_closed()?;
            let when = LoopCore::now(&core)? + seconds;
            delayed.put(slf, &core, when);
        }
        Ok(())
    }

    /// Puts it off by so many seconds more; less if negative. Raises AlreadyCancelled or AlreadyCalled.
    #[pyo3(signature = (secondsLater))]
    #[allow(non_snake_case)]
    fn delay(slf: &Bound<'_, Self>, secondsLater: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let delayed = slf.get();
        delayed.check_active(py)?;
        let seconds = number(secondsLater)?;
        let core = delayed.core(py);
        let due = core.as_ref().map(|core| delayed.deadline(core));
        delayed
            .delayed_time
            .set(delayed.delayed_time.get() + seconds);
        if delayed.delayed_time.get() < 0.0 {
            delayed.activate_delay();
        }
        if let (Some(core), Some(due)) = (core, due.transpose()?) {
            core.get().check_closed()?;
            delayed.put(slf, &core, due + seconds);
        }
        Ok(())
    }

    /// Makes the delay a part of the time.
    fn activate_delay(&self) {
        self.time.set(self.get_time());
        self.delayed_time.set(0.0);
    }

    /// When it is due in seconds on the loop's clock; None when it is not any more.
    fn _due(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        self.core(py).map(|core| self.deadline(&core)).transpose()
    }

    /// Goes over to another loop. All loops count on one clock.
    fn _move(slf: &Bound<'_, Self>, r#loop: &Bound<'_, LoopCore>) -> PyResult<()> {
        let py = slf.py();
        r#loop.get().check_closed()?;
        let delayed = slf.get();
        let Some(old) = delayed.core(py) else {
            return Ok(());
        };
        let waiting = delayed.key.replace(None).and_then(|key| {
            old.get().state.with(py, |state, _| {
                let deadline = state.timers.deadline(key);
                deadline.zip(state.timers.cancel(key))
            })
        });
        let core = r#loop.clone().unbind();
        let old = delayed.inner.with(py, |inner, _| inner.core.replace(core));
        drop(old);
        let object = slf.clone().into_any().unbind();
        let (ticket, key) = match waiting {
            Some((deadline, taken)) => {
                drop(taken);
                let key = r#loop.get().schedule_call(py, deadline, object, make);
                (key.ticket(), Some(key))
            }
            // Ready, so before all that waits for a time.
            None => LoopCore::schedule_now(r#loop, object, make)?,
        };
        delayed.ticket.set(ticket);
        delayed.key.set(key);
        Ok(())
    }

    #[getter]
    fn __class__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        names::TWISTED_DELAYED_CALL.get(py)
    }

    fn __repr__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        names::TWISTED_DELAYED_CALL
            .get(py)?
            .getattr(intern!(py, "__repr__"))?
            .call1((slf,))
    }

    fn __hash__(slf: &Bound<'_, Self>) -> usize {
        // Of the object, as Twisted's: addresses are multiples of sixteen.
        (slf.as_ptr() as usize).rotate_right(4)
    }

    fn __richcmp__<'py>(
        &self,
        py: Python<'py>,
        other: &Bound<'py, PyAny>,
        operation: CompareOp,
    ) -> PyResult<Py<PyAny>> {
        if !matches!(operation, CompareOp::Lt | CompareOp::Le) {
            return Ok(py.NotImplemented());
        }
        let other: f64 = other.getattr(intern!(py, "time"))?.extract()?;
        let mine = self.time.get();
        let answer = match operation {
            CompareOp::Lt => mine < other,
            _ => mine <= other,
        };
        Ok(answer.into_pyobject(py)?.to_owned().into_any().unbind())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if !self.built {
            return Ok(());
        }
        self.inner
            .try_with(|inner| {
                visit.call(inner.func.as_ref())?;
                visit.call(inner.args.as_ref())?;
                visit.call(inner.kw.as_ref())?;
                visit.call(inner.seconds.as_ref())?;
                visit.call(inner.context.as_ref())?;
                visit.call(inner.core.as_ref())?;
                visit.call(inner.owner.as_ref())?;
                visit.call(inner.creator.as_ref())
            })
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let taken = self.inner.with(py, |inner, _| {
            (
                inner.func.take(),
                inner.args.take(),
                inner.kw.take(),
                inner.seconds.take(),
                inner.context.take(),
                inner.core.take(),
                inner.owner.take(),
                inner.creator.take(),
            )
        });
        drop(taken);
    }
}
