"""An ordinary Twisted service, as it may have been running for years. Nothing in it knows of interloop.

    twistd --reactor=interloop --nodaemon --python=examples/tac/quotes.tac
    telnet 127.0.0.1 8017

Type a number for that quote, `add <text>` to add one, anything else to be told so. The endpoint may
be given in the environment: QUOTES_ENDPOINT=tcp:8017:interface=127.0.0.1 is what it is else.
"""

import os

from twisted.application.internet import StreamServerEndpointService, TimerService
from twisted.application.service import Application
from twisted.internet import endpoints, protocol, reactor, threads
from twisted.protocols.basic import LineReceiver
from twisted.python import log


class QuoteProtocol(LineReceiver):
    delimiter = b"\n"

    def connectionMade(self):
        self.factory.visitors += 1
        self.sendLine(b"%d quotes" % len(self.factory.quotes))

    def lineReceived(self, line):
        command, _, text = line.strip().partition(b" ")
        if command == b"add" and text:
            # In a thread, as if it took long: its result comes back through callFromThread.
            d = threads.deferToThread(self.factory.polish, text)
            d.addCallback(self.factory.quotes.append)
            d.addCallback(lambda _: self.sendLine(b"added as %d" % len(self.factory.quotes)))
        elif command.isdigit() and 0 < int(command) <= len(self.factory.quotes):
            self.sendLine(self.factory.quotes[int(command) - 1])
        else:
            self.sendLine(b"a number up to %d, or: add <text>" % len(self.factory.quotes))


class QuoteFactory(protocol.Factory):
    protocol = QuoteProtocol
    visitors = 0

    def __init__(self):
        self.quotes = [b"Simple is better than complex.", b"Flat is better than nested."]

    @staticmethod
    def polish(text):
        return text.strip().rstrip(b".") + b"."

    def tell(self):
        log.msg(f"{type(reactor).__module__}.{type(reactor).__name__}: {self.visitors} visitors so far")


application = Application("quotes")
factory = QuoteFactory()
where = os.environ.get("QUOTES_ENDPOINT", "tcp:8017:interface=127.0.0.1")
server = StreamServerEndpointService(endpoints.serverFromString(reactor, where), factory)
server.setServiceParent(application)
TimerService(60, factory.tell).setServiceParent(application)
