//! What the loop knows: ready queue, timers, sources.

use std::any::Any;
use std::collections::VecDeque;
use std::io;

use pyo3::prelude::*;

use super::LoopCore;
use super::handle::Handle;
use super::watch::{Wake, Watcher};
use crate::poll::{Key, Readiness, Registrar, Table, Waker};
use crate::queue::timers::Timers;
use crate::sys::Fd;

/// How many handles are kept for reuse: what a busy turn schedules, at about a hundred bytes each.
const SPARE_HANDLES: usize = 1024;

/// How many other objects: those that a turn has at work at one time.
const SPARE_OBJECTS: usize = 16;

/// A function that handles something that happened to a source, called with nothing borrowed. It looks the key
/// up itself and does nothing when the source is gone. Errors leave the loop: only what must stop
/// it (SystemExit, KeyboardInterrupt) is answered, everything else the callee reports.
pub type Entry = for<'py> fn(&Bound<'py, LoopCore>, Key) -> PyResult<()>;

/// A function that makes a call of another host than asyncio, which is one object with its time and its arguments. The
/// ticket tells which scheduling of it this is: one that was put off or cancelled in the meantime is not its last.
/// Errors: as [`Entry`].
pub type Timed = for<'py> fn(&Bound<'py, LoopCore>, &Bound<'py, PyAny>, u32) -> PyResult<()>;

/// What waits for its time.
pub enum Timer {
    Handle(Py<Handle>),
    Call(Py<PyAny>, Timed),
}

/// One thing to run, in asyncio's order.
pub enum Item {
    Call(Py<Handle>),
    Timed(Py<PyAny>, Timed, u32),
    Run(Key, Entry),
    /// An operation whose task is to go on.
    Wake(Py<PyAny>, Wake),
}

/// A source that floors above the runtime drive: a stream, a listener.
pub trait Driver: Any + Send {
    /// The descriptor it is registered with.
    fn fd(&self) -> Fd;

    /// Records what the poller said, and answers what to queue; `None` when it is queued already or
    /// does not care now.
    fn note(&mut self, readiness: Readiness) -> Option<Entry>;

    /// Registers with a new poller: at first, and in a forked child.
    fn register(&mut self, registrar: &Registrar, key: Key) -> io::Result<()>;

    /// The Python object that stands for it: for error texts and `_ensure_fd_no_transport`.
    fn face(&self) -> Option<&Py<PyAny>>;

    /// The loop is closed with it in there: closes the Python object that owns the descriptor, if one does.
    fn abandon(&self, _py: Python<'_>) -> Option<PyResult<()>> {
        None
    }

    /// Whether its face keeps its descriptor when the loop is closed, and so warns of it when its own time comes.
    fn outlives_the_loop(&self) -> bool {
        false
    }

    /// Visits every Python object it holds, for the garbage collector.
    fn visit(&self, visitor: &mut dyn FnMut(&Py<PyAny>));
}

/// What a key stands for.
pub enum Source {
    Watcher(Watcher),
    Driver(Box<dyn Driver>),
}

impl Source {
    pub fn fd(&self) -> Fd {
        match self {
            Source::Watcher(watcher) => watcher.fd,
            Source::Driver(driver) => driver.fd(),
        }
    }
}

/// The poller's shared half: gone once the loop is closed.
pub struct Kernel {
    pub registrar: Registrar,
    pub waker: Waker,
}

/// The loop's state, reached only through its cell.
pub struct LoopState {
    pub ready: VecDeque<Item>,
    pub timers: Timers<Timer>,
    pub sources: Table<Source>,
    /// The newest source of each descriptor number. A number can be reused while an old source is
    /// still in the table, so the key decides.
    pub by_fd: Vec<Key>,
    pub flush: Vec<(Key, Entry)>,
    /// Handles that have run and that nobody holds: `call_soon` takes them again.
    pub spare: Vec<Py<Handle>>,
    /// Objects of the floors above, over and done with, that may serve again.
    pub spare_objects: Vec<Py<PyAny>>,
    /// The loop's bound method `_itself()`.
    pub itself: Option<Py<PyAny>>,
    pub kernel: Option<Kernel>,
    /// An event came for a source that is gone: the kernel holds an entry that no descriptor of ours can
    /// delete (its number was closed while a duplicate lives), so the poller must be made anew.
    pub stale_entry: bool,
}

impl LoopState {
    pub fn new(kernel: Kernel) -> Self {
        LoopState {
            ready: VecDeque::new(),
            timers: Timers::default(),
            sources: Table::default(),
            by_fd: Vec::new(),
            flush: Vec::new(),
            spare: Vec::new(),
            spare_objects: Vec::new(),
            itself: None,
            kernel: Some(kernel),
            stale_entry: false,
        }
    }

    /// Keeps a handle for the next `call_soon`. Answers it back when there are enough.
    #[inline]
    #[must_use]
    pub fn keep_spare(&mut self, handle: Py<Handle>) -> Option<Py<Handle>> {
        if self.spare.len() < SPARE_HANDLES {
            self.spare.push(handle);
            None
        } else {
            Some(handle)
        }
    }

    /// Keeps an object for reuse. Answers it back when there are enough.
    #[inline]
    #[must_use]
    pub fn keep_object(&mut self, object: Py<PyAny>) -> Option<Py<PyAny>> {
        if self.spare_objects.len() < SPARE_OBJECTS {
            self.spare_objects.push(object);
            None
        } else {
            Some(object)
        }
    }

    /// The kernel's half. Errors: the loop is closed.
    pub fn registrar(&self) -> io::Result<&Registrar> {
        match &self.kernel {
            Some(kernel) => Ok(&kernel.registrar),
            None => Err(io::Error::from(io::ErrorKind::NotConnected)),
        }
    }

    /// The key of the newest source that has this descriptor.
    pub fn key_of(&self, fd: Fd) -> Option<Key> {
        let key = *self.by_fd.get(usize::try_from(fd).ok()?)?;
        self.sources.get(key).map(|_| key)
    }

    /// Puts a source in. Answers its key and what was there before under the same descriptor: a watcher whose
    /// owner closed the descriptor without a word, or one that an operation on the same socket left registered. The
    /// caller drops it, with nothing borrowed. A driver stays, and finds out for itself that its descriptor was closed.
    #[must_use]
    pub fn insert(&mut self, source: Source) -> (Key, Option<Source>) {
        let fd = source.fd();
        let old = match self.key_of(fd) {
            Some(key) if matches!(self.sources.get(key), Some(Source::Watcher(_))) => {
                self.sources.remove(key)
            }
            _ => None,
        };
        if let (Some(Source::Watcher(_)), Some(kernel)) = (&old, &self.kernel) {
            // The new source registers itself, which the kernel refuses twice. Fails when there is no entry.
            let _ = kernel.registrar.remove(fd);
        }
        let key = self.sources.insert(source);
        if let Ok(index) = usize::try_from(fd) {
            if self.by_fd.len() <= index {
                self.by_fd.resize(index + 1, Key::NONE);
            }
            self.by_fd[index] = key;
        }
        (key, old)
    }

    /// Takes a source out; the kernel's entry is the caller's business.
    #[must_use]
    pub fn remove(&mut self, key: Key) -> Option<Source> {
        let source = self.sources.remove(key)?;
        if let Ok(index) = usize::try_from(source.fd())
            && self.by_fd.get(index) == Some(&key)
        {
            self.by_fd[index] = Key::NONE;
        }
        Some(source)
    }

    /// The driver of a key, as its own type.
    #[inline]
    pub fn driver<T: Driver>(&mut self, key: Key) -> Option<&mut T> {
        match self.sources.get_mut(key) {
            Some(Source::Driver(driver)) => (driver.as_mut() as &mut dyn Any).downcast_mut(),
            _ => None,
        }
    }
}
