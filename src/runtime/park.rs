//! Operations that wait for a descriptor once: `sock_recv()` and its kin.
//!
//! An operation is parked on one side of a watcher and woken by the first event. Its registration stays: the next
//! operation on the same socket will most likely wait for the same, and to register and to forget would cost it two
//! system calls. When the kernel reports to nobody, the registration is taken back.
//!
//! What is believed to be registered must be so, or the operation would wait for ever, and a number alone proves
//! nothing: its file may have been closed and the number reused. But a Python socket knows when it is closed. While
//! the very object that was registered lives and answers the same number, the belief is knowledge.

use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;

use super::LoopCore;
use super::state::Source;
use super::watch::{self, Parked, Side, Waiter, Wake, Watcher};
use crate::poll::{Key, Registrar};
use crate::py::errors;
use crate::sys::Fd;
use crate::sys::level;

impl Watcher {
    /// Has the kernel report no more than somebody waits for. False when it has an entry that this descriptor's number
    /// does not reach any more: its owner closed it while a duplicate lives.
    pub(super) fn relax(&mut self, registrar: &Registrar, key: Key) -> bool {
        self.armed = self.want();
        if self.is_idle() {
            return !matches!(registrar.take_out(self.fd), Ok(false));
        }
        match registrar.narrow_level(self.fd, key, self.armed) {
            Err(error) => !level::is_gone(&error),
            Ok(()) => true,
        }
    }
}

impl LoopCore {
    /// Parks an operation until `fd`, which belongs to `socket`, is ready. `wake` is called with it once, unless it is
    /// [taken away](LoopCore::unpark) before. Errors: those of registering; RuntimeError when a transport owns the
    /// descriptor.
    pub fn park(
        slf: &Bound<'_, Self>,
        socket: &Bound<'_, PyAny>,
        fd: Fd,
        side: Side,
        object: Py<PyAny>,
        wake: Wake,
    ) -> PyResult<()> {
        let py = slf.py();
        let core = slf.get();
        let armed = core.state.with(py, |state, refs| {
            let key = state.key_of(fd)?;
            match state.sources.get(key) {
                Some(Source::Watcher(watcher)) if watcher.is_armed(side) => {
                    Some((key, refs.clone(watcher.socket.as_ref()?)))
                }
                _ => None,
            }
        });
        let waiter = Waiter::Parked(Parked { object, wake });
        let waiter = match armed {
            Some((key, reference)) if is_reference_to(reference.bind(py), socket) => {
                let rest = core.state.with(py, |state, _| {
                    match state.sources.get_mut(key) {
                        Some(Source::Watcher(watcher)) => Ok(watcher.side(side).replace(waiter)),
                        // Asking the reference runs no Python code, so this does not happen.
                        _ => Err(waiter),
                    }
                });
                match rest {
                    Ok(displaced) => {
                        if let Some(displaced) = displaced {
                            displaced.cancel(py);
                        }
                        return Ok(());
                    }
                    Err(waiter) => waiter,
                }
            }
            _ => waiter,
        };
        Self::park_anew(slf, socket, fd, side, waiter)
    }

    #[cold]
    fn park_anew(
        slf: &Bound<'_, Self>,
        socket: &Bound<'_, PyAny>,
        fd: Fd,
        side: Side,
        waiter: Waiter,
    ) -> PyResult<()> {
        let py = slf.py();
        let core = slf.get();
        core.check_closed()?;
        slf.call_method1(pyo3::intern!(py, "_ensure_fd_no_transport"), (fd,))?;
        // A transport that is closing owns its descriptor still.
        core.refuse_face(py, fd)?;
        // None for an object without weak references: then every operation registers.
        let reference = PyWeakrefReference::new(socket).ok().map(Bound::into_any);
        let kept = reference.map(Bound::unbind);
        let result = core.state.with(py, |state, _| {
            let result = watch::set_side(state, fd, side, waiter);
            let old = match (state.key_of(fd), &result) {
                (Some(key), Ok(_)) => match state.sources.get_mut(key) {
                    Some(Source::Watcher(watcher)) => std::mem::replace(&mut watcher.socket, kept),
                    _ => kept,
                },
                _ => kept,
            };
            (result, old)
        });
        let (result, _old) = result;
        let (displaced, closed, result) = match result {
            Ok((displaced, closed)) => (displaced, closed, Ok(())),
            Err((error, unused, closed)) => (Some(unused), closed, Err(error)),
        };
        if let Some(displaced) = displaced {
            displaced.cancel(py);
        }
        if let Some(Source::Watcher(closed)) = closed {
            closed.cancel(py);
        }
        result.map_err(|error| errors::os_error(py, &error))
    }

    /// Takes a parked operation away, if it is still there. The registration stays until the kernel reports to nobody.
    pub fn unpark(&self, py: Python<'_>, fd: Fd, side: Side, object: &Bound<'_, PyAny>) {
        let pointer = object.as_ptr() as usize;
        let taken = self.state.with(py, |state, _| {
            let key = state.key_of(fd)?;
            let Some(Source::Watcher(watcher)) = state.sources.get_mut(key) else {
                return None;
            };
            let place = watcher.side(side);
            match place {
                Some(Waiter::Parked(parked)) if parked.object.as_ptr() as usize == pointer => {
                    place.take()
                }
                _ => None,
            }
        });
        drop(taken);
    }

    /// How much the last operation received from the descriptor; 0 when that is not known.
    #[inline]
    pub fn received_lately(&self, py: Python<'_>, fd: Fd) -> usize {
        self.state.with(py, |state, _| match state.key_of(fd) {
            Some(key) => match state.sources.get(key) {
                Some(Source::Watcher(watcher)) => watcher.lately,
                _ => 0,
            },
            None => 0,
        })
    }

    /// Remembers how much an operation received.
    #[inline]
    pub fn note_received(&self, py: Python<'_>, fd: Fd, count: usize) {
        self.state.with(py, |state, _| {
            if let Some(key) = state.key_of(fd)
                && let Some(Source::Watcher(watcher)) = state.sources.get_mut(key)
            {
                watcher.lately = count;
            }
        });
    }
}

/// Whether a weak reference means this object.
#[inline]
fn is_reference_to(reference: &Bound<'_, PyAny>, object: &Bound<'_, PyAny>) -> bool {
    reference
        .cast::<PyWeakrefReference>()
        .ok()
        .and_then(|reference| reference.upgrade())
        .is_some_and(|found| found.is(object))
}

pub(super) fn wake_reader(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    wake(core, key, Side::Reader)
}

pub(super) fn wake_writer(core: &Bound<'_, LoopCore>, key: Key) -> PyResult<()> {
    wake(core, key, Side::Writer)
}

fn wake(core: &Bound<'_, LoopCore>, key: Key, side: Side) -> PyResult<()> {
    let py = core.py();
    let parked = core.get().state.with(py, |state, _| {
        let Some(Source::Watcher(watcher)) = state.sources.get_mut(key) else {
            return None;
        };
        let place = watcher.side(side);
        match place.take() {
            Some(Waiter::Parked(parked)) => Some(parked),
            // Replaced by a handle since: the next event is its.
            other => {
                *place = other;
                None
            }
        }
    });
    match parked {
        Some(parked) => (parked.wake)(core, &parked.object.into_bound(py)),
        None => Ok(()),
    }
}
