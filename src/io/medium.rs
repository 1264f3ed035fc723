//! What the bytes of a stream go through, and who closes it.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;

use pyo3::prelude::*;

use crate::py::sockets;
use crate::sys::{Fd, ancillary, plain, socket};

/// What the bytes of a stream go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Medium {
    /// A TCP socket. A read that fills less than it asked for has drained it, unless it ended before urgent data.
    Tcp,
    /// A Unix socket. A read also ends where something came beside the bytes, and before urgent data.
    Unix,
    /// A Unix socket whose face hears of what travels beside the bytes; see [`passing`](super::passing).
    Passing,
    /// Another stream socket, of which nothing is known: the kernel is asked what is left.
    Socket,
    /// A pipe (or a socket) as plain data. A write to one that is not empty brings no edge on some kernels (5.5 to
    /// 5.13), so it has to be seen empty: the kernel is asked what is left.
    Pipe,
    /// A terminal or another device. A terminal gives a line at a time, and its end of file (Ctrl-D) may stand behind
    /// the last line without counting as a byte: only EAGAIN says that nothing is left.
    Device,
}

impl Medium {
    /// That of a stream socket, by its family.
    pub fn of(family: i32) -> Self {
        if socket::is_inet(family) {
            Medium::Tcp
        } else if socket::is_unix(family) {
            Medium::Unix
        } else {
            Medium::Socket
        }
    }

    /// Receives into `buffer`; `beside` then says whether something came beside the bytes.
    #[inline]
    pub(super) fn receive(
        self,
        fd: Fd,
        buffer: &mut [MaybeUninit<u8>],
        beside: &mut bool,
    ) -> io::Result<usize> {
        match self {
            Medium::Tcp | Medium::Socket => socket::recv(fd, buffer),
            Medium::Unix | Medium::Passing => {
                let (count, more) = ancillary::receive_alone(fd, buffer)?;
                *beside = more;
                Ok(count)
            }
            Medium::Pipe | Medium::Device => plain::read(fd, buffer),
        }
    }

    #[inline]
    pub(super) fn send(self, fd: Fd, data: &[u8]) -> io::Result<usize> {
        match self {
            Medium::Tcp | Medium::Unix | Medium::Passing | Medium::Socket => socket::send(fd, data),
            Medium::Pipe | Medium::Device => plain::write(fd, data),
        }
    }

    #[inline]
    pub(super) fn send_vectored(self, fd: Fd, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Medium::Tcp | Medium::Unix | Medium::Passing | Medium::Socket => {
                socket::send_vectored(fd, pieces)
            }
            Medium::Pipe | Medium::Device => plain::write_vectored(fd, pieces),
        }
    }

    /// Whether urgent data, which ends a read, has to be heard of.
    pub(super) fn has_urgent(self) -> bool {
        matches!(self, Medium::Tcp | Medium::Unix | Medium::Passing)
    }

    /// Whether nothing is left after a read that took less than it asked for. `marked`: something came beside its bytes, or
    /// there has been urgent data.
    #[inline]
    pub(super) fn short_read_drains(self, fd: Fd, marked: bool) -> bool {
        match self {
            Medium::Tcp => !marked,
            Medium::Unix | Medium::Passing if ancillary::ENDS_WITH_A_MESSAGE && !marked => true,
            Medium::Unix | Medium::Passing | Medium::Socket | Medium::Pipe => {
                matches!(socket::pending(fd), Ok(0))
            }
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
    /// Whether the stream's descriptor may still be what it was: a socket that its program has closed, or detached, took it
    /// along, and its number is somebody else's by now.
    #[inline]
    pub(super) fn may_have(&self, fd: Fd) -> bool {
        match self {
            Owner::Object(object) => sockets::may_have(object, fd),
            Owner::Stream | Owner::Face | Owner::Duplicate => true,
        }
    }

    pub(super) fn object(&self) -> Option<&Py<PyAny>> {
        match self {
            Owner::Object(object) => Some(object),
            Owner::Stream | Owner::Face | Owner::Duplicate => None,
        }
    }
}
