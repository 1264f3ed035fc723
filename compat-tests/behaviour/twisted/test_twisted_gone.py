"""TCP connections whose peer, or whose descriptor, has gone: what is still told, and what must not be touched."""

from __future__ import annotations

import contextlib
import os
import socket
import struct

import pytest
from tw_connections import HalfTold, Producer, Told, until
from twisted.internet.error import ConnectionDone, ConnectionFdescWentAway, ConnectionLost


def reset(end):
    """Closes it with an RST, behind what was sent."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def test_last_words_before_a_write_that_fails(reactor, connect):
    """The peer closes with our bytes unread; what it has said before is told first."""
    told, end = connect()
    end.sendall(b"goodbye")
    end.close()
    told.transport.write(b"x" * 8_000_000)
    until(reactor, lambda: told.reason)
    assert told.data == b"goodbye"
    assert told.reason.check(ConnectionDone, ConnectionLost)


def test_last_words_before_a_reset(reactor, connect):
    told, end = connect()
    end.sendall(b"goodbye")
    reset(end)
    told.transport.write(b"too late")
    until(reactor, lambda: told.reason)
    assert told.data == b"goodbye"
    assert told.reason.check(ConnectionLost)


def test_last_words_while_a_producer_writes(reactor, connect):
    told, end = connect()
    producer = Producer(told.transport)
    producer.on_resume = lambda: told.transport.write(b"x" * 100_000)
    told.transport.registerProducer(producer, False)
    # Until the kernel takes no more.
    for _ in range(100):
        reactor.iterate(0)
    end.sendall(b"goodbye")
    reset(end)
    until(reactor, lambda: told.reason)
    assert told.data == b"goodbye"
    assert told.reason.check(ConnectionLost)
    assert producer.calls[-1] == "stop"


def test_no_last_words_for_who_wants_none(reactor, connect):
    """Paused, it learns of the end by its write alone."""
    told, end = connect()
    told.transport.pauseProducing()
    end.sendall(b"goodbye")
    reset(end)
    told.transport.write(b"too late")
    until(reactor, lambda: told.reason)
    assert told.data == b""
    assert told.reason.check(ConnectionLost)


@pytest.mark.parametrize("what", ["write", "lose", "abort", "pause"])
def test_what_last_words_cause(reactor, connect, what):
    """The protocol answers them in each way that there is."""
    told, end = connect()
    act = {
        "write": lambda: told.transport.write(b"more"),
        "lose": told.transport.loseConnection,
        "abort": told.transport.abortConnection,
        "pause": told.transport.pauseProducing,
    }[what]
    told.on_data = lambda data: act()
    end.sendall(b"goodbye")
    reset(end)
    told.transport.write(b"too late")
    until(reactor, lambda: told.reason)
    assert told.received == [b"goodbye"]
    reactor.iterate(0)


def test_urgent_data(reactor, connect):
    """A read ends before it; the rest is there all the same, with no news from the kernel."""
    told, end = connect()
    end.sendall(b"before")
    end.send(b"!", socket.MSG_OOB)
    end.sendall(b"behind")
    until(reactor, lambda: told.data == b"beforebehind")
    end.send(b"?", socket.MSG_OOB)
    end.sendall(b" it")
    until(reactor, lambda: told.data == b"beforebehind it")


def test_a_data_received_that_raises_connection_done(reactor, connect, twisted_log):
    """Is an error like any other, and no end of file."""
    told, end = connect(HalfTold)

    def fail(data):
        raise ConnectionDone

    told.on_data = fail
    end.sendall(b"x")
    until(reactor, lambda: told.reason)
    twisted_log.take(ConnectionDone)
    assert told.ended == []
    assert told.reason.check(ConnectionDone)
    assert end.recv(10) == b""


@pytest.mark.parametrize("how", ["close", "detach"])
def test_a_handle_that_a_program_closes(kind, reactor, connect, how):
    """Its number may be somebody else's: nothing is sent there, or read from there."""
    told, _end = connect()
    handle = told.transport.getHandle()
    number = handle.fileno()
    if kind == "stock":
        # It cannot forget what has no number any more.
        told.transport.stopReading()
    ours, theirs = socket.socketpair()
    if how == "close":
        handle.close()
    else:
        os.close(handle.detach())
    with ours, theirs, socket.socket(fileno=os.dup2(ours.fileno(), number)) as same_number:
        # Stock asks epoll to watch a number of -1.
        with contextlib.suppress(ValueError):
            told.transport.write(b"secret")
        theirs.send(b"for its owner")
        for _ in range(3):
            reactor.iterate(0)
        assert told.data == b""
        same_number.setblocking(False)
        theirs.setblocking(False)
        assert same_number.recv(100) == b"for its owner"
        with pytest.raises(BlockingIOError):
            theirs.recv(100)
    if kind == "interloop":
        assert told.reason.check(ConnectionLost)


def test_a_handle_that_is_detached(reactor, connect):
    """What comes is its new owner's."""
    told, end = connect()
    with socket.socket(fileno=told.transport.getHandle().detach()) as other:
        end.sendall(b"for another")
        until(reactor, lambda: told.reason)
        assert told.reason.check(ConnectionFdescWentAway, ConnectionLost)
        assert told.data == b""
        other.settimeout(10)
        assert other.recv(100) == b"for another"


def test_an_empty_write_pauses_no_producer(reactor, connect):
    told, _end = connect()
    producer = Producer(told.transport)
    told.transport.registerProducer(producer, True)
    told.transport.write(b"x" * 200_000)
    assert producer.calls == ["pause"]
    told.transport.producerPaused = False
    told.transport.write(b"")
    told.transport.writeSequence([])
    assert producer.calls == ["pause"]
    told.transport.unregisterProducer()


def test_repr_when_it_has_gone(reactor):
    """Of an accepted connection: the same as before, also within `connectionLost` and when the port has ended."""
    from twisted.internet import protocol

    class Named(Told):
        def connectionLost(self, reason):
            self.last = repr(self.transport)
            super().connectionLost(reason)

    made = []
    factory = protocol.Factory.forProtocol(lambda: made.append(Named()) or made[-1])
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    number = port.getHost().port
    with socket.create_connection(("127.0.0.1", number)):
        until(reactor, lambda: made and made[0].transport is not None)
        port.stopListening()
        until(reactor, lambda: not port.connected)
    (told,) = made
    until(reactor, lambda: told.reason)
    assert told.last == repr(told.transport) == f"<Named #0 on {number}>"
