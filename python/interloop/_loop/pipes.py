"""What the extension asks of Python about pipe transports: reports, reprs, warnings.

Each function is looked up by name in `src/py/names.rs`. The logger is read from the stock module at the time of the
call: suites patch it there.
"""

from __future__ import annotations

import asyncio
import errno
import warnings
from asyncio import constants, format_helpers, unix_events
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interloop._core import LoopCore, PipeTransport

# Untyped: the names read from it are not published.
_unix_events: Any = unix_events


def report_callback(
    loop: Any, owner: object, name: str, argument: object, exception: BaseException
) -> None:
    """Something about a pipe raised that stock runs as a callback: `argument` is None when it has none."""
    callback = getattr(owner, name)
    arguments = () if argument is None and name != "_call_connection_lost" else (argument,)
    source = format_helpers._format_callback_source(callback, arguments)
    loop.call_exception_handler(
        {
            "message": f"Exception in callback {source}",
            "exception": exception,
            "handle": asyncio.Handle(callback, arguments, loop),
        }
    )


def report_error(
    transport: PipeTransport, exception: BaseException, message: str, reading: bool
) -> None:
    """A pipe transport ends because of an error. That the other end has gone is no news: debug log only."""
    loop: Any = transport._loop
    if isinstance(exception, OSError) and (not reading or exception.errno == errno.EIO):
        if loop.get_debug():
            _unix_events.logger.debug("%r: %s", transport, message, exc_info=exception)
        return
    loop.call_exception_handler(
        {
            "message": message,
            "exception": exception,
            "transport": transport,
            "protocol": transport.get_protocol(),
        }
    )


def pipe_repr(transport: PipeTransport) -> str:
    """Like stock's: class, fd, whether the poller is asked, what waits to be written."""
    info = [transport.__class__.__name__]
    if transport._pipe is None:
        info.append("closed")
    elif transport.is_closing():
        info.append("closing")
    info.append(f"fd={transport._fileno}")
    loop: LoopCore | None = transport._loop  # type: ignore[assignment]
    if transport._pipe is None or loop is None:
        info.append("closed")
    elif loop.is_closed():
        info.append("open")
    else:
        polling, size = transport._describe()
        info.append("polling" if polling else "idle")
        if size is not None:
            info.append(f"bufsize={size}")
    return f"<{' '.join(info)}>"


def log_debug(text: str, transport: PipeTransport) -> None:
    """In debug mode only."""
    _unix_events.logger.debug(text, transport)


def log_closed_by_peer(transport: PipeTransport) -> None:
    """In debug mode only."""
    _unix_events.logger.info("%r was closed by peer", transport)


def warn_write(before: int) -> None:
    """Writes go on after the pipe was lost: stock warns when there were five before."""
    if before >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
        _unix_events.logger.warning("pipe closed by peer or os.write(pipe, data) raised exception.")


def abandon(stock: type, fd: int, pipe: Any) -> None:
    """A transport was dropped with its pipe open: what stock's `__del__` does."""
    try:
        # Without source=: the transport is half gone.
        warnings.warn(
            f"unclosed transport <{stock.__name__} fd={fd} open>", ResourceWarning, stacklevel=2
        )
    finally:
        pipe.close()
