"""Echo server of a Twisted protocol, on one of the reactors that compete; with `--tls` by `listenSSL`."""

from __future__ import annotations

import argparse

import _control
import _reactors

BACKLOG = 4096

# Only counted on connect and disconnect: the runner waits by it until all connections are in.
open_connections = 0


def certificate():
    """A private certificate made for this run, which no client looks at."""
    import _certificate
    from twisted.internet import ssl

    return ssl.PrivateCertificate.loadPEM(_certificate.make())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reactor", choices=_reactors.NAMES, required=True)
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()

    _control.raise_descriptor_limit()
    _reactors.install(options.reactor)
    from twisted.internet import protocol, reactor

    class Echo(protocol.Protocol):
        def connectionMade(self):
            global open_connections
            open_connections += 1

        def dataReceived(self, data):
            self.transport.write(data)

        def connectionLost(self, reason):
            global open_connections
            open_connections -= 1

    class Factory(protocol.Factory):
        noisy = False

        def buildProtocol(self, address):
            return Echo()

    if options.tls:
        port = reactor.listenSSL(
            0, Factory(), certificate().options(), backlog=BACKLOG, interface="127.0.0.1"
        )
    else:
        port = reactor.listenTCP(0, Factory(), backlog=BACKLOG, interface="127.0.0.1")
    _control.announce(port.getHost().port)
    _control.start(
        stop=lambda: reactor.callFromThread(reactor.stop),
        facts=lambda: {
            "loop": _reactors.kind(reactor),
            "connections": open_connections,
        },
    )
    reactor.run()


if __name__ == "__main__":
    main()
