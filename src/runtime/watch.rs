//! Watchers: `add_reader`, `add_writer` and their kin, level-triggered for the user.

use std::io;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::LoopCore;
use super::handle::Handle;
use super::state::{LoopState, Source};
use crate::poll::{Key, Registrar};
use crate::py::errors;
use crate::sys::Fd;
use crate::sys::level::{self, Want};

/// A descriptor that Python code reads or writes itself.
pub struct Watcher {
    pub fd: Fd,
    pub reader: Option<Py<Handle>>,
    pub writer: Option<Py<Handle>>,
}

/// Which side of a watcher.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Reader,
    Writer,
}

impl Watcher {
    fn want(&self) -> Want {
        Want {
            readable: self.reader.is_some(),
            writable: self.writer.is_some(),
        }
    }

    fn side(&mut self, side: Side) -> &mut Option<Py<Handle>> {
        match side {
            Side::Reader => &mut self.reader,
            Side::Writer => &mut self.writer,
        }
    }

    pub(super) fn register(&self, registrar: &Registrar, key: Key) -> io::Result<()> {
        registrar.set_level(self.fd, key, self.want(), false)
    }

    /// Cancels both sides: an event of this batch that is queued already must not call them any more.
    pub fn cancel(self, py: Python<'_>) {
        for handle in [self.reader, self.writer].into_iter().flatten() {
            cancel(py, &handle);
        }
    }
}

fn cancel(py: Python<'_>, handle: &Py<Handle>) {
    // Cancelling fails only when a debug repr does: the handle is told, nobody else can be.
    if let Err(error) = handle.bind(py).call_method0("cancel") {
        error.write_unraisable(py, Some(handle.bind(py)));
    }
}

/// The descriptor of an int or of an object with `fileno()`; ValueError as `selectors` raises it.
pub fn descriptor(object: &Bound<'_, PyAny>) -> PyResult<Fd> {
    let invalid = || match object.repr() {
        Ok(repr) => PyValueError::new_err(format!("Invalid file object: {repr}")),
        Err(error) => error,
    };
    let number: i64 = match object.extract::<i64>() {
        Ok(number) => number,
        Err(_) => object
            .call_method0("fileno")
            .and_then(|number| number.extract())
            .map_err(|_| invalid())?,
    };
    match Fd::try_from(number) {
        Ok(fd) if fd >= 0 => Ok(fd),
        _ => Err(PyValueError::new_err(format!(
            "Invalid file descriptor: {number}"
        ))),
    }
}

/// What a new handle took the place of: the side's old one, and a watcher whose descriptor was closed without a word.
type Displaced = (Option<Py<Handle>>, Option<Source>);

/// Why a side was not set, the handle that was to be set, and a watcher whose descriptor was closed without a word.
type Refused = (io::Error, Py<Handle>, Option<Source>);

/// Sets one side of the descriptor's watcher. On an error nothing has changed, but for a watcher found dead.
fn set_side(
    state: &mut LoopState,
    fd: Fd,
    side: Side,
    handle: Py<Handle>,
) -> Result<Displaced, Refused> {
    let mut displaced = None;
    if let Some(key) = state.key_of(fd) {
        let LoopState {
            sources, kernel, ..
        } = state;
        if let (Some(Source::Watcher(watcher)), Some(kernel)) = (sources.get_mut(key), kernel) {
            let mut want = watcher.want();
            match side {
                Side::Reader => want.readable = true,
                Side::Writer => want.writable = true,
            }
            match kernel.registrar.narrow_level(fd, key, want) {
                Ok(()) => return Ok((watcher.side(side).replace(handle), None)),
                // The number names another file by now. A new key: the old file's entry may live on under a
                // duplicate, and its events must not find the new watcher.
                Err(error) if level::is_gone(&error) => displaced = state.remove(key),
                Err(error) => return Err((error, handle, None)),
            }
        }
    }
    let mut watcher = Watcher {
        fd,
        reader: None,
        writer: None,
    };
    *watcher.side(side) = Some(handle);
    let want = watcher.want();
    let (key, none) = state.insert(Source::Watcher(watcher));
    debug_assert!(none.is_none(), "callers refuse descriptors of transports");
    let result = match &state.kernel {
        Some(kernel) => kernel.registrar.set_level(fd, key, want, false),
        None => Err(io::Error::from(io::ErrorKind::NotConnected)),
    };
    match result {
        Ok(()) => Ok((None, displaced)),
        Err(error) => match state.remove(key) {
            Some(Source::Watcher(mut watcher)) => match watcher.side(side).take() {
                Some(handle) => Err((error, handle, displaced)),
                None => unreachable!("the side was set above"),
            },
            _ => unreachable!("the watcher was inserted above"),
        },
    }
}

/// Clears one side. Answers the handle that was there.
fn clear_side(state: &mut LoopState, fd: Fd, side: Side) -> Option<Py<Handle>> {
    let key = state.key_of(fd)?;
    let LoopState {
        sources, kernel, ..
    } = state;
    let Some(Source::Watcher(watcher)) = sources.get_mut(key) else {
        return None;
    };
    let old = watcher.side(side).take()?;
    let want = watcher.want();
    let empty = !want.readable && !want.writable;
    if let Some(kernel) = kernel {
        let result = if empty {
            kernel.registrar.remove(fd)
        } else {
            kernel.registrar.narrow_level(fd, key, want)
        };
        // The owner may have closed the descriptor before, or reused its number for a plain file: then
        // there is no entry to change, and the event that never comes is what the caller asked for.
        drop(result);
    }
    if empty {
        let watcher = state.remove(key);
        debug_assert!(watcher.is_some());
    }
    Some(old)
}

impl LoopCore {
    fn watch<'py>(
        slf: &Bound<'py, Self>,
        fd: &Bound<'py, PyAny>,
        side: Side,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, Handle>> {
        let py = slf.py();
        let core = slf.get();
        core.check_closed()?;
        let fd = descriptor(fd)?;
        if let Some(face) = core.face_of(py, fd) {
            return Err(PyRuntimeError::new_err(format!(
                "File descriptor {fd} is used by transport {}",
                face.bind(py).repr()?
            )));
        }
        let handle = Handle::obtain(slf, callback, args, None)?;
        let kept = handle.clone().unbind();
        match core
            .state
            .with(py, |state, _| set_side(state, fd, side, kept))
        {
            Ok((old, closed)) => {
                if let Some(old) = old {
                    cancel(py, &old);
                }
                if let Some(Source::Watcher(closed)) = closed {
                    closed.cancel(py);
                }
                Ok(handle)
            }
            Err((error, unused, closed)) => {
                drop(unused);
                if let Some(Source::Watcher(closed)) = closed {
                    closed.cancel(py);
                }
                Err(errors::os_error(py, &error))
            }
        }
    }

    fn unwatch(&self, py: Python<'_>, fd: &Bound<'_, PyAny>, side: Side) -> PyResult<bool> {
        if self.closed.get() {
            return Ok(false);
        }
        let fd = descriptor(fd)?;
        match self.state.with(py, |state, _| clear_side(state, fd, side)) {
            None => Ok(false),
            Some(handle) => {
                cancel(py, &handle);
                Ok(true)
            }
        }
    }

    /// The transport (or the like) that owns a descriptor.
    fn face_of(&self, py: Python<'_>, fd: Fd) -> Option<Py<PyAny>> {
        self.state.with(py, |state, refs| {
            let key = state.key_of(fd)?;
            match state.sources.get(key) {
                Some(Source::Driver(driver)) => driver.face().map(|face| refs.clone(face)),
                _ => None,
            }
        })
    }
}

#[pymethods]
impl LoopCore {
    /// Calls `callback(*args)` whenever `fd` (an int or an object with `fileno()`) can be read, until it is
    /// removed or replaced. The loop's thread. Errors: ValueError for a bad object, PermissionError
    /// for a plain file, OSError for a closed descriptor, RuntimeError when a transport owns it.
    #[pyo3(signature = (fd, callback, *args))]
    fn _add_reader<'py>(
        slf: &Bound<'py, Self>,
        fd: &Bound<'py, PyAny>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, Handle>> {
        Self::watch(slf, fd, Side::Reader, callback, args)
    }

    /// Stops watching for reading; true when it was watched.
    fn _remove_reader(&self, py: Python<'_>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.unwatch(py, fd, Side::Reader)
    }

    /// Like `_add_reader`, for writing.
    #[pyo3(signature = (fd, callback, *args))]
    fn _add_writer<'py>(
        slf: &Bound<'py, Self>,
        fd: &Bound<'py, PyAny>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, Handle>> {
        Self::watch(slf, fd, Side::Writer, callback, args)
    }

    /// Stops watching for writing; true when it was watched.
    fn _remove_writer(&self, py: Python<'_>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.unwatch(py, fd, Side::Writer)
    }

    /// Every watched descriptor as (fd, reader's handle or None, writer's handle or None).
    fn _watchers<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        let watchers: Vec<_> = slf.get().state.with(py, |state, refs| {
            state
                .sources
                .iter()
                .filter_map(|(_, source)| match source {
                    Source::Watcher(watcher) => Some((
                        watcher.fd,
                        watcher.reader.as_ref().map(|handle| refs.clone(handle)),
                        watcher.writer.as_ref().map(|handle| refs.clone(handle)),
                    )),
                    Source::Driver(_) => None,
                })
                .collect()
        });
        PyList::new(py, watchers)
    }

    /// The transport that owns a descriptor, or None.
    fn _transport_of(&self, py: Python<'_>, fd: Fd) -> Option<Py<PyAny>> {
        self.face_of(py, fd)
    }
}
