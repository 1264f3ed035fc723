//! A layer as TLS will be: records, of which only a whole one means anything; a handshake in which both sides speak;
//! bytes that wait for its end; a last word; and errors that the other side is told of.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::io::layer::{Input, Layer, Place};

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
    /// Decoded, and not yet given.
    plain: Vec<u8>,
    /// Waits for the peer's last word after its own.
    patient: bool,
    finished: bool,
    ended: bool,
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

    /// After its last word it waits for the peer's, as TLS does.
    pub fn patient(mut self) -> Frames {
        self.patient = true;
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
        input: &mut &[u8],
        place: &mut Place<'_>,
        wire: &mut Vec<u8>,
    ) -> PyResult<Input> {
        self.input.extend(*input);
        *input = &[];
        loop {
            let given = place.put(&self.plain);
            self.plain.drain(..given);
            if !self.plain.is_empty() {
                return Ok(Input::Full);
            }
            let [kind, high, low, rest @ ..] = self.input.as_slice() else {
                return Ok(Input::More);
            };
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if rest.len() < length {
                return Ok(Input::More);
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
                    return Ok(Input::Full);
                }
                DATA if self.established => self.plain.extend(body),
                END if self.established => {
                    self.ended = true;
                    return Ok(Input::End);
                }
                kind => {
                    wire.extend(record(ALERT, b""));
                    return Err(PyValueError::new_err(format!("bad record {kind}")));
                }
            }
        }
    }

    fn cut_off(&mut self, _py: Python<'_>) -> PyResult<()> {
        self.ended = true;
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
        self.finished = true;
        if self.established {
            wire.extend(record(END, b""));
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.established
    }

    fn wants_input(&self) -> bool {
        !self.established && !self.finished || self.patient && self.finished && !self.ended
    }

    fn held(&self) -> usize {
        self.held.len()
    }
}
