"""What the tests of Twisted's UNIX sockets share."""

from __future__ import annotations

import socket

from tw_connections import Told, until
from twisted.internet import protocol


class Telling(protocol.ClientFactory):
    noisy = False

    def __init__(self, make=Told):
        self.make = make
        self.built = []
        self.addresses = []
        self.failed = None

    def buildProtocol(self, address):
        self.addresses.append(address)
        self.built.append(self.make())
        return self.built[-1]

    def clientConnectionFailed(self, connector, reason):
        self.failed = reason


def connected(factory, count=1):
    return lambda: (
        len(factory.built) >= count and all(one.transport is not None for one in factory.built)
    )


class Meeting:
    """A protocol on a transport of the reactor's, and the blocking socket at the other end."""

    def __init__(self, reactor, path):
        self.reactor = reactor
        self.path = path
        self.ends = []
        self.ports = []

    def meet(self, how, make=Told):
        factory = Telling(make)
        end = getattr(self, how)(factory)
        end.settimeout(10)
        self.ends.append(end)
        until(self.reactor, connected(factory))
        return factory.built[0], end

    def accepted(self, factory):
        self.ports.append(self.reactor.listenUNIX(self.path, factory))
        end = socket.socket(socket.AF_UNIX)
        end.connect(self.path)
        return end

    def connected(self, factory):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(self.path)
            server.listen()
            self.reactor.connectUNIX(self.path, factory)
            self.reactor.iterate(0)
            return server.accept()[0]

    def adopted(self, factory):
        end, other = socket.socketpair()
        with other:
            other.setblocking(False)
            self.reactor.adoptStreamConnection(other.fileno(), socket.AF_UNIX, factory)
        return end

    def close(self):
        for end in self.ends:
            end.close()
        for port in self.ports:
            port.stopListening()
        self.reactor.iterate(0)


class Datagrams(protocol.ConnectedDatagramProtocol):
    """Of either kind of port: `senders` has what a connected one does not tell."""

    noisy = False

    def __init__(self):
        self.data = []
        self.senders = []
        self.refused = 0
        self.failed = None
        self.stopped = False
        self.on_start = lambda: None
        self.on_data = lambda data: None
        self.on_refusal = lambda: None

    def startProtocol(self):
        self.on_start()

    def stopProtocol(self):
        self.stopped = True

    def datagramReceived(self, data, *sender):
        self.data.append(data)
        self.senders.append(sender)
        self.on_data(data)

    def connectionRefused(self):
        self.refused += 1
        self.on_refusal()

    def connectionFailed(self, failure):
        self.failed = failure
