//! The iterator, as whoever drives the coroutine sees it.

use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use super::{DeferredAwaiter, Phase, Step};
use crate::py::coroutine;

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
        awaiter.is_for_nobody(slf.py());
        drop(callbacks);
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(match self.deferred(py) {
            Some(deferred) => format!("<awaiting {}>", deferred.repr()?),
            None => "<awaited>".to_owned(),
        })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.inner
            .try_with(|inner| {
                visit.call(inner.deferred.as_ref())?;
                visit.call(inner.entry.as_ref())?;
                visit.call(inner.adder.as_ref())?;
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
                inner.deferred.take(),
                inner.entry.take(),
                inner.adder.take(),
            )
        });
        drop((callbacks, rest));
    }
}
