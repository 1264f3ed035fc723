//! The attributes of Twisted's DelayedCall, which programs and suites read and write.

use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::delayed_call::DelayedCall;

#[pymethods]
impl DelayedCall {
    #[getter]
    fn time(&self) -> f64 {
        self.time.get()
    }

    #[setter(time)]
    fn set_time(&self, value: f64) {
        self.time.set(value);
    }

    #[getter]
    fn delayed_time(&self) -> f64 {
        self.delayed_time.get()
    }

    #[setter(delayed_time)]
    fn set_delayed_time(&self, value: f64) {
        self.delayed_time.set(value);
    }

    #[getter]
    fn cancelled(&self) -> u8 {
        self.cancelled.get().into()
    }

    #[setter(cancelled)]
    fn set_cancelled(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.cancelled.set(value.is_truthy()?);
        Ok(())
    }

    #[getter]
    fn called(&self) -> u8 {
        self.called.get().into()
    }

    #[setter(called)]
    fn set_called(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.called.set(value.is_truthy()?);
        Ok(())
    }

    #[getter]
    fn func(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.inner
            .with(py, |inner, refs| {
                inner.func.as_ref().map(|func| refs.clone(func))
            })
            .ok_or_else(|| PyAttributeError::new_err("func"))
    }

    #[setter(func)]
    fn set_func(&self, py: Python<'_>, value: Py<PyAny>) {
        let old = self.inner.with(py, |inner, _| inner.func.replace(value));
        drop(old);
    }

    #[getter]
    fn args(&self, py: Python<'_>) -> PyResult<Py<PyTuple>> {
        self.inner
            .with(py, |inner, refs| {
                inner.args.as_ref().map(|args| refs.clone(args))
            })
            .ok_or_else(|| PyAttributeError::new_err("args"))
    }

    #[setter(args)]
    fn set_args(&self, py: Python<'_>, value: Py<PyTuple>) {
        let old = self.inner.with(py, |inner, _| inner.args.replace(value));
        drop(old);
    }

    #[getter]
    fn kw(&self, py: Python<'_>) -> PyResult<Py<PyDict>> {
        let (kw, kept) = self.inner.with(py, |inner, refs| {
            (
                inner.kw.as_ref().map(|kw| refs.clone(kw)),
                inner.func.is_some(),
            )
        });
        match kw {
            Some(kw) => Ok(kw),
            None if kept => {
                let kw = PyDict::new(py).unbind();
                self.set_kw(py, kw.clone_ref(py));
                Ok(kw)
            }
            None => Err(PyAttributeError::new_err("kw")),
        }
    }

    #[setter(kw)]
    fn set_kw(&self, py: Python<'_>, value: Py<PyDict>) {
        let old = self.inner.with(py, |inner, _| inner.kw.replace(value));
        drop(old);
    }

    /// What tells the time for it: the reactor's, when it was scheduled.
    #[getter]
    fn seconds(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| {
            inner.seconds.as_ref().map(|seconds| refs.clone(seconds))
        })
    }

    #[setter(seconds)]
    fn set_seconds(&self, py: Python<'_>, value: Py<PyAny>) {
        let old = self.inner.with(py, |inner, _| inner.seconds.replace(value));
        drop(old);
    }

    /// In debug mode the stack of its scheduling, as lines.
    #[getter]
    fn creator(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| {
            inner.creator.as_ref().map(|creator| refs.clone(creator))
        })
    }

    #[setter(creator)]
    fn set_creator(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        let old = self
            .inner
            .with(py, |inner, _| std::mem::replace(&mut inner.creator, value));
        drop(old);
    }

    /// `DelayedCall.debug` of Twisted's class, unless it was set here.
    #[getter]
    fn debug(&self, py: Python<'_>) -> PyResult<bool> {
        self.is_debugged(py)
    }

    #[setter(debug)]
    fn set_debug(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.debug.set(Some(value.is_truthy()?));
        Ok(())
    }

    #[getter]
    fn _repr(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| {
            inner.repr.as_ref().map(|repr| refs.clone(repr))
        })
    }
}
