"""The policy of `loop.sendfile()` over a native transport: what stock demands of the file, and who is told what."""

from __future__ import annotations

import asyncio
import io
import os
from asyncio import constants
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interloop._core import StreamTransport

# What a transport's `_sendfile_compatible` may be. Looked up by the extension.
FALLBACK = constants._SendfileMode.FALLBACK
TRY_NATIVE = constants._SendfileMode.TRY_NATIVE


async def send(transport: StreamTransport, file: Any, offset: int, count: int | None) -> int:
    """Send a file by the kernel's own call; the number of bytes sent.

    Errors: SendfileNotAvailableError if it is not that kind of file (nothing was sent then), what `count` and
    `offset` are refused for, ConnectionError. The file's position is behind the last byte sent, however it ends.
    """
    try:
        fileno = file.fileno()
        size = os.fstat(fileno).st_size
    except (AttributeError, io.UnsupportedOperation, OSError):
        raise asyncio.SendfileNotAvailableError("not a regular file") from None
    if not (count or size):
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


def failed(future: asyncio.Future[int], sent: int, exception: BaseException) -> None:
    """Tell who waits that not all was sent. Nothing at all: then the fallback may help."""
    if future.done():
        return
    if sent == 0 and isinstance(exception, OSError) and not isinstance(exception, ConnectionError):
        available = asyncio.SendfileNotAvailableError("os.sendfile call failed")
        available.__cause__ = exception
        exception = available
    future.set_exception(exception)
