"""Twisted's TLS over our own connections, with records made and read natively.

Everything in Twisted that speaks TLS (`listenSSL`, `connectSSL`, `startTLS`, `wrapClientTLS`) makes its protocol by
`TLSMemoryBIOFactory.protocol`. While our reactor is installed that is the class here, which is Twisted's own in every
respect until a handshake over one of our connections is over. Over other transports, as a base class of somebody's own, with
a clock that is no reactor of ours, or when something in it or in pyOpenSSL was replaced, it stays so.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

from OpenSSL import SSL
from twisted.internet import _newtls
from twisted.internet.protocol import connectionDone
from twisted.protocols import tls
from twisted.python.failure import Failure as _Failure

from interloop._core import TwistedConnection, TwistedTls
from interloop.twisted.connections import Plain
from interloop.twisted.streams import Streams

# Without annotations in Twisted.
_Base: Any = tls.BufferingTLSTransport
Failure: Any = _Failure

# What our half does itself instead of calling it.
_SKIPPED = ("dataReceived", "_flushReceiveBIO", "_flushSendBIO", "_write", "_bufferedWrite")
_SKIPPED_OF_OPENSSL = ("send", "recv", "bio_read", "bio_write")
_SKIPPED_OF_CONNECTION = ("write", "_write")


class Transport(TwistedTls, tls.BufferingTLSTransport):
    """Like `twisted.protocols.tls.BufferingTLSTransport`."""

    _decided = False
    _aggregator: Any

    _plain_write = tls.TLSMemoryBIOProtocol.write

    def _data_received(self, data: bytes) -> None:
        """Twisted's way, until the handshake is over, and when our half leaves something to it."""
        _Base.dataReceived(self, data)
        if self._handshakeDone and not self._decided:
            self._decided = True
            self._go_native()

    def _go_native(self) -> None:
        connection = _beneath(self.transport)
        if (
            connection is not None
            and type(self) is Transport
            and isinstance(self.factory._clock, Streams)
            and self.__dict__.get("write") == self._aggregator.write
            and not any(name in self.__dict__ for name in _SKIPPED)
            and _is_original(self._tlsConnection)
            and not self._lostTLSConnection
            and self._engage(self._tlsConnection, self.transport, connection)
        ):
            # What was written until now is first.
            self._aggregator.close()
            del self.__dict__["write"]
            self._aggregator = _Aggregator(self)

    def _peer_ended(self) -> None:
        """close_notify, as in `_flushReceiveBIO`."""
        self._shutdownTLS()  # type: ignore[no-untyped-call]
        self._tlsShutdownFinished(None)  # type: ignore[no-untyped-call]

    def _records_failed(self, error: BaseException) -> None:
        """As in `_flushReceiveBIO` and `_write`. Raises what is no error of OpenSSL's: a callback's."""
        try:
            raise error
        except SSL.Error:
            self._tlsShutdownFinished(Failure())  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any = connectionDone) -> None:
        try:
            _Base.connectionLost(self, reason)
        finally:
            self._disengage()


# Log prefixes have the class's name.
Transport.__name__ = _Base.__name__


class _Aggregator:
    """What `BufferingTLSTransport` calls when it loses its connection: the native half gathers the writes."""

    def __init__(self, transport: Transport) -> None:
        self.write = transport.write
        self.flush = self.close = transport._flush


def _beneath(transport: Any) -> TwistedConnection | None:
    """The connection of ours that a transport is, or that `startTLS` stands before; None if its writing is not ours."""
    connection = transport
    if type(transport) is _newtls._BypassTLS:
        if transport._base is not Plain:
            return None
        connection = transport._connection
    if not isinstance(connection, TwistedConnection):
        return None
    kind = type(connection)
    if all(
        getattr(kind, name) is getattr(TwistedConnection, name) for name in _SKIPPED_OF_CONNECTION
    ):
        return connection
    return None


def _is_original(connection: Any) -> bool:
    """Whether a pyOpenSSL connection's methods are pyOpenSSL's own."""
    if type(connection) is not SSL.Connection:
        return False
    own = vars(connection)
    return all(
        name not in own and _is_from_openssl(vars(SSL.Connection)[name])
        for name in _SKIPPED_OF_OPENSSL
    )


def _is_from_openssl(function: Any) -> bool:
    return isinstance(function, FunctionType) and function.__globals__ is vars(SSL)


def offer() -> None:
    """Make ours the protocol that Twisted's TLS is made of, unless somebody has put his own there."""
    if tls.TLSMemoryBIOFactory.protocol is _Base:
        tls.TLSMemoryBIOFactory.protocol = Transport


def withdraw() -> None:
    """Undo `offer()`. Connections that exist go on as they are."""
    if tls.TLSMemoryBIOFactory.protocol is Transport:
        tls.TLSMemoryBIOFactory.protocol = _Base
