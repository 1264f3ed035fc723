"""What TLS connections ask of Python, once per connection or per rare event.

Rust has the records; this has asyncio's words. Each function is looked up by name in `src/py/names.rs`. The logger is
read from the stock module at the time of the call: suites patch it there.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio import constants, sslproto
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interloop._core import TlsTransport

# Untyped: the names read from it are not published.
_sslproto: Any = sslproto

Settings = tuple[ssl.SSLContext, bool, str | None, float, float]


def settings(
    sslcontext: ssl.SSLContext | None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    *,
    server_side: bool = True,
    server_hostname: str | None = None,
) -> Settings:
    """What a connection begins with: the context, the side, the peer's name, two timeouts in seconds.

    Errors: ValueError for a timeout that is not positive, or a server without a context. A client without one gets
    asyncio's default.
    """
    handshake = _timeout(
        "ssl_handshake_timeout", ssl_handshake_timeout, constants.SSL_HANDSHAKE_TIMEOUT
    )
    shutdown = _timeout(
        "ssl_shutdown_timeout", ssl_shutdown_timeout, constants.SSL_SHUTDOWN_TIMEOUT
    )
    context = sslcontext or _sslproto._create_transport_context(server_side, server_hostname)
    return context, server_side, (not server_side and server_hostname) or None, handshake, shutdown


def _timeout(name: str, value: float | None, default: float) -> float:
    if value is None:
        return default
    if value <= 0:
        raise ValueError(f"{name} should be a positive number, got {value}")
    return value


def starts(transport: TlsTransport) -> None:
    """Debug mode: a handshake begins."""
    _sslproto.logger.debug("%r starts SSL handshake", transport)


def took(transport: TlsTransport, seconds: float) -> None:
    """Debug mode: a handshake is over."""
    _sslproto.logger.debug("%r: SSL handshake took %.1f ms", transport, seconds * 1e3)


def extra(known: dict[str, Any], context: ssl.SSLContext, sslobj: ssl.SSLObject | None) -> None:
    """Adds what `get_extra_info` knows of TLS; `sslobj` once the handshake is over."""
    known["sslcontext"] = context
    if sslobj is not None:
        known.update(
            peercert=sslobj.getpeercert(),
            cipher=sslobj.cipher(),
            compression=sslobj.compression(),
            ssl_object=sslobj,
        )


def report(transport: TlsTransport, exception: BaseException, message: str) -> None:
    """A connection ends because of an error. The network's own, TLS's among them, are no news: debug log only."""
    loop = transport._loop
    if isinstance(exception, OSError):
        if loop.get_debug():
            _sslproto.logger.debug("%r: %s", transport, message, exc_info=exception)
    elif not isinstance(exception, asyncio.CancelledError):
        loop.call_exception_handler(
            {
                "message": message,
                "exception": exception,
                "transport": transport,
                "protocol": transport.get_protocol(),
            }
        )


def handshake_failed(
    transport: TlsTransport, exception: BaseException, waiter: asyncio.Future[None] | None
) -> None:
    """A handshake came to nothing: told, and whoever waits for it hears why."""
    if isinstance(exception, ssl.CertificateError):
        report(transport, exception, "SSL handshake failed on verifying the certificate")
    else:
        report(transport, exception, "SSL handshake failed")
    if waiter is not None:
        wake(waiter, exception)


def handshake_timeout(transport: TlsTransport, seconds: float) -> ConnectionAbortedError:
    """Reports that a handshake took too long; answers what the connection ends with."""
    error = ConnectionAbortedError(
        f"SSL handshake is taking longer than {seconds} seconds: aborting the connection"
    )
    report(transport, error, "Fatal error on transport")
    return error


def wake(waiter: asyncio.Future[None], exception: BaseException | None) -> None:
    """Whoever waits for a handshake goes on."""
    if not waiter.done():
        if exception is not None:
            waiter.set_exception(exception)
        else:
            waiter.set_result(None)


def warn_eof() -> None:
    """A protocol wants its half of a TLS connection kept open."""
    _sslproto.logger.warning("returning true from eof_received() has no effect when using ssl")


def warn_write(before: int) -> None:
    """Writes go on after the connection ended: asyncio warns from the sixth on."""
    if before >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
        _sslproto.logger.warning("SSL connection is closed")


class SSLProtocolView:
    """`transport._ssl_protocol`: what libraries and suites read of asyncio's `SSLProtocol`.

    There is no such protocol between our transport and its socket; this reads the transport.
    """

    def __init__(self, transport: TlsTransport) -> None:
        self._app_transport = transport

    @property
    def _loop(self) -> Any:
        return self._app_transport._loop

    @property
    def _sslcontext(self) -> ssl.SSLContext | None:
        return self._app_transport._sslcontext

    @property
    def _sslobj(self) -> ssl.SSLObject | None:
        return self._app_transport._sslobj

    @property
    def _extra(self) -> dict[str, Any]:
        return self._app_transport._extra

    @property
    def _app_protocol(self) -> asyncio.BaseProtocol | None:
        return self._app_transport.get_protocol()

    @property
    def _transport(self) -> Any:
        """The transport beneath: the one that was upgraded, else the same one."""
        return self._app_transport._beneath or self._app_transport

    def _get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._app_transport.get_extra_info(name, default)

    def pause_writing(self) -> None:
        """For asyncio, a full transport beneath says this. Nothing is beneath ours: it has one buffer."""

    def resume_writing(self) -> None:
        """See `pause_writing`."""
