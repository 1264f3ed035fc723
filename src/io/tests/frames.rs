//! A layer as TLS will be: records, of which only a whole one means anything; a handshake in which both sides speak;
//! bytes that wait for its end; a last word; and errors that the other side is told of.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::io::layer::{Input, Layer};

const MASK: u8 = 0x5a;

pub const HELLO: u8 = 1;
pub const DATA: u8 = 2;
pub const END: u8 = 3;
pub const ALERT: u8 = 4;

/// A record: kind, length, disguised bytes.
pub fn record(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut record = vec![kind];
    record.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
    record.extend(bytes.iter().map(|byte| byte ^ MASK));
    record
}

/// What is called in the middle of a handshake, as TLS calls Python.
pub type InHandshake = Box<dyn FnOnce(Python<'_>) + Send>;

#[derive(Default)]
pub struct Frames {
    /// Speaks first.
    client: bool,
    input: Vec<u8>,
    established: bool,
    /// Takes the socket's end for the peer's.
    lenient: bool,
    held: Vec<u8>,
    in_handshake: Option<InHandshake>,
    alive: Arc<()>,
}

impl Frames {
    pub fn server() -> Frames {
        Frames::default()
    }

    pub fn client() -> Frames {
        Frames {
            client: true,
            ..Frames::default()
        }
    }

    /// Takes the socket's end for the peer's, as some do with TLS.
    pub fn lenient(mut self) -> Frames {
        self.lenient = true;
        self
    }

    /// Does `what` when the peer's hello is there.
    pub fn in_handshake(mut self, what: impl FnOnce(Python<'_>) + Send + 'static) -> Frames {
        self.in_handshake = Some(Box::new(what));
        self
    }

    /// Counts one as long as the layer lives.
    pub fn alive(&self) -> Arc<()> {
        Arc::clone(&self.alive)
    }
}

impl Layer for Frames {
    fn start(&mut self, _py: Python<'_>, wire: &mut Vec<u8>) -> PyResult<()> {
        if self.client {
            wire.extend(record(HELLO, b""));
        }
        Ok(())
    }

    fn decode(
        &mut self,
        py: Python<'_>,
        bytes: &[u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> PyResult<Input> {
        self.input.extend(bytes);
        while let [kind, high, low, rest @ ..] = self.input.as_slice() {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if rest.len() < length {
                break;
            }
            let kind = *kind;
            let body: Vec<u8> = rest[..length].iter().map(|byte| byte ^ MASK).collect();
            self.input.drain(..3 + length);
            match kind {
                HELLO if !self.established => {
                    if let Some(what) = self.in_handshake.take() {
                        what(py);
                    }
                    self.established = true;
                    if !self.client {
                        wire.extend(record(HELLO, b""));
                    }
                    if !self.held.is_empty() {
                        wire.extend(record(DATA, &std::mem::take(&mut self.held)));
                    }
                }
                DATA if self.established => plain.extend(body),
                END if self.established => return Ok(Input::End),
                kind => {
                    wire.extend(record(ALERT, b""));
                    return Err(PyValueError::new_err(format!("bad record {kind}")));
                }
            }
        }
        Ok(Input::More)
    }

    fn cut_off(&mut self, _py: Python<'_>) -> PyResult<()> {
        if self.lenient {
            return Ok(());
        }
        Err(PyValueError::new_err("cut off"))
    }

    fn encode(&mut self, _py: Python<'_>, bytes: &[u8], wire: &mut Vec<u8>) -> PyResult<()> {
        if self.established {
            wire.extend(bytes.chunks(40_000).flat_map(|part| record(DATA, part)));
        } else {
            self.held.extend(bytes);
        }
        Ok(())
    }

    fn finish(&mut self, _py: Python<'_>, wire: &mut Vec<u8>) -> PyResult<()> {
        if self.established {
            wire.extend(record(END, b""));
        }
        Ok(())
    }

    fn wants_input(&self) -> bool {
        !self.established
    }

    fn held(&self) -> usize {
        self.held.len()
    }
}
