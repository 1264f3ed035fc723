"""Websockets of an ASGI application: under uvicorn, which is the contract, and mounted in a Tornado application."""

from __future__ import annotations

import asyncio

import pytest
import websockets
from mi_support import asgi_serving, mounted
from websockets.exceptions import ConnectionClosed, InvalidStatus

ACCEPT = {"type": "websocket.accept"}


@pytest.fixture(params=["uvicorn", "mounted"])
def using(request, on_loop):
    """using(application, test): runs `test(connect, site)` against the application in the host under test."""

    def using(application, test):
        async def main():
            async with asgi_serving(request.param, application) as site:
                return await test(lambda **options: connect(site, **options), site)

        return on_loop(main)

    return using


def connect(site, path="/socket?q=1", **options):
    return websockets.connect(site.url(path, "ws"), proxy=None, **options)


async def accepted(receive, send, **fields):
    assert await receive() == {"type": "websocket.connect"}
    await send({**ACCEPT, **fields})


def test_scope(using):
    scopes = []

    async def application(scope, receive, send):
        scopes.append(scope)
        await accepted(receive, send)
        assert (await receive())["type"] == "websocket.disconnect"

    async def test(connect, site):
        async with connect(subprotocols=["one", "two"], additional_headers={"X-Own": "yes"}):
            pass
        return site

    site = using(application, test)
    (scope,) = scopes
    headers = dict(scope.pop("headers"))
    assert (headers[b"x-own"], headers[b"upgrade"]) == (b"yes", b"websocket")
    assert scope.pop("client")[0] == "127.0.0.1"
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "server": site.address,
        "scheme": "ws",
        "root_path": "/part",
        "path": "/part/socket",
        "raw_path": b"/part/socket",
        "query_string": b"q=1",
        "subprotocols": ["one", "two"],
        "extensions": {"websocket.http.response": {}},
        "state": {},
    }


def test_messages(using):
    async def application(scope, receive, send):
        await accepted(
            receive,
            send,
            subprotocol="two",
            headers=[(b"x-own", b"1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")],
        )
        while (message := await receive())["type"] == "websocket.receive":
            assert (message.get("text") is None) != (message.get("bytes") is None)
            await send({**message, "type": "websocket.send"})

    async def test(connect, site):
        async with connect(subprotocols=["one", "two"]) as ws:
            assert ws.subprotocol == "two"
            assert ws.response.headers["x-own"] == "1"
            assert ws.response.headers.get_all("set-cookie") == ["a=1", "b=2"]
            for message in ("text", "", "ä" * 1000, b"bytes", b"", b"x" * 300_000):
                await ws.send(message)
                assert await ws.recv() == message

    using(application, test)


def test_many_messages_at_once(using):
    """More than wait for the application; none is lost, none overtakes another."""
    got = []
    go_on = asyncio.Event()

    async def application(scope, receive, send):
        await accepted(receive, send)
        await go_on.wait()
        while (message := await receive())["type"] == "websocket.receive":
            got.append(int(message["text"]))
        await send_nothing_more(send)

    async def test(connect, site):
        async with connect() as ws:
            for number in range(500):
                await ws.send(str(number))
            go_on.set()

    using(application, test)
    assert got == list(range(500))


async def send_nothing_more(send):
    with pytest.raises(OSError):
        await send({"type": "websocket.send", "text": "nobody is there"})


@pytest.mark.parametrize(
    ("close", "code", "reason"),
    [
        (lambda ws: ws.close(4321, "because"), 4321, "because"),
        (lambda ws: ws.close(), 1000, ""),
        (lambda ws: drop(ws), 1006, ""),
    ],
    ids=["code", "plain", "dropped"],
)
def test_the_client_closes(using, close, code, reason):
    seen = []
    over = asyncio.Event()

    async def application(scope, receive, send):
        await accepted(receive, send)
        seen.append(await receive())
        await send_nothing_more(send)
        over.set()

    async def test(connect, site):
        ws = await connect()
        await close(ws)
        await over.wait()

    using(application, test)
    (message,) = seen
    assert message["type"] == "websocket.disconnect"
    if code == 1006:
        # uvicorn says 1005, "no code in the frame", also where there was no frame.
        assert message["code"] in (1005, 1006)
    else:
        assert (message["code"], message["reason"]) == (code, reason)


async def drop(ws):
    ws.transport.abort()


def test_the_application_closes(using):
    seen = []

    async def application(scope, receive, send):
        await accepted(receive, send)
        await send({"type": "websocket.send", "text": "bye"})
        await send({"type": "websocket.close", "code": 4000, "reason": "enough"})
        seen.append(await receive())
        with pytest.raises(RuntimeError, match=r"after sending 'websocket.close'"):
            await send({"type": "websocket.send", "text": "more"})

    async def test(connect, site):
        async with connect() as ws:
            assert await ws.recv() == "bye"
            with pytest.raises(ConnectionClosed) as closed:
                await ws.recv()
        return closed.value.rcvd

    closed = using(application, test)
    assert (closed.code, closed.reason) == (4000, "enough")
    assert seen == [{"type": "websocket.disconnect", "code": 4000, "reason": "enough"}]


def test_refused(using):
    seen = []

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.close", "code": 4000})
        seen.append(await receive())

    async def test(connect, site):
        with pytest.raises(InvalidStatus) as refused:
            await connect()
        return refused.value.response.status_code

    assert using(application, test) == 403
    assert (seen[0]["type"], seen[0]["code"]) == ("websocket.disconnect", 1006)


def test_refused_with_an_answer(using, logs):
    async def application(scope, receive, send):
        await receive()
        headers = [(b"x-own", b"yes"), (b"content-type", b"text/plain")]
        await send({"type": "websocket.http.response.start", "status": 418, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"a tea", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"pot"})

    async def test(connect, site):
        with pytest.raises(InvalidStatus) as refused:
            await connect()
        return refused.value.response

    response = using(application, test)
    # uvicorn 0.54 complains of a handshake that the application has answered.
    logs.records = [record for record in logs.records if record.name != "uvicorn.error"]
    assert (response.status_code, response.headers["x-own"]) == (418, "yes")
    assert response.headers["content-type"] == "text/plain"
    assert response.body == b"a teapot"


class Broken(Exception):
    pass


def test_raising_before_the_handshake(using, logs):
    async def application(scope, receive, send):
        raise Broken("on purpose")

    async def test(connect, site):
        with pytest.raises(InvalidStatus) as refused:
            await connect()
        return refused.value.response.status_code

    assert using(application, test) == 500
    assert logs.take("Exception in ASGI application").exc_info[0] is Broken


def test_returning_before_the_handshake(using, logs):
    async def application(scope, receive, send):
        await receive()

    async def test(connect, site):
        with pytest.raises(InvalidStatus) as refused:
            await connect()
        return refused.value.response.status_code

    assert using(application, test) == 500
    logs.take("ASGI callable returned without completing handshake")


@pytest.mark.parametrize("raising", [True, False])
def test_leaving_an_open_socket(using, logs, raising):
    """The client is told, be it only by the end of the connection."""

    async def application(scope, receive, send):
        await accepted(receive, send)
        if raising:
            raise Broken("on purpose")

    async def test(connect, site):
        async with connect() as ws:
            with pytest.raises(ConnectionClosed):
                await ws.recv()

    using(application, test)
    if raising:
        assert logs.take("Exception in ASGI application").exc_info[0] is Broken


@pytest.mark.parametrize(
    "message",
    [{"type": "websocket.send", "text": "early"}, {"type": "http.response.start", "status": 200}],
    ids=["send", "http"],
)
def test_not_an_answer(using, logs, message):
    async def application(scope, receive, send):
        await receive()
        await send(message)

    async def test(connect, site):
        with pytest.raises(InvalidStatus) as refused:
            await connect()
        return refused.value.response.status_code

    assert using(application, test) == 500
    assert "Expected ASGI message 'websocket.accept'" in str(
        logs.take("Exception in ASGI application").exc_info[1]
    )


def test_gone_before_the_handshake(using):
    """The client does not wait for the application to make up its mind."""
    seen = []
    asked, over = asyncio.Event(), asyncio.Event()

    async def application(scope, receive, send):
        seen.append(await receive())
        asked.set()
        seen.append(await receive())
        over.set()

    async def test(connect, site):
        wire = await site.connect()
        await wire.ask("GET", "/", "Upgrade: websocket", "Connection: keep-alive, Upgrade",
                       "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")  # fmt: skip
        await asked.wait()
        wire.writer.transport.abort()
        await over.wait()

    using(application, test)
    assert [message["type"] for message in seen] == ["websocket.connect", "websocket.disconnect"]
    assert seen[1]["code"] == 1006


def test_send_waits_for_a_client_that_does_not_read(using):
    sent = []
    size, part = 4 << 20, bytes(1 << 15)

    async def application(scope, receive, send):
        if scope["type"] == "http":
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-length", b"0")],
                }
            )
            return await send({"type": "http.response.body"})
        await accepted(receive, send)
        for _ in range(size // len(part)):
            await send({"type": "websocket.send", "bytes": part})
            sent.append(part)

    async def test(connect, site):
        wire = await site.connect()
        await wire.ask("GET", "/", "Upgrade: websocket", "Connection: Upgrade",
                       "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")  # fmt: skip
        assert (await wire.head())[0] == 101
        await site.others()
        assert len(sent) < size / len(part) / 2
        while len(sent) < size / len(part):
            assert await wire.reader.read(65536)
        await wire.close()

    using(application, test)


def test_shutdown_cancels(on_loop):
    """An open websocket of a mount that shuts down: the task is cancelled, the client told that the service restarts."""
    cancelled = []

    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await accepted(receive, send)
        await send({"type": "websocket.send", "text": "here"})
        try:
            await receive()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    async def main():
        async with mounted(application) as site, connect(site) as ws:
            assert await ws.recv() == "here"
            await site.mount.shutdown()
            with pytest.raises(ConnectionClosed) as closed:
                await ws.recv()
        return closed.value.rcvd.code

    assert on_loop(main) == 1012
    assert cancelled == [1]
