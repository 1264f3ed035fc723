"""A Tornado application as an ASGI application, under uvicorn, hypercorn or a mount of Starlette's.

    legacy = TornadoASGI(tornado.web.Application([(r"/legacy/(.*)", Legacy)]))
    application = Starlette(routes=[Route("/new", new), Mount("/", legacy)])

The handlers are what they were: request bodies stream into ``@stream_request_body`` handlers, ``await self.flush()`` waits for the server,
websocket handlers get their messages, a client that goes away is ``on_connection_close()`` or ``on_close()``. What an ASGI server does
itself is its own: keep-alive, time limits, TLS, websocket frames. So differ:

* ``WebSocketHandler.ping()`` does nothing, since ASGI has no word for it, and ``on_ping`` and ``on_pong`` are never called: servers
  ping by themselves (uvicorn's ``--ws-ping-interval``), as they compress by themselves.
* ``Server`` and ``Date`` are the server's, unless a handler has set a ``Server`` of its own.
* ``request.connection`` has no ``stream``, and ``detach()`` works for websockets only.
"""

from __future__ import annotations

import urllib.parse

import tornado.httputil
import tornado.routing

from interloop.migrate._asgi import Message, Receive, Scope, Send
from interloop.migrate._tornado_request import RequestConnection, Server
from interloop.migrate._tornado_socket import SocketConnection

__all__ = ["TornadoASGI"]


class TornadoASGI:
    """``application``, a ``tornado.web.Application`` or anything else that a Tornado HTTPServer can serve, for an ASGI server.

    ``max_body_size`` is the largest request body in bytes, as HTTPServer's (its default is that of HTTPServer, too). The handlers'
    rules see the whole path, mounted or not, so that URLs and redirects made by ``reverse_url()`` are right. With
    ``strip_root_path=True`` they see it without the prefix at which it is mounted. Called in the loop's thread.

    Counterpart: ``tornado.httpserver.HTTPServer``.
    """

    def __init__(
        self,
        application: tornado.httputil.HTTPServerConnectionDelegate,
        *,
        max_body_size: int = 104857600,
        strip_root_path: bool = False,
    ) -> None:
        self.application = application
        self.max_body_size = max_body_size
        self.strip_root_path = strip_root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await _lifespan(receive, send)
            return
        if kind == "http":
            await self._request(scope, receive, send)
        elif kind == "websocket":
            await self._socket(scope, receive, send)
        else:
            raise NotImplementedError(f"Tornado has nothing to serve the ASGI scope {kind!r} with")

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        start_line, headers = self._head(scope, scope["method"])
        connection = RequestConnection(scope, self.max_body_size)
        await connection.serve(self._delegate(connection), start_line, headers, receive, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        start_line, headers = self._head(scope, "GET")
        # Over HTTP/2 there is no upgrade; the server has seen to what these say.
        for name, value in (
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
        ):
            if name not in headers:
                headers[name] = value
        await SocketConnection(scope).serve(self.application, start_line, headers, receive, send)

    def _delegate(self, connection: RequestConnection) -> tornado.httputil.HTTPMessageDelegate:
        return self.application.start_request(Server(), connection)

    def _head(
        self, scope: Scope, method: str
    ) -> tuple[tornado.httputil.RequestStartLine, tornado.httputil.HTTPHeaders]:
        raw = scope.get("raw_path") or urllib.parse.quote(scope["path"]).encode()
        path = raw.decode("latin-1")
        if self.strip_root_path:
            root = urllib.parse.quote(scope.get("root_path", ""))
            if path == root or path.startswith(root + "/"):
                path = path[len(root) :] or "/"
        query = scope.get("query_string", b"").decode("latin-1")
        headers = tornado.httputil.HTTPHeaders()
        for name, value in scope["headers"]:
            headers.add(name.decode("latin-1"), value.decode("latin-1"))
        version = f"HTTP/{scope.get('http_version', '1.1')}"
        uri = f"{path}?{query}" if query else path
        return tornado.httputil.RequestStartLine(method, uri, version), headers


async def _lifespan(receive: Receive, send: Send) -> None:
    """A Tornado application has no word for it."""
    while True:
        message: Message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
