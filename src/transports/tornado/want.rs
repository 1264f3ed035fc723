//! What a read call has asked for.

use pyo3::prelude::*;

use crate::proto::pending_read::PendingRead;

/// What a read call has asked for.
pub enum Want {
    Bytes(PendingRead),
    Pattern(Pattern),
    Into(Into),
    /// A websocket's frame whose payload has no more bytes than that.
    Frame(usize),
}

/// `read_until_regex()`: Python's `re` looks, but for the end of an HTTP message's head.
pub struct Pattern {
    pub pattern: Py<PyAny>,
    /// It is [`end_of_head`](crate::proto::pending_read::end_of_head)'s.
    pub of_head: bool,
    /// The greatest number: no limit. (An `Option` of it would make every stream larger.)
    pub max_bytes: usize,
    /// With how many bytes in the buffer it looks again though there is more to read: each byte is looked at a constant
    /// number of times on average.
    pub next: usize,
}

/// `read_into()`: the caller's own buffer.
pub struct Into {
    pub buffer: Py<PyAny>,
    pub length: usize,
    pub filled: usize,
    pub partial: bool,
}

impl Into {
    pub fn found(&self) -> Option<usize> {
        (self.filled >= self.length || self.partial && self.filled > 0).then_some(self.filled)
    }
}

impl Want {
    /// Visits every Python object it holds, for the garbage collector.
    pub fn object(&self) -> Option<&Py<PyAny>> {
        match self {
            Want::Bytes(_) | Want::Frame(_) => None,
            Want::Pattern(pattern) => Some(&pattern.pattern),
            Want::Into(into) => Some(&into.buffer),
        }
    }
}
