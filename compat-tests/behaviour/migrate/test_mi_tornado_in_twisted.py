"""A Tornado application: under Tornado's own server, which is the contract, and as a resource of a Twisted site."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import tornado.iostream
import tornado.web
from mi_support import tornado_serving, twisted_serving
from tornado.web import RequestHandler, stream_request_body
from twisted.web.resource import Resource


@pytest.fixture(params=["tornado", "twisted"])
def using(request, on_reactor):
    """using(handlers, test): runs `test(site, client)` against an application, all below /part, in the host under test."""

    def using(handlers, test, **settings):
        from interloop.migrate.tornado_in_twisted import TornadoResource

        async def main():
            rules = [("/part" + pattern, handler) for pattern, handler in handlers]
            application = tornado.web.Application(rules, **settings)
            if request.param == "tornado":
                serving = tornado_serving(application, "/part")
            else:
                root = Resource()
                root.putChild(b"part", TornadoResource(application))
                serving = twisted_serving(root, "/part")
            async with serving as site, httpx.AsyncClient() as client:
                return await test(site, client)

        return on_reactor(main)

    return using


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "DELETE", "OPTIONS"])
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
                    "cookie": self.get_cookie("mine"),
                    "twice": request.headers.get_list("X-Asked"),
                }
            )

        get = post = head = delete = options = any

    async def test(site, client):
        headers = [("X-Asked", "1"), ("X-Asked", "2"), ("Cookie", "mine=yes")]
        data = {"field": "ä b"} if method == "POST" else None
        url = site.url("/a/b%20%2Fc?q=1&q=%202")
        return await client.request(method, url, headers=headers, data=data)

    got = using([("/a/(.*)", Handler)], test)
    assert (got.status_code, got.reason_phrase) == (201, "Made")
    assert got.headers.get_list("x-twice") == ["1", "2"]
    assert [cookie.split(";")[0] for cookie in got.headers.get_list("set-cookie")] == ["a=1", "b=2"]
    for name in ("date", "server", "content-type", "content-length"):
        assert len(got.headers.get_list(name)) == 1, name
    assert got.headers["server"].startswith("TornadoServer/")
    if method == "HEAD":
        assert got.content == b""
        return
    assert got.json() == {
        "word": "b /c",
        "path": "/part/a/b%20%2Fc",
        "query": ["1", "2"],
        "body": ["ä b"] if method == "POST" else [],
        "ip": "127.0.0.1",
        "protocol": "http",
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
        paths = ("/http", "/raise", "/redirect", "/missing/it")
        got = [await client.get(site.url(path)) for path in paths]
        return [(answer.status_code, answer.headers.get("location")) for answer in got]

    expected = [(418, None), (500, None), (302, "/elsewhere"), (404, None)]
    assert using([("/([a-z]*)", Fail)], test) == expected
    assert logs.take("Uncaught exception GET /part/raise").exc_info[0] is ZeroDivisionError


def test_not_modified(using):
    class Handler(RequestHandler):
        def get(self):
            self.write("x" * 10_000)

    async def test(site, client):
        first = await client.get(site.url("/"))
        second = await client.get(site.url("/"), headers={"If-None-Match": first.headers["etag"]})
        return first, second

    first, second = using([("/", Handler)], test, compress_response=True)
    assert (first.text, first.headers["content-encoding"]) == ("x" * 10_000, "gzip")
    assert (second.status_code, second.content) == (304, b"")


def test_pieces(using):
    """The body to the handler, the answer to the client."""

    @stream_request_body
    class Handler(RequestHandler):
        async def prepare(self):
            await asyncio.sleep(0)
            self.size = 0

        async def data_received(self, chunk):
            self.size += len(chunk)
            await asyncio.sleep(0)

        async def post(self):
            for number in range(100):
                self.write(f"{number}\n")
                await self.flush()
            self.write(str(self.size))

    async def test(site, client):
        return (await client.post(site.url("/"), content=b"x" * 1_000_000)).text

    expected = "".join(f"{number}\n" for number in range(100)) + "1000000"
    assert using([("/", Handler)], test) == expected


def test_flush_waits_for_a_client_that_does_not_read(using):
    flushed = []
    size, part = 4 << 20, bytes(1 << 15)

    class Handler(RequestHandler):
        async def get(self):
            for _ in range(size // len(part)):
                self.write(part)
                await self.flush()
                flushed.append(part)

    class Others(RequestHandler):
        def get(self):
            self.set_status(204)

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("GET", "/")
        await wire.head()
        for _ in range(100):
            assert (await client.get(site.url("/others"))).status_code == 204
        # Here the kernel's own buffers grow as they like.
        read_early = len(flushed)
        total = 0
        while chunk := await wire.chunk():
            total += len(chunk)
        assert (total, len(flushed)) == (size, size / len(part))
        await wire.close()
        return read_early

    assert using([("/", Handler), ("/others", Others)], test) < size / len(part)


def test_disconnect(using):
    seen = []
    over = asyncio.Event()

    class Handler(RequestHandler):
        async def get(self):
            self.write("first")
            await self.flush()
            await over.wait()
            with pytest.raises(tornado.iostream.StreamClosedError):
                await self.flush()
            seen.append("refused")

        def on_connection_close(self):
            seen.append("closed")
            over.set()

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("GET", "/")
        await wire.head()
        wire.writer.transport.abort()
        await over.wait()
        while "refused" not in seen:
            await asyncio.sleep(0)

    using([("/", Handler)], test)
    assert seen == ["closed", "refused"]


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
    logs.take("Uncaught exception GET /part/")
    logs.take("Cannot send error response after headers written")
    # Tornado tries to end it once more, where its own stream would be closed by then.
    logs.records = [record for record in logs.records if "flush partial" not in record.getMessage()]


# What only the resource has.


def test_no_websockets(on_reactor):
    from interloop.migrate.tornado_in_twisted import TornadoResource

    async def main():
        async with twisted_serving(TornadoResource(tornado.web.Application())) as site:
            async with httpx.AsyncClient() as client:
                headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
                return (await client.get(site.url("/"), headers=headers)).status_code

    assert on_reactor(main) == 501


def test_without_the_prefix(on_reactor):
    from interloop.migrate.tornado_in_twisted import TornadoResource

    class Handler(RequestHandler):
        def get(self):
            self.write(self.request.uri)

    async def main():
        application = tornado.web.Application([("/.*", Handler)])
        root, inner = Resource(), Resource()
        root.putChild(b"one", inner)
        inner.putChild(b"two", TornadoResource(application, strip_prefix=True))
        async with twisted_serving(root) as site, httpx.AsyncClient() as client:
            paths = ("/one/two/three%2F?q=1", "/one/two", "/one/two/")
            return [(await client.get(site.url(path))).text for path in paths]

    assert on_reactor(main) == ["/three%2F?q=1", "/", "/"]
