"""Server of a Twisted protocol, on one of the reactors that compete: echo of bytes (with `--tls` by `listenSSL`), of lines or of
datagrams, or a page of twisted.web."""

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


def site(size, counted):
    """A twisted.web site of one page."""
    from twisted.web import http, resource, server

    page = b"x" * size

    class Page(resource.Resource):
        isLeaf = True

        def render_GET(self, request):
            return page

    # What a site has by default: a channel that looks whether it is HTTP/1.1 or HTTP/2.
    class Channel(http._GenericHTTPChannelProtocol):
        def makeConnection(self, transport):
            counted.connectionMade(self)
            super().makeConnection(transport)

        def connectionLost(self, reason):
            counted.connectionLost(self, reason)
            return super().connectionLost(reason)

    class Site(server.Site):
        noisy = False

        def log(self, request):
            """No access log: it would be measured."""

    found = Site(Page())
    found.protocol = lambda: Channel(http.HTTPChannel())
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reactor", choices=_reactors.NAMES, required=True)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--serve", choices=("echo", "line", "web", "udp"), default="echo")
    parser.add_argument("--unix", metavar="PATH", help="listen there instead of on a TCP port")
    parser.add_argument("--size", type=int, default=13, help="of the page, bytes")
    options = parser.parse_args()

    _control.raise_descriptor_limit()
    _reactors.install(options.reactor)
    from twisted.internet import protocol, reactor
    from twisted.protocols import basic

    class Counted:
        def connectionMade(self):
            global open_connections
            open_connections += 1

        def connectionLost(self, reason):
            global open_connections
            open_connections -= 1

    class Echo(Counted, protocol.Protocol):
        def dataReceived(self, data):
            self.transport.write(data)

    class LineEcho(Counted, basic.LineReceiver):
        delimiter = b"\n"

        def lineReceived(self, line):
            self.sendLine(line)

    class DatagramEcho(protocol.DatagramProtocol):
        def datagramReceived(self, data, sender):
            self.transport.write(data, sender)

    class Factory(protocol.Factory):
        noisy = False

        def buildProtocol(self, address):
            return LineEcho() if options.serve == "line" else Echo()

    factory = site(options.size, Counted) if options.serve == "web" else Factory()
    if options.serve == "udp":
        port = reactor.listenUDP(0, DatagramEcho(), interface="127.0.0.1")
    elif options.unix:
        port = reactor.listenUNIX(options.unix, factory, backlog=BACKLOG)
    elif options.tls:
        port = reactor.listenSSL(
            0, factory, certificate().options(), backlog=BACKLOG, interface="127.0.0.1"
        )
    else:
        port = reactor.listenTCP(0, factory, backlog=BACKLOG, interface="127.0.0.1")
    _control.announce(options.unix or port.getHost().port)
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
