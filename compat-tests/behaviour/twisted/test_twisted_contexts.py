"""In which contexts a connection's callbacks run: Twisted's own, for its log, and contextvars."""

from __future__ import annotations

import contextvars
import socket

import pytest
from tw_connections import Told, until
from tw_tls import tls_of
from twisted.internet import protocol
from twisted.protocols import basic
from twisted.python import context
from twisted.python.log import ILogContext


def test_what_a_callback_is_logged_as(reactor, connect):
    told, end = connect()
    seen = []
    told.on_data = lambda data: seen.append(context.get(ILogContext)["system"])
    end.sendall(b"x")
    until(reactor, lambda: seen)
    end.sendall(b"x")
    until(reactor, lambda: len(seen) == 2)
    assert seen == [told.transport.logPrefix()] * 2
    assert seen[0].startswith("Told,")
    # A protocol may take another name at any time.
    told.transport.logstr = "another"
    end.sendall(b"x")
    until(reactor, lambda: len(seen) == 3)
    assert seen[2] == "another"
    # And nothing is left behind.
    assert context.get(ILogContext)["system"] == "-"


def test_a_context_of_the_caller_is_not_lost(reactor, connect):
    """The reactor may be turned from inside somebody's context."""
    told, end = connect()
    seen = []
    told.on_data = lambda data: seen.append(
        (context.get("key"), context.get(ILogContext)["system"])
    )
    end.sendall(b"x")
    context.call({"key": "value"}, until, reactor, lambda: seen)
    assert seen == [("value", told.transport.logPrefix())]


class Lines(basic.LineReceiver):
    def __init__(self):
        self.lines = []

    def lineReceived(self, line):
        self.lines.append(line)

    def connectionLost(self, reason):
        """The end of the test."""


@pytest.mark.parametrize("make", [Told, Lines])
def test_a_log_prefix_that_hands_over(reactor, connect, make):
    """It runs before the bytes are told, and they go to the protocol of that moment. The next ones, too."""
    first, end = connect(make)
    transport = first.transport
    other, lines = Told(), Lines()

    def hand_over(protocol):
        def log_prefix():
            transport.protocol = protocol
            return "prefix"

        transport.logPrefix = log_prefix
        # Asked again, at the latest now.
        transport.logstr = f"made of {protocol}"
        protocol.makeConnection(transport)

    hand_over(other)
    end.sendall(b"one\r\n")
    until(reactor, lambda: other.received)
    end.sendall(b"two\r\n")
    until(reactor, lambda: len(other.received) == 2)
    assert other.received == [b"one\r\n", b"two\r\n"]
    hand_over(lines)
    end.sendall(b"three\r\n")
    until(reactor, lambda: lines.lines)
    hand_over(lines)
    end.sendall(b"four\r\n")
    until(reactor, lambda: len(lines.lines) == 2)
    assert lines.lines == [b"three", b"four"]
    assert other.data == b"one\r\ntwo\r\n"
    assert not (first.lines if make is Lines else first.received)


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")
def test_a_log_prefix_that_puts_tls_aside(reactor, meet):
    """The records go to the protocol of that moment, as they are."""
    told, peer = meet()
    tls = tls_of(told)
    connection = tls.transport if told.transport is tls else told.transport
    plain = Told()

    def log_prefix():
        connection.protocol = plain
        return "prefix"

    connection.logPrefix = log_prefix
    connection.logstr = "another"
    peer.write(b"secret")
    peer.send()
    until(reactor, lambda: plain.received)
    assert not told.received
    assert b"secret" not in plain.data
    del connection.logPrefix
    connection.protocol = tls
    tls.dataReceived(plain.data)
    assert told.data == b"secret"


def test_callbacks_run_in_the_context_of_the_connection(ours):
    """contextvars: the one in which the connection was made, whoever turns the loop."""
    variable = contextvars.ContextVar("variable", default="unset")
    made = []
    seen = []

    class Seen(Told):
        def dataReceived(self, data):
            seen.append(variable.get())
            variable.set("kept")

    with socket.create_server(("127.0.0.1", 0)) as server:
        end = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    with end, other:
        other.setblocking(False)

        def adopt():
            variable.set("of the connection")
            ours.adoptStreamConnection(
                other.fileno(),
                socket.AF_INET,
                protocol.Factory.forProtocol(lambda: made.append(Seen()) or made[-1]),
            )

        contextvars.copy_context().run(adopt)
        end.sendall(b"x")
        until(ours, lambda: seen)
        end.sendall(b"x")
        until(ours, lambda: len(seen) == 2)
        assert seen == ["of the connection", "kept"]
        assert variable.get() == "unset"
        made[0].transport.abortConnection()
        until(ours, lambda: made[0].reason)
