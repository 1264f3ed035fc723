//! The attributes of asyncio's stream objects that are asked for natively.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use crate::py::fields::{Attribute, Fields};
use crate::py::names;

/// Of a `StreamReader`.
pub mod of_reader {
    use super::Attribute;

    pub static BUFFER: Attribute = Attribute::new("_buffer");
    pub static EOF: Attribute = Attribute::new("_eof");
    pub static EXCEPTION: Attribute = Attribute::new("_exception");
    pub static LOOP: Attribute = Attribute::new("_loop");
    pub static PAUSED: Attribute = Attribute::new("_paused");
    pub static TRANSPORT: Attribute = Attribute::new("_transport");
    pub static WAITER: Attribute = Attribute::new("_waiter");
}

/// Of a `StreamReaderProtocol`.
pub mod of_protocol {
    use super::Attribute;

    pub static CONNECTION_LOST: Attribute = Attribute::new("_connection_lost");
    pub static PAUSED: Attribute = Attribute::new("_paused");
    /// A weak reference, or None.
    pub static STREAM_READER: Attribute = Attribute::new("_stream_reader_wr");
}

/// Of a `StreamWriter`.
pub mod of_writer {
    use super::Attribute;

    pub static LOOP: Attribute = Attribute::new("_loop");
    pub static PROTOCOL: Attribute = Attribute::new("_protocol");
    pub static READER: Attribute = Attribute::new("_reader");
    pub static TRANSPORT: Attribute = Attribute::new("_transport");
}

/// What an object is, and so how many attributes it has when nobody has put any on it.
#[derive(Clone, Copy)]
pub enum Kind {
    Reader,
    Protocol,
}

/// Whether a method has been replaced on the instance.
#[inline]
pub fn replaced<'py>(
    fields: &Fields<'_, 'py>,
    kind: Kind,
    method: &Bound<'py, PyString>,
) -> PyResult<bool> {
    static PLAIN: PyOnceLock<(usize, usize)> = PyOnceLock::new();
    let py = fields.py();
    let (reader, protocol) =
        PLAIN.get_or_try_init(py, || names::PLAIN_STREAMS.get(py)?.extract())?;
    let plain = match kind {
        Kind::Reader => *reader,
        Kind::Protocol => *protocol,
    };
    // asyncio's own attributes are never deleted: with no more than those nothing else is there.
    Ok(fields.count() != plain && fields.has(method)?)
}
