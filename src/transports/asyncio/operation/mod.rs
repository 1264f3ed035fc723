//! The coroutine that `loop.sock_recv()` and its kin answer, and a stream's `read()` and `drain()`.
//!
//! It is tried in its first step. If it would block it parks itself (on the loop's watcher, or with the stream's reader)
//! and yields itself: to the task it is the Future to wait for, too. So an operation costs one object, and when what it
//! waits for is there the task goes on in that very turn. A socket is read then and not before: what arrives for a task
//! that was cancelled meanwhile stays in the kernel.

mod future;
mod spare;

use std::mem::ManuallyDrop;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use super::sock::{Outcome, Subject, Work};
use super::streams::Reading;
use crate::py::call;
use crate::py::cell::{Flag, StateCell};
use crate::py::{coroutine, names};
use crate::runtime::LoopCore;
use crate::runtime::done::{self, Callback};
use crate::runtime::state::Item;
use crate::runtime::watch::Side;
use crate::sys::Fd;

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    New,
    /// A step is being taken.
    Running,
    /// Parked.
    Waiting,
    /// Another coroutine is waited for.
    Delegating,
    Woken,
    Cancelled,
    Over,
}

/// Where it is parked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Nowhere,
    /// On that side of a descriptor.
    Watcher(Fd, Side),
    /// As the `_waiter` of a `StreamReader`.
    Reader,
}

/// Whose it is, by its qualified name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Loop,
    Reader,
    Writer,
}

impl Kind {
    fn of(work: &Work) -> Self {
        match work {
            Work::Read(_) => Kind::Reader,
            Work::Drain(_) => Kind::Writer,
            _ => Kind::Loop,
        }
    }
}

struct Inner {
    /// The socket, the `StreamReader` or the `StreamWriter`; None once it is over.
    subject: Option<Py<PyAny>>,
    work: Work,
    /// The task's wake-up.
    callback: Option<Callback>,
    rare: Option<Box<Rare>>,
}

/// What most operations never need: they are made by the hundred thousand.
#[derive(Default)]
struct Rare {
    more: Vec<Callback>,
    cancel_message: Option<Py<PyAny>>,
    /// What the task is told instead of going on.
    error: Option<Py<PyAny>>,
}

impl Inner {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

/// An operation on a socket or a stream, a coroutine; isinstance says `collections.abc.Coroutine`.
#[pyclass(frozen, module = "interloop._core")]
pub struct Operation {
    core: ManuallyDrop<Py<LoopCore>>,
    name: Flag<&'static str>,
    kind: Flag<Kind>,
    inner: StateCell<Inner>,
    phase: Flag<Phase>,
    place: Flag<Place>,
    /// What a task asks of an awaited Future: None as long as it is a mere coroutine.
    blocking: Flag<Option<bool>>,
}

impl Operation {
    #[inline]
    pub fn new(
        core: &Bound<'_, LoopCore>,
        subject: Py<PyAny>,
        name: &'static str,
        work: Work,
    ) -> Self {
        Operation {
            core: ManuallyDrop::new(core.clone().unbind()),
            kind: Flag::new(Kind::of(&work)),
            name: Flag::new(name),
            inner: StateCell::new(Inner {
                subject: Some(subject),
                work,
                callback: None,
                rare: None,
            }),
            phase: Flag::new(Phase::New),
            place: Flag::new(Place::Nowhere),
            blocking: Flag::new(None),
        }
    }

    /// What it is about. Errors: RuntimeError once it is over.
    #[inline]
    fn subject<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.inner
            .with(py, |inner, refs| {
                inner.subject.as_ref().map(|subject| refs.clone(subject))
            })
            .map(|subject| subject.into_bound(py))
            .ok_or_else(Self::exhausted)
    }

    fn qualified_name(&self) -> String {
        let owner = match self.kind.get() {
            Kind::Reader => "StreamReader",
            Kind::Writer => "StreamWriter",
            Kind::Loop => "Loop",
        };
        format!("{owner}.{}", self.name.get())
    }

    /// What stock checks before anything else.
    #[inline]
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.kind.get() != Kind::Loop {
            return Ok(());
        }
        let sock = &self.subject(py)?;
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
        let sock = &operation.subject(py)?;
        operation.phase.set(Phase::Running);
        let mut work = operation.take_work(py);
        let core = operation.core.bind(py);
        let subject = match operation.kind.get() {
            Kind::Loop => Subject::new(core, sock),
            Kind::Reader | Kind::Writer => Ok(Subject::of_stream(core, sock)),
        };
        let result = subject.and_then(|subject| {
            let outcome = body(&mut work, &subject)?;
            match outcome {
                Outcome::Wait(side) => {
                    let fd = match subject.fd {
                        Some(fd) => fd,
                        None => sock.call_method0("fileno")?.extract()?,
                    };
                    let parked = slf.clone().into_any().unbind();
                    LoopCore::park(core, sock, fd, side, parked, resume)?;
                    operation.place.set(Place::Watcher(fd, side));
                    operation.phase.set(Phase::Waiting);
                }
                Outcome::WaitForReader => {
                    if let Work::Read(reading) = &work {
                        reading.park(sock, slf.as_any())?;
                    }
                    operation.place.set(Place::Reader);
                    operation.phase.set(Phase::Waiting);
                }
                _ => {}
            }
            Ok(outcome)
        });
        match result {
            Ok(Outcome::Wait(_) | Outcome::WaitForReader) => {
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
                Self::end(slf);
                Ok(None)
            }
            Ok(Outcome::Done(value)) => {
                Self::end(slf);
                Err(coroutine::finish(&value))
            }
            Err(error) => {
                Self::end(slf);
                Err(error)
            }
        }
    }

    /// Gives up what it does; a reader's bytes that it was given and did not take go back.
    fn abandon(slf: &Bound<'_, Self>) -> PyResult<Work> {
        let py = slf.py();
        Self::leave(slf)?;
        slf.get().phase.set(Phase::Over);
        let mut work = slf.get().take_work(py);
        if let Work::Read(reading) = &mut work {
            reading.give_back(&slf.get().subject(py)?)?;
        }
        Ok(work)
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
    fn leave(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let operation = slf.get();
        match operation.place.replace(Place::Nowhere) {
            Place::Nowhere => Ok(()),
            Place::Watcher(fd, side) => {
                operation.core.get().unpark(py, fd, side, slf.as_any());
                Ok(())
            }
            Place::Reader => Reading::unpark(&operation.subject(py)?, slf.as_any()),
        }
    }

    /// Whether it waits for a reader's bytes.
    pub fn is_parked(&self) -> bool {
        self.phase.get() == Phase::Waiting
    }

    pub fn is_debug(&self) -> bool {
        self.core.get().is_debug()
    }

    /// Looks at what it does, while it waits.
    pub fn with_reading<R: Send>(
        &self,
        py: Python<'_>,
        body: impl FnOnce(&mut Reading) -> R + Send,
    ) -> Option<R> {
        self.inner.with(py, |inner, _| match &mut inner.work {
            Work::Read(reading) => Some(body(reading)),
            _ => None,
        })
    }

    /// Has its task go on: at once, which must be outside of any task, or in the next turn. In debug mode as callbacks of
    /// their own, so that a slow one is told by its name.
    pub fn wake(slf: &Bound<'_, Self>, at_once: bool) -> PyResult<()> {
        let py = slf.py();
        let operation = slf.get();
        operation.phase.set(Phase::Woken);
        operation.place.set(Place::Nowhere);
        let core = operation.core.bind(py);
        if core.get().is_debug() {
            let (first, more) = operation.take_callbacks(py);
            for callback in first.into_iter().chain(more) {
                Self::schedule(slf, callback)?;
            }
            return Ok(());
        }
        if at_once {
            return go_on(core, slf.as_any());
        }
        let woken = slf.clone().into_any().unbind();
        core.get().push(py, Item::Wake(woken, go_on));
        Ok(())
    }

    fn take_callbacks(&self, py: Python<'_>) -> (Option<Callback>, Vec<Callback>) {
        self.inner.with(py, |inner, _| {
            let more = match &mut inner.rare {
                Some(rare) => std::mem::take(&mut rare.more),
                None => Vec::new(),
            };
            (inner.callback.take(), more)
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

    /// Whether its task is to be told an exception.
    fn has_error(&self, py: Python<'_>) -> bool {
        self.inner.with(
            py,
            |inner, _| matches!(&inner.rare, Some(rare) if rare.error.is_some()),
        )
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

/// The socket is ready: the task goes on, now.
fn resume(_core: &Bound<'_, LoopCore>, object: &Bound<'_, PyAny>) -> PyResult<()> {
    Operation::wake(object.cast::<Operation>()?, true)
}

/// Tells whoever waits for the operation: its task takes its next step in here.
fn go_on(core: &Bound<'_, LoopCore>, object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = core.py();
    let operation = object.cast::<Operation>()?.get();
    let (first, more) = operation.take_callbacks(py);
    // A task asks any object but asyncio's own Future for its result by a name made anew each time, which costs more
    // than the rest of waking it. There is nothing to be told by ours: it gets a Future that has ended with None.
    let plain = operation.phase.get() == Phase::Woken && !operation.has_error(py);
    for callback in first.into_iter().chain(more) {
        let told = if plain && coroutine::is_task_wakeup(callback.0.bind(py))? {
            &names::FINISHED_FUTURE.get(py)?
        } else {
            object
        };
        done::tell(core, callback, told, object)?;
    }
    Ok(())
}

// The coroutine.
#[pymethods]
impl Operation {
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
            Phase::Waiting => {
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
                    let Some(inner) = work.awaited().map(|object| object.clone_ref(py)) else {
                        return Err(error);
                    };
                    let step = coroutine::throw(inner.bind(py), error)?;
                    work.stepped(subject, inner, step)
                })?;
                return yielded.ok_or_else(|| coroutine::finish(py.None().bind(py)));
            }
            Phase::New | Phase::Waiting | Phase::Woken | Phase::Cancelled => {}
        }
        drop(Self::abandon(slf)?);
        Err(error)
    }

    /// As a coroutine's: the operation is given up.
    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let operation = slf.get();
        if operation.phase.get() == Phase::Running {
            return Err(PyValueError::new_err("coroutine already executing"));
        }
        let work = Self::abandon(slf)?;
        if let Some(inner) = work.awaited() {
            inner.bind(py).call_method0("close")?;
        }
        Ok(())
    }

    #[getter]
    fn __name__(&self) -> &'static str {
        self.name.get()
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

    /// The coroutine that it awaits, such as one that looks a name up.
    #[getter]
    fn cr_await(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.with(py, |inner, refs| {
            inner.work.awaited().map(|object| refs.clone(object))
        })
    }

    fn __repr__(slf: &Bound<'_, Self>) -> String {
        let (name, address) = (slf.get().qualified_name(), slf.as_ptr());
        format!("<coroutine object {name} at {address:p}>")
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&*self.core)?;
        self.inner
            .try_with(|inner| {
                visit.call(inner.subject.as_ref())?;
                let rare = inner.rare.as_deref();
                let more = rare.map_or(&[][..], |rare| &rare.more);
                for (callback, context) in inner.callback.iter().chain(more) {
                    visit.call(callback)?;
                    visit.call(context.as_ref())?;
                }
                if let Some(rare) = rare {
                    visit.call(rare.cancel_message.as_ref())?;
                    visit.call(rare.error.as_ref())?;
                }
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
        let subject = self.inner.with(py, |inner, _| inner.subject.take());
        drop((callbacks, work, subject));
    }
}

impl Drop for Operation {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: only Python's deallocator drops an operation: it has the GIL.
        let py = unsafe { Python::assume_attached() };
        if self.phase.get() == Phase::New {
            coroutine::warn_unawaited(py, &self.qualified_name());
        }
        let inner = self.inner.get_mut();
        if let Some((callback, context)) = inner.callback.take() {
            call::release(py, Some(callback));
            call::release(py, context);
        }
        call::release(py, inner.subject.take());
        // SAFETY: nobody looks at it after this.
        let core = unsafe { ManuallyDrop::take(&mut self.core) };
        call::release(py, Some(core));
    }
}
