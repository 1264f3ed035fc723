//! Sending a file behind what is buffered, from the kernel's own cache: no byte of it comes to us.

use std::io::{self, ErrorKind};

use pyo3::exceptions::{PyConnectionError, PyRuntimeError};
use pyo3::prelude::*;

use super::stream::{self, Flush, Parts, Stream};
use super::write;
use crate::poll::Key;
use crate::py::{errors, names};
use crate::runtime::LoopCore;
use crate::sys::{Fd, plain};

/// How much of a file leaves in one turn before the other streams have theirs.
const BYTES: u64 = 4 << 20;

/// A part of a file, and how far it has been sent.
pub struct Portion {
    file: Fd,
    /// Where the next byte is taken from.
    offset: u64,
    /// How many bytes are left; None: up to the end of the file.
    left: Option<u64>,
    sent: u64,
}

impl Portion {
    /// `count` bytes from `offset` on, all that follows without a count. The file stays the caller's to close.
    pub fn new(file: Fd, offset: u64, count: Option<u64>) -> Self {
        Portion {
            file,
            offset,
            left: count,
            sent: 0,
        }
    }

    /// How many bytes have been sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends some. True when that was the last.
    pub fn step(&mut self, socket: Fd) -> io::Result<bool> {
        let asked = self.left.unwrap_or(BYTES).min(BYTES);
        if asked == 0 {
            return Ok(true);
        }
        let count = plain::send_file(socket, self.file, self.offset, asked)? as u64;
        self.offset += count;
        self.sent += count;
        if let Some(left) = &mut self.left {
            *left -= count.min(*left);
        }
        Ok(count == 0 || self.left == Some(0))
    }

    /// Leaves the file's position behind the last byte sent, if there is one.
    pub fn leave_position(&self) -> io::Result<()> {
        if self.sent == 0 {
            return Ok(());
        }
        plain::seek(self.file, self.offset)
    }
}

/// A file on its way through a stream. While there is one, nothing else can be written.
pub(super) struct Sending {
    portion: Portion,
    /// Who waits: told how much was sent, or why not all of it.
    future: Py<PyAny>,
}

impl Sending {
    pub(super) fn future(&self) -> &Py<PyAny> {
        &self.future
    }

    /// Leaves the file's position behind the last byte sent, and tells who waits.
    pub(super) fn finish(self, py: Python<'_>, result: PyResult<()>) -> PyResult<()> {
        let positioned = self.portion.leave_position();
        let result = result.and(positioned.map_err(|error| errors::os_error(py, &error)));
        let sent = self.portion.sent();
        match result {
            Ok(()) => names::SET_RESULT_UNLESS_CANCELLED
                .get(py)?
                .call1((self.future, sent))?,
            Err(error) => names::SENDFILE_FAILED
                .get(py)?
                .call1((self.future, sent, error))?,
        };
        Ok(())
    }
}

/// What came of a file: out of the borrow to be told.
pub(super) struct Sent(Sending, io::Result<()>);

impl Sent {
    pub(super) fn tell(self, py: Python<'_>) -> PyResult<()> {
        self.0
            .finish(py, self.1.map_err(|error| errors::os_error(py, &error)))
    }
}

impl Parts<'_> {
    /// Sends some of the file, if there is one: to be called with nothing buffered. Answers it when it is finished.
    pub(super) fn send_file(&mut self) -> Option<Sent> {
        let start = self.stream.file.as_ref()?.portion.sent();
        self.stream.look_at_owner();
        self.stream.set_nodelay();
        loop {
            let fd = self.stream.fd;
            let sending = self.stream.file.as_mut()?;
            let portion = &mut sending.portion;
            let result = match portion.step(fd) {
                Ok(false) if portion.sent() - start < BYTES => continue,
                Ok(false) => {
                    // No edge will come: there may be room still.
                    self.stream.writable = true;
                    self.requeue();
                    return None;
                }
                Ok(true) => Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => match self.wait_for_room() {
                    Ok(()) => return None,
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            return self.stream.file.take().map(|file| Sent(*file, result));
        }
    }
}

impl Stream {
    /// Whether anything waits to be sent.
    #[inline]
    pub(super) fn has_output(&self) -> bool {
        !self.out.is_empty() || self.file.is_some()
    }
}

/// Sends part of a file behind what is buffered. `future` gets the number of bytes sent, or the reason why not all of
/// them. Errors: the connection is closed, or sends a file
/// already.
pub fn start(
    core: &Bound<'_, LoopCore>,
    key: Key,
    portion: Portion,
    future: Py<PyAny>,
) -> PyResult<()> {
    let sending = Sending { portion, future };
    let mut place = Some(Box::new(sending));
    let taken = &mut place;
    let accepted = core.get().state.with(core.py(), |state, _| {
        let mut parts = stream::parts(state, key)?;
        let stream = &mut *parts.stream;
        if !stream.life.may_send() || stream.layer.is_some() {
            return None;
        }
        if stream.file.is_some() {
            return Some(Accepted::Busy);
        }
        stream.file = taken.take();
        if stream.flush == Flush::EndOfTurn {
            parts.hold();
            return Some(Accepted::Held);
        }
        Some(Accepted::Now)
    });
    match accepted {
        None => Err(PyConnectionError::new_err("Connection is closed by peer")),
        // Stock's words for it.
        Some(Accepted::Busy) => Err(PyRuntimeError::new_err("Empty waiter is already set")),
        Some(Accepted::Held) => Ok(()),
        Some(Accepted::Now) => write::flush(core, key),
    }
}

/// What becomes of a file.
enum Accepted {
    Now,
    /// It leaves at the end of the turn.
    Held,
    /// There is one already.
    Busy,
}

/// Stops sending the file for which `future` waits: it does so no more. What has left has left; the file's position says
/// how much. Does nothing when that file is through, also when another is on its way.
pub fn stop(core: &Bound<'_, LoopCore>, key: Key, future: &Py<PyAny>) -> PyResult<()> {
    let py = core.py();
    let taken = core.get().state.with(py, |state, _| {
        let mut parts = stream::parts(state, key)?;
        let sending = parts
            .stream
            .file
            .take_if(|sending| sending.future.is(future))?;
        // The stream may have been closed behind it.
        Some((sending, parts.check_drained()))
    });
    match taken {
        Some((sending, _dropped)) => {
            let positioned = sending.portion.leave_position();
            positioned.map_err(|error| errors::os_error(py, &error))
        }
        None => Ok(()),
    }
}
