"""What is ours alone: install() and uninstall(), which loops get which IOLoop, and what a handler is on the Rust loop."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading

import pytest
import tornado.ioloop
import tornado.platform.asyncio
import tornado.testing
from to_streams import tcp_pair
from to_tls import both, certificate, client_context, server_context, wrapped  # noqa: F401
from tornado.iostream import IOStream as StockIOStream
from tornado.iostream import SSLIOStream as StockTls
from tornado.platform.asyncio import AsyncIOLoop, AsyncIOMainLoop

import interloop
import interloop.tornado

StockIOLoop = tornado.ioloop.IOLoop


@pytest.fixture(autouse=True)
def put_back():
    configuration, current = StockIOLoop._save_configuration(), StockIOLoop.current
    yield
    interloop.tornado.uninstall()
    StockIOLoop._restore_configuration(configuration)
    assert StockIOLoop.current is current


def made(**kwargs):
    """The class of what `tornado.ioloop.IOLoop()` makes, and that of its asyncio loop."""
    io_loop = StockIOLoop(make_current=False, **kwargs)
    io_loop.close()
    return type(io_loop), type(io_loop.asyncio_loop)


def current_inside(main_loop=interloop.new_event_loop):
    """The class of IOLoop.current() inside a running loop."""

    async def main():
        return type(StockIOLoop.current())

    with asyncio.Runner(loop_factory=main_loop) as runner:
        return runner.run(main())


def test_without_install_tornados_own_classes():
    assert made()[0] is AsyncIOLoop
    assert current_inside() is AsyncIOMainLoop
    assert made(asyncio_loop=interloop.new_event_loop()) == (AsyncIOLoop, interloop.Loop)


def test_install_and_uninstall():
    for _ in range(2):
        interloop.tornado.install()
        interloop.tornado.install()
        assert made() == (interloop.tornado.IOLoop, interloop.Loop)
        assert current_inside() is interloop.tornado.MainIOLoop
        interloop.tornado.uninstall()
        interloop.tornado.uninstall()
        test_without_install_tornados_own_classes()


def test_inside_interloop_run():
    interloop.tornado.install()

    async def main():
        io_loop = StockIOLoop.current()
        assert isinstance(io_loop, interloop.tornado.IOLoop)
        assert isinstance(io_loop, AsyncIOMainLoop)
        assert StockIOLoop.current() is io_loop
        interloop.tornado.uninstall()
        assert StockIOLoop.current() is io_loop
        return await io_loop.run_in_executor(None, lambda: 42)

    assert interloop.run(main()) == 42


def test_configured_by_name():
    """Tornado's own way, without install(): IOLoop() makes ours."""
    StockIOLoop.configure("interloop.tornado.IOLoop")
    assert made() == (interloop.tornado.IOLoop, interloop.Loop)
    assert current_inside() is AsyncIOMainLoop


def test_named_classes_are_what_they_say():
    interloop.tornado.install()
    io_loop = interloop.tornado.IOLoop(make_current=False)
    assert (type(io_loop), type(io_loop.asyncio_loop)) == (interloop.tornado.IOLoop, interloop.Loop)
    io_loop.close()
    io_loop = AsyncIOLoop(make_current=False)
    assert type(io_loop) is AsyncIOLoop
    io_loop.close()


def test_foreign_asyncio_loop(pair):
    """A loop that is not ours is served on Tornado's own paths."""
    interloop.tornado.install()
    one, other = pair
    loop = asyncio.SelectorEventLoop()
    io_loop = StockIOLoop(asyncio_loop=loop, make_current=False)
    assert type(io_loop) is interloop.tornado.IOLoop
    seen = []

    def handler(fd, events):
        seen.append((fd, events, fd.recv(1)))
        io_loop.update_handler(fd, 0)
        io_loop.stop()

    io_loop.add_handler(one, handler, StockIOLoop.READ)
    assert loop._selector.get_key(one).data[0]._callback == io_loop._handle_events
    other.send(b"x")
    io_loop.start()
    assert seen == [(one, StockIOLoop.READ, b"x")]
    io_loop.close()
    assert current_inside(asyncio.SelectorEventLoop) is AsyncIOMainLoop


def test_earlier_configuration_stays_in_force_and_comes_back():
    class Mine(AsyncIOLoop):
        pass

    StockIOLoop.configure(Mine, make_current=False)
    interloop.tornado.install()
    asyncio.set_event_loop(None)
    io_loop = StockIOLoop()
    assert type(io_loop) is interloop.tornado.IOLoop
    assert StockIOLoop.current(instance=False) is None
    io_loop.close()
    interloop.tornado.uninstall()
    io_loop = StockIOLoop()
    assert type(io_loop) is Mine
    assert StockIOLoop.current(instance=False) is None
    io_loop.close()


def test_what_others_configured_since_stays():
    class Mine(AsyncIOLoop):
        pass

    interloop.tornado.install()
    StockIOLoop.configure(Mine)
    interloop.tornado.uninstall()
    assert made()[0] is Mine


def test_what_others_replaced_since_stays():
    """A wrapper put over ours stays at uninstall, works through it as before, and again after a second install."""
    stock = StockIOLoop.current
    interloop.tornado.install()
    ours = StockIOLoop.current
    calls = []

    def theirs(instance=True):
        calls.append(instance)
        return ours(instance)

    StockIOLoop.current = staticmethod(theirs)
    try:
        interloop.tornado.uninstall()
        assert StockIOLoop.current is theirs
        assert current_inside() is AsyncIOMainLoop
        assert calls == [True]
        interloop.tornado.install()
        assert current_inside() is interloop.tornado.MainIOLoop
        interloop.tornado.uninstall()
        assert StockIOLoop.current is theirs
    finally:
        StockIOLoop.current = staticmethod(stock)


def test_io_loops_outlive_uninstall(pair):
    one, other = pair
    interloop.tornado.install()
    io_loop = StockIOLoop(make_current=False)
    interloop.tornado.uninstall()
    seen = []

    def handler(fd, events):
        seen.append(fd.recv(1))
        io_loop.stop()

    io_loop.add_handler(one, handler, StockIOLoop.READ)
    other.send(b"x")
    io_loop.start()
    io_loop.close()
    assert seen == [b"x"]


def test_current_in_a_thread_without_a_loop():
    """As Tornado does, it makes one and sets it; ours, once installed."""
    interloop.tornado.install()
    seen = []

    def target():
        io_loop = StockIOLoop.current()
        seen.append((type(io_loop), type(io_loop.asyncio_loop)))
        seen.append(asyncio.get_event_loop() is io_loop.asyncio_loop)
        seen.append(StockIOLoop.current() is io_loop)
        seen.append(io_loop.run_sync(lambda: asyncio.sleep(0, 7)))
        io_loop.close()

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    assert seen == [(interloop.tornado.MainIOLoop, interloop.Loop), True, True, 7]


def test_current_keeps_a_loop_that_is_set():
    interloop.tornado.install()
    loop = asyncio.SelectorEventLoop()
    asyncio.set_event_loop(loop)
    try:
        io_loop = StockIOLoop.current()
        assert type(io_loop) is AsyncIOMainLoop
        assert io_loop.asyncio_loop is loop
        io_loop.close()
    finally:
        asyncio.set_event_loop(None)


CLASSIC = """
import warnings
warnings.simplefilter("error")
import asyncio, interloop, interloop.tornado, tornado.ioloop
interloop.tornado.install()
io_loop = tornado.ioloop.IOLoop.current()
assert type(io_loop.asyncio_loop) is interloop.Loop, io_loop.asyncio_loop
assert asyncio.get_event_loop() is io_loop.asyncio_loop
io_loop.call_later(0, io_loop.stop)
tornado.ioloop.IOLoop.instance().start()
io_loop.close()
print("done")
"""


def test_the_classic_main_program():
    """`IOLoop.current().start()` with no asyncio loop anywhere, in a fresh main thread, is ours and warns of nothing."""
    result = subprocess.run(
        [sys.executable, "-c", CLASSIC], capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


def test_loop_of_its_own_is_closed_if_it_cannot_start(monkeypatch, recwarn):
    loops = []

    def new_event_loop():
        loops.append(interloop.new_event_loop())
        return loops[-1]

    def refuse(self):
        raise RuntimeError("no")

    monkeypatch.setattr(interloop.tornado.ioloop, "new_event_loop", new_event_loop)
    monkeypatch.setattr(interloop.tornado.IOLoop, "_make_current", refuse)
    with pytest.raises(RuntimeError, match=r"^no$"):
        interloop.tornado.IOLoop()
    assert [loop.is_closed() for loop in loops] == [True]


class TestHandlers:
    """On the Rust loop."""

    @pytest.fixture
    def io_loop(self):
        io_loop = interloop.tornado.IOLoop(make_current=False)
        yield io_loop
        io_loop.close()

    def test_the_watcher_calls_the_handler_itself(self, pair, io_loop):
        """No second layer: what the Rust loop calls is the handler, with its arguments."""
        one, _ = pair

        def handler(fd, events):
            raise AssertionError("not run here")

        def watched():
            return [
                (fd, *((handle._callback, handle._args) if handle else None for handle in handles))
                for fd, *handles in io_loop.asyncio_loop._watchers()
            ]

        number = one.fileno()
        assert watched() == []
        io_loop.add_handler(one, handler, io_loop.READ)
        assert watched() == [(number, (handler, (one, io_loop.READ)), None)]
        io_loop.update_handler(number, io_loop.READ | io_loop.WRITE)
        assert watched() == [
            (number, (handler, (one, io_loop.READ)), (handler, (one, io_loop.WRITE)))
        ]
        io_loop.update_handler(number, io_loop.WRITE)
        assert watched() == [(number, None, (handler, (one, io_loop.WRITE)))]
        io_loop.remove_handler(one)
        assert watched() == []

    def test_update_of_an_unknown_fd(self, pair, io_loop):
        one, _ = pair
        with pytest.raises(KeyError):
            io_loop.update_handler(one, io_loop.READ)
        io_loop.update_handler(one, 0)
        assert io_loop.asyncio_loop._watchers() == []

    def test_one_event_that_cannot_be_watched_leaves_none(self, pair, io_loop, monkeypatch):
        one, _ = pair

        def refuse(self, *args):
            raise OSError("no writer")

        monkeypatch.setattr(type(io_loop.asyncio_loop), "_add_writer", refuse)
        with pytest.raises(OSError, match="no writer"):
            io_loop.add_handler(one, lambda fd, events: None, io_loop.READ | io_loop.WRITE)
        assert io_loop.handlers == {}
        assert io_loop.asyncio_loop._watchers() == []


class TestTornadosTestCase:
    """tornado.testing with ours: a loop of its own is closed after each test, the current one is not."""

    def run_case(self, case):
        outcome = case("test").run()
        assert outcome.wasSuccessful(), outcome.failures + outcome.errors

    def test_own_loop(self):
        interloop.tornado.install()
        loops = []

        class Case(tornado.testing.AsyncTestCase):
            @tornado.testing.gen_test
            async def test(self):
                loops.append(self.io_loop)
                assert StockIOLoop.current() is self.io_loop
                await asyncio.sleep(0)

        self.run_case(Case)
        assert [type(io_loop) for io_loop in loops] == [interloop.tornado.IOLoop]
        assert loops[0].asyncio_loop.is_closed()

    def test_current_loop(self):
        interloop.tornado.install()
        loop = interloop.new_event_loop()
        asyncio.set_event_loop(loop)

        class Case(tornado.testing.AsyncTestCase):
            def get_new_ioloop(self):
                return StockIOLoop.current()

            @tornado.testing.gen_test
            async def test(self):
                assert asyncio.get_running_loop() is loop

        with pytest.deprecated_call(match="get_new_ioloop is deprecated"):
            self.run_case(Case)
        assert not loop.is_closed()
        StockIOLoop._ioloop_for_asyncio[loop].close()


class OwnTlsStream(StockTls):
    pass


class OwnStream(StockIOStream):
    pass


def streams_inside(loop_factory=interloop.new_event_loop):
    """The classes of a stream and of one of an application's own class, made inside a running loop."""

    async def main():
        streams = [
            kind(socket.socket(), max_buffer_size=1000) for kind in (StockIOStream, OwnStream)
        ]
        for stream in streams:
            assert stream.max_buffer_size == 1000
            stream.close()
        return [type(stream) for stream in streams]

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main())


def test_streams():
    """Under the name by which they were imported before; a class derived from Tornado's stays what it was."""
    for _ in range(2):
        interloop.tornado.install()
        assert streams_inside() == [interloop.tornado.IOStream, OwnStream]
        assert streams_inside(asyncio.SelectorEventLoop) == [StockIOStream, OwnStream]
        interloop.tornado.uninstall()
        assert streams_inside() == [StockIOStream, OwnStream]


def tls_streams_inside(loop_factory=interloop.new_event_loop):
    async def main():
        kinds = (StockTls, OwnTlsStream)
        streams = [kind(socket.socket(), max_buffer_size=1000) for kind in kinds]
        for stream in streams:
            assert stream.max_buffer_size == 1000
            stream.close()
        return [type(stream) for stream in streams]

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main())


def test_tls_streams():
    assert tls_streams_inside() == [StockTls, OwnTlsStream]
    for _ in range(2):
        interloop.tornado.install()
        assert tls_streams_inside() == [interloop.tornado.SSLIOStream, OwnTlsStream]
        assert tls_streams_inside(asyncio.SelectorEventLoop) == [StockTls, OwnTlsStream]
        interloop.tornado.uninstall()
        assert tls_streams_inside() == [StockTls, OwnTlsStream]


def test_tls_is_native_once_the_handshake_is_over(server_context, client_context):  # noqa: F811
    interloop.tornado.install()

    async def main():
        async with both(server_context, client_context) as (client, server):
            await client.write(b"x")
            assert await server.read_bytes(1) == b"x"
            for stream in (client, server):
                assert type(stream) is interloop.tornado.SSLIOStream
                assert isinstance(stream, interloop.tornado.IOStream)
                assert (stream._native, stream._secured, stream._joined) == (True, True, True)
            server.read_from_fd = server.read_from_fd
            assert (server._native, server._secured, server._joined) == (False, False, False)
            assert isinstance(server, interloop.tornado.SSLIOStream)
            await client.write(b"y")
            assert await server.read_bytes(1) == b"y"

    interloop.run(main())


def test_tls_that_cannot_be_driven_is_tornados(server_context, client_context):  # noqa: F811
    """Who wants an end without a last word to be an error, or hears of each message."""
    interloop.tornado.install()
    heard = []

    async def main():
        client_context._msg_callback = lambda *message: heard.append(message)
        async with both(server_context, client_context) as (client, server):
            await client.write(b"x")
            assert await server.read_bytes(1) == b"x"
            assert (client._secured, server._secured) == (False, True)
            assert not client._native
            assert heard

    interloop.run(main())


def test_an_io_loop_that_closes_all_closes_tls_streams_too(server_context, client_context):  # noqa: F811
    interloop.tornado.install()
    io_loop = StockIOLoop(make_current=False)

    async def main():
        one, other = tcp_pair()
        streams = (
            StockTls(wrapped(one, server_context, server_side=True)),
            StockTls(wrapped(other, client_context)),
        )
        await asyncio.gather(*(stream.wait_for_handshake() for stream in streams))
        await streams[0].write(b"x")
        assert all(stream._secured for stream in streams)
        return streams

    streams = io_loop.run_sync(main)
    io_loop.close(all_fds=True)
    assert [stream.socket.fileno() for stream in streams] == [-1, -1]


def test_an_idle_stream_has_no_attributes_of_its_own():
    """What each has is native: a dict costs a twentieth of an idle connection. Tornado's Python path has them all."""
    interloop.tornado.install()

    async def main():
        one, other = tcp_pair()
        with other:
            stream = StockIOStream(one)
            stream.read_bytes(1)
            assert stream.__dict__ == {}
            assert stream.socket is one
            assert stream.io_loop is StockIOLoop.current()
            stream.write_to_fd = stream.write_to_fd
            assert stream.socket is stream.__dict__["socket"] is one
            assert stream.io_loop is StockIOLoop.current()
            stream.close()
            assert stream.socket is None
            unmade = interloop.tornado.IOStream.__new__(interloop.tornado.IOStream)
            for name in ("socket", "io_loop"):
                with pytest.raises(AttributeError, match=name):
                    getattr(unmade, name)

    interloop.run(main())


def test_our_stream_by_its_name():
    """On our loop native, without install(); on another it is Tornado's own code."""

    async def main():
        stream = interloop.tornado.IOStream(socket.socket())
        stream.close()
        assert isinstance(stream, interloop.tornado.IOStream)
        return stream._native

    for factory, native in ((interloop.new_event_loop, True), (asyncio.SelectorEventLoop, False)):
        with asyncio.Runner(loop_factory=factory) as runner:
            assert runner.run(main()) is native


def test_a_streams_descriptor_is_given_back():
    """remove_handler() of a stream's socket: it can be watched by others then, and by the stream again later."""
    interloop.tornado.install()

    async def main():
        ours, peer = socket.socketpair()
        with peer:
            stream = StockIOStream(ours)
            read = stream.read_bytes(1)
            io_loop = StockIOLoop.current()
            with pytest.raises(RuntimeError, match="is used by transport"):
                io_loop.add_handler(ours, print, io_loop.READ)
            assert stream._joined
            io_loop.remove_handler(ours)
            assert not stream._joined
            seen = asyncio.get_running_loop().create_future()
            io_loop.add_handler(ours, lambda *_: seen.done() or seen.set_result(None), io_loop.READ)
            peer.sendall(b"x")
            await seen
            io_loop.remove_handler(ours)
            assert not read.done()
            stream._wait()
            assert await read == b"x"
            stream.close()

    interloop.run(main())
