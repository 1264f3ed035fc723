"""Points 16, 17 and 18: what add_reader and add_writer take, what they refuse, what removal answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import pytest
from aio_support import Recorder, connected, polls, tcp_pair, unix_pair

ADD = {"reader": "add_reader", "writer": "add_writer"}


REMOVE = {"reader": "remove_reader", "writer": "remove_writer"}


every_kind = pytest.mark.parametrize("kind", ADD)


class File:
    """Anything with fileno()."""

    def __init__(self, fd):
        self._fd = fd

    def fileno(self):
        return self._fd


@every_kind
def test_removal_answers_whether_there_was_one(run, pair, kind):
    """Point 16: True if a callback was removed, else False."""

    async def main():
        loop = asyncio.get_running_loop()
        add, remove = getattr(loop, ADD[kind]), getattr(loop, REMOVE[kind])
        other_remove = getattr(loop, REMOVE["writer" if kind == "reader" else "reader"])
        assert remove(pair[0]) is False
        add(pair[0], print)
        assert other_remove(pair[0]) is False
        assert remove(pair[0]) is True
        assert remove(pair[0]) is False

    run(main)


@every_kind
def test_objects_and_numbers(run, pair, kind):
    """Point 16: an int and anything with fileno() are the same descriptor."""

    async def main():
        loop = asyncio.get_running_loop()
        add, remove = getattr(loop, ADD[kind]), getattr(loop, REMOVE[kind])
        fd = pair[0].fileno()
        for given, taken in ((fd, pair[0]), (pair[0], fd), (File(fd), fd), (fd, File(fd))):
            add(given, print)
            assert remove(taken) is True
            assert remove(given) is False

    run(main)


@every_kind
@pytest.mark.parametrize("call", ["add", "remove"])
@pytest.mark.parametrize("wrong", ["text", None, object(), 1.5, File("x"), File(None)], ids=repr)
def test_not_a_file(run, kind, call, wrong):
    """Point 16: ValueError "Invalid file object"."""

    async def main():
        loop = asyncio.get_running_loop()
        args = (print,) if call == "add" else ()
        with pytest.raises(ValueError, match="Invalid file object"):
            getattr(loop, (ADD if call == "add" else REMOVE)[kind])(wrong, *args)

    run(main)


@every_kind
def test_bad_descriptor(run, kind):
    """A number that is not open is an OSError, a negative one a ValueError; nothing stays registered."""

    async def main():
        loop = asyncio.get_running_loop()
        add, remove = getattr(loop, ADD[kind]), getattr(loop, REMOVE[kind])
        fd = os.open(os.devnull, os.O_RDONLY)
        os.close(fd)
        with pytest.raises(OSError, match="Bad file descriptor"):
            add(fd, print)
        assert remove(fd) is False
        with pytest.raises(ValueError, match="Invalid file"):
            add(-1, print)
        with pytest.raises(ValueError, match="Invalid file"):
            add(socket_closed(), print)
        await polls(2)

    run(main)


def socket_closed():
    sock = socket.socket()
    sock.close()
    return sock


@every_kind
def test_regular_file(run, kind, tmp_path):
    """Point 18: PermissionError, as epoll's EPERM; nothing stays registered, also beside another descriptor."""

    async def main():
        loop = asyncio.get_running_loop()
        add, remove = getattr(loop, ADD[kind]), getattr(loop, REMOVE[kind])
        with (tmp_path / "file").open("wb") as file:
            with pytest.raises(PermissionError):
                add(file, print)
            assert remove(file) is False
            with pytest.raises(PermissionError):
                add(file.fileno(), print)
            assert remove(file.fileno()) is False
            number = file.fileno()
        await polls(2)
        # The number is as good as any for what can be watched.
        one, other = unix_pair()
        with one, other:
            if number not in (one.fileno(), other.fileno()):
                os.dup2(one.fileno(), number)
                extra = socket.socket(fileno=number)
            else:
                extra = contextlib.nullcontext()
            with extra:
                add(number, print)
                assert remove(number) is True

    run(main)


@every_kind
def test_second_replaces_the_first(run, pair, kind):
    """Point 16: one callback a descriptor and direction; the other direction is not touched."""
    one, other = pair
    other.send(b"x")

    async def main():
        loop = asyncio.get_running_loop()
        seen = set()
        loop.add_reader(one, seen.add, "reader")
        loop.add_writer(one, seen.add, "writer")
        getattr(loop, ADD[kind])(one, seen.add, "second")
        await polls()
        assert seen == {"second", "writer" if kind == "reader" else "reader"}
        assert getattr(loop, REMOVE[kind])(one) is True
        assert getattr(loop, REMOVE[kind])(one) is False
        seen.clear()
        await polls()
        assert seen == {"writer" if kind == "reader" else "reader"}
        assert loop.remove_reader(one) is not loop.remove_writer(one)

    run(main)


@every_kind
def test_closed_loop(new_loop, pair, kind):
    """Point 16: removal from a closed loop is False, and the descriptor is still its owner's."""
    loop = new_loop()
    getattr(loop, ADD[kind])(pair[0], print)
    loop.close()
    assert getattr(loop, REMOVE[kind])(pair[0]) is False
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        getattr(loop, ADD[kind])(pair[0], print)
    pair[0].send(b"still open")
    assert pair[1].recv(100) == b"still open"


@every_kind
def test_may_be_added_before_the_run(new_loop, pair, kind):
    """Registered while the loop does not run, kept between runs."""
    loop = new_loop()
    pair[1].send(b"x")
    getattr(loop, ADD[kind])(pair[0], loop.stop)
    loop.run_forever()
    loop.run_forever()
    assert getattr(loop, REMOVE[kind])(pair[0]) is True


@pytest.mark.parametrize("call", [*ADD.values(), *REMOVE.values()])
@pytest.mark.parametrize("given", ["number", "socket", "extra"])
def test_descriptor_of_a_transport(run, call, given):
    """Point 17: RuntimeError that names both, however the descriptor is given; none once the transport closes."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        with peer:
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            extra = transport.get_extra_info("socket")
            file = {"number": extra.fileno(), "socket": ours, "extra": extra}[given]
            args = (print,) if call.startswith("add") else ()
            with pytest.raises(RuntimeError) as caught:
                getattr(loop, call)(file, *args)
            assert str(caught.value) == (
                f"File descriptor {file!r} is used by transport {transport!r}"
            )
            peer.send(b"still read")
            await protocol.received(10)
            transport.close()
            if call.startswith("remove"):
                getattr(loop, call)(file)
            await protocol.lost

    run(main)


def test_watching_beside_a_transport(run):
    """A transport and watchers of other descriptors do not meet."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:
            async with connected() as (transport, protocol, peer):
                seen = loop.create_future()
                loop.add_reader(one, lambda: seen.done() or seen.set_result(one.recv(9)))
                other.send(b"watched")
                peer.send(b"transported")
                assert await seen == b"watched"
                assert await protocol.received(11) == b"transported"
                assert not transport.is_closing()
                assert loop.remove_reader(one)

    run(main)
