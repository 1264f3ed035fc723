//! The methods of `asyncio.Task` that a [`TwistedTask`] has.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use super::task::{End, TwistedTask, Waiting};
use super::wake;
use crate::py::names;

impl TwistedTask {
    /// Notes how it ended and tells who asked.
    pub(super) fn ended(slf: &Bound<'_, Self>, end: End) -> PyResult<()> {
        let py = slf.py();
        let (old, waited, callbacks) = slf.get().inner.with(py, |inner, _| {
            (
                inner.end.replace(end),
                std::mem::replace(&mut inner.waiting, Waiting::Nothing),
                std::mem::take(&mut inner.callbacks),
            )
        });
        drop((old, waited));
        if slf.get().is_waited_on.replace(false)
            && let Some(status) = Self::part(slf, |parts| &parts.status)
        {
            // Else the two would keep each other alive.
            status.setattr(pyo3::intern!(py, "waitingOn"), py.None())?;
        }
        for (callback, context) in callbacks {
            Self::tell(slf, callback.bind(py), context)?;
        }
        Ok(())
    }

    fn tell(
        slf: &Bound<'_, Self>,
        callback: &Bound<'_, PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let event_loop = Self::get_loop(slf)?;
        wake::schedule(&event_loop, callback, slf.as_any(), context)
    }

    fn part<'py>(
        slf: &Bound<'py, Self>,
        which: impl FnOnce(&super::task::Parts) -> &Py<PyAny> + Send,
    ) -> Option<Bound<'py, PyAny>> {
        let py = slf.py();
        slf.get()
            .inner
            .with(py, |inner, refs| {
                inner.parts.as_ref().map(|parts| refs.clone(which(parts)))
            })
            .map(|part| part.into_bound(py))
    }

    fn not_done(py: Python<'_>, text: &'static str) -> PyErr {
        names::INVALID_STATE_ERROR
            .get(py)
            .and_then(|class| class.call1((text,)))
            .map_or_else(|error| error, PyErr::from_value)
    }
}

#[pymethods]
impl TwistedTask {
    #[getter]
    fn __class__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        names::ASYNCIO_TASK.get(py)
    }

    /// What it waited for is there; for the loop.
    #[pyo3(signature = (given=None, /))]
    fn __call__(slf: &Bound<'_, Self>, given: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        Self::step(slf, given.unwrap_or(slf.py().None().bind(slf.py())))
    }

    #[getter]
    fn _asyncio_future_blocking(&self) -> bool {
        self.blocking.get()
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, value: bool) {
        self.blocking.set(value);
    }

    /// The loop that ran when it took its last step. RuntimeError if there was none.
    fn get_loop<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.get()
            .event_loop(slf.py())
            .ok_or_else(|| PyRuntimeError::new_err("no event loop has run yet"))
    }

    #[getter]
    fn _loop<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyAny>> {
        slf.get().event_loop(slf.py())
    }

    /// The coroutine or generator.
    fn get_coro<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyAny>> {
        Self::part(slf, |parts| &parts.coroutine)
    }

    #[getter]
    fn _coro<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyAny>> {
        Self::get_coro(slf)
    }

    fn get_context<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyAny>> {
        Self::part(slf, |parts| &parts.context)
    }

    fn get_name<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let name = slf.get().inner.with(py, |inner, refs| {
            inner.name.as_ref().map(|name| refs.clone(name))
        });
        match name {
            Some(name) => Ok(name.into_bound(py)),
            None => names::TWISTED_TASK_NAME.get(py)?.call1((slf,)),
        }
    }

    fn set_name(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = value.str()?.into_any().unbind();
        let old = self.inner.with(py, |inner, _| inner.name.replace(name));
        drop(old);
        Ok(())
    }

    /// As `asyncio.Task`'s: the coroutine says how it ends, nobody else.
    fn set_result(&self, _result: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyRuntimeError::new_err(
            "Task does not support set_result operation",
        ))
    }

    fn set_exception(&self, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyRuntimeError::new_err(
            "Task does not support set_exception operation",
        ))
    }

    #[pyo3(signature = (*, limit=None))]
    fn get_stack<'py>(
        slf: &Bound<'py, Self>,
        limit: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        names::TASK_GET_STACK.get(slf.py())?.call1((slf, limit))
    }

    #[pyo3(signature = (*, limit=None, file=None))]
    fn print_stack<'py>(
        slf: &Bound<'py, Self>,
        limit: Option<Bound<'py, PyAny>>,
        file: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        names::TASK_PRINT_STACK
            .get(slf.py())?
            .call1((slf, limit, file))
    }

    /// For `print_stack()`: what it ended with.
    #[getter]
    fn _exception<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyAny>> {
        let py = slf.py();
        slf.get()
            .inner
            .with(py, |inner, refs| match &inner.end {
                Some(End::Error(error)) => Some(refs.clone(error)),
                _ => None,
            })
            .map(|error| error.into_bound(py))
    }

    /// What it waits for.
    #[getter]
    fn _fut_waiter(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| match &inner.waiting {
            Waiting::Deferred(awaiter) => Some(refs.clone(awaiter).into_any()),
            Waiting::Future(future, _) => Some(refs.clone(future)),
            _ => None,
        })
    }

    #[getter]
    fn _must_cancel(&self) -> bool {
        self.must_cancel.get()
    }

    /// As `asyncio.Task`'s: asks what it waits for to stop, and never has the coroutine take a step at once.
    #[pyo3(signature = (msg=None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        let py = slf.py();
        let task = slf.get();
        if task.is_over(py) {
            return Ok(false);
        }
        task.requests.set(task.requests.get() + 1);
        let old = task.inner.with(py, |inner, _| {
            std::mem::replace(&mut inner.cancel_message, msg)
        });
        drop(old);
        Self::pass_cancel_on(slf)?;
        Ok(true)
    }

    fn cancelling(&self) -> u32 {
        self.requests.get()
    }

    fn uncancel(&self) -> u32 {
        let left = self.requests.get().saturating_sub(1);
        self.requests.set(left);
        if left == 0 {
            self.must_cancel.set(false);
        }
        left
    }

    fn done(&self, py: Python<'_>) -> bool {
        self.is_over(py)
    }

    fn cancelled(&self, py: Python<'_>) -> bool {
        self.inner
            .with(py, |inner, _| matches!(inner.end, Some(End::Cancelled(_))))
    }

    fn result<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let (value, error) = slf.get().inner.with(py, |inner, refs| match &inner.end {
            Some(End::Value(value)) => (Some(refs.clone(value)), None),
            Some(End::Error(error) | End::Cancelled(error)) => (None, Some(refs.clone(error))),
            None => (None, None),
        });
        match (value, error) {
            (Some(value), _) => Ok(value.into_bound(py)),
            (_, Some(error)) => Err(PyErr::from_value(error.into_bound(py))),
            _ => Err(Self::not_done(py, "Result is not set.")),
        }
    }

    fn exception<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        let (over, error, cancelled) = slf.get().inner.with(py, |inner, refs| match &inner.end {
            Some(End::Error(error)) => (true, Some(refs.clone(error)), None),
            Some(End::Cancelled(error)) => (true, None, Some(refs.clone(error))),
            Some(End::Value(_)) => (true, None, None),
            None => (false, None, None),
        });
        if let Some(error) = cancelled {
            return Err(PyErr::from_value(error.into_bound(py)));
        }
        if !over {
            return Err(Self::not_done(py, "Exception is not set."));
        }
        Ok(error.map(|error| error.into_bound(py)))
    }

    #[pyo3(signature = (r#fn, *, context=None))]
    fn add_done_callback(
        slf: &Bound<'_, Self>,
        r#fn: Py<PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let context = match context.filter(|context| !context.is_none(py)) {
            Some(context) => context,
            None => crate::py::call::copy_context(py)?.unbind(),
        };
        if slf.get().is_over(py) {
            return Self::tell(slf, r#fn.bind(py), Some(context));
        }
        slf.get()
            .inner
            .with(py, |inner, _| inner.callbacks.push((r#fn, Some(context))));
        Ok(())
    }

    /// Answers how many were removed.
    fn remove_done_callback(slf: &Bound<'_, Self>, r#fn: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = slf.py();
        let all = slf
            .get()
            .inner
            .with(py, |inner, _| std::mem::take(&mut inner.callbacks));
        let before = all.len();
        let mut kept = Vec::with_capacity(before);
        for entry in all {
            if !entry.0.bind(py).eq(r#fn)? {
                kept.push(entry);
            }
        }
        let removed = before - kept.len();
        slf.get().inner.with(py, |inner, _| {
            kept.append(&mut inner.callbacks);
            inner.callbacks = kept;
        });
        Ok(removed)
    }

    fn __await__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        names::TWISTED_TASK_WAIT.get(slf.py())?.call1((slf,))
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::__await__(slf)
    }

    fn __repr__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        names::TWISTED_TASK_REPR.get(slf.py())?.call1((slf,))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if !self.built {
            return Ok(());
        }
        self.inner
            .try_with(|inner| {
                if let Some(parts) = &inner.parts {
                    visit.call(&parts.coroutine)?;
                    visit.call(&parts.status)?;
                    visit.call(&parts.context)?;
                }
                match &inner.waiting {
                    Waiting::Deferred(awaiter) => visit.call(awaiter)?,
                    Waiting::Future(object, _) => visit.call(object)?,
                    Waiting::TurnWith(result, awaiter) => {
                        visit.call(result)?;
                        visit.call(awaiter)?;
                    }
                    Waiting::Nothing | Waiting::Turn => {}
                }
                if let Some(End::Value(object) | End::Error(object) | End::Cancelled(object)) =
                    &inner.end
                {
                    visit.call(object)?;
                }
                for (callback, context) in &inner.callbacks {
                    visit.call(callback)?;
                    visit.call(context.as_ref())?;
                }
                visit.call(inner.event_loop.as_ref())?;
                visit.call(inner.cancel_message.as_ref())?;
                visit.call(inner.name.as_ref())
            })
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let taken = self.inner.with(py, |inner, _| {
            (
                inner.parts.take(),
                std::mem::replace(&mut inner.waiting, Waiting::Nothing),
                inner.end.take(),
                std::mem::take(&mut inner.callbacks),
                inner.event_loop.take(),
            )
        });
        drop(taken);
    }
}
