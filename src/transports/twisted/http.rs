//! `dataReceived` of `twisted.web`'s HTTP/1.1 channel, which takes the lines of a request and its body as any
//! `LineReceiver`, and of the protocol in front of it, which hands on once it knows that it is not HTTP/2.

use pyo3::exceptions::PyKeyError;
use pyo3::intern;
use pyo3::prelude::*;

use super::connection::TwistedConnection;
use super::lines;
use crate::py::{again, call, method, names};

/// Which of the two a protocol is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Http {
    /// An `HTTPChannel`.
    Channel,
    /// What a `Site` makes: it has a channel.
    Front,
}

impl Http {
    /// None for any other protocol. Does not import `twisted.web`.
    pub fn of(protocol: &Bound<'_, PyAny>) -> PyResult<Option<Http>> {
        let py = protocol.py();
        match names::MODULES
            .get(py)?
            .get_item(intern!(py, "twisted.web.http"))
        {
            // Imports of it are blocked.
            Ok(module) if module.is_none() => return Ok(None),
            Ok(_) => {}
            Err(error) if error.is_instance_of::<PyKeyError>(py) => return Ok(None),
            Err(error) => return Err(error),
        }
        if protocol.is_instance(&names::TWISTED_HTTP_FRONT.get(py)?)? {
            return Ok(Some(Http::Front));
        }
        let is_channel = protocol.is_instance(&names::TWISTED_HTTP_CHANNEL.get(py)?)?;
        Ok(is_channel.then_some(Http::Channel))
    }

    /// `protocol.dataReceived(data)`.
    pub fn data_received(
        self,
        connection: Option<&Bound<'_, TwistedConnection>>,
        protocol: &Bound<'_, PyAny>,
        data: &[u8],
    ) -> PyResult<()> {
        match self {
            Http::Channel => channel_received(connection, protocol, data),
            Http::Front => front_received(connection, protocol, data),
        }
    }
}

fn front_received(
    connection: Option<&Bound<'_, TwistedConnection>>,
    front: &Bound<'_, PyAny>,
    data: &[u8],
) -> PyResult<()> {
    let py = front.py();
    let received = front.getattr(intern!(py, "dataReceived"))?;
    let stock = names::TWISTED_HTTP_FRONT_DATA_RECEIVED.get(py)?;
    if method::is_bound(&received, &stock, front)
        && !front.getattr(intern!(py, "_negotiatedProtocol"))?.is_none()
    {
        let channel = front.getattr(intern!(py, "_channel"))?;
        return channel_received(connection, &channel, data);
    }
    call::call1(&received, &again::bytes(py, data)).map(drop)
}

/// Any object may be the channel, one for HTTP/2 as well.
fn channel_received(
    connection: Option<&Bound<'_, TwistedConnection>>,
    channel: &Bound<'_, PyAny>,
    data: &[u8],
) -> PyResult<()> {
    let py = channel.py();
    let received = channel.getattr(intern!(py, "dataReceived"))?;
    let stock = names::TWISTED_HTTP_CHANNEL_DATA_RECEIVED.get(py)?;
    if method::is_bound(&received, &stock, channel) {
        call::call_method0(channel, intern!(py, "resetTimeout"))?;
        // Not the channel's own, but that of the class.
        let receiver = names::TWISTED_LINE_RECEIVER.get(py)?;
        let received = receiver.getattr(intern!(py, "dataReceived"))?;
        let stock = names::TWISTED_LINE_DATA_RECEIVED.get(py)?;
        if received.is(&stock) {
            return lines::receive(connection, channel, data, &stock);
        }
        return call::call2(&received, channel, &again::bytes(py, data)).map(drop);
    }
    call::call1(&received, &again::bytes(py, data)).map(drop)
}
