"""Point 19: descriptors closed under the loop, and numbers used again. No stale event, no EBADF, none lost."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import weakref

import pytest
from aio_support import polls, tcp_pair, turns, unix_pair

lost_by_stock = pytest.mark.stock_wrong(
    "add_reader of a number closed and reused without remove_reader is lost in silence",
    raises=AssertionError,
)


def at_number(sock: socket.socket, number: int) -> socket.socket:
    """The same socket under the given descriptor number, which must be free."""
    os.dup2(sock.fileno(), number, inheritable=False)
    moved = socket.socket(fileno=number)
    moved.setblocking(False)
    sock.close()
    return moved


def test_closed_after_removal_and_reused(run):
    """The usual order: remove, close, open, add. A hundred times over on one number."""

    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(100):
            one, other = unix_pair()
            with one, other:
                called = loop.create_future()
                loop.add_reader(one, lambda f=called: f.done() or f.set_result(None))
                other.send(b"x")
                await called
                assert loop.remove_reader(one) is True

    run(main)


def test_closed_right_after_removal_in_its_callback(run):
    """A callback that removes and closes its own descriptor."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        closed = loop.create_future()

        def readable():
            assert loop.remove_reader(one) is True
            one.close()
            closed.set_result(None)

        with other:
            loop.add_reader(one, readable)
            loop.add_writer(one, lambda: None)
            loop.remove_writer(one)
            other.send(b"x")
            await closed
            await polls()

    run(main)


def test_closed_without_removal(run, asyncio_log):
    """The owner closes it and says nothing: no call any more, no error, and later removal is harmless."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with other:
            seen = []
            loop.add_reader(one, seen.append, 1)
            await turns(2)
            number = one.fileno()
            one.close()
            await turns()
            loop.remove_reader(number)
            assert loop.remove_reader(number) is False
            await turns()
            assert seen == []

    run(main)


@lost_by_stock
@pytest.mark.parametrize("kind", ["reader", "writer"])
def test_reused_without_removal(run, kind):
    """Closed without removal, the number given to another socket, and watched again: that socket's events come."""

    async def main():
        loop = asyncio.get_running_loop()
        add = loop.add_reader if kind == "reader" else loop.add_writer
        remove = loop.remove_reader if kind == "reader" else loop.remove_writer
        one, other = unix_pair()
        fresh, far = unix_pair()
        seen = []
        with other, far:
            add(one, seen.append, "old")
            number = one.fileno()
            if kind == "reader":
                await polls(2)
            one.close()
            fresh = at_number(fresh, number)
            seen.clear()
            add(fresh, seen.append, "new")
            far.send(b"x")
            await polls()
            remove(fresh)
            fresh.close()
            assert set(seen) == {"new"}

    run(main)


@pytest.mark.stock_wrong(
    "add_reader of a number closed and reused without remove_reader does not ask the kernel",
    raises=pytest.fail.Exception,
)
@pytest.mark.parametrize("kind", ["reader", "writer"])
def test_reused_by_a_plain_file(run, kind, tmp_path):
    """A plain file cannot be watched, and says so; the callback that waited for the number's old owner is let go."""

    class Callback:
        def __call__(self):
            raise AssertionError("called")

        def __del__(self):
            # What is let go may call the loop.
            gone.append(remove(number))

    gone = []

    async def main():
        nonlocal number, remove
        loop = asyncio.get_running_loop()
        add = loop.add_reader if kind == "reader" else loop.add_writer
        remove = loop.remove_reader if kind == "reader" else loop.remove_writer
        one, other = unix_pair()
        with other:
            number = one.fileno()
            add(one, Callback())
            one.close()
            file = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
            if file != number:
                os.dup2(file, number, inheritable=False)
                os.close(file)
            try:
                with pytest.raises(PermissionError):
                    add(number, print)
                gc.collect()
                assert remove(number) is False
            finally:
                os.close(number)
            await turns()
        assert gone == [False]

    number = remove = None
    run(main)


@lost_by_stock
def test_sock_recv_on_a_reused_number(run):
    """The same by way of sock_recv: cancelled after its socket was closed, it must not take the next one's place."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        fresh, far = unix_pair()
        with other, far:
            pending = asyncio.ensure_future(loop.sock_recv(one, 10))
            await polls(2)
            number = one.fileno()
            one.close()
            fresh = at_number(fresh, number)
            with fresh:
                again = asyncio.ensure_future(loop.sock_recv(fresh, 10))
                await polls(2)
                pending.cancel()
                await polls(2)
                far.send(b"mine")
                await polls()
                came = again.done()
                again.cancel()
                await asyncio.wait([again, pending])
                assert came and again.result() == b"mine"

    run(main)


def test_event_of_the_old_socket_does_not_reach_the_new_one(run):
    """Both ready in one batch; the first callback closes the other's descriptor and reuses its number."""

    async def main():
        loop = asyncio.get_running_loop()
        pairs = [unix_pair(), unix_pair()]
        near = [pairs[0][0], pairs[1][0]]
        far = [pairs[0][1], pairs[1][1]]
        spare, spare_far = unix_pair()
        seen = []

        def readable(mine, other):
            nonlocal spare
            seen.append("first")
            near[mine].recv(1)
            number = near[other].fileno()
            assert loop.remove_reader(number) is True
            near[other].close()
            near[other] = spare = at_number(spare, number)
            loop.add_reader(spare, seen.append, "new")

        loop.add_reader(near[0], readable, 0, 1)
        loop.add_reader(near[1], readable, 1, 0)
        for sock in far:
            sock.send(b"x")
        await polls()
        assert seen == ["first"]
        spare_far.send(b"now")
        await polls()
        assert "new" in seen
        for sock in (*near, *far, spare_far):
            loop.remove_reader(sock)
            sock.close()

    run(main)


def test_transport_number_reused_by_a_watcher(run):
    """A transport's descriptor, once its connection is lost, is free for add_reader."""
    from aio_support import Recorder

    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(20):
            ours, peer = tcp_pair()
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            number = ours.fileno()
            transport.close()
            await protocol.lost
            peer.close()
            one, other = unix_pair()
            with other:
                if one.fileno() != number and other.fileno() != number:
                    one = at_number(one, number)
                with one:
                    called = loop.create_future()
                    loop.add_reader(one, lambda f=called: f.done() or f.set_result(None))
                    other.send(b"x")
                    await called
                    assert loop.remove_reader(one) is True

    run(main)


def test_watcher_number_reused_by_a_transport(run):
    """The other way round: a number watched, removed and closed becomes a transport's."""
    from aio_support import Recorder

    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(20):
            one, other = unix_pair()
            loop.add_reader(one, print)
            loop.add_writer(one, lambda: None)
            await polls(1)
            number = one.fileno()
            loop.remove_reader(one)
            loop.remove_writer(one)
            one.close()
            ours, peer = tcp_pair()
            if ours.fileno() != number and peer.fileno() != number:
                ours = at_number(ours, number)
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            with peer, other:
                peer.send(b"hello")
                assert await protocol.received(5) == b"hello"
                transport.close()
                await protocol.lost

    run(main)


def test_duplicates_are_watched_apart(run):
    """Two numbers of one open file each have their own callbacks; closing one leaves the other."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:
            twin = one.dup()
            twin.setblocking(False)
            seen = set()
            loop.add_reader(one, seen.add, "one")
            loop.add_reader(twin, seen.add, "twin")
            other.send(b"x")
            await polls()
            assert seen == {"one", "twin"}
            assert loop.remove_reader(twin) is True
            twin.close()
            seen.clear()
            await polls()
            assert seen == {"one"}
            assert loop.remove_reader(one) is True

    run(main)


@pytest.mark.parametrize("side", ["reader", "writer"])
def test_removed_by_the_object_that_is_closed_already(run, side):
    """Whoever closed a socket has no number any more, and takes it out by the object it was added by (anyio does)."""

    async def main():
        loop = asyncio.get_running_loop()
        add, remove = getattr(loop, f"add_{side}"), getattr(loop, f"remove_{side}")
        one, other = unix_pair()
        with other:
            add(one, pytest.fail, "called")
            one.close()
            assert remove(one) is True
            with pytest.raises(ValueError, match="-1"):
                remove(one)
            # One added by its number is not known by an object.
            third, fourth = unix_pair()
            with fourth:
                add(third.fileno(), int)
                number = third.fileno()
                third.close()
                with pytest.raises(ValueError, match="-1"):
                    remove(third)
                assert remove(number) is True
            await turns()

    run(main)


def test_the_object_is_let_go(run):
    """It is kept while it is watched, and no longer."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with other:
            alive = weakref.ref(one)
            loop.add_reader(one, int)
            loop.add_writer(one, int)
            loop.remove_reader(one)
            loop.remove_writer(one)
            one.close()
            del one
            await turns()
            assert alive() is None

    run(main)
