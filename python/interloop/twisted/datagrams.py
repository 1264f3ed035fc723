"""Twisted's UDP ports and UNIX datagram ports on the Rust loop's own datagram sockets.

A port is Twisted's class with another first base: what runs per datagram is native, what runs once per port is Twisted's. The
methods with an underscore are what the native half asks of this one.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, ClassVar

from twisted.internet import error, udp, unix
from twisted.python import log
from twisted.python.failure import Failure as _Failure

from interloop._core import TwistedDatagrams

# Without annotations in Twisted.
Failure: Callable[..., Any] = _Failure
_err: Callable[..., None] = log.err


class _Native(TwistedDatagrams):
    """What all kinds have in common."""

    _tells_sender: ClassVar[bool] = True

    def startReading(self: Any) -> None:
        """Receive datagrams. OSError for a socket that is not open."""
        reactor = self.reactor
        self._receive(reactor._asyncioEventloop, self.socket, self._tells_sender)
        reactor._ports.add(self)

    def stopReading(self: Any) -> None:
        """Receive no more. The socket stays open."""
        self._pause()
        self.reactor._ports.discard(self)

    def connectionLost(self: Any, reason: Any = None) -> None:
        """Like `udp.Port.connectionLost`: closes the socket."""
        # First: its number is somebody else's soon.
        self._leave()
        super().connectionLost(reason)  # type: ignore[misc]

    def _refused(self: Any) -> None:
        # Only a connected port can know which datagram was.
        if self._connectedAddr:
            self.protocol.connectionRefused()

    def _not_received(self: Any, exception: OSError) -> None:
        """Receiving failed: the rest of `doRead`, and of the reactor that calls it."""
        try:
            if exception.errno not in udp._sockErrReadRefuse:
                raise exception
            self._refused()
        except BaseException as reason:
            _err(Failure(reason))
            self.reactor._disconnectSelectable(self, reason, True)

    def _protocol_failed(self: Any, exception: BaseException) -> None:
        """`datagramReceived` raised: the port goes on."""
        _err(Failure(exception))


class _Internet(_Native):
    """UDP."""

    def _write(self: Any, datagram: Any, address: Any) -> Any:
        """Sends what the native half has not tried to send, or says what is wrong with it."""
        return udp.Port.write(self, datagram, address)

    def _not_sent(self: Any, exception: OSError) -> None:
        """The network refused a datagram: the rest of `udp.Port.write`."""
        if exception.errno == errno.EMSGSIZE:
            raise error.MessageLengthError("message too long")
        if exception.errno != errno.ECONNREFUSED:
            raise exception
        self._refused()


class Port(_Internet, udp.Port):
    """A UDP port, like `twisted.internet.udp.Port`."""


class MulticastPort(_Internet, udp.MulticastPort):
    """A UDP port for groups, like `twisted.internet.udp.MulticastPort`."""


class _Unix(_Native):
    """UNIX sockets."""

    def _not_sent(self: Any, exception: OSError) -> None:
        """The kernel refused a datagram: the rest of `write`. Nothing when the receiver's queue is full."""
        if exception.errno == errno.EMSGSIZE:
            raise error.MessageLengthError("message too long")
        if exception.errno != errno.EAGAIN:
            raise exception


class DatagramPort(_Unix, unix.DatagramPort):
    """A port on a path, like `twisted.internet.unix.DatagramPort`."""

    write: Any = TwistedDatagrams._write_to

    def _write(self: Any, datagram: Any, address: Any) -> Any:
        return unix.DatagramPort.write(self, datagram, address)  # type: ignore[no-untyped-call]


class ConnectedDatagramPort(_Unix, unix.ConnectedDatagramPort):
    """A port that is connected to a path, like `twisted.internet.unix.ConnectedDatagramPort`."""

    _tells_sender = False
    write: Any = TwistedDatagrams._write_to_peer

    def _write(self: Any, data: Any) -> Any:
        return unix.ConnectedDatagramPort.write(self, data)  # type: ignore[no-untyped-call]

    def _refused(self: Any) -> None:
        self.protocol.connectionRefused()

    def _not_sent(self: Any, exception: OSError) -> None:
        if exception.errno == errno.ECONNREFUSED:
            self._refused()
        else:
            super()._not_sent(exception)

    def _protocol_failed(self: Any, exception: BaseException) -> None:
        # To Twisted's own it is then the socket that failed.
        if isinstance(exception, OSError) and exception.errno not in udp._sockErrReadIgnore:
            self._not_received(exception)
        else:
            super()._protocol_failed(exception)
