//! Registration with the poller; shared, since callbacks register while the turn owns the poller.

use std::io;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Registry};

use super::Key;
use crate::sys::Fd;
use crate::sys::level::{self, Want};

/// Registers streams edge-triggered and watchers level-triggered with one poller.
pub struct Registrar {
    registry: Registry,
    poller: Fd,
}

fn reading(urgent: bool) -> Interest {
    #[cfg(target_os = "linux")]
    if urgent {
        return Interest::READABLE | Interest::PRIORITY;
    }
    let _ = urgent;
    Interest::READABLE
}

impl Registrar {
    pub(super) fn new(poll: &Poll) -> io::Result<Registrar> {
        Ok(Registrar {
            registry: poll.registry().try_clone()?,
            poller: poll.as_raw_fd(),
        })
    }

    /// Registers a stream for its lifetime, edge-triggered. At first only for reading: most streams
    /// never fill the kernel's send buffer, and an entry for writing reports once for nothing.
    /// `urgent`: it also hears of urgent data, where the poller can tell.
    pub fn add_stream(&self, fd: Fd, key: Key, urgent: bool) -> io::Result<()> {
        self.registry
            .register(&mut SourceFd(&fd), key.token(), reading(urgent))
    }

    /// From now on a stream also hears when it can be written to again; it does so at once when it can.
    pub fn add_stream_writing(&self, fd: Fd, key: Key, urgent: bool) -> io::Result<()> {
        self.registry.reregister(
            &mut SourceFd(&fd),
            key.token(),
            reading(urgent) | Interest::WRITABLE,
        )
    }

    /// Forgets a descriptor. One that its owner has closed already is fine.
    pub fn remove(&self, fd: Fd) -> io::Result<()> {
        match level::delete(self.poller, fd) {
            Err(error) if !level::is_gone(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Registers a watcher or changes what it waits for, level-triggered.
    ///
    /// `known` says that we believe `fd` to be registered. The belief may be wrong in both directions, since
    /// the owner can close a descriptor without telling and get the same number for another file.
    pub fn set_level(&self, fd: Fd, key: Key, want: Want, known: bool) -> io::Result<()> {
        let token = key.token().0 as u64;
        if known {
            match level::modify(self.poller, fd, want, token) {
                Err(error) if level::is_gone(&error) => level::add(self.poller, fd, want, token),
                result => result,
            }
        } else {
            match level::add(self.poller, fd, want, token) {
                Err(error) if level::is_present(&error) => {
                    level::modify(self.poller, fd, want, token)
                }
                result => result,
            }
        }
    }

    /// As [`Registrar::remove`], but says whether there was anything to forget.
    pub fn take_out(&self, fd: Fd) -> io::Result<bool> {
        match level::delete(self.poller, fd) {
            Ok(()) => Ok(true),
            Err(error) if level::is_gone(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes one side away from a watcher's registration. Never adds one: if the owner closed the descriptor,
    /// its number may name a file by now that nobody asked to watch.
    pub fn narrow_level(&self, fd: Fd, key: Key, want: Want) -> io::Result<()> {
        level::modify(self.poller, fd, want, key.token().0 as u64)
    }
}
