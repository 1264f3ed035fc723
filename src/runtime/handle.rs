//! Handles: what `call_soon` and `call_later` answer.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyFloat, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::LoopCore;
use crate::py::call::{self, Entered};
use crate::py::cell::{Flag, StateCell};
use crate::py::{errors, names, objects};
use crate::queue::timers::TimerKey;

struct Inner {
    callback: Option<Py<PyAny>>,
    args: Option<Py<PyTuple>>,
    context: Option<Py<PyAny>>,
    traceback: Option<Py<PyAny>>,
    /// The repr from before a cancel in debug mode, since cancel drops what it tells of.
    repr: Option<Py<PyAny>>,
}

impl Inner {
    #[inline]
    fn build(
        core: &Bound<'_, LoopCore>,
        callback: Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
        context: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Inner> {
        let py = core.py();
        let context = match context {
            Some(context) if !context.is_none() => context,
            _ => call::copy_context(py)?,
        };
        let traceback = if core.get().is_debug() {
            Some(names::SOURCE_TRACEBACK.get(py)?.call0()?.unbind())
        } else {
            None
        };
        Ok(Inner {
            callback: Some(callback.unbind()),
            args: Some(args.unbind()),
            context: Some(context.unbind()),
            traceback,
            repr: None,
        })
    }
}

/// A callback that is to run, like `asyncio.Handle` (isinstance says so too).
#[pyclass(frozen, subclass, dict, weakref, module = "interloop._core")]
pub struct Handle {
    inner: StateCell<Inner>,
    cancelled: Flag<bool>,
    core: Py<LoopCore>,
    /// CPython 3.11 makes the instance dict before PyO3 has written the fields, and that can start the collector: it
    /// then reads zeroed memory, in which this says so.
    built: bool,
}

impl Handle {
    /// A handle for `callback(*args)` in `context`, or in a copy of the current one.
    #[inline]
    pub fn build(
        core: &Bound<'_, LoopCore>,
        callback: Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
        context: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Handle> {
        Ok(Handle {
            inner: StateCell::new(Inner::build(core, callback, args, context)?),
            cancelled: Flag::new(false),
            core: core.clone().unbind(),
            built: true,
        })
    }

    /// As [`Handle::build`], with the object: a spare one where there is one. Most handles live for one turn and
    /// nobody keeps them; making and collecting an object for each would cost more than all else in `call_soon`.
    #[inline]
    pub fn obtain<'py>(
        core: &Bound<'py, LoopCore>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Handle>> {
        let py = core.py();
        let inner = Inner::build(core, callback, args, context)?;
        match core.get().state.with(py, |state, _| state.spare.pop()) {
            Some(spare) => {
                let spare = spare.into_bound(py);
                let empty = spare
                    .get()
                    .inner
                    .with(py, |place, _| std::mem::replace(place, inner));
                drop(empty);
                Ok(spare)
            }
            None => Bound::new(
                py,
                Handle {
                    inner: StateCell::new(inner),
                    cancelled: Flag::new(false),
                    core: core.clone().unbind(),
                    built: true,
                },
            ),
        }
    }

    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// Drops the callback and its arguments; false when it was cancelled before.
    fn cancel_inner(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let py = slf.py();
        let handle = slf.get();
        if handle.cancelled.get() {
            return Ok(false);
        }
        handle.cancelled.set(true);
        if handle.core.get().is_debug() {
            let repr = slf.repr()?.into_any().unbind();
            let old = handle.inner.with(py, |inner, _| inner.repr.replace(repr));
            drop(old);
        }
        let dropped = handle
            .inner
            .with(py, |inner, _| (inner.callback.take(), inner.args.take()));
        drop(dropped);
        Ok(true)
    }

    /// Runs the callback in its context. Exceptions go to the loop's exception handler, but for those
    /// that stop the loop.
    pub fn run(slf: &Bound<'_, Self>) -> PyResult<()> {
        let handle = slf.get();
        if handle.cancelled.get() {
            return Ok(());
        }
        let work = handle.inner.with(slf.py(), |inner, refs| {
            Some((
                refs.clone(inner.callback.as_ref()?),
                refs.clone(inner.args.as_ref()?),
                refs.clone(inner.context.as_ref()?),
            ))
        });
        match work {
            Some(work) => match Self::call(slf.py(), &work) {
                Ok(()) => Ok(()),
                Err(error) => Self::report(slf, error),
            },
            None => Ok(()),
        }
    }

    /// Runs a handle that has left the queue. One that nobody else holds gives its callback away instead of sharing
    /// it, and is kept as a spare.
    #[inline]
    pub fn run_last(core: &LoopCore, slf: Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        if !slf.is_exact_instance_of::<Handle>() || !objects::is_ours_alone(slf.as_any()) {
            return Self::run(&slf);
        }
        let work = slf.get().inner.with(py, |inner, _| {
            Some((
                inner.callback.take()?,
                inner.args.take()?,
                inner.context.take()?,
            ))
        });
        if let Some(work) = work {
            if let Err(error) = Self::call(py, &work) {
                // The report shows the handle with its callback.
                let (callback, args, context) = work;
                let empty = slf.get().inner.with(py, |inner, _| {
                    (
                        inner.callback.replace(callback),
                        inner.args.replace(args),
                        inner.context.replace(context),
                    )
                });
                drop(empty);
                return Self::report(&slf, error);
            }
            let (callback, args, context) = work;
            call::release(py, Some(callback));
            call::release(py, Some(args));
            call::release(py, Some(context));
        }
        // Debug mode gave it a traceback to keep, and a cancelled one is told so: only clean ones are spare.
        let handle = slf.get();
        let clean = !handle.cancelled.get()
            && handle.inner.with(py, |inner, _| {
                inner.traceback.is_none() && inner.repr.is_none()
            })
            && objects::is_ours_alone(slf.as_any());
        if clean {
            let spare = slf.unbind();
            let surplus = core.state.with(py, |state, _| state.keep_spare(spare));
            drop(surplus);
        }
        Ok(())
    }

    #[inline]
    fn call(
        py: Python<'_>,
        (callback, args, context): &(Py<PyAny>, Py<PyTuple>, Py<PyAny>),
    ) -> PyResult<()> {
        let _entered = Entered::new(context.bind(py))?;
        call::call_tuple(callback.bind(py), args.bind(py)).map(drop)
    }

    #[cold]
    fn report(slf: &Bound<'_, Self>, error: PyErr) -> PyResult<()> {
        let py = slf.py();
        if errors::is_fatal(py, &error) {
            return Err(error);
        }
        names::REPORT_CALLBACK.get(py)?.call1((slf, error))?;
        Ok(())
    }
}

impl Drop for Handle {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: only Python's deallocator drops a handle, or a constructor that failed: both have the GIL.
        let py = unsafe { Python::assume_attached() };
        let inner = self.inner.get_mut();
        call::release(py, inner.callback.take());
        call::release(py, inner.args.take());
        call::release(py, inner.context.take());
    }
}

#[pymethods]
impl Handle {
    /// Cancels the callback: it will not run, and it and its arguments are let go. The loop's thread.
    fn cancel(slf: &Bound<'_, Self>) -> PyResult<()> {
        Handle::cancel_inner(slf).map(drop)
    }

    /// Whether `cancel()` was called.
    fn cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// The `contextvars.Context` the callback runs in.
    fn get_context(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self._context(py)
    }

    fn _run(slf: &Bound<'_, Self>) -> PyResult<()> {
        Handle::run(slf)
    }

    #[getter]
    fn _callback(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| {
            inner.callback.as_ref().map(|object| refs.clone(object))
        })
    }

    #[getter]
    fn _args(&self, py: Python<'_>) -> Option<Py<PyTuple>> {
        self.inner.with(py, |inner, refs| {
            inner.args.as_ref().map(|object| refs.clone(object))
        })
    }

    #[getter]
    fn _context(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| {
            inner.context.as_ref().map(|object| refs.clone(object))
        })
    }

    #[getter]
    fn _source_traceback(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| {
            inner.traceback.as_ref().map(|object| refs.clone(object))
        })
    }

    #[getter]
    fn _repr(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| {
            inner.repr.as_ref().map(|object| refs.clone(object))
        })
    }

    #[getter]
    fn _cancelled(&self) -> bool {
        self.cancelled.get()
    }

    #[getter]
    fn _loop(&self) -> &Py<LoopCore> {
        &self.core
    }

    #[getter]
    fn __class__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        names::ASYNCIO_HANDLE.get(py)
    }

    fn __repr__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        names::HANDLE_REPR.get(slf.py())?.call1((slf,))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if !self.built {
            return Ok(());
        }
        visit.call(&self.core)?;
        self.inner
            .try_with(|inner| {
                visit.call(inner.callback.as_ref())?;
                visit.call(inner.args.as_ref())?;
                visit.call(inner.context.as_ref())?;
                visit.call(inner.traceback.as_ref())
            })
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let taken = self.inner.with(py, |inner, _| {
            (
                inner.callback.take(),
                inner.args.take(),
                inner.context.take(),
                inner.traceback.take(),
            )
        });
        drop(taken);
    }
}

/// A callback that is to run at a time, like `asyncio.TimerHandle` (isinstance says so too).
#[pyclass(frozen, extends = Handle, subclass, module = "interloop._core")]
pub struct TimerHandle {
    when: Flag<f64>,
    /// The time was given as an int, and is answered as one: programs round times up to whole seconds.
    whole: Flag<bool>,
    pub(super) key: Flag<Option<TimerKey>>,
}

impl TimerHandle {
    pub(super) fn new(when: f64, whole: bool) -> Self {
        TimerHandle {
            when: Flag::new(when),
            whole: Flag::new(whole),
            key: Flag::new(None),
        }
    }

    /// Whether it waits in the loop's timers.
    fn is_scheduled(slf: &Bound<'_, Self>) -> bool {
        let Some(key) = slf.get().key.get() else {
            return false;
        };
        slf.as_super()
            .get()
            .core
            .get()
            .state
            .with(slf.py(), |state, _| state.timers.get(key).is_some())
    }
}

#[pymethods]
impl TimerHandle {
    /// When the callback is due, in seconds on the loop's clock.
    fn when<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let when = PyFloat::new(py, self.when.get());
        if self.whole.get() {
            return when.call_method0(intern!(py, "__int__"));
        }
        Ok(when.into_any())
    }

    #[getter]
    fn _when<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.when(py)
    }

    #[getter]
    fn _scheduled(slf: &Bound<'_, Self>) -> bool {
        Self::is_scheduled(slf)
    }

    /// Cancels the timer; it leaves the heap. The loop's thread.
    fn cancel(slf: &Bound<'_, Self>) -> PyResult<()> {
        let base = slf.as_super();
        if !Handle::cancel_inner(base)? {
            return Ok(());
        }
        if let Some(key) = slf.get().key.replace(None) {
            let taken = base
                .get()
                .core
                .get()
                .state
                .with(slf.py(), |state, _| state.timers.cancel(key));
            drop(taken);
        }
        Ok(())
    }

    /// Moves a waiting timer to another time (seconds on the loop's clock); it counts as inserted now
    /// among those of the same time. False when it ran, is running or was cancelled: nothing is
    /// changed then. The loop's thread.
    fn _reschedule(slf: &Bound<'_, Self>, when: f64) -> bool {
        let timer = slf.get();
        let Some(key) = timer.key.get() else {
            return false;
        };
        let moved = slf
            .as_super()
            .get()
            .core
            .get()
            .state
            .with(slf.py(), |state, _| state.timers.reschedule(key, when));
        if moved {
            timer.when.set(when);
            timer.whole.set(false);
        }
        moved
    }

    #[getter]
    fn __class__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        names::ASYNCIO_TIMER_HANDLE.get(py)
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        pyo3::types::PyFloat::new(py, self.when.get()).hash()
    }

    fn __richcmp__(
        slf: &Bound<'_, Self>,
        other: &Bound<'_, PyAny>,
        operation: CompareOp,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let Ok(other) = other.cast::<TimerHandle>() else {
            return Ok(py.NotImplemented());
        };
        let (mine, theirs) = (slf.get().when.get(), other.get().when.get());
        let equal = || -> PyResult<bool> {
            let (a, b) = (slf.as_super().get(), other.as_super().get());
            Ok(mine == theirs
                && a.cancelled.get() == b.cancelled.get()
                && a._callback(py).into_pyobject(py)?.eq(b._callback(py))?
                && a._args(py).into_pyobject(py)?.eq(b._args(py))?)
        };
        let answer = match operation {
            CompareOp::Lt => mine < theirs,
            CompareOp::Gt => mine > theirs,
            CompareOp::Le => mine < theirs || equal()?,
            CompareOp::Ge => mine > theirs || equal()?,
            CompareOp::Eq => equal()?,
            CompareOp::Ne => !equal()?,
        };
        Ok(answer.into_pyobject(py)?.to_owned().into_any().unbind())
    }
}
