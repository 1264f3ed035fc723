//! The other half of an operation: the Future that its task waits for.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBool;

use super::{Operation, Phase, Place};
use crate::py::{coroutine, names, objects};
use crate::runtime::LoopCore;

#[pymethods]
impl Operation {
    /// What a task asks for each time it waits is answered without a look at the class.
    fn __getattribute__<'py>(
        slf: &Bound<'py, Self>,
        name: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if name.is(intern!(py, "_asyncio_future_blocking")) {
            return Ok(match slf.get().blocking.get() {
                Some(value) => PyBool::new(py, value).to_owned().into_any(),
                None => py.None().into_bound(py),
            });
        }
        if name.is(intern!(py, "get_loop")) {
            return LoopCore::bound_itself(slf.get().core.bind(py));
        }
        objects::generic_getattr(slf, name)
    }

    fn __setattr__(
        slf: &Bound<'_, Self>,
        name: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = slf.py();
        if name.is(intern!(py, "_asyncio_future_blocking"))
            && let Ok(value) = value.cast_exact::<PyBool>()
        {
            slf.get().blocking.set(Some(value.is_true()));
            return Ok(());
        }
        objects::generic_setattr(slf, name, Some(value))
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>) -> PyResult<()> {
        objects::generic_setattr(slf, name, None)
    }

    #[getter]
    fn _asyncio_future_blocking(&self) -> Option<bool> {
        self.blocking.get()
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, value: Option<bool>) {
        self.blocking.set(value);
    }

    #[getter]
    fn _loop(&self) -> &Py<LoopCore> {
        &self.core
    }

    /// As `asyncio.Future`'s; runs at once when the socket is ready.
    #[pyo3(signature = (r#fn, *, context=None))]
    fn add_done_callback(
        slf: &Bound<'_, Self>,
        r#fn: Py<PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let callback = (r#fn, context);
        if slf.get().is_done() {
            return Self::schedule(slf, callback);
        }
        let py = slf.py();
        slf.get().inner.with(py, |inner, _| {
            if inner.callback.is_none() {
                inner.callback = Some(callback);
            } else {
                inner.rare().more.push(callback);
            }
        });
        Ok(())
    }

    /// Whether the task may go on.
    fn done(&self) -> bool {
        self.is_done()
    }

    /// As `asyncio.Future`'s: None, or why the task does not go on by itself.
    fn result(&self, py: Python<'_>) -> PyResult<()> {
        match self.phase.get() {
            Phase::Woken | Phase::Over => {
                match self
                    .inner
                    .with(py, |inner, _| inner.rare.as_mut()?.error.take())
                {
                    Some(error) => Err(PyErr::from_value(error.into_bound(py))),
                    None => Ok(()),
                }
            }
            Phase::Cancelled => {
                let message = self
                    .inner
                    .with(py, |inner, _| inner.rare.as_mut()?.cancel_message.take());
                let class = names::CANCELLED_ERROR.get(py)?;
                Err(PyErr::from_value(match message {
                    Some(message) => class.call1((message,))?,
                    None => class.call0()?,
                }))
            }
            _ => Err(PyErr::from_value(
                names::INVALID_STATE_ERROR
                    .get(py)?
                    .call1(("Result is not set.",))?,
            )),
        }
    }

    /// As `asyncio.Future`'s.
    fn cancelled(&self) -> bool {
        self.phase.get() == Phase::Cancelled
    }

    /// As `asyncio.Future`'s, by whom it waits for: the task goes on in a turn of its own.
    fn set_result(slf: &Bound<'_, Self>, _result: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        if slf.get().phase.get() == Phase::Waiting {
            Self::wake(slf, false)?;
        }
        Ok(())
    }

    /// As `asyncio.Future`'s, by whom it waits for: the operation ends with that exception.
    fn set_exception(slf: &Bound<'_, Self>, exception: Bound<'_, PyAny>) -> PyResult<()> {
        if slf.get().phase.get() != Phase::Waiting {
            return Ok(());
        }
        let error = coroutine::thrown(&exception, None, None)?;
        let error = error.into_value(slf.py()).into_any();
        let old = slf
            .get()
            .inner
            .with(slf.py(), |inner, _| inner.rare().error.replace(error));
        drop(old);
        Self::wake(slf, false)
    }

    /// As `asyncio.Future`'s: false when the task is on its way already.
    #[pyo3(signature = (msg=None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        let py = slf.py();
        let operation = slf.get();
        if operation.phase.get() != Phase::Waiting {
            return Ok(false);
        }
        // With a reader it stays until its task lets go of it, as a Future would.
        if operation.place.get() != Place::Reader {
            Self::leave(slf)?;
        }
        operation.phase.set(Phase::Cancelled);
        let old = operation.inner.with(py, |inner, _| match msg {
            Some(msg) => inner.rare().cancel_message.replace(msg),
            None => None,
        });
        drop(old);
        let (first, more) = operation.take_callbacks(py);
        for callback in first.into_iter().chain(more) {
            Self::schedule(slf, callback)?;
        }
        Ok(true)
    }
}
