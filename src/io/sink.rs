//! The seam between the stream core and a face.
//!
//! A face is a Python object (the host's transport) and a `Sink`: what a stream asks and tells. The stream
//! core owns the descriptor, the phase, the write buffer and its water marks; the face owns the protocol, where bytes
//! land, and what its host says about errors. What else differs between hosts is plain data in
//! [`Options`](super::stream::Options).

use pyo3::prelude::*;

use crate::poll::Key;
use crate::proto::marks::Pressure;
use crate::py::cell::Refs;
use crate::runtime::LoopCore;

/// What a face made of a call to [`Sink::read`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It took bytes; there may be more, and it may want them.
    Bytes,
    /// Nothing to take, or it wants nothing now; it calls [`read::resume`](super::read::resume) when it does.
    Nothing,
    /// The peer's end of file was read.
    Eof,
}

/// What a host makes of the peer's end of file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterEof {
    /// The connection stays, half open.
    Keep,
    /// Flush, then lost.
    Close,
    /// Lost at once.
    Abort,
}

/// What a stream failed at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failed {
    Register,
    Read,
    Write,
}

/// What a face must answer. Every call comes with nothing borrowed, and may close the stream, replace its face or run
/// the loop: the caller looks the key up again afterwards. An error answered leaves the loop (SystemExit,
/// KeyboardInterrupt); everything else a face reports as its host does.
pub trait Sink: Sync {
    /// The stream has its place in the loop, and this is the turn in which its host hears of it.
    fn made(&self, stream: &Stream<'_, '_>) -> PyResult<()>;

    /// Its layer's handshake is over: from now on bytes pass.
    fn ready(&self, _stream: &Stream<'_, '_>) -> PyResult<()> {
        Ok(())
    }

    /// There may be bytes: take some with [`read::receive`](super::read::receive) and hand them on.
    fn read(&self, stream: &Stream<'_, '_>) -> PyResult<Taken>;

    /// The peer has ended its direction.
    fn eof(&self, stream: &Stream<'_, '_>) -> PyResult<AfterEof>;

    /// The write buffer crossed a water mark.
    fn pressure(&self, stream: &Stream<'_, '_>, pressure: Pressure) -> PyResult<()>;

    /// The turn ends, and what was written leaves: the face may write more. Asked for with
    /// [`hold_to_fill`](super::adopted::hold_to_fill), each time.
    fn fill(&self, _stream: &Stream<'_, '_>) -> PyResult<()> {
        Ok(())
    }

    /// Everything that was written has left: told only after [`tell_drained`](super::adopted::tell_drained), each time.
    fn drained(&self, _stream: &Stream<'_, '_>) -> PyResult<()> {
        Ok(())
    }

    /// Some of it has left, and more waits: told under the same condition.
    fn sent(&self, _stream: &Stream<'_, '_>) -> PyResult<()> {
        Ok(())
    }

    /// A system call failed. The stream is closing already; `lost` follows with the same error.
    fn failed(&self, stream: &Stream<'_, '_>, what: Failed, error: &PyErr) -> PyResult<()>;

    /// The stream has left the loop; its descriptor is closed when this returns. Called once.
    fn lost(&self, stream: &Stream<'_, '_>, reason: Option<PyErr>) -> PyResult<()>;
}

/// A stream as a sink sees it: the loop, the key and the face's object.
pub struct Stream<'a, 'py> {
    pub core: &'a Bound<'py, LoopCore>,
    pub key: Key,
    pub object: &'a Bound<'py, PyAny>,
}

/// A face: the Python object and how to talk to it.
pub struct Face {
    pub object: Py<PyAny>,
    pub sink: &'static dyn Sink,
}

impl Face {
    pub fn clone_ref(&self, refs: Refs<'_>) -> Face {
        Face {
            object: refs.clone(&self.object),
            sink: self.sink,
        }
    }

    /// Calls the sink with nothing borrowed.
    #[inline]
    pub fn call<R>(
        &self,
        core: &Bound<'_, LoopCore>,
        key: Key,
        body: impl FnOnce(&dyn Sink, &Stream<'_, '_>) -> R,
    ) -> R {
        let object = self.object.bind(core.py());
        body(self.sink, &Stream { core, key, object })
    }
}
