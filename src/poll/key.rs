//! What names a source in an event.

use mio::Token;

/// A place in the table and the generation that lived there when the key was made.
///
/// Never a descriptor: a callback can close fd 7, an accept can reuse 7, and an old event can still
/// be in the batch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl Key {
    /// A key that no table ever gives out; looking it up finds nothing.
    pub const NONE: Key = Key {
        index: u32::MAX,
        generation: u32::MAX,
    };

    pub(super) fn token(self) -> Token {
        Token(((self.generation as usize) << 32) | self.index as usize)
    }

    pub(super) fn from_token(token: Token) -> Key {
        Key {
            index: token.0 as u32,
            generation: (token.0 >> 32) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_the_kernel() {
        let key = Key {
            index: 7,
            generation: u32::MAX - 1,
        };
        assert_eq!(Key::from_token(key.token()), key);
        assert_eq!(Key::from_token(Key::NONE.token()), Key::NONE);
    }
}
