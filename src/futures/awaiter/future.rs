//! Who waits: the Future that a task finds, and the Deferred that Twisted's own driver finds.

use std::ffi::CStr;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyTuple};

use super::{DeferredAwaiter, Phase};
use crate::futures::current;
use crate::py::attribute::{Attributes, Name};
use crate::py::method::{self, AddCallback};
use crate::py::names;

// What a task asks for with each await.
impl Attributes for DeferredAwaiter {
    #[inline]
    fn get<'py>(
        slf: &Bound<'py, Self>,
        name: Name<'_, 'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        if name.is(intern!(py, "_asyncio_future_blocking")) {
            let blocking = slf.get().blocking.get();
            return Ok(Some(match blocking {
                Some(blocking) => PyBool::new(py, blocking).to_owned().into_any(),
                None => py.None().into_bound(py),
            }));
        }
        if name.is(intern!(py, "get_loop")) {
            return names::GET_RUNNING_LOOP.get(py).map(Some);
        }
        if name.is(intern!(py, "add_done_callback")) {
            return Self::adder(slf, method::adder::<Self>).map(Some);
        }
        Ok(None)
    }

    #[inline]
    fn set(slf: &Bound<'_, Self>, name: Name<'_, '_>, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let ours = name.is(intern!(slf.py(), "_asyncio_future_blocking"));
        if ours {
            slf.get().set_blocking(value.extract()?);
        }
        Ok(ours)
    }
}

impl AddCallback for DeferredAwaiter {
    const NAME: &'static CStr = c"add_done_callback";
    const DOC: &'static CStr =
        c"add_done_callback(fn, *, context=None)\n--\n\nAs `asyncio.Future`'s, for a task.";

    #[inline]
    fn call(
        slf: &Bound<'_, PyAny>,
        callback: &Bound<'_, PyAny>,
        context: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let callback = callback.clone().unbind();
        let context = context.map(|context| context.clone().unbind());
        Self::add_done_callback(slf.cast()?, callback, context)
    }

    fn general(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        py.get_type::<Self>()
            .getattr(intern!(py, "add_done_callback"))
    }
}

impl DeferredAwaiter {
    #[inline]
    fn learn_loop(&self, py: Python<'_>) -> PyResult<()> {
        let event_loop = current::running_loop(py)?.map(Bound::unbind);
        let old = self.inner.with(py, |inner, _| {
            std::mem::replace(&mut inner.event_loop, event_loop)
        });
        drop(old);
        Ok(())
    }
}

#[pymethods]
impl DeferredAwaiter {
    #[getter]
    fn _asyncio_future_blocking(&self) -> Option<bool> {
        self.blocking.get()
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, value: Option<bool>) {
        self.blocking.set(value);
    }

    /// The loop that runs: a Deferred belongs to none.
    fn get_loop<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        current::running_loop(py)
    }

    /// As `asyncio.Future`'s, for a task.
    #[pyo3(signature = (r#fn, *, context=None))]
    fn add_done_callback(
        slf: &Bound<'_, Self>,
        r#fn: Py<PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let awaiter = slf.get();
        if awaiter
            .inner
            .with(py, |inner, _| inner.event_loop.is_none())
        {
            awaiter.learn_loop(py)?;
        }
        let first = awaiter.inner.with(py, |inner, _| {
            let first = inner.callback.is_none();
            if first {
                inner.callback = Some((r#fn, context));
            } else {
                inner.more.push((r#fn, context));
            }
            first
        });
        match awaiter.phase.get() {
            Phase::Fired | Phase::Over if first => Self::wake(slf),
            Phase::Listed => {
                awaiter.phase.set(Phase::InTask);
                Ok(())
            }
            Phase::New | Phase::Offered => {
                awaiter.phase.set(Phase::InTask);
                Self::add_both(slf)
            }
            _ => Ok(()),
        }
    }

    /// As `asyncio.Future`'s. Answers how many were removed.
    fn remove_done_callback(slf: &Bound<'_, Self>, r#fn: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = slf.py();
        let (first, more) = slf.get().take_callbacks(py);
        let mut kept = Vec::new();
        let mut removed = 0;
        for (callback, context) in first.into_iter().chain(more) {
            if callback.bind(py).eq(r#fn)? {
                removed += 1;
            } else {
                kept.push((callback, context));
            }
        }
        slf.get().inner.with(py, |inner, _| inner.more = kept);
        Ok(removed)
    }

    #[inline]
    #[pyo3(signature = (result, /))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        result: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Self::fired(slf, result)
    }

    /// As `asyncio.Future`'s.
    fn done(&self) -> bool {
        matches!(self.phase.get(), Phase::Fired | Phase::Over)
    }

    /// As `asyncio.Future`'s.
    fn result<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let awaiter = slf.get();
        let outcome = awaiter.inner.with(py, |inner, refs| {
            inner.outcome.as_ref().map(|outcome| refs.clone(outcome))
        });
        match outcome {
            Some(outcome) => awaiter.deliver(py, outcome.into_bound(py)),
            None if awaiter.phase.get() == Phase::Fired => Err(awaiter.cancelled(py)),
            None => Err(PyErr::from_value(
                names::INVALID_STATE_ERROR
                    .get(py)?
                    .call1(("Result is not set.",))?,
            )),
        }
    }

    /// As a Task's: a request to the Deferred. The task goes on when that has ended; false if it is on its way already.
    #[pyo3(signature = (msg=None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        let py = slf.py();
        let awaiter = slf.get();
        match awaiter.phase.get() {
            Phase::InTask => {}
            Phase::InForeign => {
                let deferred = awaiter.awaited_deferred(py)?;
                deferred.call_method0(intern!(py, "cancel"))?;
                return Ok(true);
            }
            _ => return Ok(false),
        }
        awaiter.requested.set(true);
        let old = awaiter.inner.with(py, |inner, _| {
            std::mem::replace(&mut inner.cancel_message, msg)
        });
        drop(old);
        let asked = names::TWISTED_CANCEL
            .get(py)?
            .call1((awaiter.deferred(py), awaiter.event_loop(py)))?
            .is_truthy()?;
        if !asked && awaiter.phase.get() == Phase::InTask {
            // There is nothing to wait for. What still comes is for others.
            awaiter.phase.set(Phase::Fired);
            Self::wake(slf)?;
        }
        Ok(true)
    }

    /// As `Deferred`'s, for Twisted's own driver.
    #[pyo3(name = "addBoth", signature = (callback, *args, **kwargs))]
    fn add_both_of<'a, 'py>(
        slf: &'a Bound<'py, Self>,
        callback: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<&'a Bound<'py, Self>> {
        let py = slf.py();
        let mut all = vec![callback.clone()];
        all.extend(args.iter());
        slf.get().phase.set(Phase::InForeign);
        slf.get().awaited_deferred(py)?.call_method(
            intern!(py, "addBoth"),
            PyTuple::new(py, all)?,
            kwargs,
        )?;
        Ok(slf)
    }
}
