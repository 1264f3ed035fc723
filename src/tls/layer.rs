//! What lies between a stream's socket and its face, as TLS does: the contract.
//!
//! The stream core (`io::layer`) lends a layer the bytes that came from the peer and a place for what they mean, and
//! sends what the layer answers. A layer does no I/O and knows no descriptor, so one can be put upon another
//! ([`Stacked`](super::stacked::Stacked)) and all of it be tested without a socket.

use std::mem::MaybeUninit;

use pyo3::prelude::*;

/// What a layer made of the bytes it was lent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// It has taken all of them and says nothing more without new ones.
    More,
    /// The place is full, or there was none: it may have more to say. What it left of the bytes it sees again.
    Full,
    /// The peer has ended its direction, in the layer's own terms.
    End,
}

/// Where a layer writes what the peer's bytes mean: a face's buffer, to be filled from its beginning.
pub struct Place<'a> {
    buffer: &'a mut [MaybeUninit<u8>],
    filled: usize,
}

impl<'a> Place<'a> {
    pub fn new(buffer: &'a mut [MaybeUninit<u8>]) -> Self {
        Place { buffer, filled: 0 }
    }

    /// No place at all: a face that wants nothing now.
    pub fn none() -> Self {
        Place {
            buffer: &mut [],
            filled: 0,
        }
    }

    /// How many bytes have been written.
    #[inline]
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// How many more fit.
    #[inline]
    pub fn room(&self) -> usize {
        self.buffer.len() - self.filled
    }

    /// What is still free.
    #[inline]
    pub fn rest(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.buffer[self.filled..]
    }

    /// `count` bytes have been written to the beginning of [`Place::rest`].
    ///
    /// # Safety
    /// They have.
    #[inline]
    pub unsafe fn advance(&mut self, count: usize) {
        debug_assert!(count <= self.room());
        self.filled += count.min(self.room());
    }

    /// Copies as much of `bytes` as fits, and answers how much that was.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        for (place, byte) in self.rest().iter_mut().zip(&bytes[..count]) {
            place.write(*byte);
        }
        // SAFETY: written a line above.
        unsafe { self.advance(count) };
        count
    }
}

/// A transformation of the bytes between the socket and the face. It keeps what it cannot pass on yet. What it
/// appends to `wire` is sent, also when it answers an error, as far as the kernel takes it then.
///
/// It is called with nothing borrowed, since TLS runs Python in the middle of a handshake; while it works nobody else
/// can reach it.
pub trait Layer: Send {
    /// It was put in: what must be sent before anything is read.
    fn start(&mut self, py: Python<'_>, wire: &mut Vec<u8>) -> PyResult<()>;

    /// Takes from `input` what came from the peer, writes what it means to `place`, and to `wire` what must be sent
    /// in answer. Until [`Layer::is_ready`] there is no place. With an error, and with [`Input::End`], what was written to
    /// the place before still counts.
    fn decode(
        &mut self,
        py: Python<'_>,
        input: &mut &[u8],
        place: &mut Place<'_>,
        wire: &mut Vec<u8>,
    ) -> PyResult<Input>;

    /// The peer's socket has ended without an [`Input::End`]. An error says that bytes are missing.
    fn cut_off(&mut self, py: Python<'_>) -> PyResult<()>;

    /// The host writes: appends what must be sent to `wire`.
    fn encode(&mut self, py: Python<'_>, bytes: &[u8], wire: &mut Vec<u8>) -> PyResult<()>;

    /// The host has ended its direction and everything before has left: the last word. Called once at most.
    fn finish(&mut self, py: Python<'_>, wire: &mut Vec<u8>) -> PyResult<()>;

    /// Whether bytes of the host's pass: a handshake is over. Once so, always so. Looked at after each call.
    fn is_ready(&self) -> bool;

    /// It needs bytes from the peer whether the face wants any or not: for a handshake, and after [`Layer::finish`] for
    /// the peer's last word, if it waits for that. Looked at after each call.
    fn wants_input(&self) -> bool;

    /// How many bytes of the host's it keeps until the peer has said something. Looked at after each call.
    fn held(&self) -> usize;

    /// Visits every Python object it holds, for the garbage collector.
    fn visit(&self, _visitor: &mut dyn FnMut(&Py<PyAny>)) {}
}
