"""The kit's parts in one another, and over HTTP/2: nothing of a connection is taken for granted that only Tornado's has."""

from __future__ import annotations

import asyncio

import httpx
import tornado.web
import websockets
from mi_support import hypercorn_serving, twisted_serving, uvicorn_serving
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from tornado.web import RequestHandler
from tornado.websocket import WebSocketHandler

from interloop.migrate.asgi_in_tornado import ASGIMount
from interloop.migrate.tornado_as_asgi import TornadoASGI


def inner():
    async def tell(request):
        body = await request.body()
        return JSONResponse(
            {
                "size": len(body),
                "client": request.client.host,
                "server": list(request.scope["server"]),
                "scheme": request.url.scheme,
                "path": request.url.path,
            }
        )

    async def chat(socket):
        await socket.accept("loud", headers=[(b"x-own", b"yes")])
        async for text in socket.iter_text():
            await socket.send_text(text.upper())
        over.set()

    over = asyncio.Event()
    routes = [Route("/tell", tell, methods=["GET", "POST"]), WebSocketRoute("/chat", chat)]
    return Starlette(routes=routes), over


def test_asgi_in_tornado_in_asgi(on_loop):
    async def main():
        application, over = inner()
        outer = TornadoASGI(
            tornado.web.Application([ASGIMount("/part", application, max_body_size=1 << 20)])
        )
        async with uvicorn_serving(outer) as site, httpx.AsyncClient() as client:
            told = (await client.post(site.url("/part/tell"), content=b"x" * 300_000)).json()
            refused = (
                await client.post(site.url("/part/tell"), content=b"x" * ((1 << 20) + 1))
            ).status_code
            async with websockets.connect(
                site.url("/part/chat", "ws"), subprotocols=["loud"], proxy=None
            ) as ws:
                assert (ws.subprotocol, ws.response.headers["x-own"]) == ("loud", "yes")
                await ws.send("hello")
                assert await ws.recv() == "HELLO"
            await over.wait()
        assert told == {
            "size": 300_000,
            "client": "127.0.0.1",
            "server": list(site.address),
            "scheme": "http",
            "path": "/part/tell",
        }
        assert refused == 400

    on_loop(main)


def test_asgi_in_tornado_in_twisted(on_reactor):
    from interloop.migrate.tornado_in_twisted import TornadoResource

    async def main():
        application, _ = inner()
        resource = TornadoResource(tornado.web.Application([ASGIMount("/part", application)]))
        async with twisted_serving(resource) as site, httpx.AsyncClient() as client:
            told = (await client.post(site.url("/part/tell"), content=b"x" * 300_000)).json()
        assert (told["size"], told["client"], told["path"]) == (300_000, "127.0.0.1", "/part/tell")

    on_reactor(main)


def test_twisted_in_tornado_in_asgi(on_reactor):
    from twisted.web.resource import Resource

    from interloop.migrate.twisted_in_tornado import ResourceMount

    class Tell(Resource):
        isLeaf = True

        def render_POST(self, request):
            host = request.getHost()
            size = len(request.content.read())
            return f"{size} {request.getClientAddress().host} {host.port}".encode()

    async def main():
        outer = TornadoASGI(tornado.web.Application([ResourceMount("/part", Tell())]))
        async with uvicorn_serving(outer) as site, httpx.AsyncClient() as client:
            told = (await client.post(site.url("/part/"), content=b"x" * 300_000)).text
        assert told == f"300000 127.0.0.1 {site.address[1]}"

    on_reactor(main)


def test_over_http_2(on_loop):
    class Handler(RequestHandler):
        async def post(self):
            self.set_header("Connection", "close")  # has no meaning there, and no place
            self.write(f"{self.request.version} {self.request.host} ")
            await self.flush()
            self.write(str(len(self.request.body)))

    async def main():
        served = TornadoASGI(tornado.web.Application([("/", Handler)]))
        async with (
            hypercorn_serving(served) as site,
            httpx.AsyncClient(http1=False, http2=True) as client,
        ):
            got = await client.post(site.url("/"), content=b"x" * 300_000)
            assert got.http_version == "HTTP/2"
            return got.text, f"HTTP/2 127.0.0.1:{site.address[1]} 300000"

    got, expected = on_loop(main)
    assert got == expected


def test_a_bad_host(on_loop):
    """Tornado refuses it, whoever has parsed the request."""

    async def asked(scope):
        said = []
        told = iter(
            [{"type": "websocket.connect" if scope["type"] == "websocket" else "http.request"}]
        )

        async def receive():
            for message in told:
                return message
            await asyncio.Event().wait()

        async def send(message):
            said.append(message)

        class Chat(WebSocketHandler):
            pass

        head = {"path": "/", "method": "GET", "headers": [(b"host", b"a b")]}
        await TornadoASGI(tornado.web.Application([("/", Chat)]))({**head, **scope}, receive, send)
        return [message.get("status", message["type"]) for message in said]

    async def main():
        assert await asked({"type": "http"}) == [400, "http.response.body"]
        denial = {"extensions": {"websocket.http.response": {}}}
        assert await asked({"type": "websocket", **denial}) == [400, "websocket.http.response.body"]
        assert await asked({"type": "websocket"}) == ["websocket.close"]

    on_loop(main)
