"""Echo server of a Twisted protocol, on one of the reactors that compete."""

from __future__ import annotations

import argparse
import asyncio

import _control

BACKLOG = 4096

# Only counted on connect and disconnect: the runner waits by it until all connections are in.
open_connections = 0


def install_epoll():
    from twisted.internet import epollreactor

    epollreactor.install()


def install_asyncio():
    from twisted.internet import asyncioreactor

    asyncioreactor.install(asyncio.SelectorEventLoop())


def install_uvloop():
    import uvloop
    from twisted.internet import asyncioreactor

    asyncioreactor.install(uvloop.new_event_loop())


def install_interloop():
    import interloop.twisted

    interloop.twisted.install()


INSTALL = {
    "epoll": install_epoll,
    "asyncio": install_asyncio,
    "uvloop": install_uvloop,
    "interloop": install_interloop,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reactor", choices=tuple(INSTALL), required=True)
    options = parser.parse_args()

    _control.raise_descriptor_limit()
    INSTALL[options.reactor]()
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

    # What the sockets really wait in: told with every result, so that none can be credited to another loop.
    loop = type(getattr(reactor, "_asyncioEventloop", reactor))
    port = reactor.listenTCP(0, Factory(), backlog=BACKLOG, interface="127.0.0.1")
    _control.announce(port.getHost().port)
    _control.start(
        stop=lambda: reactor.callFromThread(reactor.stop),
        facts=lambda: {
            "loop": f"{loop.__module__}.{loop.__qualname__}",
            "connections": open_connections,
        },
    )
    reactor.run()


if __name__ == "__main__":
    main()
