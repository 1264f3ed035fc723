"""What the Twisted behaviour tests share."""

from __future__ import annotations

import socket

from twisted.internet.abstract import FileDescriptor


def turns(reactor, count: int = 5) -> None:
    """Turns the loop `count` times without waiting: enough for what is due already, and its consequences."""
    for _ in range(count):
        reactor.iterate(0)


def run(reactor, *, until=None) -> None:
    """Runs the reactor until it is stopped, or the Deferred `until` fires, without its signal handlers."""
    if until is not None:
        until.addBoth(lambda result: (reactor.stop(), result)[1])
    reactor.run(installSignalHandlers=False)


class Recorder(FileDescriptor):
    """A selectable on a socket that tells what is done to it. It does not read or write by itself."""

    def __init__(self, reactor, sock: socket.socket) -> None:
        super().__init__(reactor)
        self.sock = sock
        self.number: int | None = None
        self.events: list = []
        self.on_read = self.on_write = lambda: None

    def fileno(self) -> int:
        return self.sock.fileno() if self.number is None else self.number

    def logPrefix(self) -> str:
        return "Recorder"

    def doRead(self):
        self.events.append("read")
        return self.on_read()

    def doWrite(self):
        self.events.append("write")
        return self.on_write()

    def connectionLost(self, reason) -> None:
        self.events.append(("lost", reason.type))
        self.reason = reason
        super().connectionLost(reason)
