//! Floor 0: the kernel's calls, and nothing else.
//!
//! A platform provides: [`Fd`], the monotonic clock that Python's `time.monotonic()` reads
//! ([`clock`]), non-blocking calls that answer `io::Result`, on sockets ([`socket`], [`datagram`], [`ancillary`]) and on
//! other descriptors ([`plain`]), children's ends ([`process`]), socket addresses ([`addr`]), a look into libraries that are
//! loaded ([`dynlib`]), and level-triggered registration with mio's poller ([`level`]). Linux has all of it; for macOS
//! `level` needs a kqueue twin, `socket::accept` its two-step form, `datagram::Batch` a loop and `plain::send_file` other
//! arguments. Nothing above this floor mentions libc.

pub mod addr;
pub mod ancillary;
pub mod clock;
pub mod datagram;
pub mod dynlib;
pub mod level;
pub mod plain;
pub mod process;
pub mod socket;

/// A file descriptor as the kernel numbers it.
pub type Fd = std::os::fd::RawFd;

/// A file descriptor that is closed when nobody takes it.
pub use std::os::fd::{IntoRawFd, OwnedFd};

/// Calls again until the answer is not EINTR.
fn retry<T>(mut call: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Answers the last OS error when `result` is negative: for what has no function of its own in the C library.
#[cfg(target_os = "linux")]
fn check_long(result: libc::c_long) -> std::io::Result<libc::c_long> {
    if result < 0 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Answers the last OS error when `result` is negative, the result as a length otherwise.
pub(crate) fn check_len(result: isize) -> std::io::Result<usize> {
    usize::try_from(result).map_err(|_| std::io::Error::last_os_error())
}

/// Answers the last OS error when `result` is negative.
pub(crate) fn check(result: libc::c_int) -> std::io::Result<libc::c_int> {
    if result < 0 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
