//! Taking a coroutine's steps: what Twisted's `_inlineCallbacks` does, for Futures and turns of the loop, too.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::iterator::PySendResult;
use pyo3::types::{PyList, PyType};

use super::awaiter::DeferredAwaiter;
use super::current::{self, Current};
use super::failure;
use super::task::{End, Parts, TwistedTask, Waiting};
use crate::py::call::{self, Entered};
use crate::py::nesting::Level;
use crate::py::{coroutine, names, objects};

/// What a step begins with.
pub enum Input<'py> {
    Value(Bound<'py, PyAny>),
    Error(PyErr),
}

/// `twisted.internet.defer._inlineCallbacks`: the first steps of a coroutine, or the next ones of one that Twisted drove
/// until now. `result` may be a Failure.
#[pyfunction]
#[pyo3(signature = (result, r#gen, status, context, /))]
pub fn inline_callbacks(
    result: &Bound<'_, PyAny>,
    r#gen: Py<PyAny>,
    status: Py<PyAny>,
    context: Py<PyAny>,
) -> PyResult<()> {
    let task = Bound::new(
        result.py(),
        TwistedTask::new(Parts {
            coroutine: r#gen,
            status,
            context,
        }),
    )?;
    resume(&task, None, result)
}

/// Goes on with a Deferred's result: the value or the Failure.
#[inline]
pub fn resume<'py>(
    slf: &Bound<'py, TwistedTask>,
    awaiter: Option<&Bound<'py, DeferredAwaiter>>,
    result: &Bound<'py, PyAny>,
) -> PyResult<()> {
    run(slf, input_of(slf, awaiter, result)?)
}

#[inline]
fn input_of<'py>(
    slf: &Bound<'py, TwistedTask>,
    awaiter: Option<&Bound<'py, DeferredAwaiter>>,
    result: &Bound<'py, PyAny>,
) -> PyResult<Input<'py>> {
    let py = slf.py();
    let requested = slf.get().requested.replace(false);
    if failure::is_failure(result)? {
        let message = requested.then(|| {
            slf.get()
                .inner
                .with(py, |inner, _| inner.cancel_message.take())
        });
        let awaited = awaiter.is_some_and(|awaiter| awaiter.get().is_awaited());
        let given = (result, requested, message.flatten(), awaited);
        let error = names::TWISTED_THROWN.get(py)?.call1(given)?;
        return Ok(Input::Error(PyErr::from_value(error)));
    }
    Ok(Input::Value(match awaiter {
        // It hands the value over when it is asked to go on.
        Some(awaiter) if awaiter.get().is_awaited() => {
            awaiter.get().give(py, result.clone().unbind());
            py.None().into_bound(py)
        }
        _ => result.clone(),
    }))
}

/// What is to be done after a yield.
enum Next<'py> {
    Wait,
    Step(Input<'py>),
}

/// Takes steps until it waits for something or ends. Errors: what Twisted's own lets out, those of a canceller or a
/// second `callback()`.
pub fn run<'py>(slf: &Bound<'py, TwistedTask>, mut input: Input<'py>) -> PyResult<()> {
    let py = slf.py();
    // One coroutine's end can be what the next one waits for.
    let _level = Level::enter(py)?;
    let task = slf.get();
    let running = current::running_loop(py)?;
    let kept = running.clone().map(Bound::unbind);
    let (parts, old) = task.inner.with(py, |inner, refs| {
        let parts = inner.parts.as_ref().map(|parts| {
            (
                refs.clone(&parts.coroutine),
                refs.clone(&parts.status),
                refs.clone(&parts.context),
            )
        });
        let old = kept.and_then(|kept| inner.event_loop.replace(kept));
        (parts, old)
    });
    drop(old);
    let Some((coroutine, status, context)) = parts else {
        return Ok(());
    };
    let (coroutine, status, context) = (coroutine.bind(py), status.bind(py), context.bind(py));
    loop {
        let step = {
            let _current = match &running {
                Some(event_loop) => Some(Current::new(event_loop, slf.as_any())?),
                None => None,
            };
            Entered::new(context).and_then(|_entered| match input {
                Input::Value(value) => coroutine::send(coroutine, &value),
                Input::Error(error) => coroutine::throw(coroutine, error),
            })
        };
        let next = match step {
            Ok(PySendResult::Next(yielded)) => {
                wait(slf, coroutine, status, running.as_ref(), yielded)?
            }
            Ok(PySendResult::Return(_)) if task.must_cancel.replace(false) => {
                // Asked for in its last step, as with `asyncio.Task`.
                return fail(slf, coroutine, status, context, task.cancelled_error(py));
            }
            Ok(PySendResult::Return(value)) => return succeed(slf, status, value),
            Err(error) => return fail(slf, coroutine, status, context, error),
        };
        input = match next {
            Next::Wait => return Ok(()),
            Next::Step(input) => input,
        };
    }
}

#[inline]
fn wait<'py>(
    slf: &Bound<'py, TwistedTask>,
    coroutine: &Bound<'py, PyAny>,
    status: &Bound<'py, PyAny>,
    running: Option<&Bound<'py, PyAny>>,
    yielded: Bound<'py, PyAny>,
) -> PyResult<Next<'py>> {
    let py = slf.py();
    if let Ok(awaiter) = yielded.cast_exact::<DeferredAwaiter>() {
        awaiter.get().set_awaited();
        return wait_for_deferred(slf, status, awaiter);
    }
    let class = yielded.get_type();
    if is_deferred(&class)? {
        let awaiter = Bound::new(py, DeferredAwaiter::new(yielded.unbind()))?;
        return wait_for_deferred(slf, status, &awaiter);
    }
    if let Some(blocking) = future_blocking(&class, &yielded)? {
        return match wait_for_future(slf, status, running, &yielded, blocking) {
            Ok(()) => Ok(Next::Wait),
            Err(error) => Ok(Next::Step(Input::Error(error))),
        };
    }
    if yielded.is_none() && running.is_some() && !is_generator(coroutine) {
        // `asyncio.sleep(0)`: the loop turns once.
        slf.get().wait_for(py, Waiting::Turn);
        TwistedTask::is_what_is_waited_on(slf, status)?;
        TwistedTask::go_on_later(slf)?;
        return Ok(Next::Wait);
    }
    if is_coroutine(&yielded)? {
        let deferred = names::TWISTED_SPAWN.get(py)?.call1((yielded,))?;
        let awaiter = Bound::new(py, DeferredAwaiter::new(deferred.unbind()))?;
        return wait_for_deferred(slf, status, &awaiter);
    }
    Ok(Next::Step(Input::Value(yielded)))
}

#[inline]
fn wait_for_deferred<'py>(
    slf: &Bound<'py, TwistedTask>,
    status: &Bound<'py, PyAny>,
    awaiter: &Bound<'py, DeferredAwaiter>,
) -> PyResult<Next<'py>> {
    let py = slf.py();
    if let Some(result) = DeferredAwaiter::wait(awaiter, slf)? {
        return Ok(Next::Step(input_of(slf, Some(awaiter), &result)?));
    }
    let old = slf
        .get()
        .wait_for(py, Waiting::Deferred(awaiter.clone().unbind()));
    drop(old);
    slf.get().is_waited_on.set(false);
    status.setattr(intern!(py, "waitingOn"), awaiter.get().deferred(py))?;
    if slf.get().must_cancel.get() {
        TwistedTask::pass_cancel_on(slf)?;
    }
    Ok(Next::Wait)
}

fn wait_for_future<'py>(
    slf: &Bound<'py, TwistedTask>,
    status: &Bound<'py, PyAny>,
    running: Option<&Bound<'py, PyAny>>,
    future: &Bound<'py, PyAny>,
    blocking: bool,
) -> PyResult<()> {
    let py = slf.py();
    if let Some(running) = running
        && !loop_of(future)?.is(running)
    {
        return Err(pyo3::exceptions::PyRuntimeError::new_err(format!(
            "{} got Future {} attached to a different loop",
            slf.repr()?,
            future.repr()?
        )));
    }
    if future.is(slf) {
        return Err(pyo3::exceptions::PyRuntimeError::new_err(format!(
            "Task cannot await on itself: {}",
            slf.repr()?
        )));
    }
    if blocking {
        future.setattr(intern!(py, "_asyncio_future_blocking"), false)?;
    }
    let waiting = Waiting::Future(future.clone().unbind(), !blocking);
    let old = slf.get().wait_for(py, waiting);
    drop(old);
    TwistedTask::is_what_is_waited_on(slf, status)?;
    // In a copy of the context that the step was taken from: what comes after the coroutine belongs there.
    if let Err(error) = call::call_method1(future, intern!(py, "add_done_callback"), slf.as_any()) {
        let old = slf.get().wait_for(py, Waiting::Nothing);
        drop(old);
        return Err(error);
    }
    if slf.get().must_cancel.get() {
        TwistedTask::pass_cancel_on(slf)?;
    }
    Ok(())
}

fn loop_of<'py>(future: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = future.py();
    match future.getattr_opt(intern!(py, "get_loop"))? {
        Some(get_loop) => get_loop.call0(),
        None => future.getattr(intern!(py, "_loop")),
    }
}

/// As `asyncio.isfuture()`: `_asyncio_future_blocking`, if it is one.
fn future_blocking(class: &Bound<'_, PyType>, object: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
    let name = intern!(object.py(), "_asyncio_future_blocking");
    if class.getattr_opt(name)?.is_none() {
        return Ok(None);
    }
    let blocking = object.getattr(name)?;
    Ok(if blocking.is_none() {
        None
    } else {
        Some(blocking.is_truthy()?)
    })
}

#[inline]
pub fn is_deferred(class: &Bound<'_, PyType>) -> PyResult<bool> {
    let py = class.py();
    if class.is(&names::TWISTED_DEFERRED.get(py)?) {
        return Ok(true);
    }
    // What is made most often, a str or None, is of no such class.
    if !objects::is_heap_type(class) {
        return Ok(false);
    }
    // By address, which is what equality of classes means: to have the interpreter compare each takes 500 instructions.
    let classes = names::TWISTED_DEFERREDS.get(py)?;
    let mut classes = classes.cast::<PyList>()?.iter();
    Ok(classes.any(|one| one.is(class)))
}

fn is_generator(object: &Bound<'_, PyAny>) -> bool {
    names::GENERATOR
        .get(object.py())
        .is_ok_and(|class| object.get_type().is(&class))
}

/// What Twisted runs when it is yielded: a coroutine or a generator.
fn is_coroutine(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let is = names::ASYNCIO_IS_COROUTINE.get(object.py())?;
    Ok(is_generator(object) || call::call1(&is, object)?.is_truthy()?)
}

fn succeed(
    slf: &Bound<'_, TwistedTask>,
    status: &Bound<'_, PyAny>,
    value: Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = slf.py();
    TwistedTask::ended(slf, End::Value(value.clone().unbind()))?;
    let deferred = status.getattr(intern!(py, "deferred"))?;
    call::call_method1(&deferred, intern!(py, "callback"), &value)?;
    Ok(())
}

#[cold]
fn fail(
    slf: &Bound<'_, TwistedTask>,
    coroutine: &Bound<'_, PyAny>,
    status: &Bound<'_, PyAny>,
    context: &Bound<'_, PyAny>,
    error: PyErr,
) -> PyResult<()> {
    let py = slf.py();
    let error = error.into_value(py).into_any();
    let end = if error
        .bind(py)
        .is_instance(&names::CANCELLED_ERROR.get(py)?)?
    {
        End::Cancelled(error.clone_ref(py))
    } else {
        End::Error(error.clone_ref(py))
    };
    TwistedTask::ended(slf, end)?;
    let given = (status, error, coroutine, context);
    names::TWISTED_END.get(py)?.call1(given)?;
    Ok(())
}
