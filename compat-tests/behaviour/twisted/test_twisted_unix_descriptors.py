"""Descriptors that travel beside the bytes of UNIX stream transports: `sendFileDescriptor`, IFileDescriptorReceiver."""

from __future__ import annotations

import errno
import os
import socket

import pytest
from tw_connections import Producer, Told, until
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    FileDescriptorOverrun,
)
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.logger import globalLogPublisher
from twisted.python import context
from twisted.python.log import ILogContext
from zope.interface import implementer


@implementer(IFileDescriptorReceiver)
class Receiver(Told):
    """Keeps everything in its order; bytes that come in pieces are put together."""

    def __init__(self):
        super().__init__()
        self.on_descriptor = lambda descriptor: None

    def fileDescriptorReceived(self, descriptor):
        self.received.append(descriptor)
        self.on_descriptor(descriptor)


@pytest.fixture(params=["accepted", "connected", "adopted"])
def meet(request, meeting):
    return lambda make=Told: meeting.meet(request.param, make)


@pytest.fixture
def pipes():
    """Makes pipes; whatever is still open is closed when the test is over."""
    made = []

    def pipe():
        made.extend(os.pipe())
        return made[-2:]

    pipe.made = made
    yield pipe
    for descriptor in made:
        try:
            os.close(descriptor)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise


def numbered(end, count):
    """`count` bytes from `end`, and with how many of them before each descriptor came."""
    got, places = b"", []
    while len(got) < count:
        data, descriptors, _, _ = socket.recv_fds(end, count - len(got), 4)
        assert data
        places += [(len(got), descriptor) for descriptor in descriptors]
        got += data
    return got, places


def same(one, other):
    return os.path.sameopenfile(one, other)


def test_a_descriptor_is_sent(reactor, meet, pipes):
    told, end = meet()
    _, write = pipes()
    told.transport.sendFileDescriptor(write)
    told.transport.write(b"abc")
    reactor.iterate(0)
    got, [(_, sent)] = numbered(end, 3)
    pipes.made.append(sent)
    assert got == b"abc"
    assert same(sent, write)
    assert not told.reason


def test_each_leaves_with_a_byte_in_its_order(reactor, meet, pipes):
    told, end = meet()
    first, second = pipes()
    told.transport.write(b"ab")
    told.transport.sendFileDescriptor(first)
    told.transport.sendFileDescriptor(second)
    told.transport.write(b"cd")
    reactor.iterate(0)
    got = []
    for _ in range(3):
        data, descriptors, _, _ = socket.recv_fds(end, 100, 4)
        got.append((data, len(descriptors)))
        pipes.made.extend(descriptors)
    assert got == [(b"a", 1), (b"b", 1), (b"cd", 0)]
    assert same(pipes.made[2], first)
    assert same(pipes.made[3], second)


def test_a_descriptor_waits_for_room(reactor, meet, pipes):
    """It leaves with the first byte that has not left when it is given."""
    told, end = meet()
    _, write = pipes()
    much = bytes(range(256)) * 8_000
    told.transport.write(much)
    reactor.iterate(0)
    assert told.transport in reactor.getWriters()
    told.transport.sendFileDescriptor(write)
    reactor.iterate(0)
    got, places = b"", []
    while len(got) < len(much):
        data, descriptors, _, _ = socket.recv_fds(end, 100_000, 4)
        places += [(len(got), descriptor) for descriptor in descriptors]
        got += data
        reactor.iterate(0)
    assert got == much
    [(place, sent)] = places
    pipes.made.append(sent)
    assert same(sent, write)
    assert 0 < place < len(much)


def test_it_leaves_before_the_connection_ends(reactor, meet, pipes):
    told, end = meet()
    _, write = pipes()
    told.transport.write(b"a")
    told.transport.sendFileDescriptor(write)
    told.transport.loseConnection()
    until(reactor, lambda: told.reason)
    assert told.reason.check(ConnectionDone)
    [(_, sent)] = numbered(end, 1)[1]
    pipes.made.append(sent)
    assert same(sent, write)
    assert end.recv(1) == b""


@pytest.mark.parametrize("closing", [False, True])
def test_more_descriptors_than_bytes(reactor, meet, pipes, closing):
    told, end = meet()
    _, write = pipes()
    told.transport.write(b"a")
    told.transport.sendFileDescriptor(write)
    told.transport.sendFileDescriptor(write)
    if closing:
        told.transport.loseConnection()
    until(reactor, lambda: told.reason)
    assert told.reason.check(FileDescriptorOverrun)
    assert socket.recv_fds(end, 100, 4)[:2] == (b"", [])


def test_one_that_is_not_open(reactor, meet, pipes):
    told, end = meet()
    read, _ = pipes()
    os.close(read)
    told.transport.sendFileDescriptor(read)
    told.transport.write(b"a")
    until(reactor, lambda: told.reason)
    assert told.reason.check(ConnectionLost)
    assert end.recv(1) == b""


def test_aborted_with_descriptors_waiting(reactor, meet, pipes):
    told, _ = meet()
    _, write = pipes()
    told.transport.sendFileDescriptor(write)
    told.transport.abortConnection()
    until(reactor, lambda: told.reason)
    assert told.reason.check(ConnectionAborted)


def test_a_producer_is_paused(reactor, meet, pipes):
    told, end = meet()
    _, write = pipes()
    producer = Producer(told.transport)
    told.transport.registerProducer(producer, True)
    told.transport.write(bytes(100))
    for _ in range(64):
        told.transport.sendFileDescriptor(write)
    assert producer.calls == []
    told.transport.sendFileDescriptor(write)
    assert producer.calls == ["pause"]
    reactor.iterate(0)
    _, places = numbered(end, 100)
    for _, descriptor in places:
        os.close(descriptor)
    until(reactor, lambda: producer.calls == ["pause", "resume"])
    assert len(places) == 65
    told.transport.unregisterProducer()


def test_descriptors_are_received(reactor, meet, pipes):
    """Before the bytes that they came with."""
    told, end = meet(Receiver)
    first, second = pipes()
    socket.send_fds(end, [b"x"], [first, second])
    until(reactor, lambda: len(told.received) == 3)
    one, other, data = told.received
    pipes.made.extend([one, other])
    assert data == b"x"
    assert same(one, first)
    assert same(other, second)
    # What other ends find out when they have it, too.
    assert os.get_inheritable(one)
    socket.send_fds(end, [b"y"], [first])
    end.sendall(b"z")
    until(reactor, lambda: told.received[-1].endswith(b"z") if len(told.received) > 4 else False)
    pipes.made.append(told.received[3])
    assert b"".join(told.received[4:]) == b"yz"
    assert same(told.received[3], first)


def test_many_messages_at_once(reactor, meet, pipes):
    told, end = meet(Receiver)
    _, write = pipes()
    for number in range(20):
        socket.send_fds(end, [bytes([number])], [write])
    until(reactor, lambda: len(told.received) == 40)
    pipes.made.extend(told.received[::2])
    assert told.received[1::2] == [bytes([number]) for number in range(20)]
    assert all(same(descriptor, write) for descriptor in told.received[::2])


def test_the_protocol_of_the_moment_gets_them(reactor, meet, pipes):
    told, end = meet()
    _, write = pipes()
    end.sendall(b"x")
    until(reactor, lambda: told.received)
    receiver = Receiver()
    told.transport.protocol = receiver
    socket.send_fds(end, [b"y"], [write])
    until(reactor, lambda: len(receiver.received) == 2)
    pipes.made.append(receiver.received[0])
    assert told.received == [b"x"]


def test_nobody_wants_them(reactor, meet, pipes):
    """They are closed, and that is logged."""
    told, end = meet()
    read, write = pipes()
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        socket.send_fds(end, [b"x"], [write])
        os.close(write)
        until(reactor, lambda: told.received)
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert told.received == [b"x"]
    os.set_blocking(read, False)
    assert os.read(read, 1) == b""
    formats = [event.get("format", "") for event in events]
    assert any("closing file descriptor received" in text for text in formats)


def test_a_receiver_that_raises(reactor, meet, pipes, twisted_log):
    told, end = meet(Receiver)
    _, write = pipes()
    told.on_descriptor = lambda descriptor: 1 / 0
    socket.send_fds(end, [b"x"], [write])
    until(reactor, lambda: told.reason)
    pipes.made.extend(told.received)
    assert told.reason.check(ZeroDivisionError)
    assert len(told.received) == 1
    twisted_log.take(ZeroDivisionError)


def test_a_receiver_that_closes_is_told_of_the_bytes(reactor, meet, pipes):
    told, end = meet(Receiver)
    _, write = pipes()
    told.on_descriptor = lambda descriptor: told.transport.loseConnection()
    socket.send_fds(end, [b"x"], [write])
    until(reactor, lambda: told.reason)
    pipes.made.append(told.received[0])
    assert told.received[1:] == [b"x"]
    assert told.reason.check(ConnectionDone)


def test_what_they_are_logged_as(reactor, meet, pipes):
    told, end = meet(Receiver)
    _, write = pipes()
    seen = []
    told.on_descriptor = lambda descriptor: seen.append(context.get(ILogContext)["system"])
    socket.send_fds(end, [b"x"], [write])
    until(reactor, lambda: len(told.received) == 2)
    pipes.made.append(told.received[0])
    assert seen == [told.transport.logPrefix()]
