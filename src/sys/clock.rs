//! The monotonic clock.

/// Seconds on the clock that Python's `time.monotonic()` reads, rounded the way Python rounds it.
pub fn monotonic() -> f64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` outlives the call; CLOCK_MONOTONIC exists on every supported kernel.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    // CPython keeps nanoseconds in an integer and divides once: the same here, so that a deadline
    // computed from `time.monotonic()` compares equal to one computed here.
    let nanoseconds = now.tv_sec * 1_000_000_000 + now.tv_nsec;
    nanoseconds as f64 / 1e9
}
