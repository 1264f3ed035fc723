//! Bytes that have arrived and nobody has taken: for hosts that pull (Tornado), where the stream owns the buffer.
//!
//! One block of memory, in which the bytes not yet taken lie between `start` and `end`. Taking moves `start` only.
//! When the room behind `end` is too small, either the bytes move to the front (if they are no more than what was
//! taken before them, so each byte taken pays for one byte moved), or everything moves to a block with room for as much
//! again. Both ways a byte is moved a constant number of times on average. A block four times too large, the rest of a
//! burst, is replaced on that occasion.
//!
//! **Memory.** An empty buffer owns none: an idle connection's cost is this struct. That makes a block for each message
//! on a connection that is always emptied, which is why small reads go through the loop's own receive block and
//! [`ReadBuffer::append`] (an exact-size block, no zeroing), and [`ReadBuffer::spare_mut`] is for reads known to be large.

use std::fmt;

/// The buffer has grown over its limit. The bytes that did it are in it: what a pending read can be given, it gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferFull {
    /// The most bytes that may wait (Tornado's `max_buffer_size`).
    pub limit: usize,
}

impl fmt::Display for BufferFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reached maximum read buffer size")
    }
}

impl std::error::Error for BufferFull {}

/// Arrived bytes, and how many there may be.
#[derive(Debug)]
pub struct ReadBuffer {
    /// All of it is initialized, the room behind `end` included, which is thus zeroed once and not for each read.
    block: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes taken since the beginning: gives every byte of the stream a number that taking does not change.
    taken: u64,
    limit: usize,
}

impl ReadBuffer {
    /// An empty buffer for at most `limit` bytes. Does not allocate.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            block: Vec::new(),
            start: 0,
            end: 0,
            taken: 0,
            limit,
        }
    }

    /// Bytes that can be taken.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Is there nothing to take?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The bytes that can be taken.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.block[self.start..self.end]
    }

    /// The number in the stream of the first byte that can be taken.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.taken
    }

    /// Bytes of memory held.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.block.capacity()
    }

    /// The most bytes that may wait.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Adds a copy of `bytes`.
    ///
    /// # Errors
    /// [`BufferFull`] if there are now more than the limit; they have been added.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        if self.block.is_empty() {
            self.block.extend_from_slice(bytes);
            self.end = self.block.len();
        } else if !bytes.is_empty() {
            self.make_room(bytes.len());
            let end = self.end + bytes.len();
            self.block[self.end..end].copy_from_slice(bytes);
            self.end = end;
        }
        self.check_limit()
    }

    /// Room for at least `min` bytes that a read may fill. It may hold anything; say with [`ReadBuffer::filled`] how
    /// much of it was used.
    #[must_use]
    pub fn spare_mut(&mut self, min: usize) -> &mut [u8] {
        self.make_room(min);
        &mut self.block[self.end..]
    }

    /// The first `count` bytes of what [`ReadBuffer::spare_mut`] gave have been filled. More than it gave counts as
    /// all of it.
    ///
    /// # Errors
    /// [`BufferFull`] if there are now more than the limit; they have been added.
    pub fn filled(&mut self, count: usize) -> Result<(), BufferFull> {
        debug_assert!(
            count <= self.block.len() - self.end,
            "{count} bytes read into less room"
        );
        self.end += count.min(self.block.len() - self.end);
        if self.is_empty() {
            self.release();
        }
        self.check_limit()
    }

    /// Takes the first `count` bytes, which the caller has copied from [`ReadBuffer::as_slice`] or does not want. More
    /// than there are counts as all.
    pub fn discard(&mut self, count: usize) {
        debug_assert!(count <= self.len(), "{count} bytes taken of {}", self.len());
        let count = count.min(self.len());
        self.start += count;
        self.taken = self.taken.wrapping_add(count as u64);
        if self.is_empty() {
            self.release();
        }
    }

    /// Takes the first `count` bytes (all, if there are fewer). All of a block that was never taken from is handed
    /// over, anything else copied.
    #[must_use]
    pub fn consume(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.len());
        if self.start == 0 && count == self.end && count > self.block.len() / 2 {
            let mut block = std::mem::take(&mut self.block);
            block.truncate(count);
            self.taken = self.taken.wrapping_add(count as u64);
            self.release();
            return block;
        }
        let bytes = self.as_slice()[..count].to_vec();
        self.discard(count);
        bytes
    }

    /// Takes as many bytes as there are and fit into `target`, and answers how many.
    #[must_use]
    pub fn consume_into(&mut self, target: &mut [u8]) -> usize {
        let count = self.len().min(target.len());
        target[..count].copy_from_slice(&self.as_slice()[..count]);
        self.discard(count);
        count
    }

    /// Drops all bytes, unread, and gives the memory back.
    pub fn clear(&mut self) {
        self.discard(self.len());
    }

    const fn check_limit(&self) -> Result<(), BufferFull> {
        if self.len() > self.limit {
            Err(BufferFull { limit: self.limit })
        } else {
            Ok(())
        }
    }

    /// Gives the memory of an empty buffer back.
    fn release(&mut self) {
        self.block = Vec::new();
        self.start = 0;
        self.end = 0;
    }

    fn make_room(&mut self, min: usize) {
        if self.block.len() - self.end >= min {
            return;
        }
        let live = self.len();
        let wanted = live.saturating_add(min);
        let fits = (wanted..=wanted.saturating_mul(4)).contains(&self.block.len());
        if fits && live <= self.start {
            self.block.copy_within(self.start..self.end, 0);
        } else {
            // A first block is as large as was asked for; later ones leave room for what the move has cost. Zeroed by
            // the allocator, which for a large block means untouched pages.
            let size = if live == 0 {
                wanted
            } else {
                wanted.saturating_mul(2)
            };
            let mut block = vec![0; size];
            block[..live].copy_from_slice(self.as_slice());
            self.block = block;
        }
        self.start = 0;
        self.end = live;
    }
}
