"""Which IOLoop is current where, the map from asyncio loops to IOLoops, and several loops in several threads."""

from __future__ import annotations

import asyncio
import threading

import pytest
from tornado.ioloop import IOLoop
from tornado.platform.asyncio import AsyncIOMainLoop, BaseAsyncIOLoop


@pytest.fixture
def inside(request, loop_kind, run):
    """run(main): inside a loop of the implementation under test that Tornado did not make; installed, where it is ours."""
    if loop_kind == "interloop":
        request.getfixturevalue("ours")
    return run


def test_current_inside_start(new_io_loop):
    io_loop = new_io_loop()
    seen = []

    def callback():
        seen.extend([IOLoop.current(), IOLoop.instance(), IOLoop.current(instance=False)])
        io_loop.stop()

    for _ in range(3):
        io_loop.add_callback(callback)
        io_loop.start()
        assert seen == [io_loop] * 3
        seen.clear()


def test_current_inside_a_running_asyncio_loop(inside):
    async def main():
        loop = asyncio.get_running_loop()
        assert IOLoop.current(instance=False) is None
        io_loop = IOLoop.current()
        assert isinstance(io_loop, AsyncIOMainLoop)
        assert isinstance(io_loop, BaseAsyncIOLoop)
        assert io_loop.asyncio_loop is loop
        assert IOLoop.current() is io_loop
        assert IOLoop.instance() is io_loop
        assert IOLoop._ioloop_for_asyncio[loop] is io_loop
        # make_current and clear_current do nothing to a loop that is the thread's anyhow
        with pytest.deprecated_call(match="make_current is deprecated"):
            io_loop.make_current()
        with pytest.deprecated_call(match="clear_current is deprecated"):
            IOLoop.clear_current()
        assert IOLoop.current() is io_loop
        called = asyncio.Event()
        io_loop.add_callback(called.set)
        await called.wait()

    inside(main)
    inside(main)


def test_handlers_inside_a_running_asyncio_loop(inside, pair):
    one, other = pair

    async def main():
        received = asyncio.get_running_loop().create_future()
        IOLoop.current().add_handler(
            one, lambda fd, events: received.set_result(fd.recv(10)), IOLoop.READ
        )
        other.send(b"hello")
        assert await received == b"hello"
        IOLoop.current().remove_handler(one)

    inside(main)


def test_closing_the_main_loop_closes_the_asyncio_loop(request, loop_kind, loop_factory):
    if loop_kind == "interloop":
        request.getfixturevalue("ours")
    loop = loop_factory()

    async def main():
        return IOLoop.current()

    io_loop = loop.run_until_complete(main())
    io_loop.close()
    assert loop.is_closed()
    assert loop not in IOLoop._ioloop_for_asyncio


def test_make_current_and_clear_current(new_io_loop):
    before, io_loop = new_io_loop(), new_io_loop()
    asyncio.set_event_loop(before.asyncio_loop)
    with pytest.deprecated_call(match="make_current is deprecated"):
        io_loop.make_current()
    assert asyncio.get_event_loop() is io_loop.asyncio_loop
    assert IOLoop.current() is io_loop
    with pytest.deprecated_call(match="clear_current is deprecated"):
        IOLoop.clear_current()
    assert asyncio.get_event_loop() is before.asyncio_loop
    assert IOLoop.current() is before


def test_closing_the_current_loop_puts_the_one_before_back(new_io_loop):
    before = new_io_loop()
    asyncio.set_event_loop(before.asyncio_loop)
    io_loop = new_io_loop(make_current=True)
    assert IOLoop.current() is io_loop
    io_loop.close()
    assert IOLoop.current() is before


def test_no_loop_in_this_thread(new_io_loop):
    asyncio.set_event_loop(None)
    assert IOLoop.current(instance=False) is None
    with pytest.deprecated_call(match="clear_current is deprecated"):
        IOLoop.clear_current()


def test_second_io_loop_for_an_asyncio_loop(new_io_loop, loop_factory):
    io_loop = new_io_loop()
    with pytest.raises(RuntimeError, match="already associated with asyncio loop"):
        IOLoop(asyncio_loop=io_loop.asyncio_loop, make_current=False)
    assert not io_loop.asyncio_loop.is_closed()
    assert io_loop.run_sync(lambda: asyncio.sleep(0, 7)) == 7


def test_given_asyncio_loop(new_io_loop, new_loop):
    loop = new_loop()
    io_loop = new_io_loop(asyncio_loop=loop)
    assert io_loop.asyncio_loop is loop
    assert io_loop.run_sync(lambda: asyncio.sleep(0, 7)) == 7
    io_loop.close()
    assert loop.is_closed()


def test_stale_io_loop_is_forgotten(new_io_loop, new_loop):
    """Closed through asyncio, Tornado never hears of it: the next IOLoop that is made clears it away."""
    stale = new_io_loop(asyncio_loop=new_loop())
    loop = stale.asyncio_loop
    loop.close()
    assert loop in IOLoop._ioloop_for_asyncio
    stale.add_callback(lambda: None)
    new_io_loop()
    assert loop not in IOLoop._ioloop_for_asyncio
    with pytest.raises(KeyError):
        stale.close()


def test_close_leaves_nothing_in_the_map(new_io_loop):
    before = len(IOLoop._ioloop_for_asyncio)
    for _ in range(10):
        new_io_loop().close()
    assert len(IOLoop._ioloop_for_asyncio) == before


def test_loops_in_threads(new_io_loop):
    """Each thread has its own current loop; a token goes round through all of them."""
    count, rounds = 4, 100
    loops = [new_io_loop() for _ in range(count)]
    hops = []

    def pass_on(hop):
        assert IOLoop.current() is loops[hop % count]
        hops.append(threading.current_thread())
        if hop == count * rounds - 1:
            for io_loop in loops:
                io_loop.add_callback(io_loop.stop)
        else:
            loops[(hop + 1) % count].add_callback(pass_on, hop + 1)

    threads = [threading.Thread(target=io_loop.start) for io_loop in loops]
    for thread in threads:
        thread.start()
    loops[0].add_callback(pass_on, 0)
    for thread in threads:
        thread.join()
    assert hops == threads * rounds


def test_loop_made_and_run_in_a_thread(new_io_loop):
    seen = []

    def target():
        io_loop = new_io_loop()
        io_loop.add_callback(lambda: seen.append(IOLoop.current() is io_loop))
        io_loop.add_callback(io_loop.stop)
        io_loop.start()
        io_loop.close()

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    assert seen == [True]
