//! The cell that holds state which Python's threads share.
//!
//! Law 1: any call into Python can re-enter the loop, the transport or the watcher that called it. So
//! state is only reached through a closure, and the closure cannot hold a `Python` token or anything
//! bound to one (they are not `Send`): calling Python while state is borrowed does not compile.
//! What may happen in there is taking a new reference, for which the closure gets [`Refs`].
//! Dropping a Python object can run code too: closures hand what they remove to their caller.

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;

use pyo3::prelude::*;

/// The right to take new references while state is borrowed. Taking one runs no Python code.
#[derive(Clone, Copy)]
pub struct Refs<'a>(PhantomData<&'a ()>);

impl Refs<'_> {
    /// A new reference to `object`.
    #[inline]
    pub fn clone<T>(self, object: &Py<T>) -> Py<T> {
        // SAFETY: a `Refs` exists only inside `StateCell::with`, whose caller holds the token; the
        // token itself does not leave this function.
        object.clone_ref(unsafe { Python::assume_attached() })
    }
}

/// State guarded by the GIL: exclusive during a closure, since a closure cannot give the GIL away.
pub struct StateCell<T> {
    borrowed: Cell<bool>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through `with` and `try_with`, which demand a token, and the
// extension module declares that it needs the GIL: there is one token at a time. Values are `Send`, for the
// threads that hold it in turn.
unsafe impl<T: Send> Sync for StateCell<T> {}

struct Release<'a>(&'a Cell<bool>);

impl Drop for Release<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl<T> StateCell<T> {
    pub const fn new(value: T) -> Self {
        StateCell {
            borrowed: Cell::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Runs `body` with the state. Panics when `body` is reached from within another such closure of the
    /// same cell, which the bound on `body` makes impossible short of `Python::attach` in it.
    #[inline]
    pub fn with<R>(
        &self,
        _py: Python<'_>,
        body: impl for<'a> FnOnce(&mut T, Refs<'a>) -> R + Send,
    ) -> R {
        assert!(!self.borrowed.replace(true), "state is borrowed already");
        let _release = Release(&self.borrowed);
        // SAFETY: the flag was clear, so no other reference into the value exists; the token
        // keeps other threads out.
        body(unsafe { &mut *self.value.get() }, Refs(PhantomData))
    }

    /// For the garbage collector, which brings no token but runs on a thread that has one: `None` when
    /// the state is borrowed.
    pub fn try_with<R>(&self, body: impl FnOnce(&T) -> R) -> Option<R> {
        if self.borrowed.replace(true) {
            return None;
        }
        let _release = Release(&self.borrowed);
        // SAFETY: as in `with`; the collector runs with the GIL held.
        Some(body(unsafe { &*self.value.get() }))
    }

    /// The state of a cell that nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

/// A small value that is copied in and out: flags, keys, counters.
pub struct Flag<T: Copy>(Cell<T>);

// SAFETY: reading and writing a `Copy` value runs no other code, and every access happens with the
// GIL held (methods of frozen classes, the turn); see `StateCell`.
unsafe impl<T: Copy + Send> Sync for Flag<T> {}

impl<T: Copy> Flag<T> {
    pub const fn new(value: T) -> Self {
        Flag(Cell::new(value))
    }

    #[inline]
    pub fn get(&self) -> T {
        self.0.get()
    }

    #[inline]
    pub fn set(&self, value: T) {
        self.0.set(value);
    }

    #[inline]
    pub fn replace(&self, value: T) -> T {
        self.0.replace(value)
    }
}
