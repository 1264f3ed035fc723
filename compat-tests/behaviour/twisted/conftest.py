"""Twisted's reactor contract: on Twisted's own epollreactor ("stock") and on ours.

`reactor` is a reactor built for one test, not the global one: nothing in a process can take that back. What needs the global
one, signals or child processes runs in a process of its own, by `program`. Nothing may pass that warned, or that logged
an error in silence: `twisted_log` has what Twisted logged, and what a test does not `take` from it fails the test.
"""

from __future__ import annotations

import gc
import pathlib
import socket
import subprocess
import sys
import textwrap

import pytest
from twisted.internet import posixbase, protocol
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

HERE = pathlib.Path(__file__).resolve().parent
if str(HERE) not in sys.path:  # for tw_support, whatever import mode pytest runs in
    sys.path.insert(0, str(HERE))

STOCK = "stock"
OURS = "interloop"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("error"), append=False)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames and metafunc.definition.path.parent == HERE:
        metafunc.parametrize("kind", [STOCK, OURS])


class TwistedLog:
    """The errors Twisted logged in this test."""

    def __init__(self) -> None:
        self.events: list[dict] = []

    def __call__(self, event: dict) -> None:
        if event["log_level"] >= LogLevel.warn:
            self.events.append(event)

    def take(self, kind: type[BaseException]) -> dict:
        """Removes and returns the first event that has a failure of that exception."""
        for event in self.events:
            # The second name is that of twisted.python.log.
            failure = event.get("log_failure") or event.get("failure")
            if failure is not None and failure.check(kind):
                self.events.remove(event)
                return event
        raise AssertionError(f"Twisted logged no {kind.__name__}, but {self.texts()}")

    def texts(self) -> list[str]:
        return [formatEvent(event) or str(event.get("log_failure")) for event in self.events]


@pytest.fixture(autouse=True)
def twisted_log():
    log = TwistedLog()
    globalLogPublisher.addObserver(log)
    yield log
    gc.collect()  # what only cycles hold must complain now, and here
    globalLogPublisher.removeObserver(log)
    assert log.texts() == []


def make_reactor(kind: str) -> posixbase.PosixReactorBase:
    if kind == OURS:
        from interloop.twisted import Reactor

        return Reactor()
    if sys.platform == "linux":
        from twisted.internet.epollreactor import EPollReactor

        return EPollReactor()
    from twisted.internet.selectreactor import SelectReactor

    return SelectReactor()


@pytest.fixture
def sockets():
    """Makes connected pairs of sockets, non-blocking; closed when the test is over, after the reactors have let go."""
    made = []

    def sockets() -> list[socket.socket]:
        made.extend(socket.socketpair())
        for sock in made[-2:]:
            sock.setblocking(False)
        return made[-2:]

    yield sockets
    for sock in made:
        sock.close()


@pytest.fixture
def new_reactor(kind: str, sockets):
    """Makes reactors of the implementation under test; what they still hold when the test is over is let go."""
    made = []

    def new_reactor() -> posixbase.PosixReactorBase:
        made.append(make_reactor(kind))
        return made[-1]

    yield new_reactor
    for reactor in made:
        for reader in tuple(reactor._internalReaders):
            reactor._removeInternalReader(reader)
            reader.connectionLost(None)
        reactor.disconnectAll()
        for call in reactor.getDelayedCalls():
            call.cancel()
        if kind == OURS:
            reactor._asyncioEventloop.close()


@pytest.fixture
def reactor(new_reactor):
    return new_reactor()


@pytest.fixture
def ours(sockets):
    """A reactor of ours, for what is true of it alone."""
    reactor = make_reactor(OURS)
    yield reactor
    reactor._life.leave()


INSTALL = {
    STOCK: """
        import sys
        if sys.platform == "linux":
            from twisted.internet import epollreactor as installer
        else:
            from twisted.internet import selectreactor as installer
        installer.install()
    """,
    OURS: """
        import interloop.twisted
        interloop.twisted.install()
    """,
}


# What Twisted's TCP ports keep open for the day when there are no more descriptors.
RESERVED = "unclosed file <_io.TextIOWrapper name='/dev/null'"


@pytest.fixture
def program(tmp_path):
    """program(kind, source): runs source in a new process in which that reactor is installed, and returns what it printed.

    kind None installs none. The program must end with exit code `code` and print nothing to stderr, not even a warning
    (its own are errors) or a failure that Twisted logged.
    """

    def program(kind: str | None, source: str, *, code: int = 0) -> list[str]:
        path = tmp_path / "program.py"
        head = textwrap.dedent(INSTALL[kind]) if kind is not None else ""
        path.write_text(f"{head}\n{LOG_TO_STDERR}\n{textwrap.dedent(source)}")
        done = subprocess.run(
            [
                sys.executable,
                "-W",
                "error",
                "-W",
                f"ignore:{RESERVED}",
                "-X",
                "faulthandler",
                str(path),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert (done.stderr, done.returncode) == ("", code), done.stdout
        return done.stdout.splitlines()

    return program


LOG_TO_STDERR = """
import sys as _sys
from twisted.logger import FilteringLogObserver, LogLevel, LogLevelFilterPredicate, globalLogBeginner, textFileLogObserver
globalLogBeginner.beginLoggingTo(
    [FilteringLogObserver(textFileLogObserver(_sys.stderr), [LogLevelFilterPredicate(LogLevel.warn)])],
    redirectStandardIO=False,
    discardBuffer=True,
)
"""


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

    def connect(made=None):
        from tw_connections import Told, until

        built = []

        class Factory(protocol.ClientFactory):
            noisy = False

            def buildProtocol(self, address):
                built.append((made or Told)())
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


@pytest.fixture
def path(tmp_path, monkeypatch):
    """For a UNIX socket, in a directory of its own."""
    # The kernel takes 107 bytes.
    monkeypatch.chdir(tmp_path)
    return "s"


@pytest.fixture
def meeting(reactor, path):
    """See `tw_unix.Meeting`."""
    from tw_unix import Meeting

    made = Meeting(reactor, path)
    yield made
    made.close()


@pytest.fixture
def end(path):
    """A blocking socket on the path "end"."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind("end")
        end.settimeout(10)
        yield end


@pytest.fixture
def open_port(reactor, end):
    """open_port(how): a protocol on a port of the reactor's on the path "s", and how to write to `end`."""
    from tw_connections import until
    from tw_unix import Datagrams

    ports = []

    def open_port(how="listen", told=None, **options):
        told = told or Datagrams()
        if how == "listen":
            port = reactor.listenUNIXDatagram("s", told, **options)
        else:
            port = reactor.connectUNIXDatagram("end", told, bindAddress="s", **options)
        ports.append(port)
        write = port.write if how == "connect" else lambda data: port.write(data, "end")
        return told, port, write

    yield open_port
    for port in ports:
        port.stopListening()
    until(reactor, lambda: not any(port.connected for port in ports))


@pytest.fixture
def seam(request, monkeypatch):
    """TLS with that reactor, as if it were installed: nothing in a process can take back that one is."""

    def seam(kind, reactor):
        from twisted.protocols import tls

        monkeypatch.setattr(tls, "_get_default_clock", lambda: reactor)
        if kind == OURS:
            from interloop.twisted.tls import offer, withdraw

            offer()
            request.addfinalizer(withdraw)
        return reactor

    return seam


@pytest.fixture
def ways(kind, reactor, seam):
    from tw_tls import Ways

    made = Ways(seam(kind, reactor))
    yield made
    made.close()


@pytest.fixture(params=["listenSSL", "startTLS", "connectSSL", "wrapClientTLS"])
def meet(request, reactor, ways):
    """meet(): a protocol with TLS and its peer, each knowing that the other's handshake is over."""

    def meet(made=None, options=None, **peer):
        from tw_connections import Told
        from tw_tls import shake

        told, other = getattr(ways, request.param)(made or Told, options, **peer)
        shake(reactor, told, other)
        return told, other

    return meet


@pytest.fixture
def served(reactor, ways):
    """The same, of a server."""

    def served(made=None, options=None, **peer):
        from tw_connections import Told
        from tw_tls import shake

        told, other = ways.listenSSL(made or Told, options, **peer)
        shake(reactor, told, other)
        return told, other

    return served
