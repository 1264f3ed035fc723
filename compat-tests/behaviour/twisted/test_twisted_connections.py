"""TCP transports: ITCPTransport, IConsumer and IPushProducer as Twisted's own connections are them."""

from __future__ import annotations

import contextvars
import socket

import pytest
from twisted.internet import protocol
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.python import context
from twisted.python.log import ILogContext
from zope.interface import implementer
from zope.interface.verify import verifyObject


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


@pytest.fixture(params=["accepted", "connected", "adopted"])
def connect(request, reactor):
    """connect(made): a protocol on a transport of the reactor's, and the blocking socket at the other end."""
    ends = []
    ports = []

    def accepted(factory, made):
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        ports.append(port)
        return socket.create_connection(("127.0.0.1", port.getHost().port))

    def connected(factory, made):
        with socket.create_server(("127.0.0.1", 0)) as server:
            reactor.connectTCP(*server.getsockname(), factory)
            reactor.iterate(0)
            return server.accept()[0]

    def adopted(factory, made):
        with socket.create_server(("127.0.0.1", 0)) as server:
            end = socket.create_connection(server.getsockname())
            other = server.accept()[0]
            with other:
                other.setblocking(False)
                reactor.adoptStreamConnection(other.fileno(), socket.AF_INET, factory)
            return end

    def connect(made=Told):
        built = []

        class Factory(protocol.ClientFactory):
            noisy = False

            def buildProtocol(self, address):
                built.append(made())
                return built[-1]

        end = {"accepted": accepted, "connected": connected, "adopted": adopted}[request.param](
            Factory(), made
        )
        end.settimeout(10)
        ends.append(end)
        until(reactor, lambda: built and built[0].transport is not None)
        return built[0], end

    yield connect
    for end in ends:
        end.close()
    for port in ports:
        port.stopListening()
    reactor.iterate(0)


def test_ours_are_native(ours):
    """And Twisted's own all the same, for those who look at the class."""
    from twisted.internet import tcp

    from interloop._core import TwistedConnection

    made = []
    port = ours.listenTCP(
        0, protocol.Factory.forProtocol(lambda: made.append(Told()) or made[-1])
    )
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


def test_pause_and_resume(reactor, connect):
    told, end = connect()
    told.transport.pauseProducing()
    end.sendall(b"x")
    for _ in range(5):
        reactor.iterate(0)
    assert told.data == b""
    assert told.transport not in reactor.getReaders()
    told.transport.resumeProducing()
    assert told.transport in reactor.getReaders()
    until(reactor, lambda: told.data)


def test_pause_in_the_middle(reactor, connect):
    told, end = connect()
    told.on_data = lambda data: told.transport.stopReading()
    end.sendall(b"one")
    until(reactor, lambda: told.data)
    end.sendall(b"two")
    for _ in range(5):
        reactor.iterate(0)
    assert told.data == b"one"
    told.on_data = lambda data: None
    told.transport.startReading()
    until(reactor, lambda: told.data == b"onetwo")


def test_a_streaming_producer(reactor, connect):
    """Paused inside `write` past the limit, resumed when everything has left, told to stop at the end."""
    told, end = connect()
    producer = Producer(told.transport)
    told.transport.registerProducer(producer, True)
    with pytest.raises(RuntimeError, match="never unregistered"):
        told.transport.registerProducer(producer, True)
    told.transport.write(b"x" * told.transport.bufferSize)
    assert producer.calls == []
    told.transport.write(b"x")
    assert producer.calls == ["pause"]
    end.setblocking(False)

    def received():
        reactor.iterate(0.01)
        try:
            end.recv(1 << 20)
        except BlockingIOError:
            pass
        return len(producer.calls) > 1

    while not received():
        pass
    assert producer.calls == ["pause", "resume"]
    end.close()
    until(reactor, lambda: told.reason)
    assert producer.calls == ["pause", "resume", "stop"]
    late = Producer(told.transport)
    told.transport.registerProducer(late, True)
    assert late.calls == ["stop"]


def test_a_limit_of_ones_own(reactor, connect):
    told, _ = connect()
    told.transport.bufferSize = 10
    producer = Producer(told.transport)
    told.transport.registerProducer(producer, True)
    told.transport.write(b"x" * 11)
    assert producer.calls == ["pause"]


def test_a_pull_producer(reactor, connect):
    """Asked for more whenever everything has left; losing the connection waits for it."""
    told, end = connect()
    producer = Producer(told.transport)
    pieces = [b"one", b"two", b"three"]

    def give():
        if pieces:
            told.transport.write(pieces.pop(0))
        else:
            told.transport.unregisterProducer()

    producer.on_resume = give
    told.transport.registerProducer(producer, False)
    assert producer.calls == ["resume"]
    told.transport.loseConnection()
    until(reactor, lambda: told.reason)
    assert producer.calls == ["resume"] * 4
    got = b""
    while data := end.recv(100):
        got += data
    assert got == b"onetwothree"


def test_a_producer_that_raises(reactor, connect, twisted_log):
    told, _ = connect()
    producer = Producer(told.transport)
    told.transport.registerProducer(producer, False)

    def broken():
        raise ZeroDivisionError

    producer.on_resume = broken
    told.transport.write(b"x")
    until(reactor, lambda: told.reason)
    assert told.reason.check(ZeroDivisionError)
    twisted_log.take(ZeroDivisionError)


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
    told.on_data = lambda data: seen.append((context.get("key"), context.get(ILogContext)["system"]))
    end.sendall(b"x")
    context.call({"key": "value"}, until, reactor, lambda: seen)
    assert seen == [("value", told.transport.logPrefix())]


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
