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
use crate::py::{call, method, names};

/// What the class of a connection's protocol is, as far as it was looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The class's address. A class that has died and another one in its place cost time, no more.
    class: usize,
    lines: bool,
}

impl Seen {
    pub const NOTHING: Seen = Seen {
        class: 0,
        lines: false,
    };
}

/// `protocol.dataReceived(data)`.
#[inline]
pub fn data_received(
    connection: &Bound<'_, TwistedConnection>,
    protocol: &Bound<'_, PyAny>,
    data: &Bound<'_, PyBytes>,
) -> PyResult<()> {
    let py = data.py();
    let seen = connection.get().seen.get();
    if seen.class == protocol.get_type_ptr() as usize && !seen.lines {
        return call::call_method1(protocol, intern!(py, "dataReceived"), data).map(drop);
    }
    perhaps_lines(connection, protocol, data)
}

#[inline(never)]
fn perhaps_lines(
    connection: &Bound<'_, TwistedConnection>,
    protocol: &Bound<'_, PyAny>,
    data: &Bound<'_, PyBytes>,
) -> PyResult<()> {
    let py = data.py();
    let class = protocol.get_type_ptr() as usize;
    if connection.get().seen.get().class != class {
        let lines = protocol.is_instance(&names::TWISTED_LINE_RECEIVER.get(py)?)?;
        connection.get().seen.set(Seen { class, lines });
        if !lines {
            return data_received(connection, protocol, data);
        }
    }
    let received = protocol.getattr(intern!(py, "dataReceived"))?;
    let stock = names::TWISTED_LINE_DATA_RECEIVED.get(py)?;
    if method::is_bound(&received, &stock, protocol) {
        return LineReceiver(protocol).data_received(data, &stock);
    }
    call::call1(&received, data).map(drop)
}

/// A `twisted.protocols.basic.LineReceiver`.
struct LineReceiver<'a, 'py>(&'a Bound<'py, PyAny>);

/// What came of looking for a line.
enum Step {
    /// There may be another one.
    Again,
    Stop,
    /// A buffer, a delimiter or a limit of a program's own kind.
    Beyond,
}

/// The buffer while nothing can look at the attribute.
struct Buffer<'py> {
    value: Bound<'py, PyAny>,
    /// Whether the attribute is the same.
    set: bool,
    /// Whether the attribute is b"".
    was_empty: bool,
}

impl<'py> LineReceiver<'_, 'py> {
    fn py(&self) -> Python<'py> {
        self.0.py()
    }

    fn is_true(&self, name: &Bound<'py, PyString>) -> PyResult<bool> {
        self.0.getattr(name)?.is_truthy()
    }

    fn set_buffer(&self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        self.0.setattr(intern!(self.py(), "_buffer"), value)
    }

    fn set_busy(&self, busy: bool) -> PyResult<()> {
        let name = intern!(self.py(), "_busyReceiving");
        self.0.setattr(name, PyBool::new(self.py(), busy))
    }

    /// What was left, with `data` behind it.
    fn joined(&self, data: &Bound<'py, PyBytes>) -> PyResult<Buffer<'py>> {
        let left = self.0.getattr(intern!(self.py(), "_buffer"))?;
        let was_empty =
            matches!(left.cast_exact::<PyBytes>(), Ok(left) if left.as_bytes().is_empty());
        Ok(Buffer {
            value: match was_empty {
                true => data.clone().into_any(),
                false => left.add(data)?,
            },
            set: false,
            was_empty,
        })
    }

    fn data_received(&self, data: &Bound<'py, PyBytes>, stock: &Bound<'py, PyAny>) -> PyResult<()> {
        if self.is_true(intern!(self.py(), "_busyReceiving"))? {
            return self.set_buffer(&self.joined(data)?.value);
        }
        let result = self
            .set_busy(true)
            .and_then(|()| self.joined(data))
            .and_then(|buffer| self.receive(buffer));
        self.set_busy(false)?;
        if result? {
            let nothing = PyBytes::new(self.py(), b"");
            call::call2(stock, self.0, &nothing)?;
        }
        Ok(())
    }

    /// Takes lines out of the buffer. True when Twisted's own method has to go on.
    fn receive(&self, mut buffer: Buffer<'py>) -> PyResult<bool> {
        loop {
            let step = self.step(&mut buffer);
            if !buffer.set {
                self.set_buffer(&buffer.value)?;
            }
            match step? {
                Step::Again => {
                    buffer = Buffer {
                        value: self.0.getattr(intern!(self.py(), "_buffer"))?,
                        set: true,
                        was_empty: false,
                    }
                }
                Step::Stop => return Ok(false),
                Step::Beyond => return Ok(true),
            }
        }
    }

    fn step(&self, buffer: &mut Buffer<'py>) -> PyResult<Step> {
        let py = self.py();
        if !buffer.value.is_truthy()? || self.is_true(intern!(py, "paused"))? {
            return Ok(Step::Stop);
        }
        if !self.is_true(intern!(py, "line_mode"))? {
            self.empty(buffer)?;
            let why = self.call(intern!(py, "rawDataReceived"), &buffer.value)?;
            return Ok(stop_if(why.is_truthy()?));
        }
        let delimiter = self.0.getattr(intern!(py, "delimiter"))?;
        let limit = self.0.getattr(intern!(py, "MAX_LENGTH"))?;
        let (Ok(all), Ok(delimiter), Ok(limit)) = (
            buffer.value.cast_exact::<PyBytes>().cloned(),
            delimiter.cast_exact::<PyBytes>(),
            limit.extract::<usize>(),
        ) else {
            return Ok(Step::Beyond);
        };
        let (bytes, delimiter) = (all.as_bytes(), delimiter.as_bytes());
        let Some(length) = find(bytes, delimiter) else {
            if bytes.len() < limit.saturating_add(delimiter.len()) {
                return Ok(Step::Stop);
            }
            return self.too_long(buffer, &all);
        };
        if length > limit {
            return self.too_long(buffer, &all);
        }
        let line = PyBytes::new(py, &bytes[..length]);
        let rest = &bytes[length + delimiter.len()..];
        if rest.is_empty() {
            self.empty(buffer)?;
        } else {
            buffer.set = true;
            self.set_buffer(&PyBytes::new(py, rest))?;
        }
        let why = self.call(intern!(py, "lineReceived"), &line)?;
        if why.is_truthy()? {
            return Ok(Step::Stop);
        }
        let transport = self.0.getattr(intern!(py, "transport"))?;
        Ok(stop_if(
            transport.is_truthy()?
                && transport
                    .getattr(intern!(py, "disconnecting"))?
                    .is_truthy()?,
        ))
    }

    /// Nothing is left.
    fn empty(&self, buffer: &mut Buffer<'py>) -> PyResult<()> {
        let is_empty = buffer.was_empty && !buffer.set;
        buffer.set = true;
        if is_empty {
            return Ok(());
        }
        self.set_buffer(&PyBytes::new(self.py(), b""))
    }

    fn too_long(&self, buffer: &mut Buffer<'py>, all: &Bound<'py, PyBytes>) -> PyResult<Step> {
        self.empty(buffer)?;
        self.call(intern!(self.py(), "lineLengthExceeded"), all)?;
        Ok(Step::Stop)
    }

    fn call(
        &self,
        method: &Bound<'py, PyString>,
        argument: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        call::call_method1(self.0, method, argument)
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
