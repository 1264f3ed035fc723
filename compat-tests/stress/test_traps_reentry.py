"""Traps of the interpreter's interface that other loops fell into, one test each named after the trap: code that comes back into the loop that called it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tomllib

import pytest
from stress_support import REPOSITORY, socket_pair, threads, turn


class Finalized:
    """Runs a function when it is let go."""

    def __init__(self, function) -> None:
        self.function = function

    def __del__(self) -> None:
        self.function()


# -- "`panic = "abort"` turns a borrow error into the death of a user's process: never"


def test_no_profile_aborts_on_panic():
    manifest = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())
    profiles = manifest["profile"]
    assert profiles["release"]["panic"] == "unwind"
    assert [
        name for name, profile in profiles.items() if profile.get("panic", "unwind") != "unwind"
    ] == []


class Poke:
    """Calls nearly everything a loop has; done from where a loop may have something borrowed."""

    def __init__(self, loop) -> None:
        self.loop = loop
        self.count = 0
        self.one, self.other = socket_pair()
        self.handle = loop.call_later(3600, int)

    def __call__(self, *args, **kwargs) -> None:
        self.count += 1
        loop = self.loop
        repr(self.handle)
        loop.time(), loop.is_running(), repr(loop), list(loop._scheduled), len(loop._ready)
        if loop.is_closed():
            assert not loop.remove_reader(self.one)
            assert not loop.remove_writer(self.one)
            self.handle.cancel()
            return
        self.handle.cancel()
        self.handle = loop.call_later(3600, int)
        loop.call_soon(int).cancel()
        loop.call_soon_threadsafe(int)
        loop.add_reader(self.one, int)
        loop.add_reader(self.one, str)
        loop.add_writer(self.one, int)
        assert loop.remove_writer(self.one)
        assert loop.remove_reader(self.one)

    def __enter__(self) -> Poke:
        return self

    def __exit__(self, *exc_info) -> None:
        self.handle.cancel()
        self.one.close()
        self.other.close()


@pytest.fixture
def poke(loop):
    with Poke(loop) as poke:
        yield poke


def test_reentry_from_what_a_handle_lets_go(loop, poke):
    for schedule in (
        loop.call_soon,
        loop.call_soon_threadsafe,
        lambda *args: loop.call_later(3600, *args),
        lambda *args: loop.call_at(0, *args),
    ):
        before = poke.count
        schedule(int, Finalized(poke)).cancel()  # cancel drops it
        assert poke.count == before + 1
    schedule = None
    before = poke.count
    loop.call_soon(id, Finalized(poke))
    loop.call_at(0, id, Finalized(poke))
    loop.call_soon_threadsafe(id, Finalized(poke))
    turn(loop, 3)  # running drops it
    assert poke.count == before + 3


def test_reentry_from_what_a_watcher_lets_go(loop, pair, poke):
    one, _ = pair
    loop.add_reader(one, int, Finalized(poke))
    loop.add_reader(one, int, Finalized(poke))  # replacing drops the first
    assert poke.count == 1
    loop.add_writer(one, int, Finalized(poke))
    loop.add_writer(one, int, Finalized(poke))
    assert poke.count == 2
    assert loop.remove_reader(one)
    assert poke.count == 3
    assert loop.remove_writer(one)
    assert poke.count == 4


def test_reentry_into_the_watcher_that_lets_go(loop, pair):
    """What is let go registers again, or removes, the very side it comes from."""
    one, _ = pair
    calls = []

    def add_again():
        loop.add_reader(one, calls.append, "again")

    loop.add_reader(one, int, Finalized(add_again))
    loop.remove_reader(one)
    assert loop.remove_reader(one)

    loop.add_reader(one, int, Finalized(lambda: loop.remove_reader(one)))
    loop.add_reader(one, calls.append, "second")
    loop.remove_reader(one)
    assert not loop.remove_reader(one)

    def cancel_other():
        other.cancel()

    other = loop.call_later(3600, calls.append, "other")
    loop.call_later(3600, int, Finalized(cancel_other)).cancel()
    assert other.cancelled()
    turn(loop, 2)
    assert calls == []


def test_reentry_from_close(new_loop):
    """A closing loop lets everything go that was still to run."""
    loop = new_loop()
    with Poke(loop) as poke:
        one, other = socket_pair()
        loop.call_soon(int, Finalized(poke))
        loop.call_soon_threadsafe(int, Finalized(poke))
        with threads(lambda: loop.call_soon_threadsafe(int, Finalized(poke))):
            pass
        loop.call_later(3600, int, Finalized(poke))
        loop.add_reader(one, int, Finalized(poke))
        loop.add_writer(one, int, Finalized(poke))
        loop.close()
        # Stock keeps its watchers' callbacks until the loop itself goes.
        assert poke.count >= 4
        one.close()
        other.close()


def test_reentry_from_the_exception_handler(loop, poke):
    loop.set_exception_handler(poke)
    one, other = socket_pair()
    other.send(b"x")

    def fail():
        raise ZeroDivisionError

    loop.call_soon(fail)
    loop.call_soon_threadsafe(fail)
    loop.call_at(0, fail)
    loop.add_reader(one, fail)
    loop.add_writer(one, fail)
    turn(loop)
    assert poke.count == 5
    loop.remove_reader(one)
    loop.remove_writer(one)
    one.close()
    other.close()


def test_reentry_from_every_callback_of_a_protocol(loop, poke):
    called = set()

    class Base:
        def connection_made(self, transport):
            self.transport = transport
            transport.set_write_buffer_limits(high=0)
            self.poke("connection_made")

        def poke(self, name):
            called.add(name)
            poke()
            transport = self.transport
            repr(transport)
            transport.get_write_buffer_size()
            transport.pause_reading()
            transport.resume_reading()
            if not transport.is_closing():
                transport.set_protocol(self)

        def connection_lost(self, exc):
            self.poke("connection_lost")
            lost.set_result(None)

        def eof_received(self):
            self.poke("eof_received")
            return True

        def pause_writing(self):
            self.poke("pause_writing")

        def resume_writing(self):
            self.poke("resume_writing")
            self.transport.write_eof()

    class Plain(Base, asyncio.Protocol):
        def data_received(self, data):
            self.poke("data_received")
            self.transport.write(bytes(4 * 1024 * 1024))

    class Buffered(Base, asyncio.BufferedProtocol):
        def get_buffer(self, sizehint):
            self.poke("get_buffer")
            return bytearray(1)

        def buffer_updated(self, nbytes):
            self.poke("buffer_updated")
            if self.transport.get_write_buffer_size() == 0 and "resume_writing" not in called:
                self.transport.write(bytes(4 * 1024 * 1024))

    async def main(factory):
        nonlocal lost
        lost = loop.create_future()
        one, other = socket_pair()
        await loop.create_connection(factory, sock=one)
        reader, writer = await asyncio.open_connection(sock=other)
        writer.write(b"xyz")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        with contextlib.suppress(TimeoutError):
            # eof_received asked to stay open: it is for us to close.
            while "eof_received" not in called:
                await asyncio.sleep(0)
        factory.last.transport.close()
        await lost

    lost = None
    for protocol in (Plain, Buffered):
        called.clear()

        class Kept(protocol):
            def __init__(self):
                type(self).last = self

        loop.run_until_complete(main(Kept))
        expected = {
            "connection_made",
            "pause_writing",
            "resume_writing",
            "eof_received",
            "connection_lost",
        }
        expected |= {"data_received"} if protocol is Plain else {"get_buffer", "buffer_updated"}
        assert called == expected
        del Kept.last, Kept
    gc.collect()


def test_reentry_into_run(our_loop):
    """A loop that runs refuses to run again or to close, and is none the worse for it (stock 3.13.0 stops running)."""
    loop = our_loop
    errors = []

    def callback():
        for attempt in (loop.run_forever, loop.close):
            try:
                attempt()
            except RuntimeError as exc:
                errors.append(str(exc))
        loop.call_soon(loop.stop)

    loop.call_soon(callback)
    loop.run_forever()
    assert errors == ["This event loop is already running", "Cannot close a running event loop"]
    assert not loop.is_running()
    assert loop.run_until_complete(asyncio.sleep(0, 7)) == 7


def test_turns_within_turns(our_loop):
    """nest_asyncio and reactor.iterate: a callback turns the loop. Each callback runs once, none is lost, order is kept."""
    loop = our_loop
    seen = []

    def callback(n):
        seen.append(n)
        if n % 10 == 3:
            loop._run_once()

    for n in range(100):
        loop.call_soon(callback, n)
    turn(loop)
    assert seen == list(range(100))
    assert loop._ready == []


def test_turns_deep_within_turns(our_loop):
    loop = our_loop
    seen = []

    def callback(n):
        if n:
            loop.call_soon(callback, n - 1)
            loop._run_once()
        seen.append(n)

    loop.call_soon(callback, 50)
    turn(loop)
    assert seen == list(range(51))
