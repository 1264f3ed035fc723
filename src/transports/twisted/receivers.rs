//! Protocols of Twisted's own whose `dataReceived` is here in Rust: what reads for them makes no `bytes` of what it received.

use pyo3::prelude::*;

use super::connection::TwistedConnection;
use super::http::Http;
use super::lines;
use crate::py::cell::Flag;
use crate::py::names;

/// What kind of receiver a protocol is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    Lines,
    Http(Http),
}

/// What the class of a transport's protocol is, as far as it was looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The class's address. A class that has died and another one in its place cost time, no more.
    class: usize,
    receiver: Option<Receiver>,
}

impl Seen {
    pub const NOTHING: Seen = Seen {
        class: 0,
        receiver: None,
    };
}

impl Receiver {
    /// What a transport's protocol is, if it is one. The transport keeps what was seen.
    #[inline]
    pub fn of(kept: &Flag<Seen>, protocol: &Bound<'_, PyAny>) -> PyResult<Option<Receiver>> {
        let class = protocol.get_type_ptr() as usize;
        let seen = kept.get();
        if seen.class == class {
            return Ok(seen.receiver);
        }
        let receiver = Receiver::look(protocol)?;
        kept.set(Seen { class, receiver });
        Ok(receiver)
    }

    #[cold]
    fn look(protocol: &Bound<'_, PyAny>) -> PyResult<Option<Receiver>> {
        if let Some(http) = Http::of(protocol)? {
            return Ok(Some(Receiver::Http(http)));
        }
        let lines = protocol.is_instance(&names::TWISTED_LINE_RECEIVER.get(protocol.py())?)?;
        Ok(lines.then_some(Receiver::Lines))
    }

    /// `protocol.dataReceived(data)`; the connection is the one that the protocol is on, unless something (TLS) is between.
    pub fn data_received(
        self,
        connection: Option<&Bound<'_, TwistedConnection>>,
        protocol: &Bound<'_, PyAny>,
        data: &[u8],
    ) -> PyResult<()> {
        match self {
            Receiver::Lines => lines::data_received(connection, protocol, data),
            Receiver::Http(http) => http.data_received(connection, protocol, data),
        }
    }
}
