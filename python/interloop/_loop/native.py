"""What the extension asks of Python, once per rare event: reports, reprs, warnings.

Each function is looked up by name in `src/py/names.rs`. The loggers are read from the stock modules at the time of
the call: suites patch them there.
"""

from __future__ import annotations

import _asyncio
import _socket
import asyncio
import socket
import sys
import warnings
from asyncio import base_events, constants, format_helpers, selector_events, transports, trsock
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    import traceback

    from interloop._core import Handle, Operation, StreamTransport, TimerHandle


class _Loop(Protocol):
    """What is asked of the loop here."""

    slow_callback_duration: float

    def call_exception_handler(self, context: dict[str, Any]) -> None: ...
    def _pause_listening(self, sock: socket.socket, seconds: float) -> None: ...


# Untyped: the names read from them are not published.
_base_events: Any = base_events
_selector_events: Any = selector_events


# How a server keeps its connections, for as long as nobody replaces it.
SERVER_ATTACH = _base_events.Server._attach
SERVER_DETACH = _base_events.Server._detach

# Of every plain socket: found once and for all.
socket_fileno = _socket.socket.fileno


class NoLoop:
    """What asyncio's objects ask of their loop while they are made."""

    def get_debug(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[None]:
        return _asyncio.Future(loop=cast(Any, self))


def _finished_future() -> asyncio.Future[None]:
    future = NoLoop().create_future()
    future.set_result(None)
    return future


FINISHED_FUTURE = _finished_future()

BYTES_LIKE = (bytes, bytearray, memoryview)


def report_callback(handle: Handle | TimerHandle, exception: BaseException) -> None:
    """A callback raised: told to the exception handler as `asyncio.Handle._run` tells it."""
    source = format_helpers._format_callback_source(handle._callback, handle._args)
    context: dict[str, Any] = {
        "message": f"Exception in callback {source}",
        "exception": exception,
        "handle": handle,
    }
    if handle._source_traceback:
        context["source_traceback"] = handle._source_traceback
    handle._loop.call_exception_handler(context)


def report_protocol(
    loop: _Loop,
    transport: StreamTransport,
    exception: BaseException,
    callback: Any,
    *arguments: Any,
) -> None:
    """`connection_made` or `connection_lost` raised: stock runs them as callbacks and says so."""
    source = format_helpers._format_callback_source(callback, arguments)
    loop.call_exception_handler(
        {
            "message": f"Exception in callback {source}",
            "exception": exception,
            "handle": asyncio.Handle(callback, arguments, cast(asyncio.AbstractEventLoop, loop)),
            "transport": transport,
            "protocol": transport.get_protocol(),
        }
    )


def report_port(
    loop: _Loop,
    transport: StreamTransport,
    exception: BaseException,
    callback: Any,
    arguments: tuple[Any, ...],
) -> None:
    """A datagram protocol's method raised: for stock it is part of a callback that failed."""
    report_protocol(loop, transport, exception, callback, *arguments)


def report_fatal(transport: StreamTransport, exception: BaseException, message: str) -> None:
    """A transport ends because of an error. The network's own errors are no news: debug log only."""
    loop = transport._loop
    if isinstance(exception, OSError):
        if loop.get_debug():
            _selector_events.logger.debug("%r: %s", transport, message, exc_info=exception)
        return
    report_transport(transport, exception, message)


def report_transport(transport: StreamTransport, exception: BaseException, message: str) -> None:
    """Something about a transport, told to the exception handler."""
    transport._loop.call_exception_handler(
        {
            "message": message,
            "exception": exception,
            "transport": transport,
            "protocol": transport.get_protocol(),
        }
    )


def report_accept(
    loop: _Loop, exception: BaseException, message: str, sock: socket.socket | None
) -> None:
    """A connection could not be accepted. Out of resources: stop, and start again in a second."""
    context: dict[str, Any] = {"message": message, "exception": exception}
    if sock is not None:
        context["socket"] = trsock.TransportSocket(sock)
        loop._pause_listening(sock, constants.ACCEPT_RETRY_DELAY)
    loop.call_exception_handler(context)


def report_operation(
    loop: _Loop, exception: BaseException, callback: Any, operation: Operation[Any]
) -> None:
    """Who waited for a socket operation raised when it was woken."""
    source = format_helpers._format_callback_source(callback, (operation,))
    loop.call_exception_handler(
        {"message": f"Exception in callback {source}", "exception": exception, "future": operation}
    )


def resolution(loop: Any, sock: socket.socket, address: Any) -> Any:
    """The coroutine that finds out where `sock_connect()` is to go; None when the address says it."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        return loop._ensure_resolved(
            address, family=sock.family, type=sock.type, proto=sock.proto, loop=loop
        )
    return None


def socket_error(sock: socket.socket) -> int:
    """What became of a connection attempt: 0 or an errno."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def report_slow(loop: _Loop, what: Any, seconds: float) -> None:
    """Debug mode: a callback or an I/O event took long. anyio filters on exactly this format string."""
    if seconds >= loop.slow_callback_duration:
        shown = repr(what) if what is None else _describe(what)
        _base_events.logger.warning("Executing %s took %.3f seconds", shown, seconds)


def _describe(what: Any) -> str:
    if isinstance(what, asyncio.Handle):
        return str(_base_events._format_handle(what))
    return f"I/O of {what!r}"


def source_traceback() -> traceback.StackSummary:
    """Where a handle was made: for debug mode. The native caller has no frame to leave out."""
    return format_helpers.extract_stack(sys._getframe(1))


def handle_repr(handle: Handle | TimerHandle) -> str:
    """The repr of the stock class, whose methods the native handles borrow."""
    return asyncio.Handle.__repr__(handle)


def transport_repr(transport: StreamTransport) -> str:
    """Like stock's: class, fd, whether it reads, what waits to be sent."""
    fd, closed, closing, reading, size = transport._describe()
    info = [type(transport).__name__]
    if closed:
        info.append("closed")
    elif closing:
        info.append("closing")
    info.append(f"fd={fd}")
    if not closed:
        info.append(f"read={'polling' if reading else 'idle'}")
        info.append(f"write=<{'polling' if size else 'idle'}, bufsize={size}>")
    return f"<{' '.join(info)}>"


def transport_extra(sock: socket.socket | None, sockname: Any, peername: Any) -> dict[str, Any]:
    """What `get_extra_info` knows of a stream."""
    if sock is None:
        # Asked for the first time after the connection is gone: a socket that is closed, as stock's is.
        sock = socket.socket()
        sock.close()
    return {
        "socket": trsock.TransportSocket(sock),
        "sockname": sockname,
        "peername": peername,
    }


class DatagramFace(transports._FlowControlMixin, asyncio.DatagramTransport):
    """What `DatagramTransport` is for isinstance: stock's derives from `asyncio.Transport`, too."""


def datagram_extra(sock: socket.socket, extra: dict[str, Any] | None) -> dict[str, Any]:
    """What `get_extra_info` knows of a datagram socket."""
    found = extra or {}
    found["socket"] = trsock.TransportSocket(sock)
    try:
        found["sockname"] = sock.getsockname()
    except OSError:
        found["sockname"] = None
    if "peername" not in found:
        try:
            found["peername"] = sock.getpeername()
        except OSError:
            found["peername"] = None
    return found


def warn_write(count: int) -> None:
    """Writes go on after the connection was lost: stock warns from the fifth on."""
    if count >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
        _selector_events.logger.warning("socket.send() raised exception.")


def warn_unclosed(transport: StreamTransport) -> None:
    """A loop was closed with a transport open."""
    # Without source=: the warning would keep the transport alive.
    warnings.warn(f"unclosed transport {transport!r}", ResourceWarning, stacklevel=2)
