//! Bytes waiting to be sent: a queue of chunks kept by reference, with the position in the first of them.
//!
//! A chunk is whatever holds bytes (`C: AsRef<[u8]>`; in this house a Python `bytes` or an owned copy). It must answer
//! the same slice as long as it is in the queue, the reason why mutable buffers are copied before they come here.
//!
//! **Nothing is dropped in here.** A chunk's drop can be a decref, which can run Python code, which can write to this
//! very buffer. [`WriteBuffer::advance`] and [`WriteBuffer::clear`] hand the finished chunks out as a [`Finished`] for
//! the caller to carry out of its borrow.
//!
//! **Memory.** Most connections have nothing buffered most of the time, so the queue lives behind one pointer and does
//! not exist until something is pushed. Once made it stays while it is small ([`KEPT_CHUNKS`]), so that a connection
//! whose writes always pass through the buffer does not allocate for each, and shrinks after a burst.

use std::collections::{VecDeque, vec_deque};
use std::io::IoSlice;

/// The most chunks that one `sendmsg` takes: enough to make the system call's price vanish, on the stack 1 KiB.
pub const MAX_SLICES: usize = 64;

/// The most bytes offered to one system call. macOS refuses a `writev` of more than `INT_MAX` bytes with `EINVAL`.
pub const MAX_BATCH_BYTES: usize = 1 << 30;

/// Room for this many chunks is kept when the buffer runs empty.
pub const KEPT_CHUNKS: usize = 8;

/// A queue of chunks and the number of bytes in it. Three words.
#[derive(Debug)]
pub struct WriteBuffer<C> {
    /// Never holds an empty chunk; the first one has more than `front_offset` bytes. The box is what makes an idle
    /// connection cheap: a bare `VecDeque` is four words.
    #[allow(clippy::box_collection)]
    chunks: Option<Box<VecDeque<C>>>,
    /// How much of the first chunk has been sent.
    front_offset: usize,
    /// Bytes not yet sent.
    len: usize,
}

impl<C> Default for WriteBuffer<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> WriteBuffer<C> {
    /// An empty buffer. Does not allocate.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            chunks: None,
            front_offset: 0,
            len: 0,
        }
    }

    /// Bytes not yet sent.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Is there nothing to send?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The chunks, the one being sent included: for garbage collection and statistics.
    pub fn chunks(&self) -> impl ExactSizeIterator<Item = &C> {
        self.chunks
            .as_deref()
            .map_or_else(vec_deque::Iter::default, VecDeque::iter)
    }

    /// How many chunks there is room for: what the buffer retains.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.chunks.as_deref().map_or(0, VecDeque::capacity)
    }

    /// How much of the first chunk has been sent.
    #[must_use]
    pub const fn front_offset(&self) -> usize {
        self.front_offset
    }

    /// Takes all chunks out and gives all memory back.
    pub fn clear(&mut self) -> Finished<C> {
        self.front_offset = 0;
        self.len = 0;
        Finished {
            first: None,
            rest: self
                .chunks
                .take()
                .map_or_else(VecDeque::new, |chunks| *chunks),
        }
    }
}

impl<C: AsRef<[u8]>> WriteBuffer<C> {
    /// Appends a chunk. An empty one comes back, since it would never be sent.
    #[must_use = "a chunk that comes back must be dropped outside of any borrow"]
    pub fn push(&mut self, chunk: C) -> Option<C> {
        let added = chunk.as_ref().len();
        if added == 0 {
            return Some(chunk);
        }
        self.len += added;
        self.chunks.get_or_insert_default().push_back(chunk);
        None
    }

    /// The unsent part of the first chunk.
    #[inline]
    #[must_use]
    pub fn front(&self) -> Option<&[u8]> {
        self.chunks
            .as_deref()?
            .front()
            .map(|chunk| unsent(chunk, self.front_offset))
    }

    /// The first chunk as [`front`](Self::front) answers it, at most [`MAX_BATCH_BYTES`] of it, if there is no other: for
    /// a plain `send`, which is cheaper than `sendmsg`.
    #[inline]
    #[must_use]
    pub fn only(&self) -> Option<&[u8]> {
        if self.chunks.as_deref()?.len() != 1 {
            return None;
        }
        let bytes = self.front()?;
        Some(&bytes[..bytes.len().min(MAX_BATCH_BYTES)])
    }

    /// Takes the chunk that [`only`](Self::only) answered, all of which has left.
    #[inline]
    #[must_use = "finished chunks must be dropped outside of any borrow"]
    pub fn take_only(&mut self) -> Option<C> {
        let chunks = self.chunks.as_deref_mut()?;
        debug_assert_eq!(chunks.len(), 1);
        self.len = 0;
        self.front_offset = 0;
        chunks.pop_front()
    }

    /// Points `out` at the first unsent bytes, at most [`MAX_BATCH_BYTES`] of them, and answers how many slices were
    /// filled.
    pub fn fill_iovec<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let mut offset = self.front_offset;
        let mut budget = MAX_BATCH_BYTES;
        let mut filled = 0;
        for (slot, chunk) in out.iter_mut().zip(self.chunks()) {
            let bytes = unsent(chunk, offset);
            let bytes = &bytes[..bytes.len().min(budget)];
            if bytes.is_empty() {
                break;
            }
            budget -= bytes.len();
            offset = 0;
            *slot = IoSlice::new(bytes);
            filled += 1;
        }
        filled
    }

    /// `sent` bytes have left: hands out the chunks that are finished. More than there is counts as all there is.
    #[must_use = "finished chunks must be dropped outside of any borrow"]
    pub fn advance(&mut self, sent: usize) -> Finished<C> {
        debug_assert!(sent <= self.len, "{sent} bytes sent of {}", self.len);
        let Some(chunks) = self.chunks.as_deref_mut() else {
            return Finished::none();
        };
        if sent >= self.len && chunks.len() == 1 {
            self.len = 0;
            self.front_offset = 0;
            return Finished {
                first: chunks.pop_front(),
                rest: VecDeque::new(),
            };
        }
        if sent >= self.len && chunks.len() > KEPT_CHUNKS {
            // The end of a burst: the queue itself becomes the answer, no chunk is moved and no memory retained.
            return self.clear();
        }
        self.len = self.len.saturating_sub(sent);
        // How many chunks are finished, and where in the first one left we are.
        let mut offset = self.front_offset.saturating_add(sent);
        let mut count = 0;
        for chunk in chunks.iter() {
            let size = chunk.as_ref().len();
            if offset < size {
                break;
            }
            offset -= size;
            count += 1;
        }
        self.front_offset = if self.len == 0 { 0 } else { offset };
        let mut finished = Finished::none();
        if count > 0 {
            finished.first = chunks.pop_front();
            finished.rest.extend(chunks.drain(..count - 1));
            shrink(chunks);
        }
        finished
    }
}

/// What of the first chunk is left. The `get` costs nothing and keeps a chunk that broke its promise from panicking.
fn unsent<C: AsRef<[u8]>>(chunk: &C, offset: usize) -> &[u8] {
    chunk.as_ref().get(offset..).unwrap_or_default()
}

/// Gives memory back once three quarters of it are unused, so that a buffer that never runs empty does not keep the
/// room of its worst moment. The moves are paid for by the chunks that have left since the room was last full.
fn shrink<C>(chunks: &mut VecDeque<C>) {
    let capacity = chunks.capacity();
    if capacity > 2 * KEPT_CHUNKS && chunks.len() <= capacity / 4 {
        chunks.shrink_to(KEPT_CHUNKS.max(2 * chunks.len()));
    }
}

/// Chunks that have left a buffer, in order. Carry it out of the borrow, then drop it.
///
/// The usual case, one chunk, needs no allocation.
#[derive(Debug)]
#[must_use = "finished chunks must be dropped outside of any borrow"]
pub struct Finished<C> {
    first: Option<C>,
    rest: VecDeque<C>,
}

impl<C> Finished<C> {
    /// No chunk.
    pub const fn none() -> Self {
        Self {
            first: None,
            rest: VecDeque::new(),
        }
    }

    /// How many chunks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// Is there none? (Then dropping it runs no code.)
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }
}

impl<C> IntoIterator for Finished<C> {
    type Item = C;
    type IntoIter = std::iter::Chain<std::option::IntoIter<C>, vec_deque::IntoIter<C>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.rest)
    }
}
