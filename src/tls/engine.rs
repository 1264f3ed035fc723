//! What a TLS session asks of whatever makes and reads its records.

use pyo3::prelude::*;

use super::layer::{Input, Place};

/// Makes records of bytes and bytes of records. Called with nothing borrowed; its handshake may run Python.
///
/// Every call that takes `input` leaves in it what it has not taken, and every call appends to `wire` what has to be
/// sent, alerts before an error included.
pub trait Engine: Send {
    /// What it is called where somebody wants to know which one it is.
    fn name(&self) -> &'static str;

    /// Goes on with the handshake. True when it is over; false when it needs more, all of `input` being taken.
    /// Errors: what the host's own TLS object raises.
    fn handshake(
        &mut self,
        py: Python<'_>,
        input: &mut &[u8],
        wire: &mut Vec<u8>,
    ) -> PyResult<bool>;

    /// Reads records into `place`, which has room. As [`Layer::decode`](super::layer::Layer::decode).
    fn read(
        &mut self,
        py: Python<'_>,
        input: &mut &[u8],
        place: &mut Place<'_>,
        wire: &mut Vec<u8>,
    ) -> PyResult<Input>;

    /// Makes records of `bytes`. Fewer than all: the rest must wait until the peer has said something.
    fn write(&mut self, py: Python<'_>, bytes: &[u8], wire: &mut Vec<u8>) -> PyResult<usize>;

    /// Says close_notify, and does not wait for the peer's.
    fn close(&mut self, py: Python<'_>, wire: &mut Vec<u8>) -> PyResult<()>;

    /// Visits every Python object it holds, for the garbage collector.
    fn visit(&self, visitor: &mut dyn FnMut(&Py<PyAny>));
}
