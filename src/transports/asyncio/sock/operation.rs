//! The coroutine that `loop.sock_recv()` and its kin answer.
//!
//! It is tried in its first step. If it would block it parks itself on the loop's watcher and yields itself: to the
//! task it is the Future to wait for, too. So an operation costs one object, and when the socket is ready the task goes on
//! in that very turn, and receives then: what arrives for a task that was cancelled meanwhile stays in the kernel.

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use super::attempt::{Outcome, Subject, Work};
use crate::py::call::{self, Entered};
use crate::py::cell::{Flag, StateCell};
use crate::py::{coroutine, errors, names};
use crate::runtime::LoopCore;
use crate::runtime::watch::Side;
use crate::sys::Fd;

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    New,
    /// A step is being taken.
    Running,
    /// Parked on that side of the descriptor.
    Waiting(Fd, Side),
    /// Another coroutine is waited for.
    Delegating,
    Woken,
    Cancelled,
    Over,
}

/// A callback and the context it runs in.
type Callback = (Py<PyAny>, Option<Py<PyAny>>);

struct Inner {
    work: Work,
    /// The task's wake-up; others are rare.
    callback: Option<Callback>,
    more: Vec<Callback>,
    cancel_message: Option<Py<PyAny>>,
}

/// An operation on a socket, a coroutine; isinstance says `collections.abc.Coroutine`.
#[pyclass(frozen, module = "interloop._core")]
pub struct SockOperation {
    core: Py<LoopCore>,
    sock: Py<PyAny>,
    name: &'static str,
    inner: StateCell<Inner>,
    phase: Flag<Phase>,
    /// What a task asks of an awaited Future: None as long as it is a mere coroutine.
    blocking: Flag<Option<bool>>,
}

impl SockOperation {
    #[inline]
    pub fn new(
        core: &Bound<'_, LoopCore>,
        sock: Py<PyAny>,
        name: &'static str,
        work: Work,
    ) -> Self {
        SockOperation {
            core: core.clone().unbind(),
            sock,
            name,
            inner: StateCell::new(Inner {
                work,
                callback: None,
                more: Vec::new(),
                cancel_message: None,
            }),
            phase: Flag::new(Phase::New),
            blocking: Flag::new(None),
        }
    }

    fn qualified_name(&self) -> String {
        format!("Loop.{}", self.name)
    }

    /// What stock checks before anything else.
    #[inline]
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        let sock = self.sock.bind(py);
        if !sock.get_type().is(&names::SOCKET.get(py)?) {
            names::CHECK_SSL_SOCKET.get(py)?.call1((sock,))?;
        }
        if self.core.get().is_debug() && !sock.call_method0("gettimeout")?.eq(0)? {
            return Err(PyValueError::new_err("the socket must be non-blocking"));
        }
        Ok(())
    }

    /// Takes a step by `body`. Answers what to yield, or None when it is over without a value.
    #[inline]
    fn step<'py>(
        slf: &Bound<'py, Self>,
        body: impl FnOnce(&mut Work, &Subject<'_, 'py>) -> PyResult<Outcome<'py>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        let operation = slf.get();
        operation.phase.set(Phase::Running);
        let mut work = operation.take_work(py);
        let core = operation.core.bind(py);
        let sock = operation.sock.bind(py);
        let result = Subject::new(core, sock).and_then(|subject| {
            let outcome = body(&mut work, &subject)?;
            if let Outcome::Wait(side) = outcome {
                let fd = match subject.fd {
                    Some(fd) => fd,
                    None => sock.call_method0("fileno")?.extract()?,
                };
                let parked = slf.clone().into_any().unbind();
                LoopCore::park(core, sock, fd, side, parked, wake)?;
                operation.phase.set(Phase::Waiting(fd, side));
            }
            Ok(outcome)
        });
        match result {
            Ok(Outcome::Wait(_)) => {
                operation.give_work(py, work);
                operation.blocking.set(Some(true));
                Ok(Some(slf.clone().into_any()))
            }
            Ok(Outcome::Yield(yielded)) => {
                operation.give_work(py, work);
                operation.phase.set(Phase::Delegating);
                Ok(Some(yielded))
            }
            Ok(Outcome::Silent) => {
                operation.phase.set(Phase::Over);
                Ok(None)
            }
            Ok(Outcome::Done(value)) => {
                operation.phase.set(Phase::Over);
                Err(coroutine::finish(&value))
            }
            Err(error) => {
                operation.phase.set(Phase::Over);
                Err(error)
            }
        }
    }

    fn take_work(&self, py: Python<'_>) -> Work {
        self.inner.with(py, |inner, _| {
            std::mem::replace(&mut inner.work, Work::Nothing)
        })
    }

    fn give_work(&self, py: Python<'_>, work: Work) {
        let old = self
            .inner
            .with(py, |inner, _| std::mem::replace(&mut inner.work, work));
        drop(old);
    }

    /// Leaves the place where it waits.
    fn leave(slf: &Bound<'_, Self>) {
        if let Phase::Waiting(fd, side) = slf.get().phase.get() {
            let core = slf.get().core.get();
            core.unpark(slf.py(), fd, side, slf.as_any());
        }
    }

    fn take_callbacks(&self, py: Python<'_>) -> (Option<Callback>, Vec<Callback>) {
        self.inner.with(py, |inner, _| {
            (inner.callback.take(), std::mem::take(&mut inner.more))
        })
    }

    /// Has a callback run in a turn of its own.
    fn schedule(slf: &Bound<'_, Self>, (callback, context): Callback) -> PyResult<()> {
        let py = slf.py();
        let kwargs = pyo3::types::PyDict::new(py);
        kwargs.set_item(pyo3::intern!(py, "context"), context)?;
        // Through the instance.
        slf.get().core.bind(py).call_method(
            pyo3::intern!(py, "call_soon"),
            (callback, slf),
            Some(&kwargs),
        )?;
        Ok(())
    }

    fn is_done(&self) -> bool {
        matches!(
            self.phase.get(),
            Phase::Woken | Phase::Cancelled | Phase::Over
        )
    }

    fn exhausted() -> PyErr {
        PyRuntimeError::new_err("cannot reuse already awaited coroutine")
    }
}

/// The socket is ready: the task goes on, now. In debug mode as a callback of its own, so that a slow one is told by
/// its name.
fn wake(core: &Bound<'_, LoopCore>, object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = core.py();
    let slf = object.cast::<SockOperation>()?;
    let operation = slf.get();
    operation.phase.set(Phase::Woken);
    let (first, more) = operation.take_callbacks(py);
    for callback in first.into_iter().chain(more) {
        if core.get().is_debug() {
            SockOperation::schedule(slf, callback)?;
            continue;
        }
        let (callback, context) = &callback;
        let result = match context {
            Some(context) => Entered::new(context.bind(py))
                .and_then(|_entered| call::call1(callback.bind(py), object)),
            None => call::call1(callback.bind(py), object),
        };
        match result {
            Ok(_) => {}
            Err(error) if errors::is_fatal(py, &error) => return Err(error),
            Err(error) => {
                names::REPORT_OPERATION
                    .get(py)?
                    .call1((core, error, callback, object))?;
            }
        }
    }
    Ok(())
}

// The coroutine.
#[pymethods]
impl SockOperation {
    fn __await__<'a, 'py>(slf: &'a Bound<'py, Self>) -> &'a Bound<'py, Self> {
        slf
    }

    #[inline]
    fn __next__<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let operation = slf.get();
        match operation.phase.get() {
            Phase::New => {
                if let Err(error) = operation.check(slf.py()) {
                    operation.phase.set(Phase::Over);
                    return Err(error);
                }
            }
            Phase::Woken | Phase::Delegating => {}
            // Nothing has happened: it goes on waiting.
            Phase::Waiting(..) => {
                operation.blocking.set(Some(true));
                return Ok(Some(slf.clone().into_any()));
            }
            Phase::Running => return Err(PyValueError::new_err("coroutine already executing")),
            Phase::Cancelled | Phase::Over => return Err(Self::exhausted()),
        }
        Self::step(slf, |work, subject| work.attempt(subject))
    }

    /// As a coroutine's; what is sent in goes to nobody.
    #[pyo3(signature = (_value, /), text_signature = "($self, value, /)")]
    fn send<'py>(
        slf: &Bound<'py, Self>,
        _value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match Self::__next__(slf)? {
            Some(yielded) => Ok(yielded),
            None => Err(coroutine::finish(slf.py().None().bind(slf.py()))),
        }
    }

    /// As a coroutine's: the operation ends with that exception, and leaves its place.
    #[pyo3(signature = (typ, val=None, tb=None, /))]
    fn throw<'py>(
        slf: &Bound<'py, Self>,
        typ: &Bound<'py, PyAny>,
        val: Option<&Bound<'py, PyAny>>,
        tb: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let operation = slf.get();
        let error = coroutine::thrown(typ, val, tb)?;
        match operation.phase.get() {
            Phase::Running => return Err(PyValueError::new_err("coroutine already executing")),
            Phase::Over => return Err(Self::exhausted()),
            Phase::Delegating => {
                let yielded = Self::step(slf, |work, subject| {
                    let Work::Connect(connect) = work else {
                        return Err(error);
                    };
                    let Some(resolver) = connect.resolver().map(|object| object.clone_ref(py))
                    else {
                        return Err(error);
                    };
                    let step = coroutine::throw(resolver.bind(py), error)?;
                    connect.resolved(subject, resolver, step)
                })?;
                return yielded.ok_or_else(|| coroutine::finish(py.None().bind(py)));
            }
            Phase::New | Phase::Waiting(..) | Phase::Woken | Phase::Cancelled => {}
        }
        Self::leave(slf);
        operation.phase.set(Phase::Over);
        drop(operation.take_work(py));
        Err(error)
    }

    /// As a coroutine's: the operation is given up.
    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let operation = slf.get();
        if operation.phase.get() == Phase::Running {
            return Err(PyValueError::new_err("coroutine already executing"));
        }
        Self::leave(slf);
        operation.phase.set(Phase::Over);
        let work = operation.take_work(py);
        if let Work::Connect(connect) = &work
            && let Some(resolver) = connect.resolver()
        {
            resolver.bind(py).call_method0("close")?;
        }
        Ok(())
    }

    #[getter]
    fn __name__(&self) -> &'static str {
        self.name
    }

    #[getter]
    fn __qualname__(&self) -> String {
        self.qualified_name()
    }

    #[getter]
    fn cr_running(&self) -> bool {
        self.phase.get() == Phase::Running
    }

    #[getter]
    fn cr_suspended(&self) -> bool {
        !matches!(self.phase.get(), Phase::New | Phase::Running | Phase::Over)
    }

    /// None: it has no Python frame.
    #[getter]
    fn cr_frame(&self) -> Option<Py<PyAny>> {
        None
    }

    /// The coroutine that looks a name up, while it does.
    #[getter]
    fn cr_await(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| match &inner.work {
            Work::Connect(connect) => connect.resolver().map(|object| refs.clone(object)),
            _ => None,
        })
    }

    fn __repr__(slf: &Bound<'_, Self>) -> String {
        let (name, address) = (slf.get().qualified_name(), slf.as_ptr());
        format!("<coroutine object {name} at {address:p}>")
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.core)?;
        visit.call(&self.sock)?;
        self.inner
            .try_with(|inner| {
                for (callback, context) in inner.callback.iter().chain(&inner.more) {
                    visit.call(callback)?;
                    visit.call(context.as_ref())?;
                }
                visit.call(inner.cancel_message.as_ref())?;
                let mut result = Ok(());
                inner.work.visit(&mut |object| {
                    if result.is_ok() {
                        result = visit.call(object);
                    }
                });
                result
            })
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let callbacks = self.take_callbacks(py);
        let work = self.take_work(py);
        drop((callbacks, work));
    }
}

// The Future that its task waits for.
#[pymethods]
impl SockOperation {
    #[getter]
    fn _asyncio_future_blocking(&self) -> Option<bool> {
        self.blocking.get()
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, value: Option<bool>) {
        self.blocking.set(value);
    }

    fn get_loop(&self) -> &Py<LoopCore> {
        &self.core
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
                inner.more.push(callback);
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
            Phase::Woken | Phase::Over => Ok(()),
            Phase::Cancelled => {
                let message = self.inner.with(py, |inner, _| inner.cancel_message.take());
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

    /// As `asyncio.Future`'s: false when the task is on its way already.
    #[pyo3(signature = (msg=None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        let py = slf.py();
        let operation = slf.get();
        if !matches!(operation.phase.get(), Phase::Waiting(..)) {
            return Ok(false);
        }
        Self::leave(slf);
        operation.phase.set(Phase::Cancelled);
        let old = operation.inner.with(py, |inner, _| {
            std::mem::replace(&mut inner.cancel_message, msg)
        });
        drop(old);
        let (first, more) = operation.take_callbacks(py);
        for callback in first.into_iter().chain(more) {
            Self::schedule(slf, callback)?;
        }
        Ok(true)
    }
}

impl Drop for SockOperation {
    #[inline]
    fn drop(&mut self) {
        if self.phase.get() == Phase::New {
            // SAFETY: only Python's deallocator drops an operation: it has the GIL.
            let py = unsafe { Python::assume_attached() };
            coroutine::warn_unawaited(py, &self.qualified_name());
        }
    }
}
