"""UNIX datagram ports: IReactorUNIXDatagram, IUNIXDatagramTransport, IUNIXDatagramConnectedTransport."""

from __future__ import annotations

import contextvars
import gc
import os
import socket
import stat
import weakref

import pytest
from tw_connections import until
from tw_unix import Datagrams
from twisted.internet import unix
from twisted.internet.address import UNIXAddress
from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import (
    IListeningPort,
    IUNIXDatagramConnectedTransport,
    IUNIXDatagramTransport,
)
from twisted.python import context
from twisted.python.log import ILogContext
from zope.interface.verify import verifyObject

# Twisted's ports leave the socket that they could not bind to the garbage collector.
unbound = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

VAR = contextvars.ContextVar("VAR", default="unset")


@pytest.fixture(params=["listen", "connect"])
def how(request):
    return request.param


def test_ours_are_native(ours, end):
    from interloop._core import TwistedDatagrams

    for port, kind in [
        (ours.listenUNIXDatagram("s", Datagrams()), unix.DatagramPort),
        (ours.connectUNIXDatagram("s", Datagrams()), unix.ConnectedDatagramPort),
    ]:
        assert isinstance(port, TwistedDatagrams)
        assert isinstance(port, kind)
        assert ours._asyncioEventloop._watcher_of(port.fileno()) == (None, None)
        port.stopListening()
        until(ours, lambda port=port: not port.connected)


def test_the_interface(open_port, how):
    told, port, _ = open_port(how, mode=0o640)
    listens = how == "listen"
    kind = IUNIXDatagramTransport if listens else IUNIXDatagramConnectedTransport
    assert verifyObject(kind, port)
    assert IListeningPort.providedBy(port) == listens
    assert told.transport is port
    assert port.getHost() == UNIXAddress("s")
    if not listens:
        assert port.getPeer() == UNIXAddress("end")
    assert stat.S_IMODE(os.stat("s").st_mode) == 0o640
    assert port.getHandle().fileno() == port.fileno()
    assert port.logPrefix() == port.logstr == "tw_unix.Datagrams (UDP)"
    assert repr(port) == "<tw_unix.Datagrams on 's'>"


def test_echo(reactor, open_port, how, end):
    told, _, write = open_port(how)
    told.on_data = lambda data: sent.append(write(data))
    sent = []
    for data in (b"x", b"", bytes(8192)):
        end.sendto(data, "s")
        until(reactor, lambda data=data: told.data and told.data[-1] == data)
        assert end.recvfrom(10_000) == (data, "s")
        assert sent.pop() == len(data)
    # A connected one knows who it is.
    assert set(told.senders) == {("end",) if how == "listen" else ()}


def test_many_keep_their_order(reactor, open_port, how, end):
    told, _, _ = open_port(how)
    for start in range(0, 50, 5):
        for number in range(start, start + 5):
            end.sendto(b"%d" % number, "s")
        until(reactor, lambda start=start: len(told.data) == start + 5)
    assert told.data == [b"%d" % number for number in range(50)]


def test_a_sender_without_a_name(reactor, open_port):
    told, port, _ = open_port()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
        nameless.sendto(b"x", "s")
        until(reactor, lambda: told.data)
    [(sender,)] = told.senders
    assert sender is None
    with pytest.raises(TypeError):
        port.write(b"answer", sender)


def test_abstract_names(reactor):
    name = b"\0" + os.urandom(8).hex().encode()
    served, asked = Datagrams(), Datagrams()
    port = reactor.listenUNIXDatagram(name, served)
    asking = reactor.connectUNIXDatagram(name, asked, bindAddress=name + b"2")
    served.on_data = lambda data: port.write(data.upper(), served.senders[-1][0])
    assert asking.write(b"question") == 8
    until(reactor, lambda: asked.data)
    assert served.senders == [(name + b"2",)]
    assert asked.data == [b"QUESTION"]
    assert asking.getPeer() == port.getHost() == UNIXAddress(name)
    for one in (port, asking):
        one.stopListening()
        until(reactor, lambda one=one: not one.connected)


def test_a_long_path(reactor, open_port):
    """Longer than other addresses are."""
    told, port, _ = open_port()
    name = "n" * 100
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(name)
        other.settimeout(10)
        for _ in range(3):
            other.sendto(b"x", "s")
        until(reactor, lambda: len(told.data) == 3)
        assert told.senders == [(name,)] * 3
        for target in (told.senders[0][0], told.senders[2][0], name.encode()):
            port.write(b"answer", target)
            assert other.recv(100) == b"answer"


def test_what_is_too_long(reactor, open_port, how, end):
    told, port, write = open_port(how, maxPacketSize=100)
    end.sendto(bytes(101), "s")
    until(reactor, lambda: told.data)
    # The rest is cut off.
    assert told.data == [bytes(100)]
    port.maxPacketSize = 100_000
    end.sendto(bytes(100_000), "s")
    until(reactor, lambda: len(told.data) == 2)
    assert told.data[1] == bytes(100_000)
    with pytest.raises(MessageLengthError):
        write(bytes(50_000_000))


def test_what_can_be_written(open_port, end):
    _, port, _ = open_port()
    for data in (b"abc", bytearray(b"abc"), memoryview(b"abc")):
        for target in ("end", b"end", bytearray(b"end")):
            assert port.write(data, target) == 3
            assert end.recv(100) == b"abc"
    assert port.write(datagram=b"x", address="end") == 1
    port.writeSequence([b"a", b"", b"bc"], "end")
    assert [end.recv(100), end.recv(100)] == [b"x", b"abc"]
    for wrong in [("text", "end"), (b"x", None), (b"x", 5), (b"x",)]:
        with pytest.raises(TypeError):
            port.write(*wrong)
    with pytest.raises(OSError, match="too long"):
        port.write(b"x", "n" * 200)
    with pytest.raises(OSError):
        port.write(b"x", "")


def test_what_can_be_written_to_the_peer(open_port, end):
    _, port, _ = open_port("connect")
    for data in (b"abc", bytearray(b"abc"), memoryview(b"abc")):
        assert port.write(data) == 3
        assert end.recv(100) == b"abc"
    assert port.write(data=b"x") == 1
    assert end.recv(100) == b"x"
    for wrong in [("text",), (b"x", "end"), ()]:
        with pytest.raises(TypeError):
            port.write(*wrong)


def test_in_start_protocol(open_port, how, end):
    told = Datagrams()
    told.on_start = lambda: told.transport.write(b"hello", *target)
    target = ["end"] if how == "listen" else []
    open_port(how, told)
    assert end.recv(100) == b"hello"


def test_a_connected_port_without_a_name(reactor, end):
    told = Datagrams()
    port = reactor.connectUNIXDatagram("end", told)
    assert port.getHost() == UNIXAddress("")
    port.write(b"x")
    assert end.recvfrom(100) == (b"x", None)
    port.stopListening()
    until(reactor, lambda: told.stopped)


@unbound
def test_stop_listening(reactor, open_port, how, end):
    told, port, write = open_port(how)
    ended = []
    port.stopListening().addCallback(lambda result: ended.append((result, told.stopped)))
    assert port not in reactor.getReaders()
    assert not told.stopped
    end.sendto(b"x", "s")
    until(reactor, lambda: ended)
    assert ended == [(None, True)]
    assert told.data == []
    assert port.fileno() == -1
    assert repr(port) == "<tw_unix.Datagrams (not listening)>"
    assert port.stopListening() is None
    with pytest.raises(AttributeError):
        write(b"x")
    with pytest.raises(ConnectionRefusedError):
        end.sendto(b"x", "s")
    # The path stays.
    with pytest.raises(CannotListenError):
        reactor.listenUNIXDatagram("s", told)
    os.unlink("s")
    told, _, _ = open_port(how)
    end.sendto(b"again", "s")
    until(reactor, lambda: told.data)


def test_stop_in_the_middle_of_a_batch(reactor, open_port, how, end):
    told, port, _ = open_port(how)
    ended = []
    told.on_data = lambda data: (
        port.stopListening().addCallback(ended.append) if data == b"0" else None
    )
    for number in range(5):
        end.sendto(b"%d" % number, "s")
    until(reactor, lambda: ended)
    assert told.data[0] == b"0"
    assert told.stopped


def test_stop_and_start_reading(reactor, open_port, how, end):
    told, port, _ = open_port(how)
    port.stopReading()
    port.stopReading()
    assert port not in reactor.getReaders()
    end.sendto(b"1", "s")
    reactor.iterate(0)
    assert not told.data
    port.startReading()
    port.startReading()
    assert reactor.getReaders().count(port) == 1
    until(reactor, lambda: told.data)
    reactor.removeReader(port)
    assert port not in reactor.getReaders()
    end.sendto(b"2", "s")
    reactor.iterate(0)
    assert told.data == [b"1"]
    reactor.addReader(port)
    until(reactor, lambda: len(told.data) == 2)


def test_stop_reading_in_the_middle_of_a_batch(ours, end):
    """At once, and nothing is lost. (Twisted's own port hands over whatever it finds first.)"""
    told = Datagrams()
    port = ours.listenUNIXDatagram("s", told)
    told.on_data = lambda data: port.stopReading()
    for number in range(5):
        end.sendto(b"%d" % number, "s")
    for number in range(5):
        until(ours, lambda number=number: len(told.data) > number)
        ours.iterate(0)
        assert told.data == [b"%d" % past for past in range(number + 1)]
        port.startReading()
    port.stopListening()
    until(ours, lambda: told.stopped)


def test_remove_all(reactor, path):
    told, other = Datagrams(), Datagrams()
    port = reactor.listenUNIXDatagram("s", told)
    connected = reactor.connectUNIXDatagram("s", other)
    assert not {port, connected} & set(reactor.getWriters())
    assert set(reactor.removeAll()) == {port, connected}
    assert not {port, connected} & set(reactor.getReaders())
    for one in (port, connected):
        one.connectionLost(None)
    assert told.stopped
    assert other.stopped
    assert not port.connected


def test_what_it_is_logged_as(reactor, open_port, how, end):
    told, port, _ = open_port(how)
    seen = []
    told.on_data = lambda data: seen.append(context.get(ILogContext)["system"])
    for _ in range(2):
        end.sendto(b"x", "s")
    until(reactor, lambda: len(seen) == 2)
    port.logstr = "another"
    end.sendto(b"x", "s")
    until(reactor, lambda: len(seen) == 3)
    assert seen == ["tw_unix.Datagrams (UDP)"] * 2 + ["another"]
    assert context.get(ILogContext)["system"] == "-"


@pytest.mark.parametrize("connect", [False, True])
def test_callbacks_run_in_the_context_of_the_port(ours, end, connect):
    seen = []
    told = Datagrams()
    told.on_data = lambda data: seen.append(VAR.get())

    def open_port():
        VAR.set("of the port")
        if connect:
            return ours.connectUNIXDatagram("end", told, bindAddress="s")
        return ours.listenUNIXDatagram("s", told)

    port = contextvars.copy_context().run(open_port)
    end.sendto(b"x", "s")
    until(ours, lambda: seen)
    assert seen == ["of the port"]
    assert VAR.get() == "unset"
    port.stopListening()
    until(ours, lambda: told.stopped)


def test_a_port_that_has_ended_is_collected(reactor, open_port, how, end):
    told = Datagrams()
    if how == "listen":
        port = reactor.listenUNIXDatagram("s", told)
    else:
        port = reactor.connectUNIXDatagram("end", told, bindAddress="s")
    end.sendto(b"x", "s")
    until(reactor, lambda: told.data)
    port.stopListening()
    until(reactor, lambda: told.stopped)
    gone = weakref.ref(port)
    told.transport = None
    del port
    gc.collect()
    assert gone() is None


def test_they_go_over_to_another_loop(program):
    """One that receives, and one that was told to wait with what it had received."""
    assert program(
        "interloop",
        """
        import asyncio
        import interloop
        from twisted.internet import protocol, reactor
        interloop.install()

        class Echo(protocol.DatagramProtocol):
            def datagramReceived(self, data, sender):
                self.transport.write(data, sender)

        class Waiting(protocol.ConnectedDatagramProtocol):
            got = []
            def datagramReceived(self, data):
                self.got.append(data)
                self.transport.stopReading()

        echo = reactor.listenUNIXDatagram("echo", Echo())
        asking = Waiting()
        waiting = reactor.connectUNIXDatagram("echo", asking, bindAddress="waiting")
        for number in range(3):
            waiting.write(b"%d" % number)
        while not asking.got:
            reactor.iterate(0)

        async def main():
            assert reactor._asyncioEventloop is asyncio.get_running_loop()
            for count in (2, 3):
                waiting.startReading()
                while len(asking.got) < count:
                    await asyncio.sleep(0)
            waiting.startReading()
            waiting.write(b"over there")
            while len(asking.got) < 4:
                await asyncio.sleep(0)
            print(asking.got)

        asyncio.run(main())
        print(reactor.getReaders(), echo.connected)
        waiting.connectionLost(None)
        """,
    ) == ["[b'0', b'1', b'2', b'over there']", "[] 0"]
