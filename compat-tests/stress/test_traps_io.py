"""Traps of the kernel's interface that other loops fell into, one test each named after the trap."""

from __future__ import annotations

import asyncio
import itertools
import os
import select
import socket
import tempfile

import pytest
from stress_support import run_script, socket_pair, turn


class Received(asyncio.Protocol):
    """Collects what comes, and does what `on_data` says with each piece."""

    def __init__(self, on_data=None) -> None:
        self.data = bytearray()
        self.ended = False
        self.lost = asyncio.get_running_loop().create_future()
        self.on_data = on_data
        self._changed = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data
        self._changed.set()
        if self.on_data is not None:
            self.on_data(self.transport)

    def eof_received(self):
        self.ended = True
        self._changed.set()

    def connection_lost(self, exc):
        self.lost.set_result(exc)

    async def until(self, condition):
        while not condition():
            self._changed.clear()
            await self._changed.wait()


def number(sock: socket.socket) -> int:
    return sock.fileno()


# -- "replacing a reader on an fd that also has a writer"


def test_replacing_a_reader_on_an_fd_that_also_has_a_writer(loop, pair):
    one, other = pair
    calls = []
    loop.add_writer(one, calls.append, "writer")
    loop.add_reader(one, calls.append, "first reader")
    loop.add_reader(one, calls.append, "second reader")
    turn(loop)
    assert calls == ["writer"]
    calls.clear()
    other.send(b"x")
    turn(loop)
    assert sorted(calls) == ["second reader", "writer"]
    calls.clear()
    loop.add_writer(one, calls.append, "second writer")
    turn(loop)
    assert sorted(calls) == ["second reader", "second writer"]
    calls.clear()
    assert loop.remove_reader(one)
    turn(loop)
    assert calls == ["second writer"]
    calls.clear()
    loop.add_reader(one, calls.append, "third reader")
    assert loop.remove_writer(one)
    turn(loop)
    assert calls == ["third reader"]
    assert loop.remove_reader(one)
    assert not loop.remove_reader(one)
    assert not loop.remove_writer(one)


def test_replacing_in_every_order(loop, pair):
    """All ways to go through the states of one descriptor, each followed by a look at who is called."""
    one, other = pair
    other.send(b"x")  # both sides are ready all the time
    steps = {
        "+r": lambda tag: loop.add_reader(one, calls.append, ("r", tag)),
        "+w": lambda tag: loop.add_writer(one, calls.append, ("w", tag)),
        "-r": lambda tag: loop.remove_reader(one),
        "-w": lambda tag: loop.remove_writer(one),
    }
    for sequence in itertools.product(steps, repeat=5):
        calls = []
        expected = {}
        for tag, step in enumerate(sequence):
            answer = steps[step](tag)
            side = step[1]
            if step[0] == "+":
                expected[side] = (side, tag)
            else:
                assert answer is (side in expected), (sequence, tag)
                expected.pop(side, None)
        turn(loop)
        assert sorted(calls) == sorted(expected.values()), sequence
        loop.remove_reader(one)
        loop.remove_writer(one)


# -- "`if readable ... else if writable` loses the write edge"


def test_readable_and_writable_at_once_loses_neither(loop, pair):
    """In every turn, both. With the peer gone as well (HUP and ERR come beside them)."""
    one, other = pair
    other.send(b"x")
    calls = []
    loop.add_reader(one, calls.append, "reader")
    loop.add_writer(one, calls.append, "writer")
    for _ in range(100):
        calls.clear()
        turn(loop)
        assert sorted(calls) == ["reader", "writer"]
    other.close()
    for _ in range(100):
        calls.clear()
        turn(loop)
        assert sorted(calls) == ["reader", "writer"]
    loop.remove_reader(one)
    loop.remove_writer(one)


def test_transport_that_reads_and_writes_at_once(loop, pair):
    """Both directions full at the same time: a transport that took one edge for the other would stand still."""
    total = 4 * 1024 * 1024

    async def main():
        _, left = await loop.create_connection(Received, sock=pair[0])
        _, right = await loop.create_connection(Received, sock=pair[1])
        for protocol in (left, right):
            for _ in range(total // 65536):
                protocol.transport.write(bytes(65536))
        await left.until(lambda: len(left.data) == total)
        await right.until(lambda: len(right.data) == total)
        left.transport.close()
        await left.lost
        await right.lost

    loop.run_until_complete(main())


# -- "resume_reading must attempt a read, not wait for an edge"


@pytest.mark.parametrize("end", [False, True])
def test_resume_reading_attempts_a_read(loop, end):
    """All there is to read came while reading was paused: no edge will follow."""

    async def once():
        one, other = socket_pair()
        transport, protocol = await loop.create_connection(Received, sock=one)
        transport.pause_reading()
        other.send(b"while paused")
        if end:
            other.close()
        assert select.select([one], [], [], 0)[0]  # it is there
        for _ in range(3):
            await asyncio.sleep(0)
        assert protocol.data == b""
        transport.resume_reading()
        await protocol.until(lambda: protocol.data == b"while paused" and protocol.ended == end)
        transport.close()
        await protocol.lost
        other.close()

    async def main():
        for _ in range(200):
            await once()

    loop.run_until_complete(main())


def test_pause_within_data_received_and_resume_later(loop, pair):
    """Each piece pauses; each resumption brings the next although nothing new was sent."""
    one, other = pair
    total = 200_000

    def pause(transport):
        transport.pause_reading()
        loop.call_soon(transport.resume_reading)

    async def main():
        transport, protocol = await loop.create_connection(lambda: Received(pause), sock=one)
        transport.max_size = (
            1000  # stock's own limit of one read; where there is none, pieces are larger
        )
        sent = 0
        while sent < total:
            try:
                sent += other.send(bytes(min(1000, total - sent)))
            except BlockingIOError:
                await asyncio.sleep(0)
        await protocol.until(lambda: len(protocol.data) == total)
        transport.close()
        await protocol.lost

    loop.run_until_complete(main())


# -- "closing one of two dup'ed fds leaves an epoll entry nobody can delete: deregister before close"


def test_closing_one_of_two_duped_fds(loop):
    """The connection lives on in the duplicate: its data must not reach whoever has the number next."""
    for _ in range(50):
        one, other = socket_pair()
        duplicate = one.dup()
        loop.add_reader(one, pytest.fail, "the closed one's reader was called")
        closed = number(one)
        loop.remove_reader(one)
        one.close()
        new, new_peer = socket_pair()
        assert closed in (number(new), number(new_peer))
        reused, peer = (new, new_peer) if number(new) == closed else (new_peer, new)
        with duplicate, other, reused, peer:
            calls = []
            loop.add_reader(reused, calls.append, "reused")
            other.send(b"x")  # for the duplicate
            turn(loop, 3)
            before = calls.copy()
            peer.send(b"x")
            turn(loop)
            loop.remove_reader(reused)
        assert (before, calls) == ([], ["reused"])


def test_both_duped_fds_are_watched(loop, pair):
    """Two numbers of one open file are two registrations: each has its callback, and the end of one is not that of the other."""
    one, other = pair
    duplicate = one.dup()
    calls = []
    loop.add_reader(one, calls.append, "original")
    loop.add_reader(duplicate, calls.append, "duplicate")
    other.send(b"x")
    turn(loop)
    assert sorted(calls) == ["duplicate", "original"]
    loop.remove_reader(one)
    one.close()
    calls.clear()
    turn(loop)
    assert calls == ["duplicate"]
    loop.remove_reader(duplicate)
    duplicate.close()


def test_closing_a_transport_whose_fd_was_duped(loop):
    async def main():
        for _ in range(50):
            one, other = socket_pair()
            duplicate = one.dup()
            transport, protocol = await loop.create_connection(Received, sock=one)
            closed = number(one)
            transport.close()
            await protocol.lost
            new, new_peer = socket_pair()
            assert closed in (number(new), number(new_peer))
            reused, peer = (new, new_peer) if number(new) == closed else (new_peer, new)
            _, successor = await loop.create_connection(Received, sock=reused)
            other.send(b"for the duplicate")
            peer.send(b"for the successor")
            await successor.until(lambda successor=successor: successor.data)
            assert successor.data == b"for the successor"
            assert duplicate.recv(100) == b"for the duplicate"
            assert protocol.data == b""
            successor.transport.close()
            await successor.lost
            for sock in (duplicate, other, peer):
                sock.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("remove", ["before add_reader", "not at all"])
def test_closing_one_of_two_duped_fds_without_a_word(our_loop, remove):
    """The kernel has an entry that no descriptor reaches any more. Ours alone: under stock it spins, or reports the wrong file."""
    loop = our_loop
    for _ in range(50):
        one, other = socket_pair()
        duplicate = one.dup()
        loop.add_reader(one, pytest.fail, "the closed one's reader was called")
        closed = number(one)
        one.close()
        if remove == "before add_reader":
            assert loop.remove_reader(closed)
        new, new_peer = socket_pair()
        assert closed in (number(new), number(new_peer))
        reused, peer = (new, new_peer) if number(new) == closed else (new_peer, new)
        with duplicate, other, reused, peer:
            calls = []
            loop.add_reader(reused, calls.append, "reused")
            other.send(b"x")  # for the duplicate
            turn(loop, 3)
            before = calls.copy()
            peer.send(b"x")
            turn(loop)
            loop.remove_reader(reused)
        assert (before, calls) == ([], ["reused"])


# -- "`epoll_ctl` answers EPERM for plain files"


@pytest.mark.parametrize("side", ["reader", "writer"])
def test_plain_file_is_refused_with_eperm(loop, pair, side):
    one, other = pair
    add, remove = getattr(loop, f"add_{side}"), getattr(loop, f"remove_{side}")
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(3):
            with pytest.raises(PermissionError):
                add(file, int)
            assert not remove(file)
        # The number serves another file next, and serves it well.
        os.dup2(one.fileno(), file.fileno(), inheritable=False)
        calls = []
        add(file, calls.append, side)
        other.send(b"x")
        turn(loop)
        assert calls == [side]
        assert remove(file)


@pytest.mark.parametrize("side", ["reader", "writer"])
def test_number_that_becomes_a_plain_file(loop, pair, side):
    """Watched, then replaced by a plain file under the same number: refused, and the old callback stays away."""
    one, _ = pair
    watched = one.dup()
    add, remove = getattr(loop, f"add_{side}"), getattr(loop, f"remove_{side}")
    add(watched, pytest.fail, "called for a file that is gone")
    remove(watched)
    with tempfile.TemporaryFile(buffering=0) as file:
        os.dup2(file.fileno(), watched.fileno(), inheritable=False)
        with pytest.raises(PermissionError):
            add(watched, int)
        assert not remove(watched)
    turn(loop)
    watched.close()


def test_refused_plain_file_leaves_nothing_in_the_table(our_loop):
    with tempfile.TemporaryFile(buffering=0) as file:
        for add in (our_loop.add_reader, our_loop.add_writer):
            with pytest.raises(PermissionError):
                add(file, int)
    assert our_loop._watchers() == []


def test_stdin_redirected_from_a_file(loop_kind):
    script = """
loop = new_loop()
try:
    loop.add_reader(0, print)
except PermissionError:
    print("refused", loop.remove_reader(0))
loop.close()
"""
    with tempfile.TemporaryFile(buffering=0) as file:
        assert run_script(script, loop_kind, stdin=file) == "refused False\n"
