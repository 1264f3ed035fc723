//! `loop.sock_recv()` and its kin: asyncio's operations on plain sockets.

mod attempt;
mod connect;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use self::attempt::FilePart;
pub use self::attempt::{Outcome, Subject, Work};
use super::operation::Operation;
use crate::io::file::Portion;
use crate::runtime::LoopCore;
use crate::runtime::watch::Side;
use crate::sys::Fd;

#[pymethods]
impl LoopCore {
    /// Receives at most `n` bytes; b"" at the end of file. A coroutine. The loop's thread. Errors: those of
    /// `socket.recv()`; ValueError for a blocking socket in debug mode.
    fn sock_recv<'py>(
        slf: &Bound<'py, Self>,
        sock: Py<PyAny>,
        n: Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, Operation>> {
        let work = match n.extract::<usize>() {
            Ok(count) if count > 0 => Work::Recv(count),
            // The socket's own method knows what to say.
            _ => Work::call(slf.py(), "recv", Side::Reader, (n,))?,
        };
        Operation::obtain(slf, sock, "sock_recv", work)
    }

    /// Receives into a writable buffer; answers the number of bytes, 0 at the end of file. A coroutine. The loop's
    /// thread. Errors: those of `socket.recv_into()`; ValueError for a blocking socket in debug mode.
    fn sock_recv_into<'py>(
        slf: &Bound<'py, Self>,
        sock: Py<PyAny>,
        buf: Py<PyAny>,
    ) -> PyResult<Bound<'py, Operation>> {
        Operation::obtain(slf, sock, "sock_recv_into", Work::RecvInto(buf))
    }

    /// Receives a datagram of at most `bufsize` bytes; answers (bytes, address). A coroutine. The loop's thread.
    /// Errors: those of `socket.recvfrom()`; ValueError for a blocking socket in debug mode.
    fn sock_recvfrom<'py>(
        slf: &Bound<'py, Self>,
        sock: Py<PyAny>,
        bufsize: Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, Operation>> {
        let work = Work::call(slf.py(), "recvfrom", Side::Reader, (bufsize,))?;
        Operation::obtain(slf, sock, "sock_recvfrom", work)
    }

    /// Receives a datagram into a buffer, at most `nbytes` of it (0: as much as fits); answers (count, address). A
    /// coroutine. The loop's thread. Errors: those of `socket.recvfrom_into()`; ValueError for a blocking socket in
    /// debug mode.
    #[pyo3(signature = (sock, buf, nbytes=None), text_signature = "($self, sock, buf, nbytes=0)")]
    fn sock_recvfrom_into<'py>(
        slf: &Bound<'py, Self>,
        sock: Py<PyAny>,
        buf: Bound<'_, PyAny>,
        nbytes: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, Operation>> {
        let py = slf.py();
        let args = match nbytes {
            Some(count) if count.is_truthy()? => (buf, count).into_pyobject(py)?,
            _ => (buf,).into_pyobject(py)?,
        };
        let work = Work::Call {
            method: "recvfrom_into",
            side: Side::Reader,
            args: args.unbind(),
        };
        Operation::obtain(slf, sock, "sock_recvfrom_into", work)
    }

    /// Sends all of `data`. After an error nobody knows how much has left. A coroutine. The loop's thread. Errors: those
    /// of `socket.send()`; ValueError for a blocking socket in debug mode.
    fn sock_sendall<'py>(
        slf: &Bound<'py, Self>,
        sock: Py<PyAny>,
        data: Py<PyAny>,
    ) -> PyResult<Bound<'py, Operation>> {
        Operation::obtain(slf, sock, "sock_sendall", Work::Sendall(data))
    }

    /// Sends `count` bytes of a file from `offset` on (all that follows without a count) by the kernel's own call; answers
    /// how many. The policy of `sock_sendfile()` is the caller's. A coroutine. The loop's thread. Errors:
    /// `SendfileNotAvailableError` when nothing was sent; OSError.
    fn _sock_send_file<'py>(
        slf: &Bound<'py, Self>,
        sock: Py<PyAny>,
        file: Fd,
        offset: u64,
        count: Option<u64>,
    ) -> PyResult<Bound<'py, Operation>> {
        let part = FilePart(Portion::new(file, offset, count));
        Operation::obtain(slf, sock, "sock_sendfile", Work::File(part))
    }

    /// Sends a datagram to an address; answers how many bytes. A coroutine. The loop's thread. Errors: those of
    /// `socket.sendto()`; ValueError for a blocking socket in debug mode.
    fn sock_sendto<'py>(
        slf: &Bound<'py, Self>,
        sock: Py<PyAny>,
        data: Bound<'_, PyAny>,
        address: Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, Operation>> {
        let work = Work::call(slf.py(), "sendto", Side::Writer, (data, address))?;
        Operation::obtain(slf, sock, "sock_sendto", work)
    }

    /// Connects to an address, looking a name up by `loop.getaddrinfo()`. A coroutine. The loop's thread. Errors:
    /// those of `socket.connect()`; ValueError for a blocking socket in debug mode.
    fn sock_connect<'py>(
        slf: &Bound<'py, Self>,
        sock: Py<PyAny>,
        address: Py<PyAny>,
    ) -> PyResult<Bound<'py, Operation>> {
        Operation::obtain(slf, sock, "sock_connect", Work::connect(address))
    }

    /// Accepts a connection; answers (socket, address), the socket being non-blocking. A coroutine. The loop's thread.
    /// Errors: those of `socket.accept()`; ValueError for a blocking socket in debug mode.
    fn sock_accept<'py>(
        slf: &Bound<'py, Self>,
        sock: Py<PyAny>,
    ) -> PyResult<Bound<'py, Operation>> {
        let args = PyTuple::empty(slf.py()).unbind();
        let work = Work::Accept(args);
        Operation::obtain(slf, sock, "sock_accept", work)
    }
}
