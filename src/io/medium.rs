//! What the bytes of a stream go through, and who closes it.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;

use pyo3::prelude::*;

use crate::sys::{Fd, plain, socket};

/// What the bytes of a stream go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Medium {
    /// A TCP socket. A read that fills less than it asked for has drained it.
    Tcp,
    /// Another stream socket. A read also ends where ancillary data begins, so the kernel is asked what is left.
    Socket,
    /// A Unix socket whose face hears of what travels beside the bytes; see [`passing`](super::passing).
    Unix,
    /// A pipe (or a socket) as plain data. A write to one that is not empty brings no edge on some kernels (5.5 to
    /// 5.13), so it has to be seen empty: the kernel is asked what is left.
    Pipe,
    /// A terminal or another device. A terminal gives a line at a time, and its end of file (Ctrl-D) may stand behind
    /// the last line without counting as a byte: only EAGAIN says that nothing is left.
    Device,
}

impl Medium {
    #[inline]
    pub(super) fn receive(self, fd: Fd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        match self {
            Medium::Tcp | Medium::Socket | Medium::Unix => socket::recv(fd, buffer),
            Medium::Pipe | Medium::Device => plain::read(fd, buffer),
        }
    }

    #[inline]
    pub(super) fn send(self, fd: Fd, data: &[u8]) -> io::Result<usize> {
        match self {
            Medium::Tcp | Medium::Socket | Medium::Unix => socket::send(fd, data),
            Medium::Pipe | Medium::Device => plain::write(fd, data),
        }
    }

    #[inline]
    pub(super) fn send_vectored(self, fd: Fd, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Medium::Tcp | Medium::Socket | Medium::Unix => socket::send_vectored(fd, pieces),
            Medium::Pipe | Medium::Device => plain::write_vectored(fd, pieces),
        }
    }

    /// Whether nothing is left after a read that took less than it asked for.
    #[inline]
    pub(super) fn short_read_drains(self, fd: Fd) -> bool {
        match self {
            Medium::Tcp => true,
            Medium::Socket | Medium::Unix | Medium::Pipe => matches!(socket::pending(fd), Ok(0)),
            Medium::Device => false,
        }
    }
}

/// Who closes a stream's descriptor.
pub enum Owner {
    /// The stream itself.
    Stream,
    /// A Python object, whose `close()` the stream calls at its end, or when the loop is closed.
    Object(Py<PyAny>),
    /// The face, when it is told of the end. A loop that is closed leaves it open.
    Face,
    /// The stream itself, which has a duplicate of the face's own.
    Duplicate,
}

impl Owner {
    pub(super) fn object(&self) -> Option<&Py<PyAny>> {
        match self {
            Owner::Object(object) => Some(object),
            Owner::Stream | Owner::Face | Owner::Duplicate => None,
        }
    }
}
