//! Level-triggered registration with the poller's own epoll instance.
//!
//! mio registers edge-triggered only. Watchers (`add_reader`, Twisted's `doRead`, Tornado's handlers)
//! are level contracts: a callback that reads one byte must be called again. Emulating that by
//! re-registering after each callback would cost one `epoll_ctl` per event; asking the kernel for a
//! level-triggered entry costs nothing, and mio hands its events through like any other.

use std::io;

use super::{Fd, check};

/// What a level-triggered registration waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want {
    pub readable: bool,
    pub writable: bool,
}

fn event(want: Want, token: u64) -> libc::epoll_event {
    let mut events = 0;
    if want.readable {
        events |= libc::EPOLLIN;
    }
    if want.writable {
        events |= libc::EPOLLOUT;
    }
    libc::epoll_event {
        events: events as u32,
        u64: token,
    }
}

fn control(poller: Fd, operation: libc::c_int, fd: Fd, want: Want, token: u64) -> io::Result<()> {
    let mut event = event(want, token);
    // SAFETY: `event` outlives the call; a bad descriptor is an error answer, not undefined.
    check(unsafe { libc::epoll_ctl(poller, operation, fd, &raw mut event) }).map(drop)
}

/// Registers `fd`. EPERM for plain files, EEXIST when it is registered already.
pub fn add(poller: Fd, fd: Fd, want: Want, token: u64) -> io::Result<()> {
    control(poller, libc::EPOLL_CTL_ADD, fd, want, token)
}

/// Changes a registration. ENOENT when the number now names another open file, EPERM when that is a plain one.
pub fn modify(poller: Fd, fd: Fd, want: Want, token: u64) -> io::Result<()> {
    control(poller, libc::EPOLL_CTL_MOD, fd, want, token)
}

/// Removes a registration. EBADF or ENOENT when the owner closed the descriptor before.
pub fn delete(poller: Fd, fd: Fd) -> io::Result<()> {
    // SAFETY: a null event is allowed for EPOLL_CTL_DEL since Linux 2.6.9.
    check(unsafe { libc::epoll_ctl(poller, libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) })
        .map(drop)
}

/// Whether an error of [`modify`] or [`delete`] says that the entry is not there (any more). What was registered once
/// cannot answer EPERM: the number names a plain file by now.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT) | Some(libc::EBADF) | Some(libc::EPERM)
    )
}

/// Whether an error of [`add`] says that the descriptor is registered already.
pub fn is_present(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EEXIST)
}
