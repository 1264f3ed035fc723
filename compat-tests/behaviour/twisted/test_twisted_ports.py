"""Listening TCP ports: IListeningPort, and what a connection knows that was accepted."""

from __future__ import annotations

import contextvars
import gc
import os
import socket
import weakref

import pytest
from tw_connections import Told, until
from twisted.internet import protocol, tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import CannotListenError
from twisted.python import log

VAR = contextvars.ContextVar("VAR", default="unset")


class Telling(protocol.Factory):
    noisy = False

    def __init__(self, make=Told):
        self.make = make
        self.built = []
        self.addresses = []

    def buildProtocol(self, address):
        self.addresses.append(address)
        made = self.make()
        self.built.append(made)
        return made


def connected(factory, count=1):
    return lambda: (
        len(factory.built) >= count
        and all(one is None or one.transport is not None for one in factory.built)
    )


@pytest.fixture
def listen(reactor):
    """listen(factory, interface): a port, and a function that connects to it."""
    ports = []
    ends = []

    def listen(factory, interface="127.0.0.1"):
        port = reactor.listenTCP(0, factory, interface=interface)
        ports.append(port)

        def call():
            ends.append(socket.create_connection((interface, port.getHost().port)))
            ends[-1].settimeout(10)
            return ends[-1]

        return port, call

    yield listen
    for end in ends:
        end.close()
    for port in ports:
        port.stopListening()
    reactor.iterate(0)


def test_ours_are_native(ours):
    from interloop._core import TwistedPort

    port = ours.listenTCP(0, Telling(), interface="127.0.0.1")
    assert isinstance(port, TwistedPort)
    assert isinstance(port, tcp.Port)
    assert ours._asyncioEventloop._watcher_of(port.fileno()) == (None, None)
    port.stopListening()
    ours.iterate(0)


def test_what_an_accepted_connection_knows(reactor, listen):
    factory = Telling()
    port, call = listen(factory)
    end = call()
    until(reactor, connected(factory))
    (told,) = factory.built
    transport = told.transport
    assert factory.addresses == [IPv4Address("TCP", *end.getsockname())]
    assert transport.getPeer() == factory.addresses[0]
    assert transport.getHost() == IPv4Address("TCP", *end.getpeername())
    assert transport.client == end.getsockname()
    assert transport.hostname == "127.0.0.1"
    assert transport.server is port
    assert transport.sessionno == 0
    assert transport.reactor is reactor
    assert transport.protocol is told
    assert transport.logPrefix() == "Told,0,127.0.0.1"
    assert repr(transport) == f"<Told #0 on {port.getHost().port}>"
    assert os.fstat(transport.fileno())
    assert transport.connected
    assert not transport.disconnected
    call()
    until(reactor, connected(factory, 2))
    assert factory.built[1].transport.sessionno == 1
    assert port.sessionno == 2


def test_the_socket_of_an_accepted_connection(reactor, listen):
    """Ours has none before somebody asks; then it is one like any other, and the connection closes it."""
    factory = Telling()
    _, call = listen(factory)
    end = call()
    until(reactor, connected(factory))
    transport = factory.built[0].transport
    number = transport.fileno()
    assert not os.get_inheritable(number)
    sock = transport.socket
    assert transport.socket is sock
    assert transport.getHandle() is sock
    assert sock.fileno() == number == transport.fileno()
    assert sock.gettimeout() == 0
    assert sock.getpeername() == end.getsockname()
    transport.write(b"hello")
    reactor.iterate(0)
    assert end.recv(5) == b"hello"
    transport.loseConnection()
    until(reactor, lambda: factory.built[0].reason)
    assert sock.fileno() == -1
    assert not hasattr(transport, "socket")
    assert transport.fileno() == -1
    assert end.recv(1) == b""


@pytest.mark.parametrize("asked", [True, False], ids=["with a socket", "without"])
@pytest.mark.parametrize("how", ["lose", "abort", "peer", "reset"])
def test_the_end_closes_the_descriptor(reactor, listen, how, asked):
    factory = Telling()
    _, call = listen(factory)
    end = call()
    until(reactor, connected(factory))
    told = factory.built[0]
    transport = told.transport
    number = transport.fileno()
    if asked:
        assert transport.socket
    if how == "lose":
        transport.loseConnection()
    elif how == "abort":
        transport.abortConnection()
    else:
        if how == "reset":
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        end.close()
    until(reactor, lambda: told.reason)
    expected = {"abort": "ConnectionAborted", "reset": "ConnectionLost"}.get(how, "ConnectionDone")
    assert told.reason.type.__name__ == expected
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    if how == "lose":
        assert end.recv(1) == b""
    if how == "abort":
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    assert not transport.connected
    assert transport.disconnected
    assert not hasattr(transport, "protocol")
    assert not hasattr(transport, "socket")


def test_a_socket_that_is_asked_for_at_the_very_end(reactor, listen):
    """By a producer that is stopped: the connection is over all the same, and stays so."""
    factory = Telling()
    _, call = listen(factory)
    end = call()
    until(reactor, connected(factory))
    told = factory.built[0]
    transport = told.transport
    asked = []

    class Producer:
        def stopProducing(self):
            asked.append(transport.socket)

        def resumeProducing(self):
            pass

        pauseProducing = resumeProducing

    transport.registerProducer(Producer(), True)
    end.close()
    until(reactor, lambda: told.reason)
    assert asked[0].fileno() == -1
    assert not hasattr(transport, "socket")
    transport.connectionLost(told.reason)


def test_an_ended_connection_is_collected_without_help(reactor, listen):
    factory = Telling()
    _, call = listen(factory)
    end = call()
    until(reactor, connected(factory))
    transport = weakref.ref(factory.built[0].transport)
    end.close()
    until(reactor, lambda: factory.built[0].reason)
    gc.disable()
    try:
        factory.built.clear()
        assert transport() is None
    finally:
        gc.enable()


def test_ipv6(reactor, listen):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    factory = Telling()
    _, call = listen(factory, "::1")
    end = call()
    until(reactor, connected(factory))
    transport = factory.built[0].transport
    assert factory.addresses == [IPv6Address("TCP", *end.getsockname())]
    assert transport.getPeer() == factory.addresses[0]
    assert transport.getHost() == IPv6Address("TCP", *end.getpeername())
    assert transport.client == end.getsockname()
    assert transport.logPrefix() == "Told,0,::1"


def test_no_protocol_closes_the_connection(reactor, listen):
    factory = Telling(lambda: None)
    port, call = listen(factory)
    end = call()
    until(reactor, lambda: factory.built)
    assert end.recv(1) == b""
    assert port.sessionno == 0


@pytest.mark.parametrize("where", ["buildProtocol", "connectionMade"])
def test_a_factory_that_raises_is_logged(reactor, kind, listen, twisted_log, where):
    if (kind, where) == ("stock", "buildProtocol"):
        pytest.skip("Twisted leaves the socket to the garbage collector, with a ResourceWarning")
    failures = [ZeroDivisionError(), SystemExit(), None]

    class Failing(Told):
        def connectionMade(self):
            if where == "connectionMade" and (failure := failures.pop(0)):
                raise failure

    def make():
        if where == "buildProtocol" and (failure := failures.pop(0)):
            raise failure
        return Failing()

    factory = Telling(make)
    _, call = listen(factory)
    ends = [call(), call(), call()]
    until(reactor, lambda: not failures)
    for kind in (ZeroDivisionError, SystemExit):
        event = twisted_log.take(kind)
        assert event["log_system"] == f"{Telling.__module__}.Telling"
    if where == "buildProtocol":
        assert ends[0].recv(1) == b""
    factory.built[-1].transport.write(b"x")
    reactor.iterate(0)
    assert ends[2].recv(1) == b"x"
    for told in factory.built:
        told.transport.loseConnection()
    until(reactor, lambda: all(told.reason for told in factory.built))


def test_a_replaced_transport_class_is_called(reactor, listen):
    calls = []

    def transport(*args):
        calls.append(args)
        return tcp.Server(*args)

    factory = Telling()
    port, call = listen(factory)
    port.transport = transport
    end = call()
    until(reactor, connected(factory))
    ((sock, told, client, server, session, used),) = calls
    assert (told, server, session, used) == (factory.built[0], port, 0, reactor)
    assert client == end.getsockname()
    assert sock.gettimeout() == 0
    told.on_data = told.transport.write
    end.sendall(b"hello")
    until(reactor, lambda: told.data == b"hello")
    reactor.iterate(0)
    assert end.recv(5) == b"hello"
    told.transport.loseConnection()
    until(reactor, lambda: told.reason)


def test_each_connection_has_a_context_of_its_own(ours):
    """Of Twisted's own reactors none has contexts: callbacks see what happens to be set."""
    reactor = ours
    seen = []

    class Setting(Told):
        def connectionMade(self):
            seen.append(VAR.get())
            VAR.set(f"connection {len(seen)}")

    factory = Telling(Setting)
    token = VAR.set("listening")
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    VAR.reset(token)
    address = ("127.0.0.1", port.getHost().port)
    with socket.create_connection(address) as one, socket.create_connection(address) as two:
        until(reactor, connected(factory, 2))
        for told in factory.built:
            told.on_data = lambda data, told=told: setattr(told, "seen", VAR.get())
        one.sendall(b"x")
        two.sendall(b"x")
        until(reactor, lambda: all(told.received for told in factory.built))
        assert seen == ["listening", "listening"]
        assert [told.seen for told in factory.built] == ["connection 1", "connection 2"]
        assert VAR.get() == "unset"
        for told in factory.built:
            told.transport.abortConnection()
        until(reactor, lambda: all(told.reason for told in factory.built))
    port.stopListening()
    reactor.iterate(0)


def test_log_contexts(reactor, listen):
    seen = []

    def system():
        seen.append(log.context.get(log.ILogContext)["system"])

    class Looking(Told):
        def connectionMade(self):
            system()

        def connectionLost(self, reason):
            system()
            super().connectionLost(reason)

    factory = Telling(Looking)
    _, call = listen(factory)
    end = call()
    until(reactor, connected(factory))
    factory.built[0].on_data = lambda data: system()
    end.sendall(b"x")
    until(reactor, lambda: factory.built[0].received)
    end.close()
    until(reactor, lambda: factory.built[0].reason)
    name = f"{Telling.__module__}.Telling"
    assert seen == [name, "Looking,0,127.0.0.1", "Looking,0,127.0.0.1"]
    assert log.context.get(log.ILogContext)["system"] == "-"


def test_stop_listening(reactor):
    factory = Telling()
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    address = ("127.0.0.1", port.getHost().port)
    assert port in reactor.getReaders()
    done = []
    port.stopListening().addCallback(done.append)
    assert port not in reactor.getReaders()
    until(reactor, lambda: done)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    assert not port.connected
    # Once more, on another number: nothing of the first time is left.
    port.startListening()
    with socket.create_connection(("127.0.0.1", port.getHost().port)):
        until(reactor, connected(factory))
        factory.built[0].transport.abortConnection()
        until(reactor, lambda: factory.built[0].reason)
    port.stopListening()
    reactor.iterate(0)


def test_a_port_that_stops_in_the_middle_of_a_batch(reactor):
    class Once(Told):
        def connectionMade(self):
            if not stopped:
                stopped.append(port.stopListening())

    stopped = []
    factory = Telling(Once)
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    address = ("127.0.0.1", port.getHost().port)
    with socket.create_connection(address), socket.create_connection(address):
        until(reactor, lambda: stopped and stopped[0].called)
        # Twisted takes what it accepts at once all the same; ours takes no more.
        assert len(factory.built) in (1, 2)
        for told in factory.built:
            told.transport.abortConnection()
        until(reactor, lambda: all(told.reason for told in factory.built))


def test_stop_and_start_reading(reactor, listen):
    factory = Telling()
    port, call = listen(factory)
    port.stopReading()
    end = call()
    assert port not in reactor.getReaders()
    reactor.iterate(0)
    assert not factory.built
    port.startReading()
    port.startReading()
    until(reactor, connected(factory))
    reactor.removeReader(port)
    call()
    reactor.iterate(0)
    reactor.addReader(port)
    until(reactor, connected(factory, 2))
    end.close()


def test_remove_all(reactor):
    factory = Telling()
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    with socket.create_connection(("127.0.0.1", port.getHost().port)):
        until(reactor, connected(factory))
        transport = factory.built[0].transport
        assert set(reactor.getReaders()) >= {port, transport}
        removed = reactor.removeAll()
        assert set(removed) == {port, transport}
        assert len(removed) == 2
        assert not {port, transport} & set(reactor.getReaders())
        transport.connectionLost(a_failure())
        assert factory.built[0].reason
        port.connectionLost(a_failure())
        assert not port.connected


def a_failure():
    from twisted.internet.error import ConnectionLost
    from twisted.python.failure import Failure

    return Failure(ConnectionLost())


def test_an_address_in_use(reactor, listen):
    port, _ = listen(Telling())
    with pytest.raises(CannotListenError):
        reactor.listenTCP(port.getHost().port, Telling(), interface="127.0.0.1")


def test_adopted(reactor):
    factory = Telling()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = reactor.adoptStreamPort(server.fileno(), socket.AF_INET, factory)
        address = server.getsockname()
    assert port.getHost().port == address[1]
    with socket.create_connection(address) as end:
        until(reactor, connected(factory))
        factory.built[0].transport.write(b"x")
        reactor.iterate(0)
        assert end.recv(1) == b"x"
        factory.built[0].transport.loseConnection()
        until(reactor, lambda: factory.built[0].reason)
    port.stopListening()
    reactor.iterate(0)


def test_without_pyopenssl(program):
    """It is an extra of Twisted's, and TLS is all that is missing without it."""
    assert program(
        None,
        """
        import sys
        sys.modules["OpenSSL"] = None
        import interloop.twisted
        interloop.twisted.install()
        from twisted.internet import protocol, reactor

        class Server(protocol.Protocol):
            def dataReceived(self, data):
                self.transport.write(data)

        class Client(protocol.Protocol):
            def connectionMade(self):
                print(hasattr(self.transport, "startTLS"))
                self.transport.write(b"hello")

            def dataReceived(self, data):
                print(data)
                reactor.stop()

        def quiet(factory):
            factory.noisy = False
            return factory

        port = reactor.listenTCP(0, quiet(protocol.Factory.forProtocol(Server)), interface="127.0.0.1")
        client = quiet(protocol.ClientFactory.forProtocol(Client))
        reactor.connectTCP("127.0.0.1", port.getHost().port, client)
        reactor.run()
        interloop.twisted.uninstall()
        """,
    ) == ["False", "b'hello'"]


def test_out_of_descriptors(program, kind):
    """Twisted keeps one back: who cannot be served is told so by the end of his connection, and the port goes on."""
    assert program(
        kind,
        """
        import os, resource, socket
        from twisted.internet import protocol, reactor

        class Hello(protocol.Protocol):
            def connectionMade(self):
                self.transport.write(b"hello")
                self.transport.loseConnection()

        factory = protocol.Factory.forProtocol(Hello)
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        address = ("127.0.0.1", port.getHost().port)

        def ask():
            with socket.create_connection(address) as end:
                end.settimeout(10)
                got = b""
                try:
                    while data := end.recv(100):
                        got += data
                except ConnectionResetError:
                    got = b"reset"
                return got.decode() or "nothing"

        first = socket.create_connection(address)
        second = socket.socket()
        second.settimeout(10)
        filling = []
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)

        def fill():
            # As many as are open: no more can be had.
            top = os.dup(0)
            resource.setrlimit(resource.RLIMIT_NOFILE, (top + 1, limits[1]))
            while True:
                try:
                    filling.append(os.dup(0))
                except OSError:
                    break
            filling.append(top)

        def connect():
            second.connect(address)
            reactor.callInThread(wait)

        def wait():
            try:
                print(second.recv(1) or "closed")
            except ConnectionResetError:
                print("closed")
            reactor.callFromThread(free)

        def free():
            for number in filling:
                os.close(number)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            reactor.callInThread(again)

        def again():
            print(ask())
            reactor.callFromThread(reactor.stop)

        def greeted():
            first.settimeout(10)
            assert first.recv(5) == b"hello"
            reactor.callFromThread(begin)

        def begin():
            fill()
            connect()

        reactor.getThreadPool().adjustPoolsize(1, 1)
        reactor.callInThread(greeted)
        reactor.run()
        first.close()
        second.close()
        """,
    ) == ["closed", "hello"]
