//! One turn of the loop.
//!
//! Its order is that of asyncio's own: timeout, poll, cross-thread queue, I/O, due timers, then
//! exactly the callbacks that were ready when the batch began, then the flush of writes held for the end of
//! the turn.

use std::io;
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;

use super::LoopCore;
use super::handle::Handle;
use super::park;
use super::state::{Item, Source, Timer};
use super::watch::Waiter;
use crate::poll::Poller;
use crate::py::{errors, names, stop, threads};

/// The longest wait: what stock allows, so that no clock arithmetic overflows.
const LONGEST_WAIT: f64 = 24.0 * 3600.0;

/// Room for so many writes that wait for the end of a turn is kept.
const KEPT_FLUSHES: usize = 1024;

/// A loop that is busy finds an event whenever it wants to wait. Then there is no need to give the GIL away, which costs as
/// much as a callback: it looks first. Having found nothing, it sleeps so many times without, for a look costs a call.
const UNLOOKED: u8 = 16;

/// How far a deadline may lie ahead to count as due, in seconds: the clock's own resolution, as stock has it.
const RESOLUTION: f64 = 1e-9;

/// Turns until `stop()`. Errors: as [`turn`].
pub fn run(slf: &Bound<'_, LoopCore>) -> PyResult<()> {
    let py = slf.py();
    let core = slf.get();
    let mut polled = false;
    loop {
        polled = !is_pointless(py, core, polled);
        if polled {
            poll(slf, next_wait(slf, None)?)?;
        }
        after_poll(slf)?;
        if core.stopping.get() {
            return Ok(());
        }
    }
}

/// Whether there is nothing to ask the kernel: its call costs as much as several callbacks.
fn is_pointless(py: Python<'_>, core: &LoopCore, polled: bool) -> bool {
    let (alone, woken) = core.state.with(py, |state, _| {
        let alone = !state.ready.is_empty() && state.sources.is_empty();
        let woken = matches!(state.ready.front(), Some(Item::Wake(..)));
        (alone, woken)
    });
    // With callbacks to run, nobody waits for a descriptor and no thread for the GIL. Or what came with the last poll has
    // woken tasks: they run first, the next turn asks again.
    alone && !threads::are_others(py) || woken && polled
}

/// One turn. Waits at most `limit` seconds for something to happen. Errors: what a callback raised to stop the
/// loop, or what a signal handler raised.
pub fn turn(slf: &Bound<'_, LoopCore>, limit: Option<f64>) -> PyResult<()> {
    poll(slf, next_wait(slf, limit)?)?;
    after_poll(slf)
}

fn after_poll(slf: &Bound<'_, LoopCore>) -> PyResult<()> {
    let py = slf.py();
    let core = slf.get();
    take_remote(py, core);
    take_due(slf)?;
    run_ready(slf)?;
    stop::forget_value(py);
    flush(slf)
}

/// How long to wait, in seconds, once Python's signal handlers have run: one that came while native code was at work
/// would otherwise be handled after the sleep, whenever that ends.
fn next_wait(slf: &Bound<'_, LoopCore>, limit: Option<f64>) -> PyResult<Option<f64>> {
    slf.py().check_signals()?;
    timeout(slf, limit)
}

/// How long to wait, in seconds: not at all when something is ready, until the next deadline otherwise.
fn timeout(slf: &Bound<'_, LoopCore>, limit: Option<f64>) -> PyResult<Option<f64>> {
    let core = slf.get();
    if core.stopping.get() {
        return Ok(Some(0.0));
    }
    let (idle, deadline) = core.state.with(slf.py(), |state, _| {
        // Writes held outside of a turn, or by what the last flush called, leave at the end of this one.
        let idle = state.ready.is_empty() && state.flush.is_empty();
        (idle, state.timers.peek_deadline())
    });
    if !idle {
        return Ok(Some(0.0));
    }
    let wait = match deadline {
        Some(deadline) => Some((deadline - LoopCore::now(slf)?).clamp(0.0, LONGEST_WAIT)),
        None => None,
    };
    Ok(match (wait, limit) {
        (Some(wait), Some(limit)) => Some(wait.min(limit.max(0.0))),
        (wait, None) => wait,
        (None, Some(limit)) => Some(limit.clamp(0.0, LONGEST_WAIT)),
    })
}

/// Waits, and queues what happened.
fn poll(slf: &Bound<'_, LoopCore>, timeout: Option<f64>) -> PyResult<()> {
    let py = slf.py();
    let core = slf.get();
    let Some(mut poller) = core.poller.with(py, |poller, _| poller.take()) else {
        return Err(PyRuntimeError::new_err(
            "the event loop is polling already in another thread",
        ));
    };
    let result = wait(py, core, &mut poller, timeout);
    let (stale, left) = take_events(py, core, &poller);
    drop(left);
    core.poller.with(py, |place, _| *place = Some(poller));
    if stale {
        core.renew_poller(py)?;
    }
    match result {
        Ok(()) => Ok(()),
        // A signal: its Python handler runs here; what it queued, and the timeout, the next turn sees.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => py.check_signals(),
        Err(error) => Err(errors::os_error(py, &error)),
    }
}

fn wait(
    py: Python<'_>,
    core: &LoopCore,
    poller: &mut Poller,
    timeout: Option<f64>,
) -> io::Result<()> {
    if timeout != Some(0.0) && !threads::are_others(py) {
        match core.unlooked.get() {
            0 => {
                poller.poll(Some(Duration::ZERO))?;
                if !poller.is_quiet() {
                    return Ok(());
                }
                core.unlooked.set(UNLOOKED);
            }
            left => core.unlooked.set(left - 1),
        }
    }
    if timeout == Some(0.0) || !core.remote.prepare_to_sleep() {
        // Does not block, but it is the one place where a loop that is never idle lets other threads in. Without it
        // they wait for the interpreter's switch interval, 5 ms each time.
        return if threads::are_others(py) {
            py.detach(|| poller.poll(Some(Duration::ZERO)))
        } else {
            poller.poll(Some(Duration::ZERO))
        };
    }
    let timeout = timeout.map(Duration::from_secs_f64);
    let result = py.detach(|| poller.poll(timeout));
    core.remote.awake();
    result
}

/// Queues what the poller reported. True when the kernel has an entry for a source that is gone; and the watchers that
/// had been left registered after an operation, and which nobody needs.
fn take_events(py: Python<'_>, core: &LoopCore, poller: &Poller) -> (bool, Vec<Source>) {
    if poller.is_quiet() {
        return (false, Vec::new());
    }
    core.state.with(py, |state, refs| {
        let mut stale = false;
        let mut left = Vec::new();
        for (key, readiness) in poller.events() {
            match state.sources.get_mut(key) {
                Some(Source::Driver(driver)) => {
                    if let Some(entry) = driver.note(readiness) {
                        state.ready.push_back(Item::Run(key, entry));
                    }
                }
                Some(Source::Watcher(watcher)) => {
                    let mut item = |side: &Option<Waiter>, entry| match side {
                        Some(Waiter::Handle(handle)) => {
                            state.ready.push_back(Item::Call(refs.clone(handle)));
                        }
                        Some(Waiter::Parked(_)) => state.ready.push_back(Item::Run(key, entry)),
                        None => {}
                    };
                    if readiness.readable {
                        item(&watcher.reader, park::wake_reader);
                    }
                    if readiness.writable {
                        item(&watcher.writer, park::wake_writer);
                    }
                    let want = watcher.want();
                    let useless = readiness.readable && watcher.armed.readable && !want.readable
                        || readiness.writable && watcher.armed.writable && !want.writable;
                    if useless && let Some(kernel) = &state.kernel {
                        stale |= !watcher.relax(&kernel.registrar, key);
                        if watcher.is_idle() {
                            left.extend(state.remove(key));
                        }
                    }
                }
                None => stale = true,
            }
        }
        (stale, left)
    })
}

/// Queues what other threads sent, as much as was there when it looked: senders cannot keep the turn for ever.
pub(super) fn take_remote(py: Python<'_>, core: &LoopCore) {
    if core.remote.is_empty() {
        return;
    }
    core.state.with(py, |state, _| {
        for _ in 0..core.remote.len() {
            match core.remote.pop() {
                Some(handle) => state.ready.push_back(Item::Call(handle)),
                None => break,
            }
        }
    });
}

/// Queues the timers that are due. The clock is read once.
fn take_due(slf: &Bound<'_, LoopCore>) -> PyResult<()> {
    let py = slf.py();
    let core = slf.get();
    let waiting = core
        .state
        .with(py, |state, _| state.timers.peek_deadline().is_some());
    if !waiting {
        return Ok(());
    }
    let end = LoopCore::now(slf)? + RESOLUTION;
    core.state.with(py, |state, _| {
        while let Some((key, _, timer)) = state.timers.pop_due(end) {
            state.ready.push_back(match timer {
                Timer::Handle(handle) => Item::Call(handle),
                Timer::Call(object, call) => Item::Timed(object, call, key.ticket()),
            });
        }
    });
    Ok(())
}

/// Runs exactly what was ready when the batch began: what that queues waits for the next turn.
fn run_ready(slf: &Bound<'_, LoopCore>) -> PyResult<()> {
    let py = slf.py();
    let core = slf.get();
    let count = core.state.with(py, |state, _| state.ready.len());
    for _ in 0..count {
        let Some(item) = core.state.with(py, |state, _| state.ready.pop_front()) else {
            // A nested turn (nest_asyncio, reactor.iterate) ran them.
            break;
        };
        if core.is_debug() {
            run_timed(slf, item)?;
        } else {
            match item {
                Item::Call(handle) => Handle::run_last(core, handle.into_bound(py))?,
                Item::Run(key, entry) => entry(slf, key)?,
                Item::Wake(object, wake) => wake(slf, &object.into_bound(py))?,
                Item::Timed(object, call, ticket) => call(slf, &object.into_bound(py), ticket)?,
            }
        }
    }
    Ok(())
}

/// Debug mode: runs an item and tells of a slow one.
#[cold]
fn run_timed(slf: &Bound<'_, LoopCore>, item: Item) -> PyResult<()> {
    let py = slf.py();
    let core = slf.get();
    let start = LoopCore::now(slf)?;
    let (result, what) = match item {
        Item::Call(handle) => {
            if handle.get().is_cancelled() {
                return Ok(());
            }
            // Named in what the exception handler is told: where the failing callback was scheduled.
            slf.setattr(intern!(py, "_current_handle"), &handle)?;
            let result = Handle::run(handle.bind(py));
            slf.setattr(intern!(py, "_current_handle"), py.None())?;
            (result, Some(handle.into_any()))
        }
        Item::Wake(object, wake) => (wake(slf, object.bind(py)), Some(object)),
        Item::Timed(object, call, ticket) => (call(slf, object.bind(py), ticket), Some(object)),
        Item::Run(key, entry) => {
            let face = core
                .state
                .with(py, |state, refs| match state.sources.get(key) {
                    Some(Source::Driver(driver)) => driver.face().map(|face| refs.clone(face)),
                    _ => None,
                });
            (entry(slf, key), face)
        }
    };
    result?;
    names::REPORT_SLOW
        .get(py)?
        .call1((slf, what, LoopCore::now(slf)? - start))?;
    Ok(())
}

/// Lets go of the writes that were held for the end of the turn. Those that this causes leave with the next, which does
/// not wait.
fn flush(slf: &Bound<'_, LoopCore>) -> PyResult<()> {
    let py = slf.py();
    let core = slf.get();
    let mut held = core
        .state
        .with(py, |state, _| std::mem::take(&mut state.flush));
    if held.is_empty() {
        return Ok(());
    }
    let mut result = Ok(());
    let mut count = 0;
    for (key, entry) in &held {
        count += 1;
        result = entry(slf, *key);
        if result.is_err() {
            break;
        }
    }
    // What leaves the loop (SystemExit) must not take the others' bytes along: the next turn sends them. The room serves
    // again.
    held.drain(..count);
    held.shrink_to(KEPT_FLUSHES);
    core.state.with(py, |state, _| {
        held.append(&mut state.flush);
        state.flush = held;
    });
    result
}
