//! `callLater` and `getDelayedCalls`. Most calls are cancelled, or made once: what one costs is making the object.

use pyo3::exceptions::PyAssertionError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::delayed_call::{self, DelayedCall, Inner};
use crate::py::cell::{Flag, StateCell};
use crate::py::{call, names, objects};
use crate::runtime::LoopCore;

/// A method of the reactor's: call `callable` in `delay` seconds (at least 0), in a copy of the current context.
///
/// Raises AssertionError for a negative delay, RuntimeError when the loop is closed; in debug mode when called from
/// another thread than the loop's. Counterpart: `ReactorBase.callLater`, whose calls run in whatever context is the loop's.
#[pyfunction]
#[pyo3(signature = (reactor, /, delay, callable, *args, **kw))]
pub fn call_later<'py>(
    reactor: &Bound<'py, PyAny>,
    delay: &Bound<'py, PyAny>,
    callable: Py<PyAny>,
    args: Bound<'py, PyTuple>,
    kw: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, DelayedCall>> {
    let py = reactor.py();
    let wait = delayed_call::number(delay)?;
    if wait.is_nan() || wait < 0.0 {
        return Err(PyAssertionError::new_err(format!(
            "{delay} is not greater than or equal to 0 seconds"
        )));
    }
    let owner = objects::instance_dict(reactor)?;
    let core = match owner.get_item(intern!(py, "_asyncioEventloop"))? {
        Some(core) => core,
        // Between two loops; the attribute makes it one.
        None => reactor.getattr(intern!(py, "_asyncioEventloop"))?,
    };
    let core = core.cast_into::<LoopCore>()?;
    core.get().check_closed()?;
    if core.get().is_debug() {
        core.call_method0(intern!(py, "_check_thread"))?;
    }
    let seconds = reactor.getattr(intern!(py, "seconds"))?;
    let time = delayed_call::tell(&seconds)? + wait;
    let context = call::copy_context(py)?.unbind();
    let creator = if delayed_call::debug_of_class(py)? {
        Some(names::TWISTED_CREATOR.get(py)?.call0()?.unbind())
    } else {
        None
    };
    let delayed = Bound::new(
        py,
        DelayedCall {
            inner: StateCell::new(Inner {
                func: Some(callable),
                args: Some(args.unbind()),
                kw: kw.map(Bound::unbind),
                seconds: Some(seconds.unbind()),
                context: Some(context),
                core: Some(core.clone().unbind()),
                owner: Some(owner.unbind()),
                creator,
                repr: None,
            }),
            time: Flag::new(time),
            delayed_time: Flag::new(0.0),
            cancelled: Flag::new(false),
            called: Flag::new(false),
            debug: Flag::new(None),
            key: Flag::new(None),
            ticket: Flag::new(0),
            built: true,
        },
    )?;
    let object = delayed.clone().into_any().unbind();
    let (ticket, key) = if wait == 0.0 {
        // Before any event that the next poll brings, as on Twisted's own reactors, which make due calls and poll in
        // turn: ClientCreator, for one, tells of a connection so, and must not be overtaken by its first data.
        LoopCore::schedule_now(&core, object, delayed_call::make)?
    } else {
        // Read after seconds(), so that the call is not due before getTime().
        let when = LoopCore::now(&core)? + wait;
        let key = core
            .get()
            .schedule_call(py, when, object, delayed_call::make);
        (key.ticket(), Some(key))
    };
    delayed.get().ticket.set(ticket);
    delayed.get().key.set(key);
    Ok(delayed)
}

/// The calls that are still to be made for the reactor with that `__dict__`, soonest first. In front stand those whose
/// time has come in this turn, and which wait for their place in it.
#[pyfunction]
#[pyo3(signature = (r#loop, owner, /))]
pub fn delayed_calls<'py>(
    r#loop: &Bound<'py, LoopCore>,
    owner: &Bound<'py, PyDict>,
) -> Vec<Bound<'py, DelayedCall>> {
    let py = r#loop.py();
    let wanted = owner.as_ptr() as usize;
    r#loop
        .get()
        .timed_calls(py)
        .into_iter()
        .filter_map(|(object, ticket)| {
            let call = object.into_bound(py).cast_into::<DelayedCall>().ok()?;
            let delayed = call.get();
            let is_last = delayed.ticket.get() == ticket && delayed.active();
            let is_ours = delayed.inner.with(py, |inner, _| {
                inner
                    .owner
                    .as_ref()
                    .is_some_and(|owner| owner.as_ptr() as usize == wanted)
            });
            (is_last && is_ours).then_some(call)
        })
        .collect()
}
