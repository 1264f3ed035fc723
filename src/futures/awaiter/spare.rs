//! Awaiters that have done their work, for the next to await: to make and to free one, with what stands for it among a Deferred's
//! callbacks and the method that a task asks it for, takes longer than all that it does in between.
//!
//! Only the value of an `await` in a task makes one spare: that is what there are many of. Any other end lets go of it.

use std::collections::VecDeque;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::{DeferredAwaiter, Phase};
use crate::py::cell::StateCell;
use crate::py::{names, objects};

/// How many are kept.
const LIMIT: usize = 64;

/// All of them are in phase `Over`, and hold nothing but what is theirs. Guarded by the GIL, as all state is.
static SPARE: StateCell<VecDeque<Py<DeferredAwaiter>>> = StateCell::new(VecDeque::new());

/// What awaits `deferred`.
#[inline]
pub fn obtain<'py>(py: Python<'py>, deferred: Py<PyAny>) -> PyResult<Bound<'py, DeferredAwaiter>> {
    let Some(spare) = take(py) else {
        return Bound::new(py, DeferredAwaiter::new(deferred));
    };
    let awaiter = spare.get();
    awaiter
        .inner
        .with(py, |inner, _| inner.deferred = Some(deferred));
    awaiter.serves_again.set(true);
    awaiter.phase.set(Phase::New);
    awaiter.blocking.set(None);
    awaiter.requested.set(false);
    awaiter.awaited.set(false);
    Ok(spare)
}

/// The oldest, if nobody else has it or what it holds any more. The newest always has somebody: who woke the task that runs.
#[inline]
fn take(py: Python<'_>) -> Option<Bound<'_, DeferredAwaiter>> {
    let (oldest, more) = SPARE.with(py, |spare, _| (spare.pop_front(), !spare.is_empty()));
    let oldest = oldest?.into_bound(py);
    let (entry, adder) = oldest
        .get()
        .inner
        .with(py, |inner, _| (inner.entry.take(), inner.adder.take()));
    let free = is_free(&oldest, entry.as_ref()?.bind(py), adder.as_ref());
    if !free && more {
        return None;
    }
    oldest.get().inner.with(py, |inner, _| {
        inner.entry = entry;
        inner.adder = adder;
    });
    if free {
        return Some(oldest);
    }
    let oldest = oldest.unbind();
    SPARE.with(py, |spare, _| spare.push_front(oldest));
    None
}

#[inline]
fn is_free(
    awaiter: &Bound<'_, DeferredAwaiter>,
    entry: &Bound<'_, PyTuple>,
    adder: Option<&Py<PyAny>>,
) -> bool {
    let py = awaiter.py();
    // Its two halves are one.
    let Ok(single) = entry.get_borrowed_item(0) else {
        return false;
    };
    // The list of spare ones and the entry, and perhaps the method.
    let holders = 2 + isize::from(adder.is_some());
    objects::is_held_only(awaiter.as_any(), holders)
        && objects::is_held_only(&single, 2)
        && objects::is_held_only(entry.as_any(), 1)
        && adder.is_none_or(|adder| objects::is_held_only(adder.bind(py), 1))
}

impl DeferredAwaiter {
    /// What stands for it among a Deferred's callbacks.
    #[inline]
    pub(super) fn entry<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let awaiter = slf.get();
        if let Some(entry) = awaiter.inner.with(py, |inner, _| inner.entry.take()) {
            return Ok(entry.into_bound(py));
        }
        let call = (slf, PyTuple::empty(py), names::NO_KEYWORDS.get(py)?).into_pyobject(py)?;
        let entry = (&call, &call).into_pyobject(py)?;
        awaiter.entry_address.set(entry.as_ptr() as usize);
        Ok(entry)
    }

    /// The entry was taken from the callbacks.
    #[inline]
    pub fn keep_entry(&self, entry: Bound<'_, PyTuple>) {
        if entry.as_ptr() as usize == self.entry_address.get() {
            let py = entry.py();
            let entry = entry.unbind();
            let old = self.inner.with(py, |inner, _| inner.entry.replace(entry));
            drop(old);
        }
    }

    /// It has given its value, and is for the next to await.
    #[inline]
    pub(super) fn spare(slf: &Bound<'_, Self>) {
        let py = slf.py();
        let kept = slf.clone().unbind();
        let (kept, old) = slf.get().inner.with(py, |inner, _| {
            let old = (
                inner.deferred.take(),
                inner.event_loop.take(),
                inner.cancel_message.take(),
            );
            (inner.entry.is_some().then_some(kept), old)
        });
        drop(old);
        let surplus = SPARE.with(py, |spare, _| match kept {
            Some(kept) if spare.len() < LIMIT => {
                spare.push_back(kept);
                None
            }
            kept => Some(kept),
        });
        if surplus.is_some() {
            slf.get().is_for_nobody(py);
        }
    }

    /// Lets go of what holds it in turn.
    pub(super) fn is_for_nobody(&self, py: Python<'_>) {
        let held = self
            .inner
            .with(py, |inner, _| (inner.entry.take(), inner.adder.take()));
        drop(held);
    }

    /// Its method `add_done_callback`, which `make` makes. Kept by one that serves again.
    #[inline]
    pub(super) fn adder<'py>(
        slf: &Bound<'py, Self>,
        make: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let awaiter = slf.get();
        let kept = awaiter.inner.with(py, |inner, refs| {
            inner.adder.as_ref().map(|adder| refs.clone(adder))
        });
        if let Some(adder) = kept {
            return Ok(adder.into_bound(py));
        }
        let adder = make(slf.as_any())?;
        if awaiter.serves_again.get() {
            let made = adder.clone().unbind();
            let old = awaiter.inner.with(py, |inner, _| inner.adder.replace(made));
            drop(old);
        }
        Ok(adder)
    }
}
