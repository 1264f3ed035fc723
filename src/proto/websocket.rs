//! The usual frame of a websocket (RFC 6455): a whole message of text or bytes, with no extension at work.
//!
//! All others (control frames, fragments, compressed ones, those that are refused) are for the host's own code to read.

/// The first byte: the last frame of its message, no extension's bit, and what it is.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;

/// A frame that has arrived whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// What the payload is: 1 for text, 2 for bytes.
    pub opcode: u8,
    /// What hides the payload.
    pub mask: Option<[u8; 4]>,
    /// As it was sent.
    pub payload: &'a [u8],
    /// Bytes before the payload.
    pub head: usize,
}

impl<'a> Frame<'a> {
    /// The frame at the front of `bytes`, if it is a usual one, all of it is there, and its payload has no more than `most` bytes.
    #[must_use]
    pub fn at_front(bytes: &'a [u8], most: usize) -> Option<Self> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        if !matches!(first, TEXT | BINARY) {
            return None;
        }
        let (length, rest) = match second & !MASKED {
            126 => {
                let (length, rest) = rest.split_first_chunk()?;
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk()?;
                (usize::try_from(u64::from_be_bytes(*length)).ok()?, rest)
            }
            length => (usize::from(length), rest),
        };
        let (mask, rest) = if second & MASKED == 0 {
            (None, rest)
        } else {
            let (mask, rest) = rest.split_first_chunk()?;
            (Some(*mask), rest)
        };
        if length > most {
            return None;
        }
        Some(Frame {
            opcode: first & OPCODE,
            mask,
            payload: rest.get(..length)?,
            head: bytes.len() - rest.len(),
        })
    }

    /// All its bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.head + self.payload.len()
    }

    /// Unmasks a payload, or masks it.
    pub fn unmask(mask: [u8; 4], payload: &mut [u8]) {
        let (words, rest) = payload.as_chunks_mut::<4>();
        for word in words {
            *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
        }
        for (byte, with) in rest.iter_mut().zip(mask) {
            *byte ^= with;
        }
    }
}

/// How many bytes who waits for a frame is given: all of a usual one, and none as soon as it is another one, or comes in
/// pieces. `None` before anything can be said, which Tornado's own code says of two bytes.
#[must_use]
pub fn poll(bytes: &[u8], most: usize) -> Option<usize> {
    (bytes.len() >= 2).then(|| Frame::at_front(bytes, most).map_or(0, |frame| frame.size()))
}
