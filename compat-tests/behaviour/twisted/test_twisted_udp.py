"""UDP ports: IReactorUDP, IReactorMulticast, IUDPTransport."""

from __future__ import annotations

import contextvars
import gc
import os
import socket
import weakref

import pytest
from tw_connections import until
from twisted.internet import protocol, udp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import (
    InvalidAddressError,
    MessageLengthError,
    UnsupportedAddressFamily,
)
from twisted.internet.interfaces import IListeningPort, IMulticastTransport, IUDPTransport
from twisted.python import context
from twisted.python.log import ILogContext
from zope.interface.verify import verifyObject

VAR = contextvars.ContextVar("VAR", default="unset")


class Told(protocol.DatagramProtocol):
    noisy = False

    def __init__(self):
        self.received = []
        self.refused = 0
        self.started = self.stopped = False
        self.on_start = lambda: None
        self.on_datagram = lambda data, sender: None
        self.on_refusal = lambda: None

    def startProtocol(self):
        self.started = True
        self.on_start()

    def stopProtocol(self):
        self.stopped = True

    def datagramReceived(self, data, sender):
        self.received.append((data, sender))
        self.on_datagram(data, sender)

    def connectionRefused(self):
        self.refused += 1
        self.on_refusal()

    @property
    def data(self):
        return [data for data, _ in self.received]


@pytest.fixture(params=["listenUDP", "listenMulticast", "adoptDatagramPort"])
def how(request):
    return request.param


@pytest.fixture
def listen(reactor):
    """listen(): a protocol on a port of the reactor's, and a blocking socket."""
    ports = []
    ends = []

    def listen(how="listenUDP", told=None, interface="127.0.0.1", **options):
        told = told or Told()
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        if how == "adoptDatagramPort":
            with socket.socket(family, socket.SOCK_DGRAM) as mine:
                mine.bind((interface, 0))
                mine.setblocking(False)
                port = reactor.adoptDatagramPort(mine.fileno(), family, told, **options)
        else:
            port = getattr(reactor, how)(0, told, interface, **options)
        ports.append(port)
        end = socket.socket(family, socket.SOCK_DGRAM)
        ends.append(end)
        end.bind((interface, 0))
        end.settimeout(10)
        return told, port, end

    yield listen
    for end in ends:
        end.close()
    for port in ports:
        port.stopListening()
    reactor.iterate(0)


def address(port):
    return port.getHost().host, port.getHost().port


def unused():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()


def test_ours_are_native(ours):
    from interloop._core import TwistedDatagrams

    for port, kind in [
        (ours.listenUDP(0, Told(), "127.0.0.1"), udp.Port),
        (ours.listenMulticast(0, Told(), "127.0.0.1"), udp.MulticastPort),
    ]:
        assert isinstance(port, TwistedDatagrams)
        assert isinstance(port, kind)
        assert ours._asyncioEventloop._watcher_of(port.fileno()) == (None, None)
        port.stopListening()
    until(ours, lambda: not port.connected)


def test_the_interface(listen, how):
    told, port, _ = listen(how)
    assert verifyObject(IUDPTransport, port)
    assert verifyObject(IListeningPort, port)
    assert (how == "listenMulticast") == IMulticastTransport.providedBy(port)
    assert told.started
    assert told.transport is port
    assert port.getHost() == IPv4Address("UDP", *port.socket.getsockname())
    assert port.getHandle().fileno() == port.fileno()
    assert port.logPrefix() == port.logstr == "Told (UDP)"
    assert repr(port) == f"<{Told} on {port.getHost().port}>"
    port.setBroadcastAllowed(True)
    assert port.getBroadcastAllowed()


def test_echo(reactor, listen, how):
    told, port, end = listen(how)
    told.on_datagram = lambda data, sender: sent.append(port.write(data, sender))
    sent = []
    for data in (b"x", b"", bytes(8192)):
        end.sendto(data, address(port))
        until(reactor, lambda data=data: told.data and told.data[-1] == data)
        assert end.recvfrom(10_000) == (data, address(port))
        assert sent.pop() == len(data)
    assert {sender for _, sender in told.received} == {end.getsockname()}


def test_ipv6(reactor, listen):
    told, port, end = listen(interface="::1")
    end.sendto(b"x", address(port))
    until(reactor, lambda: told.received)
    # Host and port, without what else IPv6 has.
    assert told.received == [(b"x", end.getsockname()[:2])]
    assert port.getHost() == IPv6Address("UDP", *port.socket.getsockname()[:2])
    for target in (told.received[0][1], end.getsockname()[:2], end.getsockname()):
        port.write(b"answer", target)
        assert end.recv(100) == b"answer"
    with pytest.raises(InvalidAddressError, match="IPv6 port write"):
        port.write(b"x", ("127.0.0.1", 1))


def test_many_keep_their_order(reactor, listen):
    told, port, end = listen()
    for number in range(100):
        end.sendto(b"%d" % number, address(port))
    until(reactor, lambda: len(told.received) == 100)
    assert told.data == [b"%d" % number for number in range(100)]


def test_many_senders(reactor, listen):
    told, port, _ = listen()
    told.on_datagram = port.write
    others = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(50)]
    try:
        for _ in range(2):
            for number, other in enumerate(others):
                other.settimeout(10)
                other.sendto(b"%d" % number, address(port))
            told.received.clear()
            until(reactor, lambda: len(told.received) == 50)
            for number, other in enumerate(others):
                assert other.recv(100) == b"%d" % number
    finally:
        for other in others:
            other.close()


def test_what_is_too_long(reactor, listen, how):
    told, port, end = listen(how)
    end.sendto(bytes(8193), address(port))
    until(reactor, lambda: told.received)
    # The rest is cut off.
    assert told.data == [bytes(8192)]
    port.maxPacketSize = 3
    end.sendto(b"1234", address(port))
    until(reactor, lambda: len(told.received) == 2)
    assert told.data[1] == b"123"
    with pytest.raises(MessageLengthError):
        port.write(bytes(70_000), end.getsockname())
    whole, port, end = listen(how, maxPacketSize=70_000)
    end.sendto(bytes(65_507), address(port))
    until(reactor, lambda: whole.received)
    assert whole.data == [bytes(65_507)]


def test_what_can_be_written(reactor, listen):
    _, port, end = listen()
    target = end.getsockname()
    for data in (b"abc", bytearray(b"abc"), memoryview(b"abc")):
        assert port.write(data, target) == 3
        assert end.recv(100) == b"abc"
    port.writeSequence([b"a", b"", b"bc"], target)
    assert end.recv(100) == b"abc"
    # An address made anew for each.
    for _ in range(3):
        port.write(b"x", ("127.0.0.1", target[1]))
        assert end.recv(100) == b"x"
    with pytest.raises(TypeError):
        port.write("text", target)
    with pytest.raises(TypeError):
        port.write(b"x", list(target))
    with pytest.raises(InvalidAddressError, match="not hostnames"):
        port.write(b"x", ("localhost", target[1]))
    with pytest.raises(InvalidAddressError, match="IPv4 port write"):
        port.write(b"x", ("::1", target[1]))
    with pytest.raises(OverflowError):
        port.write(b"x", ("127.0.0.1", 70_000))
    with pytest.raises(AssertionError):
        port.write(b"x")
    # Broadcasts have to be allowed.
    with pytest.raises(OSError):
        port.write(b"x", ("<broadcast>", target[1]))


def test_in_start_protocol(reactor, listen):
    told = Told()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        other.settimeout(10)
        told.on_start = lambda: told.transport.write(b"hello", other.getsockname())
        listen(told=told)
        assert other.recv(100) == b"hello"


def test_connected(reactor, listen, how):
    told, port, end = listen(how)
    port.connect(*end.getsockname())
    assert port.write(b"one") == 3
    assert port.write(b"two", end.getsockname()) == 3
    assert [end.recv(100), end.recv(100)] == [b"one", b"two"]
    end.sendto(b"answer", address(port))
    until(reactor, lambda: told.received)
    assert told.received == [(b"answer", end.getsockname())]
    with pytest.raises(AssertionError):
        port.write(b"x", ("127.0.0.1", 1))
    with pytest.raises(MessageLengthError):
        port.write(bytes(70_000))
    with pytest.raises(RuntimeError, match="already connected"):
        port.connect(*end.getsockname())


def test_a_name_is_no_address_to_connect_to(listen):
    _, port, _ = listen()
    with pytest.raises(InvalidAddressError):
        port.connect("localhost", 1)


def test_nobody_is_there(reactor, listen):
    """A connected port is told with the next datagram; another one never."""
    told, port, _ = listen()
    for _ in range(3):
        port.write(b"x", unused())
        reactor.iterate(0)
    port.connect(*unused())
    assert not told.refused
    while not told.refused:
        port.write(b"x")
    assert told.refused == 1
    assert port.connected


def test_a_refusal_is_told_by_itself(ours):
    """Without another datagram. (epollreactor takes the report for the end of the connection, and closes the port.)"""
    told = Told()
    port = ours.listenUDP(0, told, "127.0.0.1")
    port.connect(*unused())
    for times in (1, 2):
        port.write(b"x")
        until(ours, lambda times=times: told.refused == times)
    assert port in ours.getReaders()
    port.stopListening()
    until(ours, lambda: told.stopped)


def test_a_protocol_that_raises_when_it_is_refused(ours, twisted_log):
    told = Told()
    port = ours.listenUDP(0, told, "127.0.0.1")
    told.on_refusal = lambda: 1 / 0
    port.connect(*unused())
    port.write(b"x")
    until(ours, lambda: told.stopped)
    twisted_log.take(ZeroDivisionError)
    assert not port.connected
    assert port not in ours.getReaders()


@pytest.mark.parametrize("kind_of_error", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
def test_a_protocol_that_raises_is_logged(reactor, listen, twisted_log, kind_of_error):
    told, port, end = listen()

    def fail(data, sender):
        if data == b"bad":
            raise kind_of_error

    told.on_datagram = fail
    end.sendto(b"bad", address(port))
    end.sendto(b"good", address(port))
    until(reactor, lambda: len(told.received) == 2)
    twisted_log.take(kind_of_error)
    assert port in reactor.getReaders()


def test_a_socket_that_fails(reactor, listen, twisted_log, sockets):
    """Receiving fails for another reason than a refusal."""
    told, port, _ = listen()
    port.stopReading()
    read, write = os.pipe()
    os.dup2(read, port.fileno())
    os.write(write, b"x")
    port.startReading()
    until(reactor, lambda: told.stopped)
    os.close(read)
    os.close(write)
    twisted_log.take(OSError)
    assert not port.connected


def test_stop_listening(reactor, listen):
    told, port, end = listen()
    target = address(port)
    ended = []
    port.stopListening().addCallback(lambda result: ended.append((result, told.stopped)))
    assert port not in reactor.getReaders()
    assert not told.stopped
    end.sendto(b"x", target)
    until(reactor, lambda: ended)
    assert ended == [(None, True)]
    assert told.received == []
    assert port.fileno() == -1
    assert repr(port) == f"<{Told} not connected>"
    assert port.stopListening() is None
    with pytest.raises(AttributeError):
        port.write(b"x", target)
    # Its number is free.
    again = reactor.listenUDP(target[1], told, "127.0.0.1")
    end.sendto(b"again", target)
    until(reactor, lambda: told.received)
    again.stopListening()
    reactor.iterate(0)


def test_stop_in_the_middle_of_a_batch(reactor, listen):
    told, port, end = listen()
    ended = []
    told.on_datagram = lambda data, sender: (
        port.stopListening().addCallback(ended.append) if data == b"0" else None
    )
    for number in range(5):
        end.sendto(b"%d" % number, address(port))
    until(reactor, lambda: ended)
    assert told.data[0] == b"0"
    assert told.stopped


def test_stop_and_start_reading(reactor, listen):
    told, port, end = listen()
    port.stopReading()
    port.stopReading()
    assert port not in reactor.getReaders()
    end.sendto(b"1", address(port))
    reactor.iterate(0)
    assert not told.received
    port.startReading()
    port.startReading()
    assert reactor.getReaders().count(port) == 1
    until(reactor, lambda: told.received)
    reactor.removeReader(port)
    assert port not in reactor.getReaders()
    end.sendto(b"2", address(port))
    reactor.iterate(0)
    assert told.data == [b"1"]
    reactor.addReader(port)
    until(reactor, lambda: len(told.received) == 2)


def test_stop_reading_in_the_middle_of_a_batch(ours):
    """At once, and nothing is lost. (Twisted's own port hands over whatever it finds first.)"""
    told = Told()
    port = ours.listenUDP(0, told, "127.0.0.1")
    told.on_datagram = lambda data, sender: port.stopReading()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        for number in range(40):
            end.sendto(b"%d" % number, address(port))
        for number in range(40):
            until(ours, lambda number=number: len(told.received) > number)
            ours.iterate(0)
            assert told.data == [b"%d" % past for past in range(number + 1)]
            port.startReading()
    port.stopListening()
    until(ours, lambda: not port.connected)


def test_remove_all(reactor):
    told = Told()
    port = reactor.listenUDP(0, told, "127.0.0.1")
    assert port in reactor.getReaders()
    assert port not in reactor.getWriters()
    assert reactor.removeAll() == [port]
    assert port not in reactor.getReaders()
    port.connectionLost(None)
    assert told.stopped
    assert not port.connected


def test_what_is_no_address_to_listen_on(reactor):
    with pytest.raises(InvalidAddressError):
        reactor.listenUDP(0, Told(), "localhost")
    with pytest.raises(UnsupportedAddressFamily):
        reactor.adoptDatagramPort(0, socket.AF_UNIX, Told())


def test_a_group(reactor, listen):
    told, port, _ = listen("listenMulticast", interface="0.0.0.0")
    done = []
    port.setOutgoingInterface("127.0.0.1").addCallback(done.append)
    port.joinGroup("225.0.0.250", "127.0.0.1").addCallback(done.append)
    until(reactor, lambda: len(done) == 2)
    port.setLoopbackMode(1)
    assert port.getLoopbackMode()
    assert port.getOutgoingInterface() == "127.0.0.1"
    port.setTTL(1)
    assert port.getTTL() == 1
    port.write(b"to all", ("225.0.0.250", port.getHost().port))
    until(reactor, lambda: told.received)
    assert told.data == [b"to all"]
    port.leaveGroup("225.0.0.250", "127.0.0.1").addCallback(done.append)
    until(reactor, lambda: len(done) == 3)


def test_several_on_one_port(reactor):
    one = reactor.listenMulticast(0, Told(), "127.0.0.1", listenMultiple=True)
    other = reactor.listenMulticast(one.getHost().port, Told(), "127.0.0.1", listenMultiple=True)
    assert one.getHost() == other.getHost()
    for port in (one, other):
        port.stopListening()
    reactor.iterate(0)


def test_what_it_is_logged_as(reactor, listen):
    told, port, end = listen()
    seen = []
    told.on_datagram = lambda data, sender: seen.append(context.get(ILogContext)["system"])
    for _ in range(2):
        end.sendto(b"x", address(port))
    until(reactor, lambda: len(seen) == 2)
    port.logstr = "another"
    end.sendto(b"x", address(port))
    until(reactor, lambda: len(seen) == 3)
    assert seen == ["Told (UDP)", "Told (UDP)", "another"]
    assert context.get(ILogContext)["system"] == "-"


def test_callbacks_run_in_the_context_of_the_port(ours):
    seen = []
    told = Told()

    def note(data, sender):
        seen.append(VAR.get())
        VAR.set("kept")

    told.on_datagram = note

    def listen():
        VAR.set("of the port")
        return ours.listenUDP(0, told, "127.0.0.1")

    port = contextvars.copy_context().run(listen)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(b"x", address(port))
        until(ours, lambda: seen)
        # Who lets it go on is not who has it listen.
        port.stopReading()
        port.startReading()
        end.sendto(b"x", address(port))
        until(ours, lambda: len(seen) == 2)
    assert seen == ["of the port", "kept"]
    assert VAR.get() == "unset"
    port.stopListening()
    until(ours, lambda: not port.connected)


def test_a_port_that_has_ended_is_collected(reactor, listen):
    told = Told()
    port = reactor.listenUDP(0, told, "127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(b"x", address(port))
        until(reactor, lambda: told.received)
    port.stopListening()
    until(reactor, lambda: told.stopped)
    gone = weakref.ref(port)
    told.transport = None
    del port
    gc.collect()
    assert gone() is None


def test_one_that_does_not_read_outlives_a_loop(program):
    """It is not in getReaders(), so that nobody ends it."""
    assert program(
        "interloop",
        """
        import asyncio, socket
        import interloop
        from twisted.internet import protocol, reactor
        interloop.install()

        class Waiting(protocol.DatagramProtocol):
            got = []
            def datagramReceived(self, data, sender):
                self.got.append(data)
                self.transport.stopReading()

        port = reactor.listenUDP(0, Waiting(), "127.0.0.1")
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        end.connect(("127.0.0.1", port.getHost().port))

        async def main(count):
            port.startReading()
            while len(Waiting.got) < count:
                await asyncio.sleep(0)

        for count in (1, 3, 5):
            end.send(b"%d" % count)
            end.send(b"%d more" % count)
        for count in range(1, 7):
            asyncio.run(main(count))
        print(Waiting.got, port.connected)
        end.close()
        port.connectionLost(None)
        """,
    ) == ["[b'1', b'1 more', b'3', b'3 more', b'5', b'5 more'] 1"]


def test_it_goes_over_to_another_loop(program):
    """One that receives, and one that was told to wait with what it had received."""
    assert program(
        "interloop",
        """
        import asyncio, socket
        import interloop
        from twisted.internet import protocol, reactor
        interloop.install()

        class Echo(protocol.DatagramProtocol):
            def datagramReceived(self, data, sender):
                self.transport.write(data, sender)

        class Waiting(protocol.DatagramProtocol):
            got = []
            def datagramReceived(self, data, sender):
                self.got.append(data)
                self.transport.stopReading()

        echo = reactor.listenUDP(0, Echo(), "127.0.0.1")
        waiting = reactor.listenUDP(0, Waiting(), "127.0.0.1")
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        end.connect(("127.0.0.1", echo.getHost().port))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            for number in range(3):
                other.sendto(b"%d" % number, ("127.0.0.1", waiting.getHost().port))
        while not Waiting.got:
            reactor.iterate(0)

        async def main():
            loop = asyncio.get_running_loop()
            assert reactor._asyncioEventloop is loop
            end.setblocking(False)
            await loop.sock_sendall(end, b"over there")
            print(await loop.sock_recv(end, 100))
            for count in (2, 3):
                waiting.startReading()
                while len(Waiting.got) < count:
                    await asyncio.sleep(0)
            print(Waiting.got)
            end.close()

        asyncio.run(main())
        print(reactor.getReaders(), echo.connected)
        waiting.connectionLost(None)
        """,
    ) == ["b'over there'", "[b'0', b'1', b'2']", "[] 0"]
