//! The clocks.

/// Seconds on the clock that Python's `time.monotonic()` reads, rounded the way Python rounds it.
#[inline]
pub fn monotonic() -> f64 {
    seconds(libc::CLOCK_MONOTONIC)
}

/// Seconds since the epoch, as Python's `time.time()` tells them.
#[inline]
pub fn wall() -> f64 {
    seconds(libc::CLOCK_REALTIME)
}

fn seconds(clock: libc::clockid_t) -> f64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` outlives the call; both clocks exist on every supported kernel.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    if now.tv_nsec == 0 {
        return now.tv_sec as f64;
    }
    // CPython keeps nanoseconds in an integer and divides once: the same here, so that a deadline
    // computed from `time.monotonic()` compares equal to one computed here.
    let nanoseconds = now.tv_sec * 1_000_000_000 + now.tv_nsec;
    nanoseconds as f64 / 1e9
}
