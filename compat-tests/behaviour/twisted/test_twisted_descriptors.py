"""IReactorFDSet: readers and writers."""

from __future__ import annotations

import os
import socket

import pytest
from tw_support import Recorder, run, turns
from twisted.internet.error import ConnectionDone, ConnectionFdescWentAway, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python import context
from twisted.python.log import ILogContext
from zope.interface import implementer


@pytest.fixture
def recorder(reactor, sockets):
    """A selectable on one end of a connection, and the other end."""
    one, other = sockets()
    return Recorder(reactor, one), other


def test_a_reader_is_called_for_as_long_as_there_is_something_to_read(reactor, recorder):
    selectable, peer = recorder
    reactor.addReader(selectable)
    turns(reactor)
    assert selectable.events == []
    peer.send(b"ab")
    selectable.on_read = lambda: selectable.sock.recv(1) and None
    turns(reactor)
    assert selectable.events == ["read", "read"]


def test_a_writer_is_called_for_as_long_as_it_can_write(reactor, recorder):
    selectable, _ = recorder
    selectable.on_write = lambda: (
        reactor.removeWriter(selectable) if len(selectable.events) == 3 else None
    )
    reactor.addWriter(selectable)
    turns(reactor)
    assert selectable.events == ["write"] * 3


def test_one_object_can_be_both(reactor, recorder):
    selectable, peer = recorder
    peer.send(b"a")
    selectable.on_read = lambda: reactor.removeReader(selectable)
    selectable.on_write = lambda: reactor.removeWriter(selectable)
    reactor.addReader(selectable)
    reactor.addWriter(selectable)
    assert selectable in reactor.getReaders()
    assert selectable in reactor.getWriters()
    turns(reactor)
    assert sorted(selectable.events) == ["read", "write"]
    assert selectable not in reactor.getReaders() + reactor.getWriters()


def test_adding_twice_is_adding_once(reactor, recorder):
    selectable, peer = recorder
    reactor.addReader(selectable)
    reactor.addReader(selectable)
    reactor.addWriter(selectable)
    reactor.addWriter(selectable)
    assert reactor.getReaders().count(selectable) == 1
    assert reactor.getWriters() == [selectable]
    reactor.removeReader(selectable)
    reactor.removeWriter(selectable)
    peer.send(b"a")
    turns(reactor)
    assert selectable.events == []


def test_removing_what_is_not_there_is_nothing(reactor, recorder, sockets):
    selectable, _ = recorder
    reactor.removeReader(selectable)
    reactor.removeWriter(selectable)
    reactor.addWriter(selectable)
    reactor.removeReader(selectable)
    assert reactor.getWriters() == [selectable]
    selectable.number = -1
    reactor.removeReader(selectable)
    assert Recorder(reactor, sockets()[0]) not in reactor.getReaders()


def test_a_reader_removed_by_one_before_it_is_not_called(reactor, sockets):
    first, second = (Recorder(reactor, sockets()[0]) for _ in range(2))
    called = []

    def read(mine, other):
        called.append(mine)
        reactor.removeReader(mine)
        reactor.removeReader(other)

    first.on_read = lambda: read(first, second)
    second.on_read = lambda: read(second, first)
    for selectable in (first, second):
        selectable.sock.shutdown(socket.SHUT_RD)
        reactor.addReader(selectable)
    turns(reactor)
    assert len(called) == 1


def test_readers_and_writers_are_told(reactor, sockets):
    # Anything with a fileno() can be one.
    one, other = sockets()
    before = reactor.getReaders()
    reactor.addReader(one)
    reactor.addWriter(other)
    assert set(reactor.getReaders()) == {*before, one}
    assert reactor.getWriters() == [other]
    reactor.removeReader(one)
    reactor.removeWriter(other)
    assert reactor.getReaders() == before
    assert reactor.getWriters() == []


def test_remove_all_tells_what_it_removed_and_leaves_the_reactors_own(reactor, sockets):
    one, other, internal = (Recorder(reactor, sock) for sock in (*sockets(), sockets()[0]))
    reactor.addReader(one)
    reactor.addWriter(one)
    reactor.addWriter(other)
    reactor._addInternalReader(internal)
    before = set(reactor.getReaders()) - {one}
    removed = reactor.removeAll()
    assert len(removed) == 2
    assert set(removed) == {one, other}
    assert set(reactor.getReaders()) == before
    assert internal in before
    assert reactor.getWriters() == []
    assert reactor.removeAll() == []
    reactor._removeInternalReader(internal)
    assert internal not in reactor.getReaders()


def test_disconnect_all_tells_them(reactor, sockets, twisted_log):
    one, other, third = (Recorder(reactor, sock) for sock in (*sockets(), sockets()[0]))
    third.connectionLost = lambda reason: 1 / 0
    reactor.addReader(third)
    reactor.addReader(one)
    reactor.addWriter(other)
    reactor.disconnectAll()
    assert one.events == other.events == [("lost", ConnectionLost)]
    twisted_log.take(ZeroDivisionError)


@pytest.mark.parametrize("event", ["read", "write"])
def test_what_raises_is_logged_and_disconnected(reactor, recorder, twisted_log, event):
    selectable, peer = recorder
    peer.send(b"a")
    selectable.on_read = selectable.on_write = lambda: 1 / 0
    reactor.addReader(selectable)
    if event == "write":
        reactor.removeReader(selectable)
        reactor.addWriter(selectable)
    turns(reactor)
    assert selectable.events == [event, ("lost", ZeroDivisionError)]
    assert selectable not in reactor.getReaders() + reactor.getWriters()
    twisted_log.take(ZeroDivisionError)


@pytest.mark.parametrize("why", [CONNECTION_DONE, CONNECTION_LOST])
def test_what_returns_a_reason_is_disconnected(reactor, recorder, why):
    selectable, peer = recorder
    peer.send(b"a")
    selectable.on_read = lambda: why
    reactor.addReader(selectable)
    turns(reactor)
    assert selectable.events == ["read", ("lost", type(why))]
    assert selectable not in reactor.getReaders()


def test_a_half_closeable_one_can_go_on_writing(reactor, recorder):
    @implementer(IHalfCloseableDescriptor)
    class HalfCloseable(Recorder):
        def readConnectionLost(self, reason):
            self.events.append(("half", reason.type))

    selectable = HalfCloseable(reactor, recorder[0].sock)
    recorder[1].send(b"a")
    selectable.on_read = lambda: CONNECTION_DONE
    selectable.on_write = lambda: reactor.removeWriter(selectable)
    reactor.addReader(selectable)
    turns(reactor)
    reactor.addWriter(selectable)
    turns(reactor)
    assert selectable.events == ["read", ("half", ConnectionDone), "write"]


def test_a_descriptor_that_went_away_is_disconnected(reactor, recorder):
    selectable, peer = recorder
    reactor.addReader(selectable)
    reactor.addWriter(selectable)
    selectable.on_write = lambda: setattr(selectable, "number", -1)
    turns(reactor)
    assert selectable.events == ["write", ("lost", ConnectionFdescWentAway)]
    assert selectable not in reactor.getReaders() + reactor.getWriters()
    peer.send(b"a")
    turns(reactor)
    assert len(selectable.events) == 2


def test_it_can_be_removed_after_its_descriptor_went_away(reactor, recorder):
    selectable, peer = recorder
    reactor.addReader(selectable)
    reactor.addWriter(selectable)
    selectable.number = -1
    reactor.removeReader(selectable)
    assert selectable not in reactor.getReaders()
    assert reactor.getWriters() == [selectable]
    reactor.removeWriter(selectable)
    selectable.number = None
    peer.send(b"a")
    turns(reactor)
    assert selectable.events == []


def test_a_descriptor_number_used_again_is_the_new_ones(reactor, sockets):
    old, new = Recorder(reactor, sockets()[0]), Recorder(reactor, sockets()[0])
    left, right = sockets()
    reactor.addReader(old)
    number = old.fileno()
    reactor.removeReader(old)
    old.sock.close()
    old.number = number
    os.dup2(left.fileno(), number)
    new.number = number
    try:
        new.on_read = lambda: os.read(number, 1) and None
        reactor.addReader(new)
        right.send(b"a")
        turns(reactor)
        assert new.events == ["read"]
        assert old.events == []
        assert new in reactor.getReaders()
    finally:
        reactor.removeReader(new)
        os.close(number)


def test_what_was_closed_without_removal_does_not_take_the_new_ones_events(ours, sockets):
    # epollreactor takes the old one for the new one's.
    old, new = Recorder(ours, sockets()[0]), Recorder(ours, sockets()[0])
    left, right = sockets()
    ours.addReader(old)
    number = old.fileno()
    old.sock.close()
    old.number = number
    os.dup2(left.fileno(), number)
    new.number = number
    try:
        new.on_read = lambda: os.read(number, 1) and None
        ours.addReader(new)
        ours.removeReader(old)
        right.send(b"a")
        turns(ours)
        assert new.events == ["read"]
        assert old.events == []
        assert old not in ours.getReaders()
    finally:
        ours.removeReader(new)
        os.close(number)


def test_what_moved_to_another_descriptor_is_not_called_for_the_old_one(ours, sockets):
    one, peer = sockets()
    selectable = Recorder(ours, one)
    ours.addReader(selectable)
    ours.addWriter(selectable)
    moved, moved_peer = sockets()
    selectable.sock = moved
    peer.send(b"a")
    turns(ours)
    assert selectable.events == []
    assert selectable not in ours.getReaders() + ours.getWriters()
    selectable.on_read = lambda: moved.recv(1) and None
    ours.addReader(selectable)
    moved_peer.send(b"a")
    turns(ours)
    assert selectable.events == ["read"]


def test_a_fileno_that_raises_is_logged_and_disconnected(reactor, sockets, twisted_log):
    one, peer = sockets()
    selectable = Recorder(reactor, one)
    reactor.addReader(selectable)
    real = selectable.fileno
    failures = [ZeroDivisionError()]

    def fileno():
        if failures:
            raise failures.pop()
        return real()

    peer.send(b"a")
    # Once, for epollreactor: it asks again to remove it.
    selectable.fileno = fileno
    turns(reactor)
    assert selectable.events == [("lost", ZeroDivisionError)]
    assert selectable not in reactor.getReaders()
    twisted_log.take(ZeroDivisionError)


def test_a_bad_descriptor_cannot_be_watched(reactor, recorder):
    selectable, _ = recorder
    for number in (-1, 2**20):
        selectable.number = number
        with pytest.raises((OSError, ValueError)):
            reactor.addReader(selectable)
        with pytest.raises((OSError, ValueError)):
            reactor.addWriter(selectable)
    selectable.number = None
    assert selectable not in reactor.getReaders() + reactor.getWriters()


def test_callbacks_run_under_their_log_prefix(reactor, recorder):
    selectable, peer = recorder
    seen = []

    def read():
        seen.append(context.get(ILogContext)["system"])
        reactor.removeReader(selectable)

    selectable.on_read = read
    peer.send(b"a")
    reactor.addReader(selectable)
    turns(reactor)
    assert seen == ["Recorder"]


def test_the_end_of_a_connection_is_readable(reactor, recorder):
    selectable, peer = recorder
    selectable.on_read = lambda: None if selectable.sock.recv(1) else CONNECTION_DONE
    reactor.addReader(selectable)
    peer.close()
    turns(reactor)
    assert selectable.events[-1] == ("lost", ConnectionDone)
    assert len(selectable.events) <= 2


def test_a_write_to_a_connection_that_was_reset(reactor, sockets):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    with one, other:
        selectable = Recorder(reactor, one)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        other.close()

        def write():
            try:
                one.send(b"a")
            except OSError:
                return CONNECTION_LOST

        selectable.on_write = write
        reactor.addWriter(selectable)
        while not selectable.events or selectable.events[-1] == "write":
            reactor.iterate(0)
        assert selectable.events[-1] == ("lost", ConnectionLost)
        assert reactor.getWriters() == []


def test_what_is_still_there_at_the_end_is_disconnected(reactor, sockets):
    one, other = (Recorder(reactor, sock) for sock in sockets())
    reactor.addReader(one)
    reactor.addWriter(other)
    other.on_write = lambda: reactor.removeWriter(other)
    reactor.callWhenRunning(reactor.addReader, other)
    reactor.callWhenRunning(reactor.stop)
    run(reactor)
    assert ("lost", ConnectionLost) in one.events
    assert ("lost", ConnectionLost) in other.events


def test_a_plain_file_is_polled_continuously(kind, program):
    # In a program: the polling imports the global reactor.
    assert program(
        kind,
        """
        from twisted.internet import reactor
        from twisted.internet.abstract import FileDescriptor

        class File(FileDescriptor):
            def __init__(self, file):
                super().__init__(reactor)
                self.file, self.fileno, self.count = file, file.fileno, 0
            def doRead(self):
                self.count += 1
                if self.count == 3:
                    print("read three times", self in reactor.getReaders())
                    reactor.removeReader(self)
                    reactor.addWriter(self)
            def doWrite(self):
                print("written", self in reactor.getWriters(), self in reactor.getReaders())
                reactor.removeWriter(self)
                print(reactor.getWriters(), reactor.removeAll())
                reactor.stop()

        with open(__file__, "r+") as file:
            selectable = File(file)
            reactor.addReader(selectable)
            reactor.addReader(selectable)
            reactor.run()
        """,
    ) == ["read three times True", "written True False", "[] []"]


def test_the_loops_table_is_the_only_one(ours, sockets):
    loop = ours._asyncioEventloop
    one, other = sockets()
    loop.add_reader(other, lambda: None)
    selectable = Recorder(ours, one)
    ours.addReader(selectable)
    ours.addWriter(selectable)
    assert not ours._readers
    assert not ours._writers
    (sides,) = [sides for fd, *sides in loop._watchers() if fd == one.fileno()]
    assert None not in sides
    # Somebody else's watchers are neither told nor removed.
    assert ours.getReaders() == ours.removeAll() == [selectable]
    assert [fd for fd, *_ in loop._watchers()] == [other.fileno()]
    ours.removeReader(other)
    assert loop.remove_reader(other)


def test_two_reactors_on_one_loop_have_their_own(ours, sockets):
    from interloop.twisted import Reactor

    second = Reactor(ours._asyncioEventloop)
    one, other = sockets()
    ours.addReader(one)
    second.addReader(other)
    assert ours.getReaders() == [one]
    assert second.getReaders() == [other]
    assert ours.removeAll() == [one]
    assert second.removeAll() == [other]
