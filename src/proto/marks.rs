//! Water marks: when the producer of a write buffer is asked to pause, and when to go on.
//!
//! Two thresholds instead of one, so that a buffer that hovers around a limit does not ask for a pause and a
//! resumption with every byte. The rules and the error text are those of asyncio's `_FlowControlMixin`; Twisted's are
//! the same with other numbers ([`WaterMarks::TWISTED`]), but for a producer that is paused with each write beyond: its face
//! looks itself ([`WaterMarks::NONE`]).

use std::fmt;

/// asyncio's default high-water mark in bytes.
pub const DEFAULT_HIGH: usize = 64 * 1024;

/// What to tell the producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pressure {
    /// `pause_writing()`, `pauseProducing()`.
    Pause,
    /// `resume_writing()`, `resumeProducing()`.
    Resume,
}

/// Limits that do not satisfy `high >= low >= 0`. Displays as the text of asyncio's `ValueError`.
///
/// Wider than what can be asked for, since a limit left out is computed from the other one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadLimits {
    /// The high-water mark, as given or computed.
    pub high: i128,
    /// The low-water mark, as given or computed.
    pub low: i128,
}

impl fmt::Display for BadLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "high ({}) must be >= low ({}) must be >= 0",
            self.high, self.low
        )
    }
}

impl std::error::Error for BadLimits {}

/// The two limits of one buffer in bytes, and whether its producer is paused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaterMarks {
    high: usize,
    low: usize,
    paused: bool,
}

impl Default for WaterMarks {
    fn default() -> Self {
        Self::ASYNCIO
    }
}

impl WaterMarks {
    /// asyncio's defaults.
    pub const ASYNCIO: Self = Self {
        high: DEFAULT_HIGH,
        low: DEFAULT_HIGH / 4,
        paused: false,
    };
    /// Twisted pauses past `FileDescriptor.bufferSize` and resumes when everything has left.
    pub const TWISTED: Self = Self {
        high: DEFAULT_HIGH,
        low: 0,
        paused: false,
    };
    /// For a face that looks itself.
    pub const NONE: Self = Self {
        high: usize::MAX,
        low: 0,
        paused: false,
    };

    /// asyncio's defaults with TLS.
    pub const ASYNCIO_TLS: Self = Self {
        high: 8 * DEFAULT_HIGH,
        low: 2 * DEFAULT_HIGH,
        paused: false,
    };

    /// Sets the limits; one left out follows from the other (`low = high / 4`, `high = 4 * low`), and both left out
    /// are the defaults. Neither pauses nor resumes: follow with [`WaterMarks::grown`], as asyncio does, which after a
    /// change of limits pauses at once but resumes no earlier than at the next send.
    ///
    /// # Errors
    /// [`BadLimits`] unless `high >= low >= 0`; the limits are then unchanged.
    pub fn set_limits(&mut self, high: Option<i64>, low: Option<i64>) -> Result<(), BadLimits> {
        let low = low.map(i128::from);
        let high = high.map_or_else(
            || low.map_or(DEFAULT_HIGH as i128, |low| 4 * low),
            i128::from,
        );
        // Python's `//` rounds down, which shows in the error text for a negative `high`.
        let low = low.unwrap_or_else(|| high.div_euclid(4));
        if !(high >= low && low >= 0) {
            return Err(BadLimits { high, low });
        }
        // Only a computed `high` can be out of range; no buffer can get there.
        self.high = usize::try_from(high).unwrap_or(usize::MAX);
        self.low = usize::try_from(low).unwrap_or(usize::MAX);
        Ok(())
    }

    /// `(low, high)`, in the order of asyncio's `get_write_buffer_limits()`.
    #[must_use]
    pub const fn limits(&self) -> (usize, usize) {
        (self.low, self.high)
    }

    /// Has a pause been reported, and no resumption since?
    #[must_use]
    pub const fn paused(&self) -> bool {
        self.paused
    }

    /// The buffer now holds `size` bytes: must the producer be told something? Never answers the same twice in a row.
    /// The flag is changed already when the answer is given, so a producer that writes from inside its
    /// `pause_writing()` is not told again.
    #[must_use]
    pub const fn update(&mut self, size: usize) -> Option<Pressure> {
        if self.paused && size <= self.low {
            self.paused = false;
            return Some(Pressure::Resume);
        }
        self.grown(size)
    }

    /// As [`WaterMarks::update`], but never answers `Resume`: for a change that did not send anything.
    #[must_use]
    pub const fn grown(&mut self, size: usize) -> Option<Pressure> {
        if self.paused || size <= self.high {
            return None;
        }
        self.paused = true;
        Some(Pressure::Pause)
    }
}
