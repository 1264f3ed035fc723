//! Who waits: the Future that a task finds, and the Deferred that Twisted's own driver finds.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::{DeferredAwaiter, Phase};
use crate::futures::current;
use crate::py::names;

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

    /// The loop that runs: a Deferred belongs to none. A task asks, and whoever asks runs in one. By this name and not by
    /// `get_loop()`: a task asks for that first, and to find none costs it less than to call it.
    #[getter]
    fn _loop<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        let running = current::running_loop(py)?;
        let event_loop = running.clone().map(Bound::unbind);
        let old = slf.get().inner.with(py, |inner, _| {
            std::mem::replace(&mut inner.event_loop, event_loop)
        });
        drop(old);
        Ok(running)
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
            Self::_loop(slf)?;
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
                let deferred = awaiter.deferred.bind(py);
                deferred.call_method0(pyo3::intern!(py, "cancel"))?;
                return Ok(true);
            }
            _ => return Ok(false),
        }
        awaiter.requested.set(true);
        let old = awaiter.inner.with(py, |inner, _| {
            std::mem::replace(&mut inner.cancel_message, msg)
        });
        drop(old);
        let event_loop = awaiter.inner.with(py, |inner, refs| {
            inner
                .event_loop
                .as_ref()
                .map(|event_loop| refs.clone(event_loop))
        });
        let asked = names::TWISTED_CANCEL
            .get(py)?
            .call1((&awaiter.deferred, event_loop))?
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
        slf.get().deferred.bind(py).call_method(
            pyo3::intern!(py, "addBoth"),
            PyTuple::new(py, all)?,
            kwargs,
        )?;
        Ok(slf)
    }
}
