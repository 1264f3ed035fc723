"""The policy of `loop.sendfile()` over a native transport: what stock demands of the file, and who is told what."""

from __future__ import annotations

import asyncio
import errno
import io
import os
from asyncio import constants, unix_events
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable

    from interloop._core import StreamTransport

# Untyped: the names read from it are not published. Suites patch its `os`.
_unix_events: Any = unix_events


class Loop(Protocol):
    """What is asked of the loop here."""

    def _sock_send_file(
        self, sock: socket.socket, file: int, offset: int, count: int | None
    ) -> Awaitable[int]: ...


# What a transport's `_sendfile_compatible` may be. Looked up by the extension.
FALLBACK = constants._SendfileMode.FALLBACK
TRY_NATIVE = constants._SendfileMode.TRY_NATIVE


def _descriptor(file: Any, count: int | None) -> int | None:
    """The file's descriptor; None when there is nothing to send. SendfileNotAvailableError if it has none."""
    if not hasattr(_unix_events.os, "sendfile"):
        raise asyncio.SendfileNotAvailableError("os.sendfile() is not available")
    try:
        fileno: int = file.fileno()
        size = os.fstat(fileno).st_size
    except (AttributeError, io.UnsupportedOperation, OSError):
        raise asyncio.SendfileNotAvailableError("not a regular file") from None
    return fileno if count or size else None


async def send(transport: StreamTransport, file: Any, offset: int, count: int | None) -> int:
    """Send a file through a transport by the kernel's own call; the number of bytes sent.

    Errors: SendfileNotAvailableError if it is not that kind of file (nothing was sent then), ConnectionError. The
    file's position is behind the last byte sent, however it ends.
    """
    fileno = _descriptor(file, count)
    if fileno is None:
        return 0
    sending = transport._send_file(fileno, offset, count)
    # As stock: what comes in, an end of file above all, waits until the file has left.
    reading = transport.is_reading()
    transport.pause_reading()
    try:
        return await sending
    finally:
        transport._stop_file(sending)
        if reading:
            transport.resume_reading()


async def send_by_socket(
    loop: Loop, sock: socket.socket, file: Any, offset: int, count: int | None
) -> int:
    """The same through a socket that no transport has."""
    fileno = _descriptor(file, count)
    if fileno is None:
        return 0
    return await loop._sock_send_file(sock, fileno, offset, count)


def error(sent: int, exception: OSError) -> Exception:
    """What the system call's error is for the caller. Nothing was sent: then the fallback may help."""
    if sent:
        if exception.errno == errno.ENOTCONN:
            # As stock has it on every platform: the connection went in the middle.
            gone = ConnectionError("socket is not connected", errno.ENOTCONN)
            gone.__cause__ = exception
            return gone
        return exception
    unavailable = asyncio.SendfileNotAvailableError("os.sendfile call failed")
    unavailable.__cause__ = exception
    return unavailable


def failed(future: asyncio.Future[int], sent: int, exception: Exception) -> None:
    """Tell who waits that not all was sent. That the peer has gone is no reason to try the fallback."""
    if future.done():
        return
    if isinstance(exception, OSError) and not isinstance(exception, ConnectionError):
        exception = error(sent, exception)
    future.set_exception(exception)
