//! Messages whose echo can be told from anything else that was sent on the connection.

/// Consecutive requests on a connection use different variants, so that stale, repeated or
/// swapped bytes compare unequal. Few enough to stay in the cache at 100 KiB.
pub const VARIANTS: usize = 4;

pub struct Payload {
    variants: Vec<Vec<u8>>,
}

impl Payload {
    /// Each message ends with its only newline: a line-based server echoes it as well.
    pub fn new(size: usize) -> Self {
        let variants = (0..VARIANTS)
            .map(|variant| {
                // An odd period, so that no power-of-two block of the message equals the next.
                let mut bytes: Vec<u8> =
                    (0..size).map(|at| b'0' + ((at * 7 + variant * 13 + at / 61) % 61) as u8).collect();
                bytes[size - 1] = b'\n';
                bytes
            })
            .collect();
        Payload { variants }
    }

    pub fn of(&self, sequence: u64) -> &[u8] {
        &self.variants[sequence as usize % VARIANTS]
    }
}

#[cfg(test)]
mod tests {
    use super::{Payload, VARIANTS};

    #[test]
    fn variants_differ_and_hold_one_newline() {
        let payload = Payload::new(1024);
        for one in 0..VARIANTS as u64 {
            let message = payload.of(one);
            assert_eq!(message.iter().filter(|&&byte| byte == b'\n').count(), 1);
            assert_eq!(message.last(), Some(&b'\n'));
            assert_ne!(message, payload.of(one + 1));
        }
    }
}
