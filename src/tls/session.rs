//! A TLS connection as a layer: handshake, then records, then the last words, over an [`Engine`].

use pyo3::exceptions::PyConnectionResetError;
use pyo3::prelude::*;

use super::engine::Engine;
use super::layer::{Input, Layer, Place};

/// TLS between a socket and a face, with the life that asyncio's `sslproto` gives it: a socket that ends
/// without close_notify is an end like any other once the handshake is over, and is not answered; a close_notify of
/// our own waits for the peer's.
pub struct Session {
    engine: Box<dyn Engine>,
    /// The handshake is over.
    established: bool,
    /// Written before the handshake was over, or while the peer had to be heard first.
    held: Vec<u8>,
    /// We have said close_notify, or decided to say none.
    finished: bool,
    /// The peer says no more.
    ended: bool,
    /// The peer's socket ended: nobody is left who waits for a close_notify.
    cut_off: bool,
}

impl Session {
    pub fn new(engine: Box<dyn Engine>) -> Self {
        Session {
            engine,
            established: false,
            held: Vec::new(),
            finished: false,
            ended: false,
            cut_off: false,
        }
    }

    /// Over an engine whose handshake is over.
    pub fn established(engine: Box<dyn Engine>) -> Self {
        Session {
            established: true,
            ..Session::new(engine)
        }
    }

    /// Writes what was held; what cannot leave yet stays.
    fn release(&mut self, py: Python<'_>, wire: &mut Vec<u8>) -> PyResult<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        let written = self.engine.write(py, &held, wire)?;
        self.held.extend_from_slice(&held[written..]);
        Ok(())
    }
}

impl Layer for Session {
    fn start(&mut self, py: Python<'_>, wire: &mut Vec<u8>) -> PyResult<()> {
        if self.established {
            return Ok(());
        }
        // Nothing came yet, so it cannot be over: a client speaks, a server waits.
        self.established = self.engine.handshake(py, &mut &[][..], wire)?;
        Ok(())
    }

    fn decode(
        &mut self,
        py: Python<'_>,
        input: &mut &[u8],
        place: &mut Place<'_>,
        wire: &mut Vec<u8>,
    ) -> PyResult<Input> {
        if !self.established {
            if !self.engine.handshake(py, input, wire)? {
                return Ok(Input::More);
            }
            self.established = true;
            self.release(py, wire)?;
            // The engine may have taken bytes that lie behind the handshake: who reads will see.
            return Ok(Input::Full);
        }
        if place.room() == 0 {
            return Ok(Input::Full);
        }
        let answer = self.engine.read(py, input, place, wire)?;
        self.ended |= answer == Input::End;
        self.release(py, wire)?;
        Ok(answer)
    }

    fn cut_off(&mut self, _py: Python<'_>) -> PyResult<()> {
        self.ended = true;
        self.cut_off = true;
        if self.established {
            return Ok(());
        }
        Err(PyConnectionResetError::new_err(()))
    }

    #[inline]
    fn encode(&mut self, py: Python<'_>, bytes: &[u8], wire: &mut Vec<u8>) -> PyResult<()> {
        if !self.established || !self.held.is_empty() {
            self.held.extend_from_slice(bytes);
            return Ok(());
        }
        let written = self.engine.write(py, bytes, wire)?;
        self.held.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    fn finish(&mut self, py: Python<'_>, wire: &mut Vec<u8>) -> PyResult<()> {
        self.finished = true;
        if !self.established || self.cut_off {
            return Ok(());
        }
        self.engine.close(py, wire)
    }

    fn is_ready(&self) -> bool {
        self.established
    }

    #[inline]
    fn wants_input(&self) -> bool {
        if self.established {
            !self.ended && (self.finished || !self.held.is_empty())
        } else {
            !self.finished
        }
    }

    #[inline]
    fn held(&self) -> usize {
        self.held.len()
    }

    fn visit(&self, visitor: &mut dyn FnMut(&Py<PyAny>)) {
        self.engine.visit(visitor);
    }
}
