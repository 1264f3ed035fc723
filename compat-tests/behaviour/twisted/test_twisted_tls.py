"""TLS as Twisted's programs know it, on Twisted's own records and on ours."""

from __future__ import annotations

import gc
import socket
import ssl
import sys
import weakref

import pytest
from OpenSSL import SSL
from tw_connections import Producer, Told, until
from tw_tls import WAYS, Peer, Ways, identity, shake, steps, tls_of
from twisted.internet import protocol
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPullProducer
from twisted.internet.testing import StringTransport
from twisted.protocols import basic, tls
from zope.interface import implementer

# Twisted's own ways with pyOpenSSL.
pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")


@pytest.mark.parametrize("way", WAYS)
def test_ours_are_native(ours, seam, monkeypatch, way):
    """Once the handshake is over no record goes through pyOpenSSL's methods; all else is Twisted's own."""
    from interloop._core import TwistedTls

    ways = Ways(seam("interloop", ours))
    told, other = getattr(ways, way)(Told)
    shake(ours, told, other)
    layer = tls_of(told)
    assert isinstance(layer, TwistedTls)
    assert isinstance(layer, tls.BufferingTLSTransport)
    assert type(layer).__name__ == "BufferingTLSTransport"
    assert layer._engaged
    with monkeypatch.context() as patched:
        for name in ("send", "recv", "bio_read", "bio_write"):
            patched.setattr(SSL.Connection, name, None)
        told.on_data = told.transport.write
        for size in (5, 50_000):
            other.write(b"x" * size)
            steps(ours, other, lambda size=size: other.data == b"x" * size)
            other.records.clear()
    other.close()
    steps(ours, other, lambda: told.reason)
    assert not layer._engaged
    ways.close()


class Lines(basic.LineReceiver):
    """A line receiver; `received` has its lines, and what is raw."""

    def __init__(self):
        self.received = []
        self.callers = []
        self.reason = None
        # What `shake` sends.
        self.setRawMode()

    @property
    def data(self):
        return b"".join(self.received)

    def rawDataReceived(self, data):
        self.received.append(data)

    def lineReceived(self, line):
        self.callers.append(sys._getframe(1).f_code)
        self.received.append(line)
        if line == b"stop":
            self.transport.loseConnection()
        elif line == b"pause":
            self.pauseProducing()
        elif line == b"raw":
            self.setRawMode()

    def connectionLost(self, reason):
        self.reason = reason


def test_lines(kind, reactor, meet):
    """Ours takes them from the records: Twisted's method does not run, which its frame would show."""
    lines, other = meet(Lines)
    lines.setLineMode()

    def got(data, expected):
        other.write(data)
        steps(reactor, other, lambda: lines.received == expected)
        del lines.received[:]

    got(b"one\r\ntwo\r\nthr", [b"one", b"two"])
    got(b"ee\r\n", [b"three"])
    twisteds = basic.LineReceiver.dataReceived.__code__
    assert (twisteds in lines.callers) == (kind == "stock")
    got(b"raw\r\nline\r\n", [b"raw", b"line\r\n"])
    lines.setLineMode()
    got(b"pause\r\nlater\r\n", [b"pause"])
    lines.resumeProducing()
    got(b"on\r\n", [b"later", b"on"])
    got(b"stop\r\n", [b"stop"])
    other.close()
    steps(reactor, other, lambda: lines.reason)
    assert lines.received == [] and lines.reason.check(ConnectionDone)


def test_echo(reactor, meet):
    told, other = meet()
    told.on_data = told.transport.write
    other.write(b"x" * 10_000)
    steps(reactor, other, lambda: other.data == b"x" * 10_000)


@pytest.mark.parametrize("size", [1, 16_384, 16_385, 100_000, 1_000_000])
def test_sizes(reactor, served, size):
    told, other = served()
    told.on_data = told.transport.write
    sent = bytes(range(256)) * (size // 256 + 1)
    for part in range(0, len(sent), 60_000):
        other.write(sent[part : part + 60_000])
        other.send()
    steps(reactor, other, lambda: len(other.data) == len(sent))
    assert other.data == told.data == sent


def test_records_in_pieces(reactor, served):
    """A byte at a time, and two records in one piece."""
    told, other = served()
    other.write(b"slowly")
    wire = other.outgoing.read()
    for byte in wire:
        other.sock.send(bytes([byte]))
        reactor.iterate(0)
    until(reactor, lambda: told.data == b"slowly")
    other.write(b"one")
    other.write(b"two")
    other.send()
    until(reactor, lambda: told.data == b"slowlyonetwo")


def test_the_writes_of_a_turn_are_one_record(reactor, served):
    """And leave after the callback."""
    told, other = served()
    seen = []

    def write():
        told.transport.write(b"a")
        told.transport.writeSequence([b"b", b"", b"c"])
        told.transport.write(b"")
        told.transport.write(bytearray(b"d"))
        other.step()
        seen.append(other.data)

    reactor.callLater(0, write)
    steps(reactor, other, lambda: other.data)
    assert seen == [b""]
    assert other.records == [b"abcd"]


@pytest.mark.parametrize("what", ["text", 5, None, memoryview(b"x")])
def test_only_bytes_can_be_written(served, what):
    told, _ = served()
    with pytest.raises(TypeError):
        told.transport.write(what)
    with pytest.raises(TypeError):
        told.transport.writeSequence([b"x", what] if not isinstance(what, memoryview) else 5)


def test_lose_connection_sends_what_was_written(reactor, meet):
    told, other = meet()
    told.transport.write(b"x" * 1_000_000)
    told.transport.loseConnection()
    told.transport.write(b"never")
    steps(reactor, other, lambda: other.end == "close_notify")
    assert other.data == b"x" * 1_000_000
    other.close()
    steps(reactor, other, lambda: told.reason)
    assert told.reason.check(ConnectionDone)
    # Over: nothing of this has a consequence.
    told.transport.write(b"z")
    told.transport.loseConnection()
    reactor.iterate(0)


def test_abort_sends_nothing(reactor, meet):
    """The reason is that of TLS, which was cut off."""
    told, other = meet()
    told.transport.write(b"never")
    tls_of(told).abortConnection()
    steps(reactor, other, lambda: told.reason and other.end)
    assert told.reason.check(ConnectionLost)
    assert other.data == b""


def test_the_peer_says_that_it_ends(reactor, meet):
    told, other = meet()
    other.write(b"last")
    other.close()
    steps(reactor, other, lambda: told.reason)
    assert told.data == b"last"
    assert told.reason.check(ConnectionDone)


def test_the_peer_is_gone_without_a_word(reactor, meet):
    told, other = meet()
    other.write(b"last")
    other.send()
    other.sock.close()
    until(reactor, lambda: told.reason)
    assert told.data == b"last"
    assert told.reason.check(ConnectionLost)


def test_the_peer_is_gone_in_mid_write(reactor, served):
    told, other = served()
    told.transport.write(b"x" * 5_000_000)
    reactor.iterate(0)
    other.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    other.sock.close()
    until(reactor, lambda: told.reason)
    assert told.reason.check(ConnectionLost)
    told.transport.write(b"never")


def test_a_record_that_is_none(reactor, served):
    told, other = served()
    other.sock.send(b"this is not a record at all, whatever else it may be")
    until(reactor, lambda: told.reason)
    assert told.reason.type is SSL.Error
    (library, _, reason) = told.reason.value.args[0][0]
    assert library == "SSL routines"
    assert reason == "bad record type"


def test_a_record_that_was_changed(reactor, served):
    told, other = served()
    other.write(b"good")
    other.send()
    other.write(b"evil")
    wire = bytearray(other.outgoing.read())
    wire[-1] ^= 1
    other.sock.send(wire)
    until(reactor, lambda: told.reason)
    assert told.data == b"good"
    assert told.reason.type is SSL.Error
    assert told.reason.value.args[0][0][2] == "decryption failed or bad record mac"
    # The peer is told why.
    other.receive()
    with pytest.raises(ssl.SSLError, match=r"(?i)bad record mac"):
        other.object.read(1)


def test_a_protocol_that_raises(reactor, served, twisted_log):
    """Logged, and lost for that reason; what came behind is told before the end, as Twisted tells it."""
    told, other = served()
    other.write(b"one")
    other.write(b"two")

    def fail(data):
        told.on_data = lambda data: None
        raise ZeroDivisionError(data)

    told.on_data = fail
    other.send()
    until(reactor, lambda: told.reason)
    assert told.reason.check(ZeroDivisionError, ConnectionLost)
    assert told.data == b"onetwo"
    twisted_log.take(ZeroDivisionError)


def test_aborting_in_data_received(reactor, served):
    """What is behind what it was told is not told."""
    told, other = served()
    told.on_data = lambda data: tls_of(told).abortConnection()
    other.write(b"one")
    # Nothing like the end of a record.
    first = other.outgoing.read()
    other.write(b"two")
    second = other.outgoing.read()
    other.sock.send(first + second[:-1])
    until(reactor, lambda: told.data)
    try:
        other.sock.send(second[-1:])
    except (BrokenPipeError, ConnectionResetError):
        pass
    until(reactor, lambda: told.reason)
    assert told.data == b"one"
    assert told.reason.check(ConnectionLost)


def test_a_streaming_producer(reactor, served):
    told, other = served()
    producer = Producer(told.transport)
    told.transport.registerProducer(producer, True)
    with pytest.raises(RuntimeError):
        told.transport.registerProducer(producer, True)
    told.transport.write(b"x" * 200_000)
    assert producer.calls == ["pause"]
    producer.on_resume = lambda: told.transport.write(b"y")
    # It waits for the producer, whose writes count until then.
    told.transport.loseConnection()
    steps(reactor, other, lambda: other.data == b"x" * 200_000 + b"y")
    assert other.end is None
    told.transport.unregisterProducer()
    steps(reactor, other, lambda: other.end)
    assert producer.calls == ["pause", "resume"]
    other.close()
    steps(reactor, other, lambda: told.reason)


def test_a_pull_producer(reactor, served, seam, monkeypatch):
    """Asked by Twisted's cooperator, which runs on the global reactor: here, on that of the test."""
    from twisted.internet import _producer_helpers
    from twisted.internet.task import Cooperator

    cooperator = Cooperator(scheduler=lambda call: reactor.callLater(0, call))
    monkeypatch.setattr(_producer_helpers, "cooperate", cooperator.cooperate)
    told, other = served()

    @implementer(IPullProducer)
    class Pulled:
        left = 50

        def resumeProducing(self):
            self.left -= 1
            told.transport.write(b"x" * 10_000)
            if not self.left:
                told.transport.unregisterProducer()
                told.transport.write(b"end")

        def stopProducing(self):
            raise AssertionError("nobody stops it")

    told.transport.registerProducer(Pulled(), False)
    steps(reactor, other, lambda: other.data.endswith(b"end"))
    assert other.data == b"x" * 500_000 + b"end"


def test_pause_and_resume(reactor, served):
    told, other = served()
    told.transport.pauseProducing()
    other.write(b"x")
    other.send()
    for _ in range(5):
        reactor.iterate(0)
    assert told.data == b""
    told.transport.resumeProducing()
    until(reactor, lambda: told.data)


# What somebody has put in the place of something


def test_a_replaced_write_of_the_connection(reactor, served):
    told, other = served()
    beneath = tls_of(told).transport
    seen = []
    original = beneath.write
    beneath.write = lambda data: (seen.append(len(data)), original(data))
    told.transport.write(b"x" * 100)
    steps(reactor, other, lambda: other.data)
    assert seen
    assert sum(seen) > 100
    del beneath.write


def test_a_replaced_data_received(reactor, served):
    told, other = served()
    layer = tls_of(told)
    seen = []
    original = layer.dataReceived
    layer.dataReceived = lambda data: (seen.append(len(data)), original(data))
    other.write(b"x" * 100)
    steps(reactor, other, lambda: told.data)
    assert len(seen) == 1
    assert told.data == b"x" * 100
    del layer.dataReceived


def test_another_protocol_in_its_place(reactor, served):
    """`wrappedProtocol` may be set at any time."""
    told, other = served()
    second = Told()
    tls_of(told).wrappedProtocol = second
    other.write(b"x")
    steps(reactor, other, lambda: second.data == b"x")
    assert told.data == b""


@pytest.mark.parametrize("how", ["subclass", "plain", "clock", "send"])
def test_somebodys_own(kind, reactor, ways, monkeypatch, how):
    """A protocol, a clock or a pyOpenSSL of somebody's own: everything goes through Twisted's methods."""
    from twisted.internet.task import Clock

    clock = Clock() if how == "clock" else reactor
    calls = []
    if how == "send":
        original = SSL.Connection.send
        monkeypatch.setattr(
            SSL.Connection,
            "send",
            lambda self, *args: (calls.append(args), original(self, *args))[1],
        )

    class Own(tls.TLSMemoryBIOFactory.protocol):
        def write(self, data):
            calls.append(data)
            super().write(data)

        def dataReceived(self, data):
            calls.append(data)
            super().dataReceived(data)

    def start(factory):
        made = tls.TLSMemoryBIOFactory(identity().options(), False, factory, clock)
        if how in ("subclass", "plain"):
            made.protocol = Own if how == "subclass" else tls.TLSMemoryBIOProtocol
        return reactor.listenTCP(0, made, interface="127.0.0.1")

    told, other = ways._listen(Told, start)
    shake(reactor, told, other)
    assert not getattr(told.transport, "_engaged", False)
    told.on_data = told.transport.write
    other.write(b"x" * 1000)

    def echoed():
        if how == "clock":
            clock.advance(0)
        return other.data == b"x" * 1000

    steps(reactor, other, echoed)
    if how in ("subclass", "send"):
        assert calls


def test_over_a_foreign_transport(kind, reactor, ways):
    made = tls.TLSMemoryBIOFactory(
        identity().options(), False, protocol.Factory.forProtocol(Told), reactor
    )
    layer = made.buildProtocol(None)
    transport = StringTransport()
    transport.abortConnection = transport.loseConnection
    layer.makeConnection(transport)
    here, there = socket.socketpair()
    with here, there:
        other = Peer(there, False)
        here.setblocking(False)

        def carry():
            other.step()
            here.sendall(transport.value())
            transport.clear()
            try:
                layer.dataReceived(here.recv(1 << 16))
            except BlockingIOError:
                pass
            return other.ready

        until(reactor, carry)
        told = layer.wrappedProtocol
        other.write(b"in")
        told.transport.write(b"out")
        until(reactor, lambda: (carry(), told.data == b"in" and other.data == b"out")[1])
        assert not getattr(layer, "_engaged", False)
        layer.connectionLost(ConnectionDone())


def test_tls_in_tls(reactor, ways):
    """The one over the connection carries the other."""
    inner = tls.TLSMemoryBIOFactory(
        identity().options(), False, protocol.Factory.forProtocol(Told), reactor
    )
    layers = []

    def made():
        layers.append(inner.buildProtocol(None))
        return layers[-1]

    _, outer = ways.listenSSL(made)
    steps(reactor, outer, lambda: outer.ready)
    here, there = socket.socketpair()
    with here, there:
        other = Peer(there, False)
        here.setblocking(False)

        def carry():
            outer.step()
            other.step()
            try:
                outer.write(here.recv(1 << 16))
            except BlockingIOError:
                pass
            outer.step()
            here.sendall(outer.data)
            outer.records.clear()
            return other.ready

        until(reactor, carry)
        told = layers[0].wrappedProtocol
        other.write(b"x" * 50_000)
        told.on_data = told.transport.write
        until(reactor, lambda: (carry(), len(other.data) == 50_000)[1])
        told.transport.loseConnection()
        until(reactor, lambda: (carry(), other.end)[1])


def test_nothing_stays(reactor, served):
    """No cycle that only the collector finds keeps a connection that was lost."""
    told, other = served()
    told.transport.write(b"x")
    steps(reactor, other, lambda: other.data)
    layer = weakref.ref(tls_of(told))
    handle = weakref.ref(tls_of(told).getHandle())
    told.transport.loseConnection()
    other.close()
    steps(reactor, other, lambda: told.reason)
    told.transport = None
    told.reason = None
    other.sock.close()
    reactor.iterate(0)
    gc.collect()
    assert layer() is None
    assert handle() is None


def test_it_is_installed_with_the_reactor(program):
    """And taken away with it."""
    assert program(
        None,
        """
        from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
        import interloop.twisted
        print(TLSMemoryBIOFactory.protocol is BufferingTLSTransport)
        interloop.twisted.install()
        interloop.twisted.install()
        print(issubclass(TLSMemoryBIOFactory.protocol, interloop._core.TwistedTls))
        interloop.twisted.uninstall()
        print(TLSMemoryBIOFactory.protocol is BufferingTLSTransport)

        class Own(BufferingTLSTransport):
            pass

        TLSMemoryBIOFactory.protocol = Own
        interloop.twisted.install()
        print(TLSMemoryBIOFactory.protocol is Own)
        interloop.twisted.uninstall()
        print(TLSMemoryBIOFactory.protocol is Own)
        """,
    ) == ["True", "True", "True", "True", "True"]
