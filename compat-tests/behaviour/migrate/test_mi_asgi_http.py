"""HTTP requests to an ASGI application: under uvicorn, which is the contract, and mounted in a Tornado application."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from mi_support import Other, asgi_serving, mounted, tornado_serving

HOSTS = ("uvicorn", "mounted")
START = {"type": "http.response.start", "status": 200, "headers": []}


@pytest.fixture(params=HOSTS)
def host(request) -> str:
    return request.param


@pytest.fixture
def using(host, on_loop):
    """using(application, test): runs `test(site, client)` against the application in the host under test."""

    def using(application, test):
        async def main():
            async with asgi_serving(host, application) as site, httpx.AsyncClient() as client:
                return await test(site, client)

        return on_loop(main)

    return using


async def whole_body(receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request", message
        body += message["body"]
        if not message["more_body"]:
            return body


async def answer(send, body=b"", status=200, headers=()):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


def test_scope(using):
    scopes = []

    async def application(scope, receive, send):
        scopes.append(scope)
        await answer(send)

    async def test(site, client):
        await client.put(
            site.url("/a%20b/%C3%A4?q=%20&q=2"), headers=[("X-Twice", "1"), ("X-Twice", "2")]
        )
        return site

    site = using(application, test)
    (scope,) = scopes
    headers = scope.pop("headers")
    assert [value for name, value in headers if name == b"x-twice"] == [b"1", b"2"]
    assert (b"host", b"%s:%d" % (site.address[0].encode(), site.address[1])) in headers
    address, port = scope.pop("client")
    assert address == "127.0.0.1"
    assert type(port) is int and port > 0
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": site.address,
        "scheme": "http",
        "method": "PUT",
        "root_path": "/part",
        "path": "/part/a b/ä",
        "raw_path": b"/part/a%20b/%C3%A4",
        "query_string": b"q=%20&q=2",
        "state": {},
    }


@pytest.mark.parametrize("method", ["GET", "POST", "PROPFIND", "HEAD"])
def test_answer(using, method):
    async def application(scope, receive, send):
        body = await whole_body(receive)
        headers = [
            (b"content-length", b"%d" % len(body)),
            (b"set-cookie", b"a=1"),
            (b"set-cookie", b"b=2"),
        ]
        await answer(send, body, 201, headers)

    async def test(site, client):
        return await client.request(method, site.url("/"), content=b"x" * 300_000)

    got = using(application, test)
    assert (got.status_code, got.headers["content-length"]) == (201, "300000")
    assert got.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert got.content == (b"" if method == "HEAD" else b"x" * 300_000)


def test_the_body_streams_while_the_answer_does(using):
    """Each chunk of the request is answered before the next is sent."""

    async def application(scope, receive, send):
        await send(START)
        while True:
            message = await receive()
            await send(
                {"type": "http.response.body", "body": message["body"].upper(), "more_body": True}
            )
            if not message["more_body"]:
                break
        await send({"type": "http.response.body"})

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("POST", "/", "Transfer-Encoding: chunked")
        wire.writer.write(b"3\r\none\r\n")
        assert (await wire.head())[0] == 200
        assert await wire.chunk() == b"ONE"
        wire.writer.write(b"3\r\ntwo\r\n")
        assert await wire.chunk() == b"TWO"
        wire.writer.write(b"0\r\n\r\n")
        assert await wire.chunk() == b""
        # And the connection is good for another one.
        await wire.ask("GET", "/")
        assert (await wire.head())[0] == 200
        await wire.close()

    using(application, test)


def with_others(application):
    """`application`, which is spared the requests of Site.others()."""

    async def with_others(scope, receive, send):
        if scope["path"] == "/part/others":
            return await answer(send, headers=[(b"content-length", b"0")])
        return await application(scope, receive, send)

    return with_others


def test_a_body_is_not_read_ahead(using):
    """What the application does not take stays with the client."""
    go_on = asyncio.Event()
    size = 4 << 20

    async def application(scope, receive, send):
        await go_on.wait()
        await answer(send, b"%d" % len(await whole_body(receive)))

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("POST", "/", f"Content-Length: {size}", "Connection: close")
        wire.writer.transport.set_write_buffer_limits(0)
        wire.writer.write(bytes(size))
        drained = asyncio.ensure_future(wire.writer.drain())
        await site.others()
        assert wire.writer.transport.get_write_buffer_size() > size / 2
        go_on.set()
        await drained
        assert (await wire.head())[0] == 200
        assert b"%d" % size in await wire.reader.read()
        await wire.close()

    using(with_others(application), test)


def test_send_waits_for_a_client_that_does_not_read(using):
    sent = []
    size, chunk = 4 << 20, bytes(1 << 15)

    async def application(scope, receive, send):
        await send(START)
        for _ in range(size // len(chunk)):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            sent.append(chunk)
        await send({"type": "http.response.body"})

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("GET", "/")
        await wire.head()
        await site.others()
        assert len(sent) < size / len(chunk) / 2
        total = 0
        while part := await wire.chunk():
            total += len(part)
        assert (total, len(sent)) == (size, size / len(chunk))
        await wire.close()

    using(with_others(application), test)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("body", ["whole", "half"])
def test_disconnect(using, body, reset):
    """receive() tells of it, send() does nothing from then on, and the task is left to end by itself."""
    told = asyncio.Event()
    seen = []

    async def application(scope, receive, send):
        await send(START)
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        while not seen or seen[-1]["type"] == "http.request":
            seen.append(await receive())
        seen.append(await receive())
        await send({"type": "http.response.body", "body": b"nobody", "more_body": True})
        told.set()

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("POST", "/", "Content-Length: 4")
        wire.writer.write(b"body" if body == "whole" else b"bo")
        await wire.head()
        await wire.chunk()
        if reset:
            wire.writer.transport.abort()
        else:
            wire.writer.close()
        await told.wait()

    using(application, test)
    assert seen[-2:] == [{"type": "http.disconnect"}] * 2
    assert b"".join(message.get("body", b"") for message in seen) in (
        b"body" if body == "whole" else b"bo",
        b"",
    )


def test_disconnect_while_send_waits(using):
    """The client goes away without having read: send() must not wait for ever."""
    over = asyncio.Event()
    ready = asyncio.Event()

    async def application(scope, receive, send):
        await send(START)
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(1 << 18), "more_body": True})
            ready.set()
        over.set()

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("GET", "/")
        await ready.wait()
        wire.writer.transport.abort()
        await over.wait()

    using(application, test)


def test_receive_after_the_answer(using):
    got = []
    over = asyncio.Event()

    async def application(scope, receive, send):
        await whole_body(receive)
        await answer(send, b"done")
        got.append(await receive())
        over.set()

    async def test(site, client):
        assert (await client.get(site.url("/"))).text == "done"
        await over.wait()

    using(application, test)
    assert got == [{"type": "http.disconnect"}]


def test_answered_before_the_body_was_read(using):
    """The rest of the body is not the application's any more; the client gets its answer all the same."""

    async def application(scope, receive, send):
        await answer(send, b"enough", 413, [(b"content-length", b"6")])

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("POST", "/", "Content-Length: 1000000")
        wire.writer.write(b"x" * 10)
        status, _ = await wire.head()
        assert (status, await wire.reader.readexactly(6)) == (413, b"enough")
        await wire.close()

    using(application, test)


class Broken(Exception):
    pass


def test_raising_before_the_answer(using, logs):
    async def application(scope, receive, send):
        raise Broken("on purpose")

    async def test(site, client):
        got = await client.get(site.url("/"))
        assert (got.status_code, got.text) == (500, "Internal Server Error")

    using(application, test)
    assert logs.take("Exception in ASGI application").exc_info[0] is Broken


def test_raising_in_the_answer(using, logs):
    """The client must not take it for a whole one."""

    async def application(scope, receive, send):
        await send(START)
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise Broken("on purpose")

    async def test(site, client):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(site.url("/"))

    using(application, test)
    assert logs.take("Exception in ASGI application").exc_info[0] is Broken


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        ([], "ASGI callable returned without starting response."),
        ([START], "ASGI callable returned without "),
        ([START, {"type": "http.response.body", "body": b"x", "more_body": True}], "ASGI callable returned without completing response."),
        ([{"type": "http.response.body"}], "Exception in ASGI application"),
        ([START, START], "Exception in ASGI application"),
        ([START, {"type": "http.response.body"}, {"type": "http.response.body"}], "Exception in ASGI application"),
        ([{**START, "headers": [(b"content-length", b"2")]}, {"type": "http.response.body", "body": b"123"}], "Exception in ASGI application"),
        ([{**START, "headers": [(b"content-length", b"2")]}, {"type": "http.response.body", "body": b"1"}], "Exception in ASGI application"),
        ([{**START, "status": 204}, {"type": "http.response.body", "body": b"1"}], "Exception in ASGI application"),
    ],
    ids=["nothing", "only start", "half", "body first", "start twice", "too many", "too long", "too short", "body of 204"],
)  # fmt: skip
def test_breaking_the_protocol(using, logs, sent, complaint):
    async def application(scope, receive, send):
        for message in sent:
            await send(message)

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("GET", "/", "Connection: close")
        await wire.reader.read()
        await wire.close()

    using(application, test)
    logs.take(complaint)


def test_two_senders(using):
    """Messages of two tasks leave one after the other, each whole."""

    async def application(scope, receive, send):
        await send(START)

        async def say(letter):
            for _ in range(20):
                await send(
                    {"type": "http.response.body", "body": letter * 50_000, "more_body": True}
                )

        await asyncio.gather(say(b"a"), say(b"b"))
        await send({"type": "http.response.body"})

    async def test(site, client):
        body = (await client.get(site.url("/"))).content
        assert (body.count(b"a"), body.count(b"b")) == (1_000_000, 1_000_000)

    using(application, test)


def test_http_1_0(using):
    """Without a length the end of the connection is the end of the answer."""

    async def application(scope, receive, send):
        assert scope["http_version"] == "1.0"
        await send(START)
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    async def test(site, client):
        for header in ("X: y", "Connection: keep-alive"):
            wire = await site.connect()
            await wire.ask("GET", "/", header, version="1.0")
            assert (await wire.reader.read()).endswith(b"\r\n\r\nonetwo")
            await wire.close()

    using(application, test)


def test_the_application_closes_the_connection(using):
    async def application(scope, receive, send):
        await answer(send, b"bye", headers=[(b"connection", b"close"), (b"content-length", b"3")])

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("GET", "/")
        assert (await wire.reader.read()).endswith(b"\r\n\r\nbye")
        await wire.close()

    using(application, test)


def test_expect_continue(using):
    async def application(scope, receive, send):
        await answer(send, await whole_body(receive), headers=[(b"content-length", b"4")])

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("POST", "/", "Content-Length: 4", "Expect: 100-continue")
        assert (await wire.head())[0] == 100
        wire.writer.write(b"body")
        assert (await wire.head())[0] == 200
        assert await wire.reader.readexactly(4) == b"body"
        await wire.close()

    using(application, test)


# What only the mount has.


def using_mount(on_loop, application, test, **options):
    async def main():
        async with mounted(application, **options) as site, httpx.AsyncClient() as client:
            return await test(site, client)

    return on_loop(main)


async def name_of_path(scope, receive, send):
    await answer(send, scope["path"].encode())


def test_beside_tornados_own(on_loop):
    async def test(site, client):
        home = site.url("").removesuffix("/part")
        paths = ("/other", "/part", "/part/", "/part/x", "/party", "/")
        return [
            (path, (got := await client.get(home + path)).status_code, got.text[:14])
            for path in paths
        ]

    got = using_mount(on_loop, name_of_path, test)
    assert [row if row[1] == 200 else row[:2] for row in got] == [
        ("/other", 200, "Tornado's own"),
        ("/part", 200, "/part"),
        ("/part/", 200, "/part/"),
        ("/part/x", 200, "/part/x"),
        ("/party", 404),
        ("/", 404),
    ]


def test_the_whole_server(on_loop):
    from interloop.migrate.asgi_in_tornado import ASGIMount

    async def main():
        import tornado.web

        mount = ASGIMount("", name_of_path)
        application = tornado.web.Application([(r"/other", Other), mount])
        async with tornado_serving(application) as site, httpx.AsyncClient() as client:
            return [(await client.get(site.url(path))).text for path in ("/", "/x/y", "/other")]

    assert on_loop(main) == ["/", "/x/y", "Tornado's own"]


@pytest.mark.parametrize("prefix", ["part", "/part/", "/"])
def test_bad_prefix(prefix):
    from interloop.migrate.asgi_in_tornado import ASGIMount

    with pytest.raises(ValueError, match="begins with a slash"):
        ASGIMount(prefix, name_of_path)


def test_max_body_size(on_loop, caplog):
    """Tornado refuses a request that says it is larger; the application learns that its client is gone."""
    seen = []

    async def application(scope, receive, send):
        message = await receive()
        seen.append(message["type"])
        await answer(send, b"%d" % len(message.get("body", b"")))

    async def test(site, client):
        small = await client.post(site.url("/"), content=b"x" * 10)
        big = await client.post(site.url("/"), content=b"x" * 11)
        return small.text, big.status_code

    got = using_mount(on_loop, application, test, max_body_size=10)
    assert (got, seen) == (("10", 400), ["http.request", "http.disconnect"])


def test_shutdown_cancels(on_loop):
    """And the client sees that its answer is not whole."""
    cancelled = []

    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await send(START)
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    async def test(site, client):
        wire = await site.connect()
        await wire.ask("GET", "/")
        await wire.head()
        assert await wire.chunk() == b"half"
        await site.mount.shutdown()
        assert await wire.reader.read() == b""
        await wire.close()

    using_mount(on_loop, application, test)
    assert cancelled == [1]


def test_behind_a_proxy(on_loop):
    """xheaders: the client is whom the proxy names, at a port that nobody knows."""
    from interloop.migrate.asgi_in_tornado import ASGIMount

    scopes = []

    async def application(scope, receive, send):
        scopes.append(scope)
        await answer(send)

    async def main():
        import tornado.web

        handlers = tornado.web.Application([ASGIMount("/part", application)])
        async with (
            tornado_serving(handlers, "/part", xheaders=True) as site,
            httpx.AsyncClient() as client,
        ):
            await client.get(
                site.url("/"),
                headers={"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"},
            )

    on_loop(main)
    assert (scopes[0]["client"], scopes[0]["scheme"]) == (("192.0.2.1", 0), "https")
