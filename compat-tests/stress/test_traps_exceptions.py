"""Traps of the interpreter's interface that other loops fell into, one test each named after the trap: where exceptions go."""

from __future__ import annotations

import asyncio
import signal
import socket

import pytest
from stress_support import threads, turn

# -- exceptions: "KeyboardInterrupt and SystemExit stop the loop and propagate", others are reported


class Exits(asyncio.Protocol):
    """Raises in the callback it is told."""

    def __init__(self, where, error) -> None:
        self.where, self.error = where, error

    def at(self, where):
        if where == self.where:
            self.where = None
            raise self.error

    def connection_made(self, transport):
        self.at("connection_made")

    def data_received(self, data):
        self.at("data_received")

    def eof_received(self):
        self.at("eof_received")

    def connection_lost(self, exc):
        self.at("connection_lost")


PLACES = ["soon", "threadsafe", "thread", "timer", "reader", "writer", "signal handler"]


@pytest.fixture
def arrange(loop, pair):
    """arrange(place, function): has the loop call the function, once, from that place."""
    one, other = pair

    def once(remove, function):
        remove(one)
        function()

    def arrange(place, function):
        if place == "soon":
            loop.call_soon(function)
        elif place == "threadsafe":
            loop.call_soon_threadsafe(function)
        elif place == "thread":
            with threads(lambda: loop.call_soon_threadsafe(function)):
                pass
        elif place == "timer":
            loop.call_at(0, function)
        elif place == "reader":
            other.send(b"x")
            loop.add_reader(one, once, loop.remove_reader, function)
        elif place == "writer":
            loop.add_writer(one, once, loop.remove_writer, function)
        else:
            loop.add_signal_handler(signal.SIGUSR1, function)
            loop.call_soon(signal.raise_signal, signal.SIGUSR1)

    yield arrange
    loop.remove_signal_handler(signal.SIGUSR1)


def fail(error):
    raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("place", PLACES)
def test_exit_stops_the_loop_and_nothing_is_lost(loop, arrange, place, error):
    """It leaves run_forever; what was ready beside it, before and behind, runs in the next run, once and in order."""
    seen = []
    for n in range(50):
        loop.call_soon(seen.append, n)
    arrange(place, lambda: fail(error("out")))
    for n in range(50, 100):
        loop.call_soon(seen.append, n)
    with pytest.raises(error, match="out"):
        loop.run_forever()
    assert not loop.is_running()
    turn(loop, 2)
    assert seen == list(range(100))


@pytest.mark.parametrize("place", PLACES)
def test_other_exceptions_are_reported_and_the_loop_goes_on(loop, arrange, place):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    seen = []
    arrange(place, lambda: fail(ZeroDivisionError("reported")))
    loop.call_soon(seen.append, "behind")
    # A signal's callback comes a turn later than the rest.
    turn(loop, 3)
    assert seen == ["behind"]
    (context,) = contexts
    assert str(context["exception"]) == "reported"
    assert context["message"].startswith("Exception in callback ")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize(
    "where", ["connection_made", "data_received", "eof_received", "connection_lost"]
)
def test_exit_from_a_protocol_stops_the_loop(loop, pair, where, error):
    one, other = pair
    other.send(b"x")
    other.shutdown(socket.SHUT_WR)
    connecting = loop.create_task(
        loop.create_connection(lambda: Exits(where, error("out")), sock=one)
    )
    with pytest.raises(error, match="out"):
        loop.run_forever()
    assert not loop.is_running()
    transport = None
    if where != "connection_made":
        transport, _ = loop.run_until_complete(connecting)
        transport.abort()
    else:
        # Nobody tells whoever waits for the connection; that is stock's way too.
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(connecting)
    turn(loop, 3)
    assert loop.run_until_complete(asyncio.sleep(0, 7)) == 7


@pytest.mark.parametrize("where", ["data_received", "eof_received"])
def test_exception_of_data_received_is_fatal_and_reported(loop, pair, where):
    one, other = pair
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    error = ZeroDivisionError("fatal")

    class Failing(Exits):
        def connection_lost(self, exc):
            lost.set_result(exc)

    async def main():
        nonlocal lost
        lost = loop.create_future()
        transport, protocol = await loop.create_connection(lambda: Failing(where, error), sock=one)
        other.send(b"x")
        other.shutdown(socket.SHUT_WR)
        assert await lost is error
        (context,) = contexts
        assert context["exception"] is error
        assert context["message"] == f"Fatal error: protocol.{where}() call failed."
        assert context["transport"] is transport
        assert context["protocol"] is protocol

    lost = None
    loop.run_until_complete(main())


def test_a_protocol_that_no_transport_can_be_made_for(loop, loop_kind):
    """An accepted connection whose transport cannot be made is closed, and reported; the server goes on."""
    if loop_kind == "stock":
        pytest.skip("leaves the connection to the garbage collector, which warns in another test")

    class Strange(asyncio.Protocol):
        @property
        def __class__(self):
            raise ZeroDivisionError

    told = []
    loop.set_exception_handler(lambda loop, context: told.append(context["exception"]))
    made = []

    def factory():
        made.append(asyncio.Protocol() if made else Strange())
        return made[-1]

    server = loop.run_until_complete(loop.create_server(factory, "127.0.0.1", 0))
    address = server.sockets[0].getsockname()
    for count in (1, 2):
        with socket.create_connection(address, timeout=10) as end:
            while len(made) < count:
                turn(loop)
            if count == 1:
                assert end.recv(1) == b""
    assert [type(error) for error in told] == [ZeroDivisionError]
    turn(loop)
    server.close()
    loop.run_until_complete(server.wait_closed())
