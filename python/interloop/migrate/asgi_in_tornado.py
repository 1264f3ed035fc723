"""An ASGI application under a prefix of a Tornado application: Starlette, FastAPI, Django, any other.

    api = ASGIMount("/api", starlette_application)
    application = tornado.web.Application([api, (r"/", Home)])

    async with api.lifespan():
        application.listen(8888)
        await asyncio.Event().wait()

What the ASGI application is told is what uvicorn tells it with ``--root-path`` set to the prefix: the same scope, ``path`` with the
prefix and ``root_path`` beside it. Requests stream in both directions: a body is read from the client no faster than the application
takes it, ``send`` returns when Tornado has handed the bytes to the kernel. A client that goes away is an ``http.disconnect`` or
``websocket.disconnect``. The application's task is not cancelled then, as under uvicorn; it is when :meth:`ASGIMount.shutdown` runs.

Tornado's server keeps its say: its limits (``max_body_size``, ``body_timeout``, header sizes), ``xheaders`` and TLS are in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import urllib.parse
from collections.abc import AsyncIterator
from typing import Any, Literal

import tornado.httputil
import tornado.routing
import tornado.web

from interloop.migrate import _asgi
from interloop.migrate._asgi_request import Exchange
from interloop.migrate._asgi_socket import SocketHandler, is_upgrade
from interloop.migrate._lifespan import Lifespan

__all__ = ["ASGIMount"]


class ASGIMount(tornado.routing.Rule):
    """A rule for a Tornado application's (or router's) list of rules: what is at ``prefix`` and below goes to ``application``.

    ``prefix`` is a path without a slash at its end; "" stands for all of the server. ``lifespan`` says what is made of an
    application that raises when it is told of its lifespan: "auto" (it does without), "on" (an error of ``startup()``), "off" (it
    is never told). ``max_body_size`` is the largest request body in bytes; None leaves Tornado's limit in force. ``settings`` are
    Tornado's application settings for the websockets: ``websocket_ping_interval``, ``websocket_ping_timeout``,
    ``websocket_max_message_size``. One mount may be in several applications. All methods belong to the loop's thread.

    Counterpart: uvicorn's server, as far as the application sees it.
    """

    def __init__(
        self,
        prefix: str,
        application: _asgi.Application,
        *,
        lifespan: Literal["auto", "on", "off"] = "auto",
        max_body_size: int | None = None,
        **settings: Any,
    ) -> None:
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise ValueError(f"a prefix begins with a slash and does not end with one: {prefix!r}")
        super().__init__(
            tornado.routing.PathMatches(
                re.escape(urllib.parse.quote(prefix)) + "(?:/.*)?" if prefix else ".*"
            ),
            _Router(self),
        )
        self.prefix = prefix
        self.application = application
        self.max_body_size = max_body_size
        self._lifespan = Lifespan(application, lifespan)
        self._settings = settings
        self._sockets: tornado.web.Application | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def startup(self) -> None:
        """Tell the application that the server starts; returns when it is ready.

        RuntimeError if it says that it cannot start, or if it has been started; what it raises, with ``lifespan="on"``.
        """
        await self._lifespan.startup()

    async def shutdown(self) -> None:
        """Tell the application that the server ends. Stop the server first: requests under way are cancelled.

        Without ``startup()`` only that. RuntimeError if the application says that its end failed; what it raises.
        """
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._lifespan.shutdown()

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncIterator[dict[str, Any]]:
        """``async with mount.lifespan():`` is :meth:`startup` and :meth:`shutdown`. It gives the application's state."""
        await self.startup()
        try:
            yield self._lifespan.state
        finally:
            await self.shutdown()

    def _handler(
        self, request: tornado.httputil.HTTPServerRequest
    ) -> tornado.httputil.HTTPMessageDelegate:
        if not is_upgrade(request):
            return Exchange(self, request)
        if self._sockets is None:
            self._sockets = tornado.web.Application(None, **self._settings)
        return self._sockets.get_handler_delegate(request, SocketHandler, {"mount": self})

    def _scope(self, request: tornado.httputil.HTTPServerRequest) -> dict[str, Any]:
        """What the scopes of requests and of websockets have in common."""
        context = getattr(request.connection, "context", None)
        return {
            "http_version": request.version.removeprefix("HTTP/"),
            "server": _server(request),
            "client": _client(request, context),
            "root_path": self.prefix,
            "path": urllib.parse.unquote(request.path),
            "raw_path": request.path.encode("latin-1"),
            "query_string": request.query.encode("latin-1"),
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in request.headers.get_all()
            ],
            "state": self._lifespan.state.copy(),
        }

    def _start(self, coroutine: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Router(tornado.routing.Router):
    """What Tornado's routers ask for the rule's target."""

    def __init__(self, mount: ASGIMount) -> None:
        self._mount = mount

    def find_handler(
        self, request: tornado.httputil.HTTPServerRequest, **kwargs: Any
    ) -> tornado.httputil.HTTPMessageDelegate:
        return self._mount._handler(request)


def _server(request: tornado.httputil.HTTPServerRequest) -> tuple[str, int | None] | None:
    """The address the client has connected to; of a Unix socket its path, and None."""
    stream = getattr(request.connection, "stream", None)
    socket = getattr(stream, "socket", None)
    if socket is None:
        # A connection that is no socket, or has been closed meanwhile.
        known: tuple[str, int | None] | None = getattr(request.connection, "server", None)
        return known
    try:
        name = socket.getsockname()
    except OSError:
        return None
    return (name[0], name[1]) if isinstance(name, tuple) else (str(name), None)


def _client(request: tornado.httputil.HTTPServerRequest, context: Any) -> tuple[str, int] | None:
    """The peer; with ``xheaders``, and a proxy's word for it, the client behind the proxy, whose port nobody knows."""
    address = getattr(context, "address", None)
    if not isinstance(address, tuple) or not request.remote_ip:
        return None
    return request.remote_ip, address[1] if request.remote_ip == address[0] else 0
