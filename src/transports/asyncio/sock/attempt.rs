//! One try of an operation. With a plain `socket.socket` the kernel is asked directly; any other object (a subclass, a
//! test's stand-in) does it by its own methods.

use std::io::{self, ErrorKind};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError};
use pyo3::prelude::*;
use pyo3::types::iterator::PySendResult;
use pyo3::types::{PyBytes, PyTuple};

use super::super::streams::{Draining, Reading};
use super::connect::Connect;
use crate::io::file::Portion;
use crate::py::bytes::{self, Uninit, Unseen};
use crate::py::{errors, names, sockets};
use crate::runtime::LoopCore;
use crate::runtime::core::SCRATCH;
use crate::runtime::watch::Side;
use crate::sys::{Fd, socket};

/// What an operation does.
pub enum Work {
    Recv(usize),
    RecvInto(Py<PyAny>),
    /// Before the first try.
    Sendall(Py<PyAny>),
    /// What is left of it.
    Sending(Outgoing, usize),
    File(FilePart),
    Accept(Py<PyTuple>),
    Connect(Connect),
    /// Of a stream's reader.
    Read(Reading),
    /// Of a stream's writer.
    Drain(Draining),
    /// A method of the socket.
    Call {
        method: &'static str,
        side: Side,
        args: Py<PyTuple>,
    },
    /// It is being tried, or over.
    Nothing,
}

/// Part of a file that `sock_sendfile()` sends. However it ends, the file's position is behind the last byte sent.
pub struct FilePart(pub Portion);

impl Drop for FilePart {
    fn drop(&mut self) {
        // A file that was sent from has a position to set; one that was closed meanwhile has none any more.
        let _ = self.0.leave_position();
    }
}

/// Data that `sock_sendall()` sends.
pub enum Outgoing {
    Bytes(Py<PyBytes>),
    Buffer(PyBuffer<u8>),
    /// A memoryview, for a socket that is not a plain one.
    View(Py<PyAny>),
}

/// What came of a try.
pub enum Outcome<'py> {
    Done(Bound<'py, PyAny>),
    /// Done, the answer is None.
    Silent,
    Wait(Side),
    /// For bytes that a `StreamReader` is fed with.
    WaitForReader,
    /// What another coroutine, on which this one waits, has yielded.
    Yield(Bound<'py, PyAny>),
}

impl<'py> Outcome<'py> {
    /// What a step of another coroutine means for the one that waits for it.
    pub fn of_step(step: PySendResult<'py>) -> Self {
        match step {
            PySendResult::Next(yielded) => Outcome::Yield(yielded),
            PySendResult::Return(value) => Outcome::Done(value),
        }
    }
}

/// A socket and how to ask it.
pub struct Subject<'a, 'py> {
    pub core: &'a Bound<'py, LoopCore>,
    pub sock: &'a Bound<'py, PyAny>,
    /// A plain `socket.socket`, and open.
    pub fd: Option<Fd>,
}

impl<'a, 'py> Subject<'a, 'py> {
    pub fn new(core: &'a Bound<'py, LoopCore>, sock: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        let py = core.py();
        let plain = sock.get_type().is(&names::SOCKET.get(py)?);
        let fd = if plain {
            let fd = sockets::fileno(sock)?;
            // A closed one says so itself.
            (fd >= 0).then_some(fd)
        } else {
            None
        };
        Ok(Subject { core, sock, fd })
    }

    /// A `StreamReader` or `StreamWriter`.
    pub fn of_stream(core: &'a Bound<'py, LoopCore>, object: &'a Bound<'py, PyAny>) -> Self {
        Subject {
            core,
            sock: object,
            fd: None,
        }
    }

    /// `sock.method(*args)`; None when it would block.
    pub fn call(
        &self,
        method: &str,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.sock.call_method1(method, args) {
            Ok(value) => Ok(Some(value)),
            Err(error) if would_block(self.core.py(), &error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn would_block(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyBlockingIOError>(py) || error.is_instance_of::<PyInterruptedError>(py)
}

impl Work {
    pub fn call<'py>(
        py: Python<'py>,
        method: &'static str,
        side: Side,
        args: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error = PyErr>,
    ) -> PyResult<Work> {
        Ok(Work::Call {
            method,
            side,
            args: args.into_pyobject(py)?.unbind(),
        })
    }

    pub fn connect(address: Py<PyAny>) -> Work {
        Work::Connect(Connect::new(address))
    }

    /// Tries once.
    #[inline]
    pub fn attempt<'py>(&mut self, subject: &Subject<'_, 'py>) -> PyResult<Outcome<'py>> {
        let py = subject.core.py();
        match self {
            Work::Recv(count) => match subject.fd {
                Some(fd) => recv(subject.core, fd, *count),
                None => {
                    let args = (*count,).into_pyobject(py)?;
                    self.ask("recv", Side::Reader, subject, &args)
                }
            },
            Work::RecvInto(buffer) => {
                let buffer = buffer.bind(py);
                if let Some(fd) = subject.fd
                    && let Ok(place) = PyBuffer::<u8>::get(buffer)
                    && place.len_bytes() > 0
                    && let Ok(place) = Uninit::new(place)
                {
                    return recv_into(py, fd, place);
                }
                let args = (buffer,).into_pyobject(py)?;
                self.ask("recv_into", Side::Reader, subject, &args)
            }
            Work::Sendall(data) => {
                let outgoing = outgoing(data.bind(py), subject.fd.is_some())?;
                let mut sent = 0;
                let outcome = send(subject, &outgoing, &mut sent)?;
                *self = Work::Sending(outgoing, sent);
                Ok(outcome)
            }
            Work::Sending(outgoing, sent) => send(subject, outgoing, sent),
            Work::File(part) => send_file(subject, &mut part.0),
            Work::Accept(args) => {
                let args = args.bind(py).clone();
                let outcome = self.ask("accept", Side::Reader, subject, &args)?;
                if let Outcome::Done(pair) = &outcome {
                    pair.get_item(0)?
                        .call_method1(pyo3::intern!(py, "setblocking"), (false,))?;
                }
                Ok(outcome)
            }
            Work::Connect(connect) => connect.attempt(subject),
            Work::Read(reading) => reading.attempt(subject.sock),
            Work::Drain(draining) => draining.attempt(subject.sock),
            Work::Call { method, side, args } => {
                let (method, side, args) = (*method, *side, args.bind(py).clone());
                self.ask(method, side, subject, &args)
            }
            Work::Nothing => Ok(Outcome::Silent),
        }
    }

    /// The coroutine on which it waits.
    pub fn awaited(&self) -> Option<&Py<PyAny>> {
        match self {
            Work::Connect(connect) => connect.resolver(),
            Work::Read(reading) => reading.awaited(),
            Work::Drain(draining) => draining.awaited(),
            _ => None,
        }
    }

    /// What came of a step of that coroutine.
    pub fn stepped<'py>(
        &mut self,
        subject: &Subject<'_, 'py>,
        coroutine: Py<PyAny>,
        step: PySendResult<'py>,
    ) -> PyResult<Outcome<'py>> {
        match self {
            Work::Connect(connect) => connect.resolved(subject, coroutine, step),
            _ => Ok(Outcome::of_step(step)),
        }
    }

    fn ask<'py>(
        &self,
        method: &str,
        side: Side,
        subject: &Subject<'_, 'py>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Outcome<'py>> {
        Ok(match subject.call(method, args)? {
            Some(value) => Outcome::Done(value),
            None => Outcome::Wait(side),
        })
    }

    /// Every Python object it holds.
    pub fn visit(&self, visitor: &mut dyn FnMut(&Py<PyAny>)) {
        match self {
            Work::RecvInto(object)
            | Work::Sendall(object)
            | Work::Sending(Outgoing::View(object), _) => visitor(object),
            Work::Call { args, .. } => visitor(args.as_any()),
            Work::Connect(connect) => connect.visit(visitor),
            Work::Read(reading) => reading.visit(visitor),
            Work::Drain(draining) => draining.awaited().into_iter().for_each(visitor),
            Work::Sending(..) | Work::Recv(_) | Work::File(_) | Work::Accept(_) | Work::Nothing => {
            }
        }
    }
}

/// From this size on bytes are received straight into the object that is handed over.
const LARGE: usize = 8 * 1024;

fn recv<'py>(core: &Bound<'py, LoopCore>, fd: Fd, count: usize) -> PyResult<Outcome<'py>> {
    let py = core.py();
    let lately = core.get().received_lately(py, fd);
    // A stream may answer less than asked for, a datagram would be cut.
    let count = if count > SCRATCH && matches!(socket::is_stream(fd), Ok(true)) {
        SCRATCH
    } else {
        count
    };
    if count > SCRATCH || lately >= LARGE && count >= LARGE {
        let mut unseen = Unseen::new(py, count)?;
        let result = socket::recv(fd, unseen.as_mut_slice());
        return match result {
            Ok(received @ 1..) => {
                core.get().note_received(py, fd, received);
                // SAFETY: so many bytes were received, and not none.
                let data = unsafe { unseen.finish(received) }?;
                Ok(Outcome::Done(data.into_any()))
            }
            Ok(_) => Ok(Outcome::Done(PyBytes::new(py, b"").into_any())),
            Err(error) => wait_or_raise(py, error, Side::Reader),
        };
    }
    let mut scratch = core.get().take_scratch(py);
    let result = socket::recv(fd, &mut scratch[..count]);
    let outcome = match result {
        Ok(received) => {
            if received >= LARGE {
                core.get().note_received(py, fd, received);
            }
            // SAFETY: so many bytes were received.
            let data = unsafe { bytes::from_received(py, &scratch, received) };
            Ok(Outcome::Done(data.into_any()))
        }
        Err(error) => wait_or_raise(py, error, Side::Reader),
    };
    core.get().give_scratch(py, scratch);
    outcome
}

fn recv_into<'py>(py: Python<'py>, fd: Fd, mut place: Uninit) -> PyResult<Outcome<'py>> {
    match socket::recv(fd, place.as_mut_slice()) {
        Ok(received) => Ok(Outcome::Done(received.into_pyobject(py)?.into_any())),
        Err(error) => wait_or_raise(py, error, Side::Reader),
    }
}

fn outgoing(data: &Bound<'_, PyAny>, plain: bool) -> PyResult<Outgoing> {
    if plain {
        if let Ok(bytes) = data.cast_exact::<PyBytes>() {
            return Ok(Outgoing::Bytes(bytes.clone().unbind()));
        }
        if let Ok(buffer) = PyBuffer::<u8>::get(data)
            && buffer.is_c_contiguous()
        {
            return Ok(Outgoing::Buffer(buffer));
        }
    }
    // TypeError with the words of a socket; items wider than a byte are sent as what they are made of.
    let view = names::MEMORYVIEW.get(data.py())?.call1((data,))?;
    Ok(Outgoing::View(view.call_method1("cast", ("B",))?.unbind()))
}

fn send<'py>(
    subject: &Subject<'_, 'py>,
    outgoing: &Outgoing,
    sent: &mut usize,
) -> PyResult<Outcome<'py>> {
    let py = subject.core.py();
    let (result, total) = match (outgoing, subject.fd) {
        (Outgoing::Bytes(bytes), Some(fd)) => {
            let data = bytes.as_bytes(py);
            (socket::send(fd, &data[*sent..]), data.len())
        }
        (Outgoing::Buffer(buffer), Some(fd)) => {
            let total = buffer.len_bytes();
            (
                socket::send(fd, &bytes::exported(py, buffer)[*sent..]),
                total,
            )
        }
        (outgoing, _) => return send_view(subject, outgoing, sent),
    };
    match result {
        Ok(count) => *sent += count,
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => return Err(errors::os_error(py, &error)),
    }
    Ok(if *sent == total {
        Outcome::Silent
    } else {
        Outcome::Wait(Side::Writer)
    })
}

/// By the socket's own `send()`, which raises what there is to raise.
fn send_view<'py>(
    subject: &Subject<'_, 'py>,
    outgoing: &Outgoing,
    sent: &mut usize,
) -> PyResult<Outcome<'py>> {
    let py = subject.core.py();
    let memoryview = names::MEMORYVIEW.get(py)?;
    let view = match outgoing {
        Outgoing::View(view) => view.bind(py).clone(),
        Outgoing::Bytes(bytes) => memoryview.call1((bytes,))?,
        Outgoing::Buffer(buffer) => {
            memoryview.call1((PyBytes::new(py, bytes::exported(py, buffer)),))?
        }
    };
    let total = view.len()?;
    let rest = view.get_item(pyo3::types::PySlice::new(
        py,
        *sent as isize,
        total as isize,
        1,
    ))?;
    if let Some(count) = subject.call("send", &(rest,).into_pyobject(py)?)? {
        *sent += count.extract::<usize>()?;
    }
    Ok(if *sent >= total {
        Outcome::Silent
    } else {
        Outcome::Wait(Side::Writer)
    })
}

fn send_file<'py>(subject: &Subject<'_, 'py>, portion: &mut Portion) -> PyResult<Outcome<'py>> {
    let py = subject.core.py();
    let fd = match subject.fd {
        Some(fd) => fd,
        None => subject.sock.call_method0("fileno")?.extract()?,
    };
    match portion.step(fd) {
        Ok(true) => Ok(Outcome::Done(portion.sent().into_pyobject(py)?.into_any())),
        // Whether there is more room already, the level-triggered watcher says.
        Ok(false) => Ok(Outcome::Wait(Side::Writer)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Outcome::Wait(Side::Writer)),
        Err(error) => {
            let error = errors::os_error(py, &error);
            let told = names::SENDFILE_ERROR
                .get(py)?
                .call1((portion.sent(), error))?;
            Err(PyErr::from_value(told))
        }
    }
}

fn wait_or_raise<'py>(py: Python<'py>, error: io::Error, side: Side) -> PyResult<Outcome<'py>> {
    if error.kind() == ErrorKind::WouldBlock {
        return Ok(Outcome::Wait(side));
    }
    Err(errors::os_error(py, &error))
}
