//! What is asked on a connection, and what must come back.

use crate::payload::Payload;
use crate::websocket::Frames;

pub enum Exchange {
    /// The same bytes.
    Echo(Payload),
    /// HTTP/1.1 on a connection that stays: 200 with a Content-Length and a body of that many `x`.
    Http { request: Vec<u8>, size: usize },
    /// The same message, in a frame.
    WebSocket(Frames),
}

/// How much of an answer has come in.
#[derive(Default)]
pub struct Answer {
    received: usize,
    head: Vec<u8>,
    in_body: bool,
}

impl Exchange {
    pub fn new(size: usize, http: bool, websocket: bool) -> Self {
        if websocket {
            return Exchange::WebSocket(Frames::new(size));
        }
        if !http {
            return Exchange::Echo(Payload::new(size));
        }
        let request =
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: interloop-load\r\nAccept: */*\r\n\r\n";
        Exchange::Http { request: request.to_vec(), size }
    }

    pub fn request(&self, sequence: u64) -> &[u8] {
        match self {
            Exchange::Echo(payload) => payload.of(sequence),
            Exchange::Http { request, .. } => request,
            Exchange::WebSocket(frames) => frames.request(sequence),
        }
    }

    /// Compares what came with what must come; true when the answer is complete.
    pub fn take(&self, sequence: u64, answer: &mut Answer, bytes: &[u8]) -> Result<bool, String> {
        match self {
            Exchange::Echo(payload) => take_bytes(payload.of(sequence), sequence, answer, bytes),
            Exchange::WebSocket(frames) => take_bytes(frames.answer(sequence), sequence, answer, bytes),
            Exchange::Http { size, .. } => take_http(*size, answer, bytes),
        }
    }
}

impl Answer {
    pub fn clear(&mut self) {
        self.received = 0;
        self.head.clear();
        self.in_body = false;
    }

    /// How much of the body, or of the echo, there is.
    pub fn received(&self) -> usize {
        self.received
    }
}

fn take_bytes(wanted: &[u8], sequence: u64, answer: &mut Answer, bytes: &[u8]) -> Result<bool, String> {
    if wanted.get(answer.received..answer.received + bytes.len()) != Some(bytes) {
        return Err(format!(
            "request {sequence}: the {} bytes at offset {} are not what was sent",
            bytes.len(),
            answer.received
        ));
    }
    answer.received += bytes.len();
    Ok(answer.received == wanted.len())
}

fn take_http(size: usize, answer: &mut Answer, bytes: &[u8]) -> Result<bool, String> {
    let mut body = bytes;
    if !answer.in_body {
        answer.head.extend_from_slice(bytes);
        let Some(end) = answer.head.windows(4).position(|window| window == b"\r\n\r\n") else {
            return match answer.head.len() {
                0..8192 => Ok(false),
                _ => Err("an HTTP head without an end".into()),
            };
        };
        check_head(&answer.head[..end], size)?;
        answer.in_body = true;
        body = &bytes[bytes.len() - (answer.head.len() - (end + 4))..];
    }
    if body.iter().any(|&byte| byte != b'x') {
        return Err("the body is not what it should be".into());
    }
    answer.received += body.len();
    match answer.received {
        received if received > size => Err("more than the answer came back".into()),
        received => Ok(received == size),
    }
}

fn check_head(head: &[u8], size: usize) -> Result<(), String> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200 ") {
        return Err(format!("the server answers {status:?}"));
    }
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map(|(_, value)| value.trim().to_string());
    match length.as_deref().map(str::parse::<usize>) {
        Some(Ok(length)) if length == size => Ok(()),
        _ => Err(format!("Content-Length {length:?} instead of {size}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Exchange};

    #[test]
    fn an_answer_in_pieces() {
        let http = Exchange::new(3, true, false);
        let whole = b"HTTP/1.1 200 OK\r\nServer: s\r\ncontent-length: 3\r\n\r\nxxx";
        for cut in 0..whole.len() {
            let mut answer = Answer::default();
            let (one, two) = whole.split_at(cut);
            assert_eq!(http.take(0, &mut answer, one), Ok(false), "{cut}");
            assert_eq!(http.take(0, &mut answer, two), Ok(true), "{cut}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let http = Exchange::new(3, true, false);
        for wrong in [
            "HTTP/1.1 500 Oops\r\ncontent-length: 3\r\n\r\nxxx",
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nxxxx",
            "HTTP/1.1 200 OK\r\n\r\nxxx",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nxxxx",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nxyx",
        ] {
            assert!(http.take(0, &mut Answer::default(), wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }
}
