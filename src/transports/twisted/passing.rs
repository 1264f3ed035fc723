//! Descriptors that come and go beside the bytes of a Unix socket: the native half of `_SendmsgMixin`.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::connection::TwistedConnection;
use super::home::inside;
use crate::io::passing;
use crate::io::sink::Stream;
use crate::io::stream;
use crate::py::names;
use crate::sys::ancillary::Message;
use crate::sys::{Fd, IntoRawFd};

/// What the kernel calls `SOL_SOCKET` and `SCM_RIGHTS`, to Python: the level and the type are None.
type Control<'py> = (Option<i32>, Option<i32>, Bound<'py, PyBytes>);

/// What came beside the bytes that were received last.
#[inline]
pub fn received(
    stream: &Stream<'_, '_>,
    connection: &Bound<'_, TwistedConnection>,
) -> Vec<Message> {
    if !connection.get().passes.get() {
        return Vec::new();
    }
    passing::take_received(stream.core, stream.key)
}

/// Tells the protocol of it, before it is told of the bytes.
#[inline]
pub fn tell(connection: &Bound<'_, TwistedConnection>, beside: Vec<Message>) -> PyResult<()> {
    if beside.is_empty() {
        return Ok(());
    }
    tell_of(connection, beside)
}

#[cold]
fn tell_of(connection: &Bound<'_, TwistedConnection>, beside: Vec<Message>) -> PyResult<()> {
    let py = connection.py();
    let function = names::TWISTED_BESIDE.get(py)?;
    let list = PyList::empty(py);
    for message in beside {
        let control: Control<'_> = match message {
            Message::Rights(descriptors) => {
                let numbers: Vec<u8> = descriptors
                    .into_iter()
                    .flat_map(|descriptor| descriptor.into_raw_fd().to_ne_bytes())
                    .collect();
                (None, None, PyBytes::new(py, &numbers))
            }
            Message::Other(level, kind, data) => (Some(level), Some(kind), PyBytes::new(py, &data)),
        };
        list.append(control)?;
    }
    function.call1((connection, list))?;
    Ok(())
}

/// At the end of a turn in which descriptors were given: are there bytes to go with each? Otherwise the connection is lost.
pub fn look(stream: &Stream<'_, '_>, connection: &Bound<'_, TwistedConnection>) -> PyResult<()> {
    if !connection.get().passes.get() || connection.get().aborting.get() {
        return Ok(());
    }
    let overrun = stream::with(stream.core, stream.key, |stream| {
        stream.leaving() > stream.buffered()
    });
    if overrun == Some(true) {
        let py = connection.py();
        inside(connection, || {
            names::TWISTED_OVERRUN
                .get(py)?
                .call1((connection,))
                .map(drop)
        })?;
    }
    Ok(())
}

#[pymethods]
impl TwistedConnection {
    /// Queues a descriptor, which leaves with the next byte; it has to be open until then. Nothing on one that is over.
    fn _pass(slf: &Bound<'_, Self>, descriptor: Fd) {
        if let Some(place) = slf.get().home.place(slf.py()) {
            passing::queue(&place.core, place.key, descriptor);
        }
    }

    /// How many descriptors wait to be sent.
    #[getter]
    fn _passing(&self, py: Python<'_>) -> usize {
        self.home
            .place(py)
            .and_then(|place| stream::with(&place.core, place.key, |stream| stream.leaving()))
            .unwrap_or(0)
    }
}
