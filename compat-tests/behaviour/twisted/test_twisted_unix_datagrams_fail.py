"""What goes wrong with UNIX datagram ports, and who hears of it."""

from __future__ import annotations

import errno
import os
import socket

import pytest
from tw_connections import until
from tw_unix import Datagrams
from twisted.internet.error import CannotListenError

# Twisted's ports leave the socket that they could not bind to the garbage collector.
unbound = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(params=["listen", "connect"])
def how(request):
    return request.param


def test_nobody_is_there(reactor, open_port):
    """The writer hears of it, and the port goes on."""
    told, port, write = open_port()
    with pytest.raises(FileNotFoundError):
        port.write(b"x", "nowhere")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind("dead")
    with pytest.raises(ConnectionRefusedError):
        port.write(b"x", "dead")
    with socket.socket(socket.AF_UNIX) as stream:
        stream.bind("stream")
        with pytest.raises(OSError) as caught:
            port.write(b"x", "stream")
    assert caught.value.errno == errno.EPROTOTYPE
    assert not told.refused
    assert write(b"still here") == 10


def test_the_peer_is_gone(reactor, open_port, end):
    """The protocol is told once; then the kernel has forgotten the peer, and the writer hears that."""
    told, port, _ = open_port("connect")
    end.close()
    assert port.write(b"x") is None
    assert told.refused == 1
    with pytest.raises(OSError) as caught:
        port.write(b"x")
    assert caught.value.errno == errno.ENOTCONN
    assert told.refused == 1
    assert port.connected


def test_a_protocol_that_raises_when_it_is_refused(open_port, end):
    told, port, _ = open_port("connect")
    end.close()
    told.on_refusal = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        port.write(b"x")
    assert port.connected


def test_a_receiver_that_does_not_read(open_port, how, end):
    """What has no room is lost in silence."""
    _, _, write = open_port(how)
    sent = 0
    while write(b"%d" % sent) is not None:
        sent += 1
    assert sent > 0
    assert [end.recv(100) for _ in range(sent)] == [b"%d" % number for number in range(sent)]
    assert write(b"more") == 4
    assert end.recv(100) == b"more"


@unbound
def test_a_path_that_cannot_be_listened_on(reactor, open_port, end):
    open_port()
    for taken in ("s", "end", "no/directory", "n" * 200):
        with pytest.raises(CannotListenError) as caught:
            reactor.listenUNIXDatagram(taken, Datagrams())
        assert caught.value.port == taken
    assert len(reactor.getReaders()) == 1 + len(reactor._internalReaders)


@pytest.mark.parametrize("bind", [None, "mine"])
def test_a_path_that_cannot_be_connected_to(reactor, path, bind):
    """The protocol is told, and the port ends."""
    told = Datagrams()
    port = reactor.connectUNIXDatagram("nowhere", told, bindAddress=bind)
    assert told.failed.check(FileNotFoundError)
    assert not hasattr(port, "protocol")
    until(reactor, lambda: not port.connected)
    assert not hasattr(port, "socket")
    assert set(reactor.getReaders()) == set(reactor._internalReaders)
    # Nobody removes it, as with ports that end in another way.
    assert os.path.exists("mine") == (bind is not None)
    assert not told.stopped


@unbound
def test_a_path_that_cannot_be_bound_to(reactor, end):
    told = Datagrams()
    port = reactor.connectUNIXDatagram("end", told, bindAddress="end")
    assert told.failed.check(CannotListenError)
    assert not port.connected
    assert not hasattr(port, "protocol")


def test_a_protocol_that_raises_when_it_starts(reactor, end):
    told = Datagrams()
    told.on_start = lambda: 1 / 0
    port = reactor.connectUNIXDatagram("end", told)
    assert told.failed.check(ZeroDivisionError)
    until(reactor, lambda: not port.connected)
    assert set(reactor.getReaders()) == set(reactor._internalReaders)


@pytest.mark.parametrize("kind_of_error", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
def test_a_protocol_that_raises_is_logged(reactor, open_port, how, end, twisted_log, kind_of_error):
    told, port, _ = open_port(how)

    def fail(data):
        if data == b"bad":
            raise kind_of_error

    told.on_data = fail
    end.sendto(b"bad", "s")
    end.sendto(b"good", "s")
    until(reactor, lambda: len(told.data) == 2)
    twisted_log.take(kind_of_error)
    assert port in reactor.getReaders()


def test_a_protocol_that_raises_an_oserror(reactor, open_port, how, end, twisted_log):
    """A connected port takes it for its socket's, and ends."""
    told, port, _ = open_port(how)
    told.on_data = lambda data: os.stat("nowhere")
    end.sendto(b"bad", "s")
    until(reactor, lambda: told.stopped if how == "connect" else twisted_log.events)
    twisted_log.take(FileNotFoundError)
    assert port.connected == (how == "listen")
    assert (port in reactor.getReaders()) == (how == "listen")


def test_a_protocol_that_is_refused_elsewhere(reactor, open_port, end):
    """Likewise."""
    told, port, _ = open_port("connect")

    def refuse(data):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "elsewhere")

    told.on_data = refuse
    end.sendto(b"bad", "s")
    until(reactor, lambda: told.refused)
    assert port in reactor.getReaders()


def test_a_protocol_that_would_block_is_logged(ours, end, twisted_log):
    """Twisted's own port forgets it: nothing is read when a socket says so."""
    told = Datagrams()
    port = ours.connectUNIXDatagram("end", told, bindAddress="s")

    def block(data):
        raise BlockingIOError(errno.EAGAIN, "not now")

    told.on_data = block
    end.sendto(b"x", "s")
    until(ours, lambda: told.data)
    twisted_log.take(BlockingIOError)
    assert port in ours.getReaders()
    port.stopListening()
    until(ours, lambda: told.stopped)


def test_a_socket_that_fails(reactor, open_port, how, twisted_log):
    told, port, _ = open_port(how)
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
