"""Websocket handlers of a Tornado application: under Tornado's own server, the contract, and as an ASGI application."""

from __future__ import annotations

import asyncio

import pytest
import tornado.web
import websockets
from mi_support import hypercorn_serving, tornado_serving, uvicorn_serving
from tornado.websocket import WebSocketClosedError, WebSocketHandler
from websockets.exceptions import ConnectionClosed, InvalidStatus


@pytest.fixture(params=["tornado", "uvicorn", "hypercorn"])
def using(request, on_loop):
    """using(handler, test): runs `test(connect)` against an application with this handler in the host under test."""
    from interloop.migrate.tornado_as_asgi import TornadoASGI

    def using(handler, test, **settings):
        async def main():
            application = tornado.web.Application([("/socket/(.*)", handler)], **settings)
            if request.param == "tornado":
                served = tornado_serving(application)
            elif request.param == "uvicorn":
                served = uvicorn_serving(TornadoASGI(application))
            else:
                served = hypercorn_serving(TornadoASGI(application))
            async with served as site:
                return await test(lambda **options: connect(site, **options))

        return on_loop(main)

    using.host = request.param
    return using


def connect(site, path="/socket/word?q=1", **options):
    return websockets.connect(site.url(path, "ws"), proxy=None, **options)


def test_messages(using):
    seen = []
    over = asyncio.Event()

    class Handler(WebSocketHandler):
        def prepare(self):
            self.set_header("X-Own", "yes")
            self.set_cookie("a", "1")
            self.set_cookie("b", "2")

        def select_subprotocol(self, subprotocols):
            assert subprotocols == ["one", "two"]
            return "two"

        async def open(self, word):
            seen.append((word, self.get_argument("q"), self.selected_subprotocol))
            self.set_nodelay(True)
            await self.write_message({"a": 1})
            with pytest.raises(RuntimeError, match="not supported for Web Sockets"):
                self.set_status(200)

        async def on_message(self, message):
            await self.write_message(message, binary=isinstance(message, bytes))

        def on_close(self):
            seen.append((self.close_code, self.close_reason))
            with pytest.raises(WebSocketClosedError):
                self.write_message("nobody")
            over.set()

    async def test(connect):
        async with connect(subprotocols=["one", "two"]) as ws:
            assert (ws.subprotocol, ws.response.headers["x-own"]) == ("two", "yes")
            cookies = ws.response.headers.get_all("set-cookie")
            assert [cookie.split(";")[0] for cookie in cookies] == ["a=1", "b=2"]
            assert await ws.recv() == '{"a": 1}'
            for message in ("text", "", "ä" * 1000, b"bytes", b"", b"x" * 300_000):
                await ws.send(message)
                assert await ws.recv() == message
            await ws.close(4321, "because")
        await over.wait()

    using(Handler, test)
    assert seen[0] == ("word", "1", "two")
    # hypercorn 0.18 does not hand them on.
    assert seen[1] == ((None, None) if using.host == "hypercorn" else (4321, "because"))


def test_messages_wait_for_the_handler(using):
    """One after another, and none before open() has returned."""
    seen = []
    over = asyncio.Event()

    class Handler(WebSocketHandler):
        async def open(self, word):
            await asyncio.sleep(0)
            seen.append("open")

        async def on_message(self, message):
            seen.append(message)
            await asyncio.sleep(0)
            seen.append(message)

        def on_close(self):
            over.set()

    async def test(connect):
        async with connect() as ws:
            for number in range(100):
                await ws.send(str(number))
        await over.wait()

    using(Handler, test)
    assert seen == ["open", *(str(number) for number in range(100) for _ in range(2))]


def test_the_handler_closes(using):
    over = asyncio.Event()

    class Handler(WebSocketHandler):
        def on_message(self, message):
            self.write_message("bye")
            self.close(4000, "enough")
            with pytest.raises(WebSocketClosedError):
                self.write_message("more")

        def on_close(self):
            over.set()

    async def test(connect):
        async with connect() as ws:
            await ws.send("go")
            assert await ws.recv() == "bye"
            with pytest.raises(ConnectionClosed) as closed:
                await ws.recv()
        await over.wait()
        return closed.value.rcvd

    closed = using(Handler, test)
    assert (closed.code, closed.reason) == (4000, "enough")


def test_dropped(using):
    seen = []
    over = asyncio.Event()

    class Handler(WebSocketHandler):
        def on_close(self):
            seen.append((self.close_code, self.close_reason))
            over.set()

    async def test(connect):
        ws = await connect()
        ws.transport.abort()
        await over.wait()

    using(Handler, test)
    assert seen == [(None, None)]


@pytest.mark.parametrize("where", ["open", "message", "message, awaited"])
def test_raising(using, logs, where):
    over = asyncio.Event()

    class Handler(WebSocketHandler):
        def open(self, word):
            if where == "open":
                raise ZeroDivisionError("on purpose")

        def on_message(self, message):
            if where == "message":
                raise ZeroDivisionError("on purpose")
            return self.later()

        async def later(self):
            await asyncio.sleep(0)
            raise ZeroDivisionError("on purpose")

        def on_close(self):
            over.set()

    async def test(connect):
        async with connect() as ws:
            with pytest.raises(ConnectionClosed):
                await ws.send("go")
                await ws.recv()
        if where != "open":  # a socket that was never opened is not closed
            await over.wait()
        return over.is_set()

    assert using(Handler, test) is (where != "open")
    assert logs.take("Uncaught exception").exc_info[0] is ZeroDivisionError


def test_refused(using):
    class Handler(WebSocketHandler):
        def prepare(self):
            if not self.get_argument("key", None):
                raise tornado.web.HTTPError(401)

    async def test(connect):
        with pytest.raises(InvalidStatus) as refused:
            await connect()
        return refused.value.response.status_code

    assert using(Handler, test) == 401


def test_a_foreign_origin(using):
    class Handler(WebSocketHandler):
        pass

    async def test(connect):
        with pytest.raises(InvalidStatus) as refused:
            await connect(origin="http://elsewhere.example")
        return refused.value.response.status_code

    assert using(Handler, test) == 403


def test_a_message_that_is_too_large(using):
    class Handler(WebSocketHandler):
        def on_message(self, message):
            self.write_message(str(len(message)))

    async def test(connect):
        async with connect() as ws:
            await ws.send("x" * 10)
            assert await ws.recv() == "10"
            with pytest.raises(ConnectionClosed):
                await ws.send("x" * 11)
                await ws.recv()
        return ws.close_code

    assert using(Handler, test, websocket_max_message_size=10) == 1009


def test_pings_are_the_servers(using):
    class Handler(WebSocketHandler):
        def on_message(self, message):
            self.ping(b"are you there?")
            self.write_message("still here")

    async def test(connect):
        async with connect() as ws:
            await (await ws.ping())
            await ws.send("go")
            assert await ws.recv() == "still here"

    using(Handler, test)
