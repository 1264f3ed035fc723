"""Twisted's listening TCP port on the Rust loop's own listener.

The functions are what the native half asks of this one.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.python import log
from twisted.python.failure import Failure as _Failure

from interloop._core import TwistedPort
from interloop.twisted.connections import Server

# Without annotations in Twisted.
Failure: Callable[..., Any] = _Failure
_err: Callable[..., None] = log.err


class Listening(TwistedPort):
    """What runs when a port begins and ends to listen. Its `transport` may be replaced: then connections are made as
    Twisted makes them, by a call of it."""

    def startReading(self: Any) -> None:
        """Accept connections."""
        reactor: Any = self.reactor
        self._listen(
            reactor._asyncioEventloop,
            self.fileno(),
            {"reactor": reactor, "server": self, "_accepted_on": self._realPortNumber},
            reactor._connections,
        )
        reactor._ports.add(self)

    def stopReading(self: Any) -> None:
        """Accept no more. The socket stays open."""
        self._unlisten()
        reactor: Any = self.reactor
        reactor._ports.discard(self)


class Port(Listening, tcp.Port):
    """A listening port, like `twisted.internet.tcp.Port`."""

    transport = Server


def accept(port: Any, fd: int, name: str | bytes | None) -> None:
    """Makes a connection with a Python socket, as `tcp.Port.doRead` does. `name`: the peer's, of a Unix socket."""
    sock = socket.socket(fileno=fd)
    address: Any = name
    if name is None:
        address = tcp._getpeername(sock)  # type: ignore[no-untyped-call]
    protocol = port.factory.buildProtocol(port._buildAddr(address))
    if protocol is None:
        sock.close()
        return
    session = port.sessionno
    port.sessionno = session + 1
    transport = port.transport(sock, protocol, address, port, session, port.reactor)
    protocol.makeConnection(transport)


def cannot_accept(port: Any) -> None:
    """`accept()` failed: Twisted's own way, which tries it again."""
    tcp.Port.doRead(port)  # type: ignore[no-untyped-call]


def accept_failed(port: Any, exception: BaseException) -> None:
    """Something raised while a connection was made."""
    _err(Failure(exception))
