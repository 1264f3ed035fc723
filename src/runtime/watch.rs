//! Watchers: `add_reader`, `add_writer` and their kin, level-triggered for the user; and where one-off operations wait
//! (see `park`).

use std::io;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList, PyTuple};

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
    pub reader: Option<Waiter>,
    pub writer: Option<Waiter>,
    /// What `add_reader` was given, if no number: whoever closed it can still take it out by it.
    pub(super) object: Option<Py<PyAny>>,
    /// What the kernel reports. After an operation more than anybody waits for: the next one on the same socket finds
    /// its registration in place, and one that does not come is taken out when the kernel reports for nobody.
    pub(super) armed: Want,
    /// A weak reference to the Python socket for which an operation armed it. While that lives and has this number,
    /// the number means the file that is registered.
    pub(super) socket: Option<Py<PyAny>>,
    /// How much the last receive of an operation brought.
    pub(super) lately: usize,
}

/// Who waits on one side of a watcher.
pub enum Waiter {
    /// Called whenever the side is ready, until it is removed.
    Handle(Py<Handle>),
    /// Woken once.
    Parked(Parked),
}

/// An operation that waits, and what wakes it.
pub struct Parked {
    pub object: Py<PyAny>,
    pub wake: Wake,
}

/// Called with nothing borrowed, after the operation has left its place. Errors leave the loop, as those of an
/// [`Entry`](super::state::Entry).
pub type Wake = for<'py> fn(&Bound<'py, LoopCore>, &Bound<'py, PyAny>) -> PyResult<()>;

impl Waiter {
    /// The Python object that waits.
    pub fn object(&self) -> &Py<PyAny> {
        match self {
            Waiter::Handle(handle) => handle.as_any(),
            Waiter::Parked(parked) => &parked.object,
        }
    }

    /// Nobody will call it any more: an event of this batch that is queued already must not either. A parked
    /// operation is looked up when its turn comes, so there is nothing to cancel.
    pub(super) fn cancel(self, py: Python<'_>) {
        if let Waiter::Handle(handle) = self {
            cancel(py, &handle);
        }
    }
}

/// Which side of a watcher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Reader,
    Writer,
}

impl Watcher {
    fn new(fd: Fd) -> Self {
        Watcher {
            fd,
            reader: None,
            writer: None,
            object: None,
            armed: Want {
                readable: false,
                writable: false,
            },
            socket: None,
            lately: 0,
        }
    }

    pub(super) fn want(&self) -> Want {
        Want {
            readable: self.reader.is_some(),
            writable: self.writer.is_some(),
        }
    }

    pub(super) fn side(&mut self, side: Side) -> &mut Option<Waiter> {
        match side {
            Side::Reader => &mut self.reader,
            Side::Writer => &mut self.writer,
        }
    }

    pub(super) fn is_armed(&self, side: Side) -> bool {
        match side {
            Side::Reader => self.armed.readable,
            Side::Writer => self.armed.writable,
        }
    }

    pub(super) fn register(&mut self, registrar: &Registrar, key: Key) -> io::Result<()> {
        self.armed = self.want();
        if self.is_idle() {
            return Ok(());
        }
        registrar.set_level(self.fd, key, self.armed, false)
    }

    /// Whether nobody waits.
    pub(super) fn is_idle(&self) -> bool {
        self.reader.is_none() && self.writer.is_none()
    }

    /// Cancels both sides: an event of this batch that is queued already must not call them any more.
    pub fn cancel(self, py: Python<'_>) {
        for waiter in [self.reader, self.writer].into_iter().flatten() {
            waiter.cancel(py);
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

/// What a new waiter took the place of: the side's old one, and a watcher whose descriptor was closed without a word.
pub(super) type Displaced = (Option<Waiter>, Option<Source>);

/// Why a side was not set, the waiter that was to be set, and a watcher whose descriptor was closed without a word.
pub(super) type Refused = (io::Error, Waiter, Option<Source>);

/// Sets one side of the descriptor's watcher. On an error nothing has changed, but for a watcher found dead.
pub(super) fn set_side(
    state: &mut LoopState,
    fd: Fd,
    side: Side,
    waiter: Waiter,
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
                Ok(()) => {
                    watcher.armed = want;
                    return Ok((watcher.side(side).replace(waiter), None));
                }
                // The number names another file by now. A new key: the old file's entry may live on under a
                // duplicate, and its events must not find the new watcher.
                Err(error) if level::is_gone(&error) => displaced = state.remove(key),
                Err(error) => return Err((error, waiter, None)),
            }
        }
    }
    let mut watcher = Watcher::new(fd);
    *watcher.side(side) = Some(waiter);
    let want = watcher.want();
    watcher.armed = want;
    // Callers refuse descriptors of transports; a listener gives way, as it does in asyncio's own loop.
    let (key, listener) = state.insert(Source::Watcher(watcher));
    let displaced = displaced.or(listener);
    let result = match &state.kernel {
        Some(kernel) => kernel.registrar.set_level(fd, key, want, false),
        None => Err(io::Error::from(io::ErrorKind::NotConnected)),
    };
    match result {
        Ok(()) => Ok((None, displaced)),
        Err(error) => match state.remove(key) {
            Some(Source::Watcher(mut watcher)) => match watcher.side(side).take() {
                Some(waiter) => Err((error, waiter, displaced)),
                None => unreachable!("the side was set above"),
            },
            _ => unreachable!("the watcher was inserted above"),
        },
    }
}

/// Keeps the object that a watcher was given first; answers the one that is not needed.
fn keep_object(state: &mut LoopState, fd: Fd, object: Option<Py<PyAny>>) -> Option<Py<PyAny>> {
    match state.key_of(fd).and_then(|key| state.sources.get_mut(key)) {
        Some(Source::Watcher(watcher)) if watcher.object.is_none() => {
            watcher.object = object;
            None
        }
        _ => object,
    }
}

/// The number under which an object is watched, though it does not have it any more. Looks through all of them, as
/// `selectors` does.
fn number_of(state: &LoopState, address: usize) -> Option<Fd> {
    state.sources.iter().find_map(|(_, source)| match source {
        Source::Watcher(watcher) => {
            let object = watcher.object.as_ref()?;
            (object.as_ptr() as usize == address).then_some(watcher.fd)
        }
        Source::Driver(_) => None,
    })
}

/// Clears one side. Answers the waiter that was there, and the watcher if nobody waits there any more.
fn clear_side(state: &mut LoopState, fd: Fd, side: Side) -> Option<(Waiter, Option<Source>)> {
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
    watcher.armed = want;
    let watcher = if empty { state.remove(key) } else { None };
    Some((old, watcher))
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
        let object = (!fd.is_instance_of::<PyInt>()).then(|| fd.clone().unbind());
        let fd = descriptor(fd)?;
        core.refuse_face(py, fd)?;
        let handle = Handle::obtain(slf, callback, args, None)?;
        let kept = Waiter::Handle(handle.clone().unbind());
        let (result, unused) =
            core.state
                .with(py, |state, _| match set_side(state, fd, side, kept) {
                    Ok(displaced) => (Ok(displaced), keep_object(state, fd, object)),
                    Err(refused) => (Err(refused), object),
                });
        drop(unused);
        match result {
            Ok((old, closed)) => {
                if let Some(old) = old {
                    old.cancel(py);
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
        let fd = match descriptor(fd) {
            Ok(fd) => fd,
            // Closed by now, perhaps.
            Err(error) => {
                let address = fd.as_ptr() as usize;
                self.state
                    .with(py, |state, _| number_of(state, address))
                    .ok_or(error)?
            }
        };
        match self.state.with(py, |state, _| clear_side(state, fd, side)) {
            None => Ok(false),
            Some((waiter, _empty)) => {
                waiter.cancel(py);
                Ok(true)
            }
        }
    }

    /// RuntimeError when a transport (or the like) owns the descriptor.
    pub(super) fn refuse_face(&self, py: Python<'_>, fd: Fd) -> PyResult<()> {
        match self.face_of(py, fd) {
            None => Ok(()),
            Some(face) => Err(PyRuntimeError::new_err(format!(
                "File descriptor {fd} is used by transport {}",
                face.bind(py).repr()?
            ))),
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

    /// Who waits for one descriptor, as (for reading or None, for writing or None).
    fn _watcher_of(&self, py: Python<'_>, fd: Fd) -> (Option<Py<PyAny>>, Option<Py<PyAny>>) {
        self.state.with(py, |state, refs| {
            let found = state.key_of(fd).and_then(|key| state.sources.get(key));
            let Some(Source::Watcher(watcher)) = found else {
                return (None, None);
            };
            let object =
                |side: &Option<Waiter>| side.as_ref().map(|waiter| refs.clone(waiter.object()));
            (object(&watcher.reader), object(&watcher.writer))
        })
    }

    /// Every watched descriptor as (fd, who waits for reading or None, for writing or None): a handle, or an operation
    /// such as `sock_recv()`.
    fn _watchers<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        let watchers: Vec<_> = slf.get().state.with(py, |state, refs| {
            state
                .sources
                .iter()
                .filter_map(|(_, source)| match source {
                    Source::Watcher(watcher) if !watcher.is_idle() => {
                        let object = |side: &Option<Waiter>| {
                            side.as_ref().map(|waiter| refs.clone(waiter.object()))
                        };
                        Some((watcher.fd, object(&watcher.reader), object(&watcher.writer)))
                    }
                    Source::Watcher(_) | Source::Driver(_) => None,
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
