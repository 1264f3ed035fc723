"""Twisted's UDP ports on the Rust loop's own datagram sockets.

A port is Twisted's class with another first base: what runs per datagram is native, what runs once per port is Twisted's. The
functions are what the native half asks of this one.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from twisted.internet import error, udp
from twisted.python import log
from twisted.python.failure import Failure as _Failure

from interloop._core import TwistedDatagrams

# Without annotations in Twisted.
Failure: Callable[..., Any] = _Failure
_err: Callable[..., None] = log.err


class _Native(TwistedDatagrams):
    """What both kinds have in common."""

    def startReading(self: Any) -> None:
        """Receive datagrams. OSError for a socket that is not open."""
        reactor = self.reactor
        self._receive(reactor._asyncioEventloop, self.socket)
        reactor._ports.add(self)

    def stopReading(self: Any) -> None:
        """Receive no more. The socket stays open."""
        self._pause()
        self.reactor._ports.discard(self)

    def connectionLost(self: Any, reason: Any = None) -> None:
        """Like `udp.Port.connectionLost`: closes the socket."""
        # First: its number is somebody else's soon.
        self._leave()
        udp.Port.connectionLost(self, reason)  # type: ignore[no-untyped-call]


class Port(_Native, udp.Port):
    """A UDP port, like `twisted.internet.udp.Port`."""


class MulticastPort(_Native, udp.MulticastPort):
    """A UDP port for groups, like `twisted.internet.udp.MulticastPort`."""


def write(port: Any, datagram: Any, address: Any) -> Any:
    """Sends what the native half has not tried to send, or says what is wrong with it."""
    return udp.Port.write(port, datagram, address)


def not_sent(port: Any, exception: OSError) -> None:
    """The network refused a datagram: the rest of `udp.Port.write`."""
    if exception.errno == errno.EMSGSIZE:
        raise error.MessageLengthError("message too long")
    if exception.errno != errno.ECONNREFUSED:
        raise exception
    # An earlier one was refused, and only a connected port can know which.
    if port._connectedAddr:
        port.protocol.connectionRefused()


def not_received(port: Any, exception: OSError) -> None:
    """Receiving failed: the rest of `udp.Port.doRead`, and of the reactor that calls it."""
    try:
        if exception.errno not in udp._sockErrReadRefuse:
            raise exception
        if port._connectedAddr:
            port.protocol.connectionRefused()
    except BaseException as reason:
        _err(Failure(reason))
        port.reactor._disconnectSelectable(port, reason, True)


def failed(exception: BaseException) -> None:
    """`datagramReceived` raised."""
    _err(Failure(exception))
