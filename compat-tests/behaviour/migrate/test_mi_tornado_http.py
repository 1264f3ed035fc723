"""Requests to a Tornado application: under Tornado's own server, which is the contract, and as an ASGI application."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import tornado.iostream
import tornado.web
from mi_support import hypercorn_serving, tornado_serving, uvicorn_serving
from tornado.web import RequestHandler, stream_request_body


def serving(host, application, **options):
    from interloop.migrate.tornado_as_asgi import TornadoASGI

    if host == "tornado":
        return tornado_serving(application, **options)
    serve = uvicorn_serving if host == "uvicorn" else hypercorn_serving
    return serve(TornadoASGI(application, **options))


@pytest.fixture(params=["tornado", "uvicorn", "hypercorn"])
def using(request, on_loop):
    """using(handlers, test): runs `test(site, client)` against an application in the host under test."""

    def using(handlers, test, settings=None, **options):
        async def main():
            application = tornado.web.Application(handlers, **(settings or {}))
            async with (
                serving(request.param, application, **options) as site,
                httpx.AsyncClient() as client,
            ):
                return await test(site, client)

        return on_loop(main)

    using.host = request.param
    return using


class Others(RequestHandler):
    """For Site.others()."""

    def get(self):
        self.set_status(204)
        self.set_header("Content-Length", "0")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_request_and_answer(using, method):
    class Handler(RequestHandler):
        def any(self, word):
            self.set_status(201, "Made")
            self.add_header("X-Twice", "1")
            self.add_header("X-Twice", "2")
            self.set_cookie("a", "1")
            self.set_cookie("b", "2")
            request = self.request
            self.write(
                {
                    "word": word,
                    "path": request.path,
                    "query": self.get_query_arguments("q"),
                    "body": self.get_body_arguments("field"),
                    "ip": request.remote_ip,
                    "protocol": request.protocol,
                    "url": request.full_url().partition("//")[2].partition("/")[2],
                    "cookie": self.get_cookie("mine"),
                    "twice": request.headers.get_list("X-Asked"),
                }
            )

        get = post = put = delete = head = options = any

    async def test(site, client):
        headers = [("X-Asked", "1"), ("X-Asked", "2"), ("Cookie", "mine=yes")]
        data = {"field": "ä b"} if method in ("POST", "PUT") else None
        return await client.request(
            method, site.url("/a/b%20%2Fc?q=1&q=%202"), headers=headers, data=data
        )

    got = using([("/a/(.*)", Handler)], test)
    assert (got.status_code, got.headers.get_list("x-twice")) == (201, ["1", "2"])
    assert [cookie.split(";")[0] for cookie in got.headers.get_list("set-cookie")] == ["a=1", "b=2"]
    for name in ("date", "server", "content-type"):
        assert len(got.headers.get_list(name)) == 1, name
    if method == "HEAD":
        assert (got.content, int(got.headers["content-length"]) > 100) == (b"", True)
        return
    asked = got.json()
    assert asked.pop("body") == (["ä b"] if method in ("POST", "PUT") else [])
    assert asked == {
        "word": "b /c",
        "path": "/a/b%20%2Fc",
        "query": ["1", "2"],
        "ip": "127.0.0.1",
        "protocol": "http",
        "url": "a/b%20%2Fc?q=1&q=%202",
        "cookie": "yes",
        "twice": ["1", "2"],
    }


def test_errors(using, logs):
    class Fail(RequestHandler):
        def get(self, kind):
            if kind == "http":
                raise tornado.web.HTTPError(418)
            if kind == "redirect":
                return self.redirect("/elsewhere")
            raise ZeroDivisionError("on purpose")

    async def test(site, client):
        got = [
            await client.get(site.url(path))
            for path in ("/http", "/raise", "/redirect", "/missing/it")
        ]
        return [(answer.status_code, answer.headers.get("location")) for answer in got]

    assert using([("/([a-z]*)", Fail)], test) == [
        (418, None),
        (500, None),
        (302, "/elsewhere"),
        (404, None),
    ]
    assert logs.take("Uncaught exception GET /raise").exc_info[0] is ZeroDivisionError


def test_etag_and_compression(using):
    class Handler(RequestHandler):
        def get(self):
            self.write("x" * 10_000)

    async def test(site, client):
        first = await client.get(site.url("/"))
        second = await client.get(site.url("/"), headers={"If-None-Match": first.headers["etag"]})
        return first, second

    first, second = using([("/", Handler)], test, {"compress_response": True})
    assert (first.text, first.headers["content-encoding"]) == ("x" * 10_000, "gzip")
    assert (second.status_code, second.content) == (304, b"")


@stream_request_body
class Echo(RequestHandler):
    """Answers each piece of the body as it comes."""

    async def prepare(self):
        await asyncio.sleep(0)

    async def data_received(self, chunk):
        self.write(chunk.upper())
        await self.flush()

    def post(self):
        self.write("end")


def test_the_body_streams_while_the_answer_does(using):
    async def test(site, client):
        wire = await site.connect()
        await wire.ask("POST", "/", "Transfer-Encoding: chunked")
        wire.writer.write(b"3\r\none\r\n")
        assert (await wire.head())[0] == 200
        assert await wire.chunk() == b"ONE"
        wire.writer.write(b"3\r\ntwo\r\n")
        assert await wire.chunk() == b"TWO"
        wire.writer.write(b"0\r\n\r\n")
        assert [await wire.chunk(), await wire.chunk()] == [b"end", b""]
        await wire.close()

    using([("/", Echo)], test)


def test_a_body_is_not_read_ahead(using):
    go_on = asyncio.Event()
    size = 4 << 20

    @stream_request_body
    class Handler(RequestHandler):
        size = 0

        async def data_received(self, chunk):
            self.size += len(chunk)
            await go_on.wait()

        def post(self):
            self.write(str(self.size))

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("POST", "/", f"Content-Length: {size}", "Connection: close")
        wire.writer.transport.set_write_buffer_limits(0)
        wire.writer.write(bytes(size))
        drained = asyncio.ensure_future(wire.writer.drain())
        await others(site, client)
        assert wire.writer.transport.get_write_buffer_size() > size / 2
        go_on.set()
        await drained
        assert (await wire.head())[0] == 200
        assert b"%d" % size in await wire.reader.read()
        await wire.close()

    using([("/", Handler), ("/others", Others)], test)


async def others(site, client):
    """Many requests of somebody else: what could go on meanwhile has gone on."""
    for _ in range(100):
        assert (await client.get(site.url("/others"))).status_code == 204


def test_flush_waits_for_a_client_that_does_not_read(using):
    flushed = []
    size, part = 4 << 20, bytes(1 << 15)

    class Handler(RequestHandler):
        async def get(self):
            for _ in range(size // len(part)):
                self.write(part)
                await self.flush()
                flushed.append(part)

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("GET", "/")
        await wire.head()
        await others(site, client)
        assert len(flushed) < size / len(part) / 2
        total = 0
        while chunk := await wire.chunk():
            total += len(chunk)
        assert (total, len(flushed)) == (size, size / len(part))
        await wire.close()

    using([("/", Handler), ("/others", Others)], test)


@pytest.mark.parametrize("how", ["reset", "closed"])
def test_disconnect_in_the_answer(using, how):
    """on_connection_close() once; what is written afterwards fails, and the handler ends by itself."""
    seen = []
    over = asyncio.Event()

    class Handler(RequestHandler):
        closed = False

        async def get(self):
            try:
                while True:
                    self.write("more")
                    await self.flush()
                    await asyncio.sleep(0)
                    if self.closed:
                        seen.append("told")
                        self.write("nobody")
                        await self.flush()
            except tornado.iostream.StreamClosedError:
                seen.append("refused")
                over.set()

        def on_connection_close(self):
            seen.append("closed")
            self.closed = True

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("GET", "/")
        await wire.head()
        await wire.chunk()
        if how == "reset":
            wire.writer.transport.abort()
        else:
            await wire.close()
        await over.wait()
        # Tornado notices by a write that fails, too; its handler is told in a later turn then.
        while "closed" not in seen:
            await asyncio.sleep(0)

    using([("/", Handler)], test)
    assert (seen.count("closed"), seen.count("refused")) == (1, 1)


def test_disconnect_while_nothing_is_written(using):
    """A handler that waits for something else is told all the same."""
    asked, over = asyncio.Event(), asyncio.Event()

    class Handler(RequestHandler):
        async def get(self):
            asked.set()
            await over.wait()

        def on_connection_close(self):
            over.set()

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("GET", "/")
        await asked.wait()
        wire.writer.transport.abort()
        await over.wait()

    using([("/", Handler)], test)


def test_disconnect_in_the_body(using):
    seen = []
    over, begun = asyncio.Event(), asyncio.Event()

    @stream_request_body
    class Handler(RequestHandler):
        def data_received(self, chunk):
            seen.append(chunk)
            begun.set()

        def post(self):
            seen.append("whole")

        def on_connection_close(self):
            super().on_connection_close()
            seen.append("closed")

        def on_finish(self):
            seen.append("finished")

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("POST", "/", "Content-Length: 1000")
        wire.writer.write(b"part")
        await begun.wait()
        wire.writer.transport.abort()
        while "closed" not in seen:
            await asyncio.sleep(0)
        over.set()

    using([("/", Handler)], test)
    assert seen == [b"part", "closed"]


def test_answered_before_the_body_was_read(using):
    @stream_request_body
    class Handler(RequestHandler):
        def prepare(self):
            self.set_status(413)
            self.finish("enough")

        def data_received(self, chunk):
            raise AssertionError("it has said that it is enough")

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("POST", "/", "Content-Length: 1000000")
        wire.writer.write(b"x" * 10)
        status, _ = await wire.head()
        assert (status, await wire.reader.readexactly(6)) == (413, b"enough")
        await wire.close()

    using([("/", Handler)], test)


def test_a_body_that_is_too_large(using):
    class Handler(RequestHandler):
        def post(self):
            self.write(str(len(self.request.body)))

    @stream_request_body
    class Large(RequestHandler):
        size = 0

        def prepare(self):
            self.request.connection.set_max_body_size(1000)

        def data_received(self, chunk):
            self.size += len(chunk)

        def post(self):
            self.write(str(self.size))

    async def test(site, client):
        async def ask(path, size):
            got = await client.post(site.url(path), content=b"x" * size)
            return got.status_code, got.text

        return [
            await ask("/", 10),
            await ask("/", 11),
            await ask("/large", 1000),
            await ask("/large", 1001),
        ]

    got = using([("/", Handler), ("/large", Large)], test, max_body_size=10)
    assert got == [(200, "10"), (400, ""), (200, "1000"), (400, "")]


def test_an_answer_that_breaks_its_promise(using, logs):
    class Handler(RequestHandler):
        async def get(self):
            self.set_header("Content-Length", "10")
            self.write("short")
            await self.flush()

    async def test(site, client):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(site.url("/"))

    using([("/", Handler)], test)
    assert any(
        "Content-Length" in str(record.exc_info[1]) for record in logs.records if record.exc_info
    )
    logs.records.clear()


# What only the adapter has.


@pytest.mark.parametrize("strip", [False, True])
def test_below_a_root_path(on_loop, strip):
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from interloop.migrate.tornado_as_asgi import TornadoASGI

    class Handler(RequestHandler):
        def get(self):
            self.write(f"{self.request.uri} {self.reverse_url('here')}")

    async def main():
        application = tornado.web.Application(
            [tornado.web.url("/old%20part/x" if not strip else "/x", Handler, name="here")]
        )
        adapter = TornadoASGI(application, strip_root_path=strip)
        mounted = Starlette(routes=[Mount("/old part", adapter)])
        async with uvicorn_serving(mounted) as site, httpx.AsyncClient() as client:
            return (await client.get(site.url("/old%20part/x?q"))).text

    assert on_loop(main) == ("/x?q /x" if strip else "/old%20part/x?q /old%20part/x")


def test_lifespan(on_loop):
    from interloop.migrate.tornado_as_asgi import TornadoASGI

    said = []

    async def main():
        asked = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive():
            return {"type": next(asked)}

        async def send(message):
            said.append(message["type"])

        await TornadoASGI(tornado.web.Application())({"type": "lifespan"}, receive, send)
        with pytest.raises(NotImplementedError, match="'ftp'"):
            await TornadoASGI(tornado.web.Application())({"type": "ftp"}, receive, send)

    on_loop(main)
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_cancelled_by_the_server(on_loop):
    """A server that stops cancels what runs: for the handler the client is gone."""
    from interloop.migrate.tornado_as_asgi import TornadoASGI

    seen = []

    class Handler(RequestHandler):
        async def get(self):
            seen.append("asked")
            while not self.request.connection._out.closed:
                await asyncio.sleep(0)

        def on_connection_close(self):
            seen.append("closed")

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [(b"host", b"x")],
        "scheme": "https",
        "client": ["::1", 2],
    }

    async def main():
        told = iter([{"type": "http.request", "body": b""}])

        async def receive():
            for message in told:
                return message
            await asyncio.Event().wait()

        async def send(message):
            raise AssertionError(message)

        task = asyncio.create_task(
            TornadoASGI(tornado.web.Application([("/", Handler)]))(scope, receive, send)
        )
        while not seen:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    on_loop(main)
    assert seen == ["asked", "closed"]


def test_send_that_says_the_client_is_gone(on_loop):
    """By an OSError, as ASGI has it since 2.4."""
    from interloop.migrate.tornado_as_asgi import TornadoASGI

    seen = []

    class Handler(RequestHandler):
        async def get(self):
            self.write("x")
            try:
                await self.flush()
            except tornado.iostream.StreamClosedError:
                seen.append("refused")
                raise tornado.web.Finish from None

    async def main():
        told = iter([{"type": "http.request", "body": b""}])

        async def receive():
            for message in told:
                return message
            await asyncio.Event().wait()

        async def send(message):
            raise ConnectionResetError("gone")

        scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"x")]}
        await TornadoASGI(tornado.web.Application([("/", Handler)]))(scope, receive, send)
        while not seen:
            await asyncio.sleep(0)

    on_loop(main)
    assert seen == ["refused"]
