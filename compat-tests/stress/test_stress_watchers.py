"""add_reader and add_writer under a storm of closed and reused descriptors, against a model of who must be called."""

from __future__ import annotations

import os
import random
import socket

import pytest
from stress_support import open_fd_count, socket_pair, turn

SLOTS = 40
OPERATIONS = 60_000


class Slot:
    """A descriptor number with a connection behind it, and what is known of both.

    Every byte sent to it carries on a count, so that a lost, doubled or foreign byte shows. `reader` and `writer` are the
    tags of the callbacks registered last: any other that is called is stale.
    """

    def __init__(self) -> None:
        self.ours, self.peer = socket_pair()
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.reader: int | None = None
        self.writer: int | None = None
        self.sent = self.received = 0

    def close(self) -> None:
        self.ours.close()
        self.peer.close()


class Storm:
    def __init__(self, loop, seed: int) -> None:
        self.loop = loop
        self.random = random.Random(seed)
        self.slots = [Slot() for _ in range(SLOTS)]
        self.tags = 0
        self.wrong: list[str] = []
        self.read = self.written = self.operations = 0
        self.draining = False

    def __enter__(self) -> Storm:
        return self

    def __exit__(self, *exc_info) -> None:
        for slot in self.slots:
            self.loop.remove_reader(slot.ours)
            self.loop.remove_writer(slot.ours)
            slot.close()

    # -- callbacks

    def readable(self, index: int, tag: int) -> None:
        slot = self.slots[index]
        if slot.reader != tag:
            self.stale(f"reader {tag} of slot {index} called, {slot.reader} is registered", tag)
            return
        try:
            # One byte at a time: what is left is the loop's business.
            (byte,) = slot.ours.recv(1)
        except BlockingIOError:
            self.wrong.append(f"reader {tag} of slot {index} called with nothing to read")
            return
        if byte != slot.received % 251:
            self.wrong.append(f"slot {index}: byte {byte} where {slot.received % 251} was due")
        slot.received += 1
        self.read += 1
        self.disturb()

    def writable(self, index: int, tag: int) -> None:
        slot = self.slots[index]
        if slot.writer != tag:
            self.stale(f"writer {tag} of slot {index} called, {slot.writer} is registered", tag)
            return
        try:
            slot.ours.send(bytes(100))
        except BlockingIOError:
            self.wrong.append(f"writer {tag} of slot {index} called with no room to write")
            return
        self.written += 1
        self.disturb()

    def stale(self, text: str, tag: int) -> None:
        self.wrong.append(text)

    def disturb(self) -> None:
        """In a callback: something happens to any slot, perhaps to this one, perhaps to one whose event is queued."""
        if not self.draining and self.random.random() < 0.3:
            self.operate()

    # -- what happens

    def operate(self) -> None:
        self.operations += 1
        index = self.random.randrange(SLOTS)
        self.random.choice(
            (
                self.send,
                self.send,
                self.send,
                self.drain_peer,
                self.add_reader,
                self.add_reader,
                self.add_writer,
                self.remove_reader,
                self.remove_writer,
                self.reopen,
                self.reopen_under_the_same_number,
            )
        )(index)

    def tag(self) -> int:
        self.tags += 1
        return self.tags

    def send(self, index: int) -> None:
        slot = self.slots[index]
        count = self.random.randrange(1, 5)
        if slot.sent - slot.received < 100:
            slot.peer.send(bytes((slot.sent + n) % 251 for n in range(count)))
            slot.sent += count

    def drain_peer(self, index: int) -> None:
        try:
            while self.slots[index].peer.recv(65536):
                pass
        except BlockingIOError:
            pass

    def add_reader(self, index: int) -> None:
        slot = self.slots[index]
        slot.reader = self.tag()
        self.loop.add_reader(slot.ours, self.readable, index, slot.reader)

    def add_writer(self, index: int) -> None:
        slot = self.slots[index]
        slot.writer = self.tag()
        self.loop.add_writer(slot.ours, self.writable, index, slot.writer)

    def remove_reader(self, index: int) -> None:
        slot = self.slots[index]
        if self.loop.remove_reader(slot.ours) is not (slot.reader is not None):
            self.wrong.append(
                f"remove_reader of slot {index}, reader {slot.reader}, was answered wrongly"
            )
        slot.reader = None

    def remove_writer(self, index: int) -> None:
        slot = self.slots[index]
        if self.loop.remove_writer(slot.ours) is not (slot.writer is not None):
            self.wrong.append(
                f"remove_writer of slot {index}, writer {slot.writer}, was answered wrongly"
            )
        slot.writer = None

    def reopen(self, index: int) -> None:
        """Closed, and whatever number the kernel gives next: mostly one that was closed a moment ago."""
        self.remove_reader(index)
        self.remove_writer(index)
        self.slots[index].close()
        self.slots[index] = Slot()

    def reopen_under_the_same_number(self, index: int) -> None:
        """dup2 closes and reopens in one call: the number never was free."""
        self.remove_reader(index)
        self.remove_writer(index)
        old, new = self.slots[index], Slot()
        number = old.ours.fileno()
        os.dup2(new.ours.fileno(), number, inheritable=False)
        new.ours.close()
        new.ours = socket.socket(fileno=old.ours.detach())
        new.ours.setblocking(False)
        old.peer.close()
        self.slots[index] = new

    def begin_turn(self) -> None:
        """Called before each turn."""

    # -- the whole

    def run(self) -> None:
        while self.operations < OPERATIONS:
            self.begin_turn()
            for _ in range(self.random.randrange(40)):
                self.operate()
            turn(self.loop)
        # Nothing may have been lost: with a reader on every slot, all that was sent arrives.
        self.draining = True
        for index, slot in enumerate(self.slots):
            if slot.reader is None:
                self.add_reader(index)
            self.remove_writer(index)
        while not self.wrong and any(slot.sent != slot.received for slot in self.slots):
            self.loop._run_once()  # waits for an event: a lost one ends in the time limit
        # And every writer hears of room again that was made for it.
        for index in range(SLOTS):
            self.drain_peer(index)
            self.remove_reader(index)
            self.add_writer(index)
        before = self.written
        turn(self.loop)
        assert self.written == before + SLOTS


@pytest.mark.parametrize("seed", [1, 2])
def test_storm(loop, seed):
    before = open_fd_count()
    with Storm(loop, seed) as storm:
        storm.run()
    assert storm.wrong == []
    assert storm.read > OPERATIONS // 4
    assert storm.written > OPERATIONS // 10
    assert open_fd_count() == before


class CarelessStorm(Storm):
    """Owners that close their descriptors without remove_reader, and register the next under whatever number it has.

    An event that was queued when its descriptor was closed may still come, in that turn, as long as nobody else has
    registered the number: nothing tells the loop.
    """

    def __init__(self, loop, seed: int) -> None:
        super().__init__(loop, seed)
        self.abandoned: dict[int, set[int]] = {}
        for index in range(SLOTS):
            self.settle(index)

    def reopen(self, index: int) -> None:
        slot = self.slots[index]
        self.abandoned[slot.ours.fileno()] = {slot.reader, slot.writer}
        slot.close()
        self.slots[index] = Slot()
        self.settle(index)

    def reopen_under_the_same_number(self, index: int) -> None:
        old, new = self.slots[index], Slot()
        os.dup2(new.ours.fileno(), old.ours.fileno(), inheritable=False)
        new.ours.close()
        new.ours = socket.socket(fileno=old.ours.detach())
        new.ours.setblocking(False)
        old.peer.close()
        self.slots[index] = new
        self.settle(index)

    def settle(self, index: int) -> None:
        """Both sides of the new connection are registered: what an old one left under its number is replaced."""
        self.abandoned.pop(self.slots[index].ours.fileno(), None)
        self.add_reader(index)
        self.add_writer(index)

    def stale(self, text: str, tag: int) -> None:
        if not any(tag in tags for tags in self.abandoned.values()):
            self.wrong.append(text)

    def begin_turn(self) -> None:
        self.abandoned.clear()


@pytest.mark.parametrize("seed", [3, 4])
def test_storm_of_numbers_closed_without_a_word(our_loop, seed):
    """Ours alone: stock loses the new registration in silence."""
    with CarelessStorm(our_loop, seed) as storm:
        storm.run()
    assert storm.wrong == []


def test_one_byte_at_a_time(loop, pair):
    """Level-triggered: a reader that leaves bytes behind is called again, twenty thousand times, and never without cause."""
    one, other = pair
    total = 20_000
    got = 0
    calls_without_cause = []

    def reader():
        nonlocal got
        try:
            got += len(other.recv(1))
        except BlockingIOError:
            calls_without_cause.append(got)
        if got == total:
            loop.stop()

    def writer():
        try:
            writer.left -= one.send(bytes(min(writer.left, 7)))
        except BlockingIOError:
            calls_without_cause.append(got)
        if not writer.left:
            loop.remove_writer(one)

    writer.left = total
    loop.add_reader(other, reader)
    loop.add_writer(one, writer)
    loop.run_forever()
    loop.remove_reader(other)
    assert calls_without_cause == []


def test_many_descriptors_ready_at_once(loop):
    """More than one poll reports: all are called, none starves."""
    pairs = [socket_pair() for _ in range(400)]
    calls = [0] * len(pairs)

    def reader(index):
        calls[index] += 1

    for index, (one, other) in enumerate(pairs):
        loop.add_reader(one, reader, index)
        other.send(b"x")
    while not all(calls):
        turn(loop)
    before = calls.copy()
    while not all(now > then for now, then in zip(calls, before, strict=True)):
        turn(loop)
    for one, other in pairs:
        assert loop.remove_reader(one)
        one.close()
        other.close()


def test_removed_by_a_callback_of_the_same_batch(loop):
    """A thousand rounds: whichever of two ready readers comes first removes the other, which must not come."""
    pairs = [socket_pair() for _ in range(2)]
    called = []

    def reader(index):
        called.append(index)
        loop.remove_reader(pairs[1 - index][0])

    for _, other in pairs:
        other.send(b"x")
    for _ in range(1000):
        for index, (one, _) in enumerate(pairs):
            loop.add_reader(one, reader, index)
        called.clear()
        turn(loop)
        assert len(called) == 1
    for one, other in pairs:
        loop.remove_reader(one)
        one.close()
        other.close()


def test_replaced_by_its_own_callback(loop, pair):
    """Each callback registers its successor, which is called in the next turn for the byte left behind."""
    one, other = pair
    total = 1000
    one.send(bytes(total))
    seen = []

    def reader(number):
        seen.append(number)
        other.recv(1)
        if number + 1 < total:
            loop.add_reader(other, reader, number + 1)
        else:
            loop.stop()

    loop.add_reader(other, reader, 0)
    loop.run_forever()
    loop.remove_reader(other)
    assert seen == list(range(total))


def test_closed_by_its_own_callback_and_the_number_reused(loop):
    """Chain of connections: each reader closes its own and opens the next under the same number, data waiting in it."""
    left = 2000
    numbers = set()

    def open_next():
        one, other = socket_pair()
        number = one.fileno()
        numbers.add(number)
        other.send(b"x")
        loop.add_reader(one, reader, one, other)

    def reader(one, other):
        nonlocal left
        assert one.recv(10) == b"x"
        loop.remove_reader(one)
        one.close()
        other.close()
        left -= 1
        if left:
            open_next()
        else:
            loop.stop()

    open_next()
    loop.run_forever()
    assert left == 0
    assert len(numbers) <= 2
