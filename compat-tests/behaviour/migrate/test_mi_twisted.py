"""Twisted resources: under Twisted's own site, which is the contract, and mounted in a Tornado application."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import tornado.web
from mi_support import Other, tornado_serving, twisted_serving
from twisted.internet import interfaces
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

import interloop.twisted


@pytest.fixture(params=["twisted", "mounted"])
def using(request, on_reactor):
    """using(resource, test): runs `test(site, client)` against the resource, which is at /part of the host under test."""

    def serving(resource):
        if request.param == "mounted":
            from interloop.migrate.twisted_in_tornado import ResourceMount

            rules = [ResourceMount("/part", resource), (r"/other", Other)]
            return tornado_serving(tornado.web.Application(rules), "/part")
        root = Resource()
        root.putChild(b"part", resource)
        return twisted_serving(root, "/part")

    def using(resource, test):
        async def main():
            async with serving(resource) as site, httpx.AsyncClient() as client:
                return await test(site, client)

        return on_reactor(main)

    return using


class Leaf(Resource):
    """A resource made of a function."""

    isLeaf = True

    def __init__(self, render):
        super().__init__()
        self.render = render


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD"])
def test_request_and_answer(using, method):
    def render(request):
        request.setResponseCode(201, b"Made")
        request.responseHeaders.setRawHeaders(b"X-Twice", [b"1", b"2"])
        request.addCookie(b"a", b"1")
        seen.update(
            prepath=request.prepath,
            postpath=request.postpath,
            args=request.args,
            cookie=request.getCookie(b"mine"),
            peer=request.getClientAddress().host,
            host=(request.getHost().host, request.getHost().port),
            secure=request.isSecure(),
            twice=request.requestHeaders.getRawHeaders(b"x-asked"),
            size=len(request.content.read()),
            url=str(request.prePathURL(), "ascii").partition("//")[2].partition("/")[2],
        )
        return b"x" * 1000

    seen = {}

    async def test(site, client):
        headers = [("X-Asked", "1"), ("X-Asked", "2"), ("Cookie", "mine=yes")]
        content = b"x" * 500_000 if method in ("POST", "PUT") else None
        got = await client.request(
            method, site.url("/a%20b/?q=1&q=2"), headers=headers, content=content
        )
        return got, site.address

    got, address = using(Leaf(render), test)
    assert seen == {
        "prepath": [b"part"],
        "postpath": [b"a b", b""],
        "args": {b"q": [b"1", b"2"]},
        "cookie": b"yes",
        "peer": "127.0.0.1",
        "host": address,
        "secure": False,
        "twice": [b"1", b"2"],
        "size": 500_000 if method in ("POST", "PUT") else 0,
        "url": "part",
    }
    assert (got.status_code, got.reason_phrase) == (201, "Made")
    assert got.headers.get_list("x-twice") == ["1", "2"]
    assert (got.headers["set-cookie"], got.headers["content-length"]) == ("a=1", "1000")
    assert got.content == (b"" if method == "HEAD" else b"x" * 1000)


def test_a_form(using):
    async def test(site, client):
        files = {"file": ("name.txt", b"content")}
        form = await client.post(site.url("/"), data={"field": "a b"})
        parts = await client.post(site.url("/"), files=files)
        return form.text, parts.text

    def render(request):
        return repr(request.args).encode()

    assert using(Leaf(render), test) == ("{b'field': [b'a b']}", "{b'file': [b'content']}")


def test_children(using):
    class Tree(Resource):
        def getChild(self, path, request):
            return self if path == b"" else Leaf(lambda request: b"child " + path)

        def render_GET(self, request):
            return b"tree"

    async def test(site, client):
        paths = ("", "/", "/one", "/one/two")
        return [(await client.get(site.url(path))).text for path in paths]

    assert using(Tree(), test) == ["tree", "tree", "child one", "child one"]


def test_later(using):
    """NOT_DONE_YET: written piece by piece, in turns of its own."""
    finished = []

    def render(request):
        async def later():
            for number in range(100):
                request.write(b"%d\n" % number)
                await asyncio.sleep(0)
            request.finish()

        request.notifyFinish().addCallback(finished.append)
        tasks.append(asyncio.ensure_future(later()))
        return NOT_DONE_YET

    tasks = []

    async def test(site, client):
        return [(await client.get(site.url("/"))).text for _ in range(2)]

    assert using(Leaf(render), test) == ["".join(f"{number}\n" for number in range(100))] * 2
    assert finished == [None, None]


def test_headers_without_a_body(using):
    """write(b"") sends the headers; the client does not wait for the first bytes."""
    told = asyncio.Event()

    def render(request):
        request.write(b"")

        async def later():
            await told.wait()
            request.finish()

        tasks.append(asyncio.ensure_future(later()))
        return NOT_DONE_YET

    tasks = []

    async def test(site, client):
        async with client.stream("GET", site.url("/")) as answer:
            assert answer.status_code == 200
            told.set()
            assert await answer.aread() == b""

    using(Leaf(render), test)


@implementer(interfaces.IPushProducer)
class Push:
    """Writes as much as it may, and counts how often it is told to pause."""

    def __init__(self, request, size, log):
        self.request, self.left, self.log = request, size, log
        self.paused = False
        request.registerProducer(self, True)
        self.resumeProducing()

    def pauseProducing(self):
        self.paused = True
        self.log.append("pause")

    def resumeProducing(self):
        self.paused = False
        while self.left and not self.paused:
            self.left -= 1 << 15
            self.request.write(bytes(1 << 15))
        if not self.left and not self.request.finished:
            self.request.unregisterProducer()
            self.request.finish()

    def stopProducing(self):
        self.log.append("stop")


def test_a_push_producer(using):
    """It pauses while the client does not read."""
    log = []
    size = 4 << 20

    def render(request):
        producers.append(Push(request, size, log))
        return NOT_DONE_YET

    producers = []

    async def test(site, client):
        async with client.stream("GET", site.url("/")) as answer:
            assert producers[0].left > 0
            body = await answer.aread()
        return len(body)

    assert using(Leaf(render), test) == size
    assert (producers[0].left, "stop" in log, log.count("pause") > 1) == (0, False, True)


def test_a_pull_producer(using):
    """Asked for more when the last is out."""

    @implementer(interfaces.IPullProducer)
    class Pull:
        def __init__(self, request):
            self.request, self.left = request, 100
            request.registerProducer(self, False)

        def resumeProducing(self):
            self.left -= 1
            self.request.write(b"x" * 1000)
            if not self.left:
                self.request.unregisterProducer()
                self.request.finish()

        def stopProducing(self):
            raise AssertionError("not stopped")

    def render(request):
        Pull(request)
        return NOT_DONE_YET

    async def test(site, client):
        return (await client.get(site.url("/"))).text

    assert using(Leaf(render), test) == "x" * 100_000


@pytest.mark.parametrize("producing", [False, True])
def test_disconnect(using, producing):
    log = []
    asked, over = asyncio.Event(), asyncio.Event()

    def render(request):
        def lost(failure):
            log.append(failure)
            with pytest.raises(RuntimeError, match="after its connection was lost"):
                request.finish()
            over.set()

        request.notifyFinish().addErrback(lost)
        request.write(b"first")
        if producing:
            Push(request, 64 << 20, log)
        asked.set()
        return NOT_DONE_YET

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("GET", "/")
        await asked.wait()
        await wire.head()
        wire.writer.transport.abort()
        await over.wait()

    using(Leaf(render), test)
    assert log[-1].check(
        "twisted.internet.error.ConnectionDone", "twisted.internet.error.ConnectionLost"
    )
    assert ("stop" in log) is producing


def test_disconnect_in_the_body(using):
    def render(request):
        raise AssertionError("asked with half a body")

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("POST", "/", "Content-Length: 100")
        wire.writer.write(b"half")
        wire.writer.close()
        assert await wire.reader.read() == b""
        await wire.close()

    using(Leaf(render), test)


def test_raising(using, twisted_log):
    def render(request):
        raise ZeroDivisionError("on purpose")

    async def test(site, client):
        return (await client.get(site.url("/"))).status_code

    assert using(Leaf(render), test) == 500
    assert twisted_log.pop().check(ZeroDivisionError)


def test_a_session(using):
    def render(request):
        session = request.getSession()
        session.visits = getattr(session, "visits", 0) + 1
        if session.visits == 3:
            session.expire()
        return b"%d" % session.visits

    async def test(site, client):
        return [(await client.get(site.url("/"))).text for _ in range(3)]

    assert using(Leaf(render), test) == ["1", "2", "3"]


def test_no_body(using):
    def render(request):
        request.setResponseCode(204)
        request.finish()
        return NOT_DONE_YET

    async def test(site, client):
        wire = await site.connect()
        for _ in range(2):
            await wire.ask("GET", "/")
            status, headers = await wire.head()
            assert (status, "transfer-encoding" in headers) == (204, False)
        await wire.close()

    using(Leaf(render), test)


def test_lose_connection(using):
    """After what was written."""

    def render(request):
        request.write(b"last words")
        request.loseConnection()
        return NOT_DONE_YET

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("GET", "/")
        assert b"last words" in await wire.reader.read()
        await wire.close()

    using(Leaf(render), test)


def test_it_awaits(using):
    """A Deferred of the reactor's, awaited in the resource's own coroutine."""
    from twisted.internet import defer

    def render(request):
        async def later():
            from twisted.internet import reactor

            deferred = Deferred()
            reactor.callLater(0, deferred.callback, b"the reactor's")
            request.write(await deferred)
            request.finish()

        defer.ensureDeferred(later())
        return NOT_DONE_YET

    async def test(site, client):
        return (await client.get(site.url("/"))).text

    assert using(Leaf(render), test) == "the reactor's"


# What only the mount has.


def test_without_a_reactor():
    """It does not install one behind the program's back."""
    from interloop.migrate.twisted_in_tornado import ResourceMount

    interloop.twisted.uninstall()
    with pytest.raises(RuntimeError, match=r"call interloop\.twisted\.install\(\) first"):
        ResourceMount("/part", Resource()).site  # noqa: B018


def test_an_answer_that_breaks_its_promise(on_reactor, logs):
    from interloop.migrate.twisted_in_tornado import ResourceMount

    def render(request):
        request.setHeader(b"Content-Length", b"10")
        request.write(b"short")
        request.finish()
        return NOT_DONE_YET

    async def main():
        application = tornado.web.Application([ResourceMount("", Leaf(render))])
        async with tornado_serving(application) as site, httpx.AsyncClient() as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(site.url("/"))

    on_reactor(main)
    logs.take("the answer is not what its headers say")
