"""A Tornado application as a Twisted resource, under ``twisted.web.server.Site`` or anywhere in a tree of resources.

    root = Resource()
    root.putChild(b"new", TornadoResource(tornado.web.Application([(r"/new/(.*)", New)])))
    endpoint.listen(Site(root))

The handlers are what they were: ``await self.flush()`` waits while the client does not read, a client that goes away is
``on_connection_close()``, ``@stream_request_body`` handlers get the body in pieces. Twisted receives a request's body as a whole
before any resource is asked, so it does not stream over the network. Websocket handlers have no connection to take over from
Twisted, and are answered 501: serve these by Tornado.

Tornado needs an asyncio loop that runs: the reactor of ``interloop.twisted.install()`` is one, Twisted's own AsyncioSelectorReactor another.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import tornado.httputil
import tornado.iostream
import tornado.log
from twisted.internet import interfaces
from twisted.web import resource, server
from zope.interface import implementer  # type: ignore[import-untyped]

__all__ = ["TornadoResource"]

# Bytes that a handler with a streamed body is given at once: what Tornado's own server reads.
CHUNK = 65536


class TornadoResource(resource.Resource):
    """``application``, a ``tornado.web.Application`` or anything else that a Tornado HTTPServer can serve, as a leaf of a site.

    The handlers' rules see the whole path, wherever the resource is, so that URLs and redirects made by ``reverse_url()`` are right.
    With ``strip_prefix=True`` they see what comes after the resource's own place. The loop's thread, as for any resource.

    Counterpart: ``tornado.httpserver.HTTPServer``.
    """

    isLeaf = True

    def __init__(
        self,
        application: tornado.httputil.HTTPServerConnectionDelegate,
        *,
        strip_prefix: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.application = application
        self.strip_prefix = strip_prefix
        self._tasks: set[asyncio.Task[None]] = set()

    def render(self, request: server.Request) -> Any:
        """Counterpart: ``twisted.web.resource.IResource.render``."""
        upgrade = request.getHeader(b"upgrade")
        if upgrade is not None and upgrade.lower() == b"websocket":
            request.setResponseCode(501)
            return b"a Tornado application below a Twisted site has no websockets\n"
        task = asyncio.get_running_loop().create_task(self._serve(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return server.NOT_DONE_YET

    async def _serve(self, request: Any) -> None:
        headers = tornado.httputil.HTTPHeaders()
        for name, values in request.requestHeaders.getAllRawHeaders():
            for value in values:
                headers.add(name.decode("latin-1"), value.decode("latin-1"))
        uri = request.uri.decode("latin-1")
        if self.strip_prefix:
            path, mark, query = uri.partition("?")
            segments = path.split("/")[1 + len(request.prepath) :]
            uri = "/" + "/".join(segments) + mark + query
        start_line = tornado.httputil.RequestStartLine(
            request.method.decode("latin-1"), uri, request.clientproto.decode("latin-1")
        )
        connection = _Connection(request)
        delegate = self.application.start_request(object(), connection)
        try:
            if (ready := delegate.headers_received(start_line, headers)) is not None:
                await ready
            while not connection.over and (chunk := request.content.read(CHUNK)):
                taken: Awaitable[None] | None = delegate.data_received(chunk)
                if taken is not None:
                    await taken
            if connection.lost:
                delegate.on_connection_close()
            elif not connection.over:
                delegate.finish()
        except tornado.httputil.HTTPInputError as malformed:
            tornado.log.gen_log.info(
                "Malformed HTTP message from %s: %s", connection.context, malformed
            )
            connection.refuse()
        except Exception:
            tornado.log.app_log.error("Uncaught exception", exc_info=True)
            delegate.on_connection_close()
            connection.close()


class _Context:
    """What Tornado's requests look at for the client's address, and for the protocol."""

    def __init__(self, request: Any) -> None:
        peer = request.client
        host = getattr(peer, "host", None)
        self.address = (host, peer.port) if host else ""
        self.address_family = (
            socket.AF_UNIX if not host else socket.AF_INET6 if ":" in host else socket.AF_INET
        )
        self.remote_ip: str = host or "0.0.0.0"
        self.protocol = "https" if request.isSecure() else "http"

    def __str__(self) -> str:
        return self.remote_ip


@implementer(interfaces.IPushProducer)
class _Connection(tornado.httputil.HTTPConnection):
    """``request.connection`` of the handlers. A producer for Twisted's request: so it learns when the client does not read."""

    def __init__(self, request: Any) -> None:
        self.context = _Context(request)
        here = request.getHost()
        host = getattr(here, "host", None)
        self.server: tuple[str, int | None] | None = (host, here.port) if host else None
        self.no_keep_alive = False
        self.lost = False
        self.over = False  # lost, or answered
        self._request = request
        self._started = False
        self._expected: int | None = None
        self._producing = False
        self._paused = False
        self._waiting: list[asyncio.Future[None]] = []
        self._close_callback: Callable[[], None] | None = None
        request.notifyFinish().addErrback(self._connection_lost)

    # For the handlers.

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        self._close_callback = callback

    def set_max_body_size(self, max_body_size: int) -> None:
        """Twisted has received the body already."""

    def set_body_timeout(self, timeout: float) -> None:
        """Twisted has received the body already."""

    def detach(self) -> tornado.iostream.IOStream:
        raise RuntimeError("a Twisted site does not give its connections away")

    def close(self) -> None:
        """Give the client up: it gets what has been written, and no end."""
        channel = self._request.channel
        if channel is not None and not self.over:
            self.over = True
            self._stop_producing()
            channel.loseConnection()
            self._wake()

    def write_headers(
        self,
        start_line: tornado.httputil.RequestStartLine | tornado.httputil.ResponseStartLine,
        headers: tornado.httputil.HTTPHeaders,
        chunk: bytes | None = None,
    ) -> asyncio.Future[None]:
        assert isinstance(start_line, tornado.httputil.ResponseStartLine)
        if self.over:
            return self._closed()
        request = self._request
        if request.method == b"HEAD" or start_line.code == 304:
            self._expected = 0
        elif "Content-Length" in headers:
            self._expected = int(headers["Content-Length"])
        self._started = self._producing = True
        request.defaultContentType = None
        request.setResponseCode(start_line.code, start_line.reason.encode("latin-1"))
        for name in {name for name, _ in headers.get_all()}:
            values = [value.encode("latin-1") for value in headers.get_list(name)]
            request.responseHeaders.setRawHeaders(name.encode("latin-1"), values)
        request.registerProducer(self, True)
        return self.write(chunk or b"")

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        if self.over:
            return self._closed()
        if self._expected is not None:
            self._expected -= len(chunk)
            if self._expected < 0:
                self._fail("Tried to write more data than Content-Length")
        # Not of memory that the caller may change.
        self._request.write(bytes(chunk))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._paused:
            self._waiting.append(future)
        else:
            future.set_result(None)
        return future

    def finish(self) -> None:
        if self.over:
            return
        if self._expected:
            self._fail(f"Tried to write {self._expected} bytes less than Content-Length")
        self.over = True
        self._stop_producing()
        self._request.finish()
        self._wake()

    def refuse(self) -> None:
        if self._started:
            self.close()
            return
        self.write_headers(
            tornado.httputil.ResponseStartLine("HTTP/1.1", 400, "Bad Request"),
            tornado.httputil.HTTPHeaders({"Content-Length": "0"}),
        )
        self.finish()

    def _fail(self, message: str) -> None:
        self.close()
        raise tornado.httputil.HTTPOutputError(message)

    def _closed(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(tornado.iostream.StreamClosedError())
        future.exception()  # as in Tornado, who does not look is not told
        return future

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if future.done():
                continue
            if self.lost:
                future.set_exception(tornado.iostream.StreamClosedError())
                future.exception()
            else:
                future.set_result(None)

    def _stop_producing(self) -> None:
        if self._producing:
            self._producing = False
            self._request.unregisterProducer()

    # For Twisted.

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._wake()

    def stopProducing(self) -> None:
        """The transport's last word; notifyFinish() has the reason."""

    def _connection_lost(self, reason: object) -> None:
        self.lost = self.over = True
        callback, self._close_callback = self._close_callback, None
        try:
            # The handler is told before its writes fail: the first of these may end its request.
            if callback is not None:
                callback()
        except Exception:
            tornado.log.app_log.error("Uncaught exception in %r", callback, exc_info=True)
        finally:
            self._wake()
