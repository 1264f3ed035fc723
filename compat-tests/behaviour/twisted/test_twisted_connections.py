"""TCP transports: ITCPTransport as Twisted's own connections are it."""

from __future__ import annotations

import socket

import pytest
from tw_connections import HalfTold, Told, until
from twisted.internet import protocol
from twisted.internet.error import (
    ConnectBindError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
)
from twisted.internet.interfaces import ITCPTransport
from zope.interface.verify import verifyObject


def test_ours_are_native(ours):
    """And Twisted's own all the same, for those who look at the class."""
    from twisted.internet import tcp

    from interloop._core import TwistedConnection

    made = []
    port = ours.listenTCP(0, protocol.Factory.forProtocol(lambda: made.append(Told()) or made[-1]))
    with socket.create_connection(("127.0.0.1", port.getHost().port)):
        until(ours, lambda: made and made[0].transport is not None)
        transport = made[0].transport
        assert isinstance(transport, TwistedConnection)
        assert isinstance(transport, tcp.Server)
        assert transport._joined
        assert ours._asyncioEventloop._watcher_of(transport.fileno()) == (None, None)


def test_the_interface(connect):
    told, end = connect()
    transport = told.transport
    assert verifyObject(ITCPTransport, transport)
    assert (transport.getHost().host, transport.getHost().port) == end.getpeername()
    assert (transport.getPeer().host, transport.getPeer().port) == end.getsockname()
    assert transport.connected
    assert not transport.disconnecting
    assert transport.getHandle().fileno() == transport.fileno()
    transport.setTcpNoDelay(True)
    assert transport.getTcpNoDelay()
    transport.setTcpKeepAlive(True)
    assert transport.getTcpKeepAlive()


def test_echo(reactor, connect):
    told, end = connect()
    told.on_data = told.transport.write
    for size in (1, 1000, 30_000):
        sent = bytes(range(256)) * (size // 256 + 1)
        end.sendall(sent)
        until(reactor, lambda sent=sent: told.data.endswith(sent))
        reactor.iterate(0)
        got = b""
        while len(got) < len(sent):
            got += end.recv(100_000)
        assert got == sent
        told.received.clear()


def test_a_write_leaves_after_the_callback(reactor, connect):
    """Never inside `write`: whoever wrote may go on, and what one turn writes leaves together."""
    told, end = connect()
    end.setblocking(False)
    seen = []

    def write():
        told.transport.write(b"a")
        told.transport.write(b"b")
        told.transport.writeSequence([b"c", b"", b"d"])
        try:
            seen.append(end.recv(100))
        except BlockingIOError:
            seen.append("nothing yet")

    reactor.callLater(0, write)
    until(reactor, lambda: seen)
    reactor.iterate(0)
    end.settimeout(10)
    assert seen == ["nothing yet"]
    assert end.recv(100) == b"abcd"


@pytest.mark.parametrize("what", ["text", bytearray(b"x"), memoryview(b"x"), 5, None])
def test_only_bytes_can_be_written(connect, what):
    told, _ = connect()
    with pytest.raises(TypeError, match="Data must be bytes"):
        told.transport.write(what)
    with pytest.raises(TypeError):
        told.transport.writeSequence([b"x", what])


def test_lose_connection_sends_what_was_written(reactor, connect):
    told, end = connect()
    told.transport.write(b"x" * 1_000_000)
    told.transport.loseConnection()
    assert told.transport.disconnecting
    told.transport.write(b"y" * 10)
    assert told.reason is None
    got = bytearray()
    end.setblocking(False)
    while True:
        reactor.iterate(0.01)
        try:
            data = end.recv(1 << 20)
        except BlockingIOError:
            continue
        if not data:
            break
        got += data
    assert bytes(got) == b"x" * 1_000_000 + b"y" * 10
    until(reactor, lambda: told.reason)
    assert told.reason.check(ConnectionDone)
    # Over: nothing of this has a consequence.
    told.transport.write(b"z")
    told.transport.loseConnection()
    told.transport.abortConnection()
    reactor.iterate(0)


def test_no_data_after_lose_connection(reactor, connect):
    told, end = connect()
    told.on_data = lambda data: told.transport.loseConnection()
    end.sendall(b"one")
    until(reactor, lambda: told.received)
    end.sendall(b"two")
    until(reactor, lambda: told.reason)
    assert told.data == b"one"


def test_abort(reactor, connect):
    """What waits is dropped, and the peer is reset."""
    told, end = connect()
    told.transport.write(b"x" * 100)
    told.transport.abortConnection()
    told.transport.write(b"y")
    told.transport.loseConnection()
    assert told.reason is None
    until(reactor, lambda: told.reason)
    assert told.reason.check(ConnectionAborted)
    with pytest.raises(ConnectionResetError):
        end.recv(100)


def test_the_peer_closes(reactor, connect):
    told, end = connect()
    end.sendall(b"last")
    end.close()
    until(reactor, lambda: told.reason)
    assert told.data == b"last"
    assert told.reason.check(ConnectionDone)


def test_the_peer_is_gone_in_the_middle_of_a_write(reactor, connect):
    told, end = connect()
    told.transport.stopReading()
    told.transport.write(b"x" * 10_000_000)
    reactor.iterate(0)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    end.close()
    until(reactor, lambda: told.reason)
    assert told.reason.check(ConnectionLost)


def test_a_protocol_that_raises(reactor, connect, twisted_log):
    told, end = connect()

    def broken(data):
        raise ZeroDivisionError

    told.on_data = broken
    end.sendall(b"x")
    until(reactor, lambda: told.reason)
    assert told.reason.check(ZeroDivisionError)
    assert end.recv(10) == b""
    twisted_log.take(ZeroDivisionError)


def test_a_protocol_that_raises_system_exit(reactor, connect, twisted_log):
    """It is logged as anything else: it does not end the reactor."""
    told, end = connect()

    def broken(data):
        raise SystemExit

    told.on_data = broken
    end.sendall(b"x")
    until(reactor, lambda: told.reason)
    assert told.reason.check(SystemExit)
    twisted_log.take(SystemExit)


def test_half_close_by_us(reactor, connect):
    told, end = connect(HalfTold)
    told.transport.write(b"before")
    told.transport.loseWriteConnection()
    told.transport.write(b" and this")
    until(reactor, lambda: told.ended)
    told.transport.write(b"lost")
    assert told.ended == ["write"]
    assert end.recv(100) + end.recv(100) == b"before and this"
    assert end.recv(100) == b""
    end.sendall(b"answer")
    until(reactor, lambda: told.data)
    assert told.data == b"answer"
    end.close()
    until(reactor, lambda: len(told.ended) == 2)
    assert told.reason is None
    told.transport.loseConnection()
    until(reactor, lambda: told.reason)
    assert told.reason.check(ConnectionDone)


def test_half_close_by_the_peer(reactor, connect):
    told, end = connect(HalfTold)
    end.shutdown(socket.SHUT_WR)
    until(reactor, lambda: told.ended)
    assert told.ended == ["read"]
    told.transport.write(b"answer")
    told.transport.loseConnection()
    until(reactor, lambda: told.reason)
    assert end.recv(100) == b"answer"
    assert end.recv(100) == b""


def test_another_protocol_takes_over(reactor, connect):
    """Set at any time, as conch and startTLS do."""
    told, end = connect()
    other = Told()

    def switch(data):
        other.makeConnection(told.transport)
        told.transport.protocol = other

    told.on_data = switch
    end.sendall(b"one")
    until(reactor, lambda: told.data)
    end.sendall(b"two")
    until(reactor, lambda: other.data)
    end.close()
    until(reactor, lambda: other.reason)
    assert (told.data, other.data, told.reason) == (b"one", b"two", None)


def test_replaced_on_the_instance(reactor, connect):
    told, end = connect()
    written = []
    told.transport.write = written.append
    told.on_data = lambda data: told.transport.write(data)
    end.sendall(b"x")
    until(reactor, lambda: written)
    assert written == [b"x"]


def test_who_is_watched(reactor, connect):
    told, _ = connect()
    transport = told.transport
    assert transport in reactor.getReaders()
    assert transport not in reactor.getWriters()
    transport.write(b"x")
    assert transport in reactor.getWriters()
    reactor.iterate(0)
    reactor.iterate(0)
    assert transport not in reactor.getWriters()
    assert transport in reactor.removeAll()
    assert transport not in reactor.getReaders()
    transport.connectionLost(Failed())
    assert told.reason is not None


class Failed:
    """A reason in the form of a Failure."""

    def check(self, *kinds):
        return None


def test_the_number_is_used_again_at_once(reactor, connect):
    """A connection that has ended gets nothing that is meant for the next one with its number."""
    first, end = connect()
    number = first.transport.fileno()
    first.transport.abortConnection()
    until(reactor, lambda: first.reason)
    end.close()
    second, end = connect()
    end.sendall(b"second")
    until(reactor, lambda: second.data)
    assert second.data == b"second"
    assert first.data == b""
    assert isinstance(number, int)


def test_it_moves_with_the_reactor(ours):
    """Made while no loop ran, it goes along into the one that does, with what waits to be sent."""
    import interloop

    made = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        end = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    with end, other:
        end.settimeout(10)
        other.setblocking(False)
        ours.adoptStreamConnection(
            other.fileno(),
            socket.AF_INET,
            protocol.Factory.forProtocol(lambda: made.append(Told()) or made[-1]),
        )
        (told,) = made
        told.transport.write(b"written before")
        end.sendall(b"sent before")
        ours._life.follow()

        async def main():
            import asyncio

            loop = asyncio.get_running_loop()
            assert ours._asyncioEventloop is loop
            lost = loop.create_future()
            told.connectionLost = lambda reason: lost.set_result(reason)
            told.on_data = lambda data: told.transport.loseConnection()
            return await lost

        assert interloop.run(main()).check(ConnectionDone)
        assert told.data == b"sent before"
        assert end.recv(100) == b"written before"


def test_a_closing_loop_ends_what_is_paused(ours):
    """Also a connection that neither reads nor writes, which `disconnectAll` does not know."""
    import interloop

    made = []
    ours._life.follow()

    async def main():
        import asyncio

        factory = protocol.Factory.forProtocol(lambda: made.append(Told()) or made[-1])
        port = ours.listenTCP(0, factory, interface="127.0.0.1")
        with socket.create_connection(("127.0.0.1", port.getHost().port)):
            while not made or made[0].transport is None:
                await asyncio.sleep(0)
            made[0].transport.pauseProducing()
            assert made[0].transport not in ours.getReaders()
            await asyncio.sleep(0)

    interloop.run(main())
    assert made[0].reason.check(ConnectionLost)


def test_a_call_without_delay_comes_before_the_first_data(reactor):
    """As on all of Twisted's own reactors, which make due calls and poll in turn: ClientCreator counts on it."""
    seen = []

    class Speaks(Told):
        def connectionMade(self):
            reactor.callLater(0, seen.append, "call")

        def dataReceived(self, data):
            seen.append("data")

    port = reactor.listenTCP(0, protocol.Factory.forProtocol(Speaks), interface="127.0.0.1")
    with socket.create_connection(("127.0.0.1", port.getHost().port)) as end:
        end.sendall(b"there before it is accepted")
        until(reactor, lambda: len(seen) == 2)
    assert seen == ["call", "data"]
    port.stopListening()
    reactor.iterate(0)


# Twisted leaves the socket that it could not bind to the collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_an_address_to_connect_from_that_is_taken(reactor, sockets):
    # The attempt fails before there is a socket for it: told once, later, and nothing is left.
    happened = []

    class Client(protocol.ClientFactory):
        noisy = False

        def clientConnectionFailed(self, connector, reason):
            happened.append((reason.type, connector.state))

        def stopFactory(self):
            happened.append("stopped")

    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()
        reactor.connectTCP(*taken, Client(), bindAddress=taken)
        assert happened == []
        until(reactor, lambda: "stopped" in happened)
    assert happened == [(ConnectBindError, "disconnected"), "stopped"]
    assert not set(reactor.getReaders()) - reactor._internalReaders
    assert not reactor.getDelayedCalls()


def test_a_protocol_that_is_gone(reactor, connect, twisted_log):
    """A transport whose `protocol` somebody has taken away: logged, and the connection is lost."""
    told, end = connect()
    transport = told.transport
    del transport.protocol
    end.sendall(b"nobody")
    until(reactor, lambda: transport.disconnected or not transport.connected)
    # Nobody can be told of the end, either.
    twisted_log.take(AttributeError)
    twisted_log.take(AttributeError)
    transport.protocol = told
