//! `LineReceiver.dataReceived`, for protocols whose class has Twisted's own: most of what a small line costs is the Python
//! in there, and a long one's search byte by byte.
//!
//! All state stays in the protocol's attributes, read and set in the order in which Twisted's method does it wherever
//! something runs in between.

use memchr::memmem;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyString};

use super::connection::TwistedConnection;
use crate::py::{again, call, method, names};

/// `protocol.dataReceived(data)` of a `LineReceiver`.
pub fn data_received(
    connection: Option<&Bound<'_, TwistedConnection>>,
    protocol: &Bound<'_, PyAny>,
    data: &[u8],
) -> PyResult<()> {
    let py = protocol.py();
    let received = protocol.getattr(intern!(py, "dataReceived"))?;
    let stock = names::TWISTED_LINE_DATA_RECEIVED.get(py)?;
    if method::is_bound(&received, &stock, protocol) {
        return receive(connection, protocol, data, &stock);
    }
    call::call1(&received, &again::bytes(py, data)).map(drop)
}

/// `LineReceiver.dataReceived(protocol, data)`, which is `stock`.
pub fn receive(
    connection: Option<&Bound<'_, TwistedConnection>>,
    protocol: &Bound<'_, PyAny>,
    data: &[u8],
    stock: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let receiver = LineReceiver {
        protocol,
        connection,
    };
    receiver.data_received(data, stock)
}

/// A `twisted.protocols.basic.LineReceiver`, and the connection that it is on, if nothing is between.
struct LineReceiver<'a, 'py> {
    protocol: &'a Bound<'py, PyAny>,
    connection: Option<&'a Bound<'py, TwistedConnection>>,
}

/// What came of looking for a line.
enum Step {
    /// There may be another one.
    Again,
    Stop,
    /// A buffer, a delimiter or a limit of a program's own kind.
    Beyond,
}

/// What is not yet told, while nothing can look at the attribute.
enum Untold<'a, 'py> {
    /// As it was received: nothing was left before it.
    Received(&'a [u8]),
    /// The attribute's value, or what it is to be.
    Buffer(Bound<'py, PyAny>),
}

impl<'py> Untold<'_, 'py> {
    fn into_object(self, py: Python<'py>) -> Bound<'py, PyAny> {
        match self {
            Untold::Received(data) => PyBytes::new(py, data).into_any(),
            Untold::Buffer(value) => value,
        }
    }
}

impl<'py> LineReceiver<'_, 'py> {
    fn py(&self) -> Python<'py> {
        self.protocol.py()
    }

    fn is_true(&self, name: &Bound<'py, PyString>) -> PyResult<bool> {
        self.protocol.getattr(name)?.is_truthy()
    }

    fn buffer(&self) -> PyResult<Bound<'py, PyAny>> {
        self.protocol.getattr(intern!(self.py(), "_buffer"))
    }

    fn set_buffer(&self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        let name = intern!(self.py(), "_buffer");
        self.protocol.setattr(name, value)
    }

    fn set_busy(&self, busy: bool) -> PyResult<()> {
        let name = intern!(self.py(), "_busyReceiving");
        self.protocol.setattr(name, PyBool::new(self.py(), busy))
    }

    /// What was left, with `data` behind it.
    fn joined<'d>(&self, data: &'d [u8]) -> PyResult<Untold<'d, 'py>> {
        let left = self.buffer()?;
        match left.cast_exact::<PyBytes>() {
            Ok(left) if left.as_bytes().is_empty() => Ok(Untold::Received(data)),
            _ => Ok(Untold::Buffer(left.add(PyBytes::new(self.py(), data))?)),
        }
    }

    fn data_received(&self, data: &[u8], stock: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py();
        if self.is_true(intern!(py, "_busyReceiving"))? {
            return self.set_buffer(&self.joined(data)?.into_object(py));
        }
        let result = self
            .set_busy(true)
            .and_then(|()| self.joined(data))
            .and_then(|untold| self.receive(untold));
        self.set_busy(false)?;
        if result? {
            call::call2(stock, self.protocol, &PyBytes::new(py, b""))?;
        }
        Ok(())
    }

    /// Takes lines out of the buffer. True when Twisted's own method has to go on.
    fn receive(&self, first: Untold<'_, 'py>) -> PyResult<bool> {
        let py = self.py();
        let mut untold = Some(first);
        loop {
            let step = self.step(&mut untold);
            if let Some(untold) = untold.take() {
                self.set_buffer(&untold.into_object(py))?;
            }
            match step? {
                Step::Again => {}
                Step::Stop => return Ok(false),
                Step::Beyond => return Ok(true),
            }
            let buffer = self.buffer()?;
            if !buffer.is_truthy()? {
                return Ok(false);
            }
            untold = Some(Untold::Buffer(buffer));
        }
    }

    /// Tells one line, or what else there is to tell; the attribute is then set, and nothing left of `untold`.
    fn step(&self, untold: &mut Option<Untold<'_, 'py>>) -> PyResult<Step> {
        let py = self.py();
        if self.is_true(intern!(py, "paused"))? {
            return Ok(Step::Stop);
        }
        if !self.is_true(intern!(py, "line_mode"))? {
            return match self.take_all(untold)? {
                Some(data) => {
                    let why = self.call(intern!(py, "rawDataReceived"), &data)?;
                    Ok(stop_if(why.is_truthy()?))
                }
                None => Ok(Step::Stop),
            };
        }
        let delimiter = self.protocol.getattr(intern!(py, "delimiter"))?;
        let limit = self.protocol.getattr(intern!(py, "MAX_LENGTH"))?;
        let (Ok(delimiter), Ok(limit)) = (delimiter.cast_exact::<PyBytes>(), limit.extract())
        else {
            return Ok(Step::Beyond);
        };
        let limit: usize = limit;
        let delimiter = delimiter.as_bytes();
        let (line, rest) = {
            let bytes = match &untold {
                Some(Untold::Received(data)) => data,
                Some(Untold::Buffer(value)) => match value.cast_exact::<PyBytes>() {
                    Ok(bytes) => bytes.as_bytes(),
                    Err(_) => return Ok(Step::Beyond),
                },
                None => return Ok(Step::Stop),
            };
            match find(bytes, delimiter) {
                Some(length) if length <= limit => {
                    let rest = &bytes[length + delimiter.len()..];
                    (PyBytes::new(py, &bytes[..length]), PyBytes::new(py, rest))
                }
                None if bytes.len() < limit.saturating_add(delimiter.len()) => {
                    return Ok(Step::Stop);
                }
                _ => {
                    if let Some(all) = self.take_all(untold)? {
                        self.call(intern!(py, "lineLengthExceeded"), &all)?;
                    }
                    return Ok(Step::Stop);
                }
            }
        };
        // The attribute is b"" as long as nothing else than what was received is untold.
        let is_set = rest.as_bytes().is_empty() && matches!(untold, Some(Untold::Received(_)));
        *untold = None;
        if !is_set {
            self.set_buffer(&rest)?;
        }
        let why = self.call(intern!(py, "lineReceived"), &line)?;
        if why.is_truthy()? {
            return Ok(Step::Stop);
        }
        Ok(stop_if(self.is_ending()?))
    }

    /// All that is untold, of which nothing is left then.
    fn take_all(
        &self,
        untold: &mut Option<Untold<'_, 'py>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = self.py();
        let Some(untold) = untold.take() else {
            return Ok(None);
        };
        if let Untold::Buffer(_) = untold {
            self.set_buffer(&PyBytes::new(py, b""))?;
        }
        Ok(Some(untold.into_object(py)))
    }

    /// `self.transport and self.transport.disconnecting`.
    fn is_ending(&self) -> PyResult<bool> {
        let py = self.py();
        let transport = self.protocol.getattr(intern!(py, "transport"))?;
        if let Some(connection) = self.connection
            && transport.is(connection)
        {
            let ours = match connection.get().passes.get() {
                true => &names::TWISTED_UNIX_SERVER,
                false => &names::TWISTED_SERVER,
            };
            if connection.get_type().is(&ours.get(py)?) {
                return Ok(connection.get().disconnecting.get());
            }
        }
        Ok(transport.is_truthy()?
            && transport
                .getattr(intern!(py, "disconnecting"))?
                .is_truthy()?)
    }

    fn call(
        &self,
        method: &Bound<'py, PyString>,
        argument: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        call::call_method1(self.protocol, method, argument)
    }
}

fn stop_if(stop: bool) -> Step {
    if stop { Step::Stop } else { Step::Again }
}

/// Where the first line ends. Without a delimiter there are no lines, as `bytes.split` has it.
fn find(bytes: &[u8], delimiter: &[u8]) -> Option<usize> {
    match delimiter {
        [] => None,
        [byte] => memchr::memchr(*byte, bytes),
        _ => memmem::find(bytes, delimiter),
    }
}
