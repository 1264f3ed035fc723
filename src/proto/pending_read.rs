//! What a host that pulls has asked for, and when the read buffer satisfies it.
//!
//! The rules are Tornado's (`IOStream._find_read_pos`, `_check_max_bytes`, `close`). A pattern (`read_until_regex`) is
//! the one kind that is not here: it takes Python's `re`, so its face matches on [`ReadBuffer::as_slice`] itself. But
//! for one, see [`end_of_head`].

use std::fmt;

use memchr::memmem;

use super::read_buffer::ReadBuffer;

/// A request for bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Want {
    /// That many bytes (`read_bytes(n)`).
    Exactly(usize),
    /// At least one byte and at most that many (`read_bytes(n, partial=True)`). Zero is had at once.
    UpTo(usize),
    /// All up to and with the delimiter (`read_until`), which must end within `max_bytes` if that is given. As in
    /// Tornado an empty delimiter is found, and takes nothing, once there are any bytes.
    Until {
        /// What ends the read.
        delimiter: Box<[u8]>,
        /// The most bytes the read may answer.
        max_bytes: Option<usize>,
    },
    /// Everything, once the peer has closed (`read_until_close`).
    UntilClose,
}

/// The delimiter cannot end within `max_bytes` any more. The connection is of no use: Tornado closes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsatisfiable {
    /// What was looked for.
    pub delimiter: Box<[u8]>,
    /// Where it should have ended at the latest.
    pub max_bytes: usize,
}

impl fmt::Display for Unsatisfiable {
    /// Tornado's text, but for its `b'...'` around the delimiter, which is Python's `repr`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delimiter = self.delimiter.escape_ascii();
        write!(
            f,
            "delimiter {delimiter} not found within {} bytes",
            self.max_bytes
        )
    }
}

impl std::error::Error for Unsatisfiable {}

/// A read that waits for its bytes.
///
/// A search goes on where it stopped: over the life of a read every byte is looked at once, however small the pieces
/// in which it arrives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PendingRead {
    want: Want,
    /// The delimiter does not begin before that byte of the stream. A number in the stream and not in the buffer, so
    /// that it stays true when bytes are taken from under a waiting read.
    searched: u64,
}

impl PendingRead {
    /// A read that begins now, at the front of `buffer`.
    #[must_use]
    pub const fn new(want: Want, buffer: &ReadBuffer) -> Self {
        Self {
            want,
            searched: buffer.position(),
        }
    }

    /// What was asked for.
    #[must_use]
    pub const fn want(&self) -> &Want {
        &self.want
    }

    /// With how many bytes in the buffer it is useless to read more before looking (Tornado's `target_bytes`). `None`:
    /// any number may be of use.
    #[must_use]
    pub const fn target(&self) -> Option<usize> {
        match &self.want {
            Want::Exactly(count) | Want::UpTo(count) => Some(*count),
            Want::Until { max_bytes, .. } => *max_bytes,
            Want::UntilClose => None,
        }
    }

    /// How many bytes from the front of `buffer` satisfy the read; `None` if it has to wait.
    ///
    /// # Errors
    /// [`Unsatisfiable`] if no byte that may come can satisfy it.
    pub fn poll(&mut self, buffer: &ReadBuffer) -> Result<Option<usize>, Unsatisfiable> {
        self.poll_bytes(buffer.as_slice(), buffer.position())
    }

    /// As [`PendingRead::poll`], of bytes that are not in the buffer, or not yet: the first of them is the byte `position`
    /// of the stream.
    ///
    /// # Errors
    /// As of [`PendingRead::poll`].
    pub fn poll_bytes(
        &mut self,
        bytes: &[u8],
        position: u64,
    ) -> Result<Option<usize>, Unsatisfiable> {
        let available = bytes.len();
        match &self.want {
            Want::Exactly(count) => Ok((available >= *count).then_some(*count)),
            Want::UpTo(count) => {
                Ok((available > 0 || *count == 0).then_some(available.min(*count)))
            }
            Want::UntilClose => Ok(None),
            Want::Until {
                delimiter,
                max_bytes,
            } => {
                let found = search(delimiter, *max_bytes, &mut self.searched, bytes, position);
                match *max_bytes {
                    Some(max_bytes) if found.is_none() && available > max_bytes => {
                        Err(Unsatisfiable {
                            delimiter: delimiter.clone(),
                            max_bytes,
                        })
                    }
                    _ => Ok(found),
                }
            }
        }
    }

    /// As [`PendingRead::poll`], when no byte will come any more: `None` means that the read fails (Tornado:
    /// `StreamClosedError`). `clean` is whether the end was an orderly one, which for Tornado includes a reset by the
    /// peer: a `read_until_close` must not take what an error has cut off for the whole.
    ///
    /// For a read that waits when the connection ends, and for one that is started afterwards.
    #[must_use]
    pub fn poll_at_close(&mut self, buffer: &ReadBuffer, clean: bool) -> Option<usize> {
        match &self.want {
            Want::UntilClose => clean.then_some(buffer.len()),
            // That a delimiter is not there is no error beside the one that the connection is not either.
            _ => self.poll(buffer).unwrap_or_default(),
        }
    }
}

/// Looks for `delimiter` in the first `max_bytes` of `bytes`, which begin at `position`, from the byte `searched` of the
/// stream on, and answers where it ends.
fn search(
    delimiter: &[u8],
    max_bytes: Option<usize>,
    searched: &mut u64,
    bytes: &[u8],
    position: u64,
) -> Option<usize> {
    if bytes.is_empty() {
        return None;
    }
    let bytes = &bytes[..bytes.len().min(max_bytes.unwrap_or(usize::MAX))];
    // Bytes that were taken from under the read count as searched.
    let skip = usize::try_from(searched.saturating_sub(position)).unwrap_or(usize::MAX);
    let skip = skip.min(bytes.len());
    if let Some(at) = memmem::find(&bytes[skip..], delimiter) {
        return Some(skip + at + delimiter.len());
    }
    // It can begin in what was seen, and end in what comes.
    let possible = bytes
        .len()
        .saturating_sub(delimiter.len().saturating_sub(1));
    *searched = position.wrapping_add(possible as u64);
    None
}

/// Where the first match of the regular expression `\r?\n\r?\n` ends: an HTTP message's head, as Tornado reads it. Python's `re`
/// takes a hundred instructions for each byte of it.
#[must_use]
pub fn end_of_head(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes)
        .map(|line| line + 1)
        .find_map(|next| match bytes[next..] {
            [b'\n', ..] => Some(next + 1),
            [b'\r', b'\n', ..] => Some(next + 2),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::{PendingRead, ReadBuffer, Want};

    /// Here and not with the other tests, since only from here it shows how far a search has come.
    #[test]
    fn no_byte_is_searched_twice() {
        let mut buffer = ReadBuffer::new(usize::MAX);
        let want = Want::Until {
            delimiter: b"\r\n\r\n"[..].into(),
            max_bytes: None,
        };
        let mut read = PendingRead::new(want, &buffer);
        for arrived in 1..1000_u64 {
            assert_eq!(buffer.append(b"\r"), Ok(()));
            assert_eq!(read.poll(&buffer), Ok(None));
            assert_eq!(
                read.searched,
                arrived.saturating_sub(3),
                "all but a delimiter's beginning"
            );
        }
    }
}
