"""UNIX stream transports: IReactorUNIX and IUNIXTransport."""

from __future__ import annotations

import contextvars
import os
import socket
import stat

import pytest
from tw_connections import Told, until
from tw_tls import identity
from tw_unix import Meeting, Telling, connected
from twisted.internet import unix
from twisted.internet.address import UNIXAddress
from twisted.internet.error import (
    CannotListenError,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
)
from twisted.internet.interfaces import IUNIXTransport
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface.verify import verifyObject

VAR = contextvars.ContextVar("VAR", default="unset")


@pytest.fixture(params=["accepted", "connected", "adopted"])
def meet(request, meeting):
    return lambda make=Told: meeting.meet(request.param, make)


@pytest.mark.parametrize("how", ["accepted", "connected", "adopted"])
def test_ours_are_native(ours, path, how):
    from interloop._core import TwistedConnection, TwistedPort

    meeting = Meeting(ours, path)
    told, _ = meeting.meet(how)
    transport = told.transport
    assert isinstance(transport, TwistedConnection)
    assert isinstance(transport, unix.Client if how == "connected" else unix.Server)
    assert transport._joined
    assert ours._asyncioEventloop._watcher_of(transport.fileno()) == (None, None)
    for port in meeting.ports:
        assert isinstance(port, TwistedPort)
        assert isinstance(port, unix.Port)
        assert ours._asyncioEventloop._watcher_of(port.fileno()) == (None, None)
    meeting.close()


def test_the_interface(meet):
    told, _ = meet()
    transport = told.transport
    assert verifyObject(IUNIXTransport, transport)
    assert transport.connected
    assert not transport.disconnecting
    assert transport.getHandle().fileno() == transport.fileno()
    # For those who think that it is TCP.
    transport.setTcpNoDelay(True)
    assert transport.getTcpNoDelay() is False
    with pytest.raises(TypeError):
        transport.write("text")


def test_echo(reactor, meet):
    told, end = meet()
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


def test_what_is_written_leaves_before_the_end(reactor, meet):
    told, end = meet()
    much = bytes(3_000_000)
    told.transport.write(much)
    told.transport.loseConnection()
    got = 0
    while not told.reason:
        reactor.iterate(0)
        if got < len(much):
            got += len(end.recv(1_000_000))
    while data := end.recv(1_000_000):
        got += len(data)
    assert got == len(much)
    assert told.reason.check(ConnectionDone)


def test_the_peers_end(reactor, meet):
    told, end = meet()
    end.sendall(b"last")
    end.close()
    until(reactor, lambda: told.reason)
    assert told.data == b"last"
    assert told.reason.check(ConnectionDone)
    assert told.transport.fileno() == -1


def test_a_peer_that_is_gone_in_mid_write(reactor, meet):
    told, end = meet()
    told.transport.stopReading()
    told.transport.write(bytes(3_000_000))
    reactor.iterate(0)
    end.close()
    until(reactor, lambda: told.reason)
    assert told.reason.check(ConnectionLost)


def test_addresses_of_an_accepted_connection(reactor, meeting):
    told, _ = meeting.meet("accepted")
    transport = told.transport
    assert transport.getHost() == UNIXAddress(b"s")
    assert transport.getPeer() == UNIXAddress(None)
    assert transport.client == ("", None)
    assert transport.logPrefix() == transport.logstr == "Told,0,"
    assert repr(transport) == "<Told #0 on None>"
    assert transport.server is meeting.ports[0]


@pytest.mark.parametrize("name", ["caller", b"\0abstract"])
def test_a_caller_with_a_name(reactor, path, name):
    factory = Telling()
    port = reactor.listenUNIX(path, factory)
    if isinstance(name, bytes):
        name += os.urandom(8).hex().encode()
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(name)
        end.connect(path)
        until(reactor, connected(factory))
        transport = factory.built[0].transport
        assert factory.addresses == [UNIXAddress(name)]
        assert transport.getPeer() == UNIXAddress(name)
        assert transport.hostname == name
        assert transport.logstr == f"Told,0,{name}"
        transport.loseConnection()
        until(reactor, lambda: factory.built[0].reason)
    port.stopListening()
    reactor.iterate(0)


def test_a_caller_whose_name_has_four_letters(ours, path):
    """Twisted's own port takes it for an address of IPv6, and loses the connection."""
    factory = Telling()
    port = ours.listenUNIX(path, factory)
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("four")
        end.connect(path)
        until(ours, connected(factory))
        assert factory.addresses == [UNIXAddress("four")]
    until(ours, lambda: factory.built[0].reason)
    port.stopListening()
    until(ours, lambda: not port.connected)


def test_addresses_of_a_connection_that_was_asked_for(reactor, meeting):
    told, _ = meeting.meet("connected")
    assert told.transport.getPeer() == UNIXAddress(b"s")
    assert told.transport.getHost() == UNIXAddress(None)
    assert told.transport.logPrefix() == "Told,client"


def test_an_abstract_name(reactor):
    name = b"\0" + os.urandom(8).hex().encode()
    served, asked = Telling(), Telling()
    port = reactor.listenUNIX(name, served)
    connector = reactor.connectUNIX(name, asked)
    assert connector.getDestination() == UNIXAddress(name)
    until(reactor, lambda: connected(served)() and connected(asked)())
    assert port.getHost() == UNIXAddress(name)
    assert asked.addresses == [UNIXAddress(name)]
    asked.built[0].transport.loseConnection()
    until(reactor, lambda: served.built[0].reason and asked.built[0].reason)
    port.stopListening()
    reactor.iterate(0)


def test_a_port_and_its_path(reactor, path):
    port = reactor.listenUNIX(path, Telling(), mode=0o600)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert repr(port) == f"<tw_unix.Telling on {path!r}>"
    assert port in reactor.getReaders()
    ended = []
    port.stopListening().addCallback(ended.append)
    until(reactor, lambda: ended)
    assert not os.path.exists(path)
    assert port not in reactor.getReaders()


def test_lock_files(reactor, path):
    port = reactor.listenUNIX(path, Telling(), wantPID=True)
    assert os.readlink(path + ".lock") == str(os.getpid())
    with pytest.raises(CannotListenError, match="Cannot acquire lock"):
        reactor.listenUNIX(path, Telling(), wantPID=True)
    asked = Telling()
    reactor.connectUNIX(path, asked, checkPID=True)
    until(reactor, connected(asked))
    asked.built[0].transport.loseConnection()
    until(reactor, lambda: asked.built[0].reason)
    port.stopListening()
    reactor.iterate(0)
    assert not os.path.lexists(path + ".lock")
    # Who died has left both behind.
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    os.symlink("4194305", path + ".lock")
    port = reactor.listenUNIX(path, Telling(), wantPID=True)
    port.stopListening()
    reactor.iterate(0)


def test_nobody_listens(reactor, path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    factory = Telling()
    connector = reactor.connectUNIX(path, factory)
    until(reactor, lambda: factory.failed)
    assert factory.failed.check(ConnectionRefusedError)
    assert connector.state == "disconnected"
    assert set(reactor.getReaders()) == reactor._internalReaders
    assert not reactor.getWriters()


def test_an_adopted_port(reactor, path):
    factory = Telling()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        server.setblocking(False)
        port = reactor.adoptStreamPort(server.fileno(), socket.AF_UNIX, factory)
    assert port.getHost() == UNIXAddress(b"s")
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(path)
        until(reactor, connected(factory))
        factory.built[0].transport.write(b"x")
        reactor.iterate(0)
        assert end.recv(1) == b"x"
    until(reactor, lambda: factory.built[0].reason)
    port.stopListening()
    reactor.iterate(0)


def test_a_replaced_transport_class_is_called(reactor, path):
    made = []

    class Mine(unix.Server):
        def __init__(self, *arguments):
            made.append(arguments[2])
            super().__init__(*arguments)

    factory = Telling()
    port = reactor.listenUNIX(path, factory)
    port.transport = Mine
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("caller")
        end.connect(path)
        until(reactor, connected(factory))
        assert made == ["caller"]
        assert type(factory.built[0].transport) is Mine
        end.sendall(b"x")
        until(reactor, lambda: factory.built[0].data)
    until(reactor, lambda: factory.built[0].reason)
    port.stopListening()
    reactor.iterate(0)


def test_remove_all(reactor, path):
    factory = Telling()
    port = reactor.listenUNIX(path, factory)
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(path)
        until(reactor, connected(factory))
        transport = factory.built[0].transport
        assert set(reactor.getReaders()) >= {port, transport}
        transport.write(b"x")
        assert transport in reactor.getWriters()
        removed = reactor.removeAll()
        assert set(removed) == {port, transport}
        assert len(removed) == 2
        assert not {port, transport} & set(reactor.getReaders())
        for one in removed:
            one.connectionLost(a_failure())
        assert factory.built[0].reason
    assert not os.path.exists(path)


def a_failure():
    from twisted.python.failure import Failure

    return Failure(ConnectionLost())


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")
def test_tls(kind, reactor, seam, path):
    """As over TCP, in front of the factories on both sides."""
    seam(kind, reactor)
    served, asked = Telling(), Telling()
    port = reactor.listenUNIX(path, TLSMemoryBIOFactory(identity().options(), False, served))
    reactor.connectUNIX(path, TLSMemoryBIOFactory(CertificateOptions(), True, asked))
    until(reactor, lambda: connected(served)() and connected(asked)())
    one, other = asked.built[0], served.built[0]
    other.on_data = other.transport.write
    sent = bytes(range(256)) * 2_000
    one.transport.write(sent)
    until(reactor, lambda: len(one.data) == len(sent))
    assert one.data == sent
    one.transport.loseConnection()
    until(reactor, lambda: one.reason and other.reason)
    port.stopListening()
    reactor.iterate(0)


def test_each_connection_has_a_context_of_its_own(ours, path):
    seen = []

    class Seen(Told):
        def connectionMade(self):
            seen.append(VAR.get())
            VAR.set("of one")

        def dataReceived(self, data):
            seen.append(VAR.get())

    def listen():
        VAR.set("of the port")
        return ours.listenUNIX(path, Telling(Seen))

    port = contextvars.copy_context().run(listen)
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
        one.connect(path)
        until(ours, lambda: len(seen) == 1)
        one.sendall(b"x")
        until(ours, lambda: len(seen) == 2)
        other.connect(path)
        until(ours, lambda: len(seen) == 3)
    assert seen == ["of the port", "of one", "of the port"]
    assert VAR.get() == "unset"
    port.stopListening()
    until(ours, lambda: not port.connected)


def test_it_goes_over_to_another_loop(program):
    """The port, a connection that waits for bytes, and one with a descriptor on its way."""
    assert program(
        "interloop",
        """
        import asyncio, os, socket
        import interloop
        from twisted.internet import protocol, reactor
        interloop.install()

        class Server(protocol.Protocol):
            def connectionMade(self):
                servers.append(self)

            def dataReceived(self, data):
                self.transport.write(data)

        servers = []
        port = reactor.listenUNIX("s", protocol.Factory.forProtocol(Server))
        one = socket.socket(socket.AF_UNIX)
        one.connect("s")
        while not servers:
            reactor.iterate(0)
        servers[0].transport.sendFileDescriptor(1)
        servers[0].transport.write(b"a")

        async def main():
            loop = asyncio.get_running_loop()
            assert reactor._asyncioEventloop is loop
            other = socket.socket(socket.AF_UNIX)
            other.setblocking(False)
            await loop.sock_connect(other, "s")
            await loop.sock_sendall(other, b"from the other")
            print(await loop.sock_recv(other, 100))
            data, [descriptor], _, _ = socket.recv_fds(one, 100, 4)
            print(data, os.path.sameopenfile(1, descriptor))
            os.close(descriptor)
            one.setblocking(False)
            await loop.sock_sendall(one, b"from one")
            print(await loop.sock_recv(one, 100))
            one.close()
            other.close()

        asyncio.run(main())
        print(os.path.exists("s"), reactor.getReaders())
        """,
    ) == ["b'from the other'", "b'a' True", "b'from one'", "False []"]
