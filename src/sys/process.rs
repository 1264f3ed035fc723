//! Child processes: a descriptor that says when one has ended, and what it ended with.

use std::io;

use super::{Fd, check, retry};

/// A descriptor that becomes readable when the process ends; children do not inherit it. Errors: ESRCH for a process
/// that was reaped already, ENOSYS where the kernel has none (Linux before 5.3), EPERM where a filter forbids it, EMFILE.
#[cfg(target_os = "linux")]
pub fn descriptor(pid: i32) -> io::Result<Fd> {
    // SAFETY: takes no pointers; a bad number is an error answer.
    let fd = super::check_long(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    Fd::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))
}

/// See the Linux one: this platform has none.
#[cfg(not(target_os = "linux"))]
pub fn descriptor(_pid: i32) -> io::Result<Fd> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// Reaps a child that has ended: its exit code, or the number of the signal that ended it, negative. None while it
/// runs. Errors: ECHILD when somebody else has reaped it.
pub fn reap(pid: i32) -> io::Result<Option<i32>> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let reaped = retry(|| check(unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) }))?;
    if reaped == 0 {
        return Ok(None);
    }
    Ok(if libc::WIFEXITED(status) {
        Some(libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        Some(-libc::WTERMSIG(status))
    } else {
        // Stopped or continued, which only a tracer is told unasked.
        None
    })
}

/// Whether somebody else has reaped a child.
pub fn is_reaped(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECHILD)
}
