//! A websocket (RFC 6455) of one message at a time: binary, in one frame, echoed.

use std::io;

use crate::channel::Channel;
use crate::payload::{Payload, VARIANTS};
use crate::sys::Io;

/// Any key will do, and any mask.
const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
/// What that key is answered with.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub struct Frames {
    sent: Vec<Vec<u8>>,
    answers: Vec<Vec<u8>>,
}

impl Frames {
    pub fn new(size: usize) -> Self {
        let payload = Payload::new(size);
        let messages = || (0..VARIANTS as u64).map(|variant| payload.of(variant));
        Frames {
            sent: messages().map(|message| frame(message, Some(MASK))).collect(),
            answers: messages().map(|message| frame(message, None)).collect(),
        }
    }

    pub fn request(&self, sequence: u64) -> &[u8] {
        &self.sent[sequence as usize % VARIANTS]
    }

    pub fn answer(&self, sequence: u64) -> &[u8] {
        &self.answers[sequence as usize % VARIANTS]
    }
}

fn frame(message: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![0x82];
    match message.len() {
        size @ 0..126 => bytes.push(masked | size as u8),
        size @ 126..0x1_0000 => {
            bytes.push(masked | 126);
            bytes.extend((size as u16).to_be_bytes());
        }
        size => {
            bytes.push(masked | 127);
            bytes.extend((size as u64).to_be_bytes());
        }
    }
    match mask {
        None => bytes.extend(message),
        Some(mask) => {
            bytes.extend(mask);
            bytes.extend(message.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
    }
    bytes
}

/// Makes a websocket of a connection that blocks.
pub fn upgrade(channel: &mut Channel) -> io::Result<()> {
    let broken = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    match channel.send(UPGRADE.as_bytes()) {
        Io::Done(count) if count == UPGRADE.len() => {}
        Io::Failed(error) => return Err(error),
        _ => return Err(broken("the request to upgrade was not sent".into())),
    }
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.ends_with(b"\r\n\r\n") {
        match channel.recv(&mut buffer) {
            Io::Done(0) => return Err(broken("the server closed the connection".into())),
            Io::Done(count) => head.extend(&buffer[..count]),
            Io::WouldBlock => return Err(broken("a blocking recv would block".into())),
            Io::Failed(error) => return Err(error),
        }
        if head.len() > 8192 {
            return Err(broken("an HTTP head without an end".into()));
        }
    }
    let head = String::from_utf8_lossy(&head);
    if head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT) {
        return Ok(());
    }
    Err(broken(format!("no websocket: {:?}", head.lines().next().unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::frame;

    #[test]
    fn frames_of_every_length() {
        assert_eq!(frame(b"ab", None), b"\x82\x02ab");
        assert_eq!(frame(b"ab", Some([1, 2, 3, 4])), b"\x82\x82\x01\x02\x03\x04``");
        assert_eq!(frame(&[0; 126], None)[..4], *b"\x82\x7e\x00\x7e");
        assert_eq!(frame(&[0; 0x1_0000], None)[..10], *b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00");
        assert_eq!(frame(&[0; 0x1_0000], None).len(), 10 + 0x1_0000);
    }
}
