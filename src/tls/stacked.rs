//! One layer upon another: TLS in TLS is two sessions, of which the upper one's wire is what the lower one carries.

use std::mem::MaybeUninit;

use pyo3::prelude::*;

use super::layer::{Input, Layer, Place};

/// How much the upper layer is given at once: a whole TLS record and then some.
const BLOCK: usize = 20 * 1024;

/// Two layers as one. The lower one is ready already when the upper one comes.
pub struct Stacked {
    lower: Box<dyn Layer>,
    upper: Box<dyn Layer>,
    /// Decoded by the lower layer, and from `taken` on not yet taken by the upper one.
    between: Vec<u8>,
    taken: usize,
    /// The lower layer, and the upper one, may have more to say without new bytes.
    lower_full: bool,
    upper_full: bool,
    lower_ended: bool,
    /// What the lower layer failed at, to be told behind the bytes before.
    failed: Option<PyErr>,
}

impl Stacked {
    /// `full`: the lower layer may have more to say, see [`Input::Full`]. `between` are bytes that it has decoded
    /// already, and `ended` says that no more come.
    pub fn new(
        lower: Box<dyn Layer>,
        upper: Box<dyn Layer>,
        full: bool,
        between: &[u8],
        ended: bool,
    ) -> Self {
        Stacked {
            lower,
            upper,
            between: between.to_vec(),
            taken: 0,
            lower_full: full,
            upper_full: false,
            lower_ended: ended,
            failed: None,
        }
    }

    /// Lets the upper layer speak, and the lower one carry it, also when the upper one failed.
    fn carry<R>(
        &mut self,
        py: Python<'_>,
        wire: &mut Vec<u8>,
        job: impl FnOnce(&mut dyn Layer, &mut Vec<u8>) -> PyResult<R>,
    ) -> PyResult<R> {
        let mut carried = Vec::new();
        let result = job(self.upper.as_mut(), &mut carried);
        if !carried.is_empty() {
            self.lower.encode(py, &carried, wire)?;
        }
        result
    }

    /// Fills `between` from the lower layer. False when that has nothing more without new bytes.
    fn refill(&mut self, py: Python<'_>, input: &mut &[u8], wire: &mut Vec<u8>) -> PyResult<bool> {
        if self.lower_ended || !self.lower_full && input.is_empty() {
            return Ok(false);
        }
        let mut block = [MaybeUninit::<u8>::uninit(); BLOCK];
        let mut place = Place::new(&mut block);
        let answer = self.lower.decode(py, input, &mut place, wire);
        let filled = place.filled();
        // SAFETY: a place says how much of its beginning has been written.
        let bytes = unsafe { block[..filled].assume_init_ref() };
        self.between.clear();
        self.between.extend_from_slice(bytes);
        self.taken = 0;
        match answer {
            Ok(answer) => {
                self.lower_full = answer == Input::Full;
                self.lower_ended = answer == Input::End;
            }
            Err(error) if filled > 0 => self.failed = Some(error),
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

impl Layer for Stacked {
    fn start(&mut self, py: Python<'_>, wire: &mut Vec<u8>) -> PyResult<()> {
        self.carry(py, wire, |upper, carried| upper.start(py, carried))
    }

    fn decode(
        &mut self,
        py: Python<'_>,
        input: &mut &[u8],
        place: &mut Place<'_>,
        wire: &mut Vec<u8>,
    ) -> PyResult<Input> {
        let was_ready = self.upper.is_ready();
        loop {
            if self.upper_full || self.taken < self.between.len() {
                let between = std::mem::take(&mut self.between);
                let mut rest = &between[self.taken..];
                let answer = self.carry(py, wire, |upper, carried| {
                    upper.decode(py, &mut rest, place, carried)
                });
                self.taken = between.len() - rest.len();
                self.between = between;
                let answer = answer?;
                self.upper_full = answer == Input::Full;
                match answer {
                    Input::End => return Ok(Input::End),
                    // The face hears of it before the first byte.
                    Input::Full => return Ok(Input::Full),
                    Input::More if self.upper.is_ready() != was_ready => return Ok(Input::Full),
                    Input::More => {}
                }
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if !self.refill(py, input, wire)? {
                if self.lower_ended {
                    if place.filled() > 0 {
                        return Ok(Input::Full);
                    }
                    self.upper.cut_off(py)?;
                    return Ok(Input::End);
                }
                return Ok(Input::More);
            }
        }
    }

    fn cut_off(&mut self, py: Python<'_>) -> PyResult<()> {
        self.lower.cut_off(py)?;
        self.upper.cut_off(py)
    }

    fn encode(&mut self, py: Python<'_>, bytes: &[u8], wire: &mut Vec<u8>) -> PyResult<()> {
        self.carry(py, wire, |upper, carried| upper.encode(py, bytes, carried))
    }

    fn finish(&mut self, py: Python<'_>, wire: &mut Vec<u8>) -> PyResult<()> {
        self.carry(py, wire, |upper, carried| upper.finish(py, carried))?;
        self.lower.finish(py, wire)
    }

    fn is_ready(&self) -> bool {
        self.upper.is_ready()
    }

    fn wants_input(&self) -> bool {
        !self.lower_ended && (self.lower.wants_input() || self.upper.wants_input())
    }

    fn held(&self) -> usize {
        self.lower.held() + self.upper.held()
    }

    fn visit(&self, visitor: &mut dyn FnMut(&Py<PyAny>)) {
        self.lower.visit(visitor);
        self.upper.visit(visitor);
    }
}
