//! Floor 0: the kernel's calls, and nothing else.
//!
//! A platform provides: [`Fd`], the monotonic clock that Python's `time.monotonic()` reads
//! ([`clock`]), non-blocking socket calls that answer `io::Result` ([`socket`]), socket addresses
//! ([`addr`]), and level-triggered registration with mio's poller ([`level`]). Linux has all of it; for
//! macOS `level` needs a kqueue twin and `socket::accept` its two-step form. Nothing above this
//! floor mentions libc.

pub mod addr;
pub mod clock;
pub mod level;
pub mod socket;

/// A file descriptor as the kernel numbers it.
pub type Fd = std::os::fd::RawFd;

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
