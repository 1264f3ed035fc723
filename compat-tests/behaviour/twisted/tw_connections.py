"""What the tests of Twisted's connections share."""

from __future__ import annotations

from twisted.internet import protocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer


class Told(protocol.Protocol):
    """A protocol that keeps what it is told."""

    def __init__(self):
        self.received = []
        self.reason = None
        self.on_data = lambda data: None

    def dataReceived(self, data):
        self.received.append(data)
        self.on_data(data)

    def connectionLost(self, reason):
        self.reason = reason

    @property
    def data(self):
        return b"".join(self.received)


@implementer(IHalfCloseableProtocol)
class HalfTold(Told):
    def __init__(self):
        super().__init__()
        self.ended = []

    def readConnectionLost(self):
        self.ended.append("read")

    def writeConnectionLost(self):
        self.ended.append("write")


class Producer:
    def __init__(self, transport):
        self.transport = transport
        self.calls = []
        self.on_resume = lambda: None

    def pauseProducing(self):
        self.calls.append("pause")

    def resumeProducing(self):
        self.calls.append("resume")
        self.on_resume()

    def stopProducing(self):
        self.calls.append("stop")


def until(reactor, happened):
    """Turns until it has happened."""
    while not happened():
        reactor.iterate(0.05)
