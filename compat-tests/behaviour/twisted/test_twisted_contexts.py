"""In which contexts a connection's callbacks run: Twisted's own, for its log, and contextvars."""

from __future__ import annotations

import contextvars
import socket

from tw_connections import Told, until
from twisted.internet import protocol
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
