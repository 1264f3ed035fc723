"""TCP transports as IPushProducer and IConsumer."""

from __future__ import annotations

import pytest
from tw_connections import Producer, until


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
