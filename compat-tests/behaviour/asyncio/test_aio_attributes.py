"""Points 13 to 15: what the loop is as a Python object. Its class, its dict, its overridable methods, its names."""

from __future__ import annotations

import asyncio
import selectors
import socket
import threading

import pytest
from aio_support import Recorder, connected, turns, unix_pair


def test_is_an_event_loop(new_loop):
    """Libraries test for the abstract class, and some for BaseEventLoop (nest_asyncio)."""
    loop = new_loop()
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert isinstance(loop, asyncio.BaseEventLoop)


def test_class_can_be_called_and_tested_for(new_loop):
    """Point 13: Scrapy's ASYNCIO_EVENT_LOOP is a class called without arguments and used with isinstance."""
    cls = type(new_loop())
    loop = cls()
    try:
        assert isinstance(loop, cls) and type(loop) is cls
        assert loop.run_until_complete(asyncio.sleep(0, 5)) == 5
    finally:
        loop.close()
    assert cls.__module__ and cls.__qualname__.isidentifier()


def test_interloop_names(loop_kind, new_loop):
    """The class is there by its documented name: asyncio.SelectorEventLoop, interloop.Loop, uvloop.Loop."""
    if loop_kind == "stock":
        cls = asyncio.SelectorEventLoop
    else:
        cls = __import__(loop_kind).Loop
    assert type(new_loop()) is cls


def test_subclass(new_loop):
    """Point 13: subclasses with their own __init__, attributes and methods; super() works."""
    seen = []

    class Sub(type(new_loop())):
        def __init__(self, extra):
            super().__init__()
            self.extra = extra

        def call_soon(self, callback, *args, context=None):
            seen.append(callback)
            return super().call_soon(callback, *args, context=context)

        def call_exception_handler(self, context):
            seen.append(context["message"])

    loop = Sub("extra")
    try:

        def callback():
            raise LookupError

        assert loop.extra == "extra"
        loop.call_soon(callback)
        loop.run_until_complete(turns())
        assert seen[0] is callback
        assert any(isinstance(item, str) and "callback" in item for item in seen)
    finally:
        loop.close()


def test_instance_dict(new_loop):
    """Point 13: attributes can be set on the instance, also over methods, and taken away again."""
    loop = new_loop()
    loop.anything = 1
    assert loop.__dict__["anything"] == 1
    loop.stop = lambda: 7.0
    assert loop.stop() == 7.0
    del loop.stop
    assert loop.stop() is None
    assert list(loop.__dict__).count("stop") == 0


def test_getaddrinfo_is_called_through_the_instance(new_loop):
    """Point 13: `loop.getaddrinfo = ...` decides where create_connection and create_server look names up."""
    loop = new_loop()
    asked = []

    async def getaddrinfo(host, port, **kwargs):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))]

    loop.getaddrinfo = getaddrinfo

    async def main():
        server = await loop.create_server(Recorder, "server.invalid", 0)
        port = server.sockets[0].getsockname()[1]
        transport, protocol = await loop.create_connection(Recorder, "client.invalid", port)
        transport.close()
        await protocol.lost
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())
    assert asked == ["server.invalid", "client.invalid"]


def test_sock_connect_is_called_through_the_instance(new_loop):
    """Point 13: create_connection connects by self.sock_connect."""
    loop = new_loop()
    seen = []
    original = loop.sock_connect

    async def sock_connect(sock, address):
        seen.append(address)
        await original(sock, address)

    loop.sock_connect = sock_connect

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
            transport, protocol = await loop.create_connection(Recorder, *address)
            transport.close()
            await protocol.lost
            return address

    assert seen == [loop.run_until_complete(main())]
    del loop.sock_connect


def test_create_task_is_called_through_the_instance(new_loop):
    """Point 13: asyncio.create_task, ensure_future and run_until_complete use loop.create_task."""
    loop = new_loop()
    seen = []
    original = loop.create_task

    def create_task(coro, **kwargs):
        seen.append(coro.__name__)
        return original(coro, **kwargs)

    loop.create_task = create_task

    async def one():
        pass

    async def main():
        await asyncio.ensure_future(one())
        await asyncio.gather(one())
        await asyncio.create_task(one())

    loop.run_until_complete(main())
    assert seen == ["main", "one", "one", "one"]
    del loop.create_task


def test_call_soon_is_called_through_the_instance(new_loop):
    """Point 13: tasks and futures schedule by loop.call_soon as it stands on the instance."""
    loop = new_loop()
    count = 0
    original = loop.call_soon

    def call_soon(*args, **kwargs):
        nonlocal count
        count += 1
        return original(*args, **kwargs)

    loop.call_soon = call_soon
    loop.run_until_complete(turns(3))
    del loop.call_soon
    assert count >= 4


def test_root_task_is_found_by_its_done_callback(new_loop):
    """Point 14: anyio looks for `asyncio.base_events._run_until_complete_cb` among the callbacks."""
    loop = new_loop()

    async def main():
        return [callback for callback, _ in asyncio.current_task()._callbacks]

    assert loop.run_until_complete(main()) == [asyncio.base_events._run_until_complete_cb]


def test_thread_id(new_loop):
    """Point 15: `_thread_id` is the running thread's, None otherwise; settable (nest_asyncio, tests)."""
    loop = new_loop()
    assert loop._thread_id is None

    async def main():
        return loop._thread_id

    assert loop.run_until_complete(main()) == threading.get_ident()
    assert loop._thread_id is None


def test_private_state_is_there(new_loop):
    """Point 15 and 6: names that asyncio's own helpers and other libraries read."""
    loop = new_loop()
    assert loop._closed is False
    assert loop._stopping is False
    assert loop._debug is False
    assert loop._default_executor is None
    assert loop._exception_handler is None
    assert loop._task_factory is None
    assert loop._signal_handlers == {}
    assert loop._asyncgens is not None
    assert loop._clock_resolution > 0


def test_stopping_can_be_read(new_loop):
    """Twisted's asyncioreactor and others look at `_stopping`."""
    loop = new_loop()
    seen = []
    loop.call_soon(lambda: (loop.stop(), seen.append(loop._stopping)))
    loop.run_forever()
    assert seen == [True] and loop._stopping is False


def test_two_loops_in_two_threads(new_loop):
    """Loops do not know of each other."""
    loops = [new_loop(), new_loop()]
    results = []

    def target(loop):
        async def main():
            await turns()
            return asyncio.get_running_loop() is loop

        results.append(loop.run_until_complete(main()))

    threads = [threading.Thread(target=target, args=(loop,)) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True, True]


def test_slots_of_the_loop_are_writable(new_loop):
    """Point 13: mock.patch.object on an instance's method works and is undone."""
    from unittest import mock

    loop = new_loop()
    for name in ("call_soon", "call_later", "add_reader", "remove_reader", "create_future", "stop"):
        with mock.patch.object(loop, name) as patched:
            assert getattr(loop, name) is patched
        assert getattr(loop, name) is not patched


def test_private_methods_can_be_replaced(new_loop):
    """Point 13: suites put mocks for what they think of as asyncio's own parts, and the loop goes on."""
    from unittest import mock

    loop = new_loop()
    for name in ("_process_events", "_write_to_self", "_selector", "_run_once", "_add_callback"):
        before = getattr(loop, name, None)
        with mock.patch.object(loop, name, create=True):
            if name != "_run_once":
                loop.call_soon_threadsafe(loop.stop)
                loop.run_forever()
        assert getattr(loop, name, None) == before


def test_selector(new_loop):
    """Point 15: others look into `_selector` for what is watched, and Twisted's asyncioreactor unregisters there."""
    loop = new_loop()
    one, other = unix_pair()
    with one, other:
        loop.add_reader(one, print)
        loop.add_writer(one, print)
        for given in (one, one.fileno()):
            key = loop._selector.get_key(given)
            assert key.fd == one.fileno()
            assert key.events == selectors.EVENT_READ | selectors.EVENT_WRITE
        assert loop._selector.get_map()[one.fileno()].fd == one.fileno()
        loop.remove_writer(one)
        assert loop._selector.get_key(one).events == selectors.EVENT_READ
        loop._selector.unregister(one)
        assert loop.remove_reader(one) is False
        with pytest.raises(KeyError):
            loop._selector.get_key(one)


def test_transports_do_not_pass_for_uvloops(run):
    """Point 14: aiohttp tells uvloop's transports by their class's module, and works around them."""

    async def main():
        async with connected() as (transport, _protocol, _peer):
            assert not type(transport).__module__.startswith("uvloop")
            assert transport._loop is asyncio.get_running_loop()

    run(main)


@pytest.mark.parametrize("method", ["get_debug", "is_running", "is_closed", "time"])
def test_may_be_asked_from_any_thread(new_loop, method):
    """Queries need no particular thread, also in debug mode."""
    loop = new_loop()
    loop.set_debug(True)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(getattr(loop, method)()))
    thread.start()
    thread.join()
    assert len(answers) == 1
