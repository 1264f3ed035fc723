"""A Twisted resource under a prefix of a Tornado application: whatever ``twisted.web.server.Site`` can serve, klein's resources too.

    legacy = ResourceMount("/legacy", twisted_resource)
    application = tornado.web.Application([legacy, (r"/", Home)])

The resources are what they were: ``request.prepath`` begins with the prefix, NOT_DONE_YET, producers of both kinds, sessions,
``request.notifyFinish()`` fails when the client goes away. As under Twisted's own server a request's body is received as a whole, in a
temporary file when it is large, before the resource is asked. What reaches for the connection beneath (``request.channel``) finds
no transport of Twisted's there.

Twisted's reactor has to be on the loop that runs: ``interloop.twisted.install()`` puts it there.
"""

from __future__ import annotations

import asyncio
import re
import sys
import urllib.parse
from typing import Any

import tornado.httputil
import tornado.iostream
import tornado.log
import tornado.routing
from twisted.internet import address, error, interfaces
from twisted.python.failure import Failure
from twisted.web import resource as web_resource
from twisted.web import server
from zope.interface import implementer  # type: ignore[import-untyped]

from interloop.migrate import _access

__all__ = ["ResourceMount"]

# Bytes on their way to the client above which a producer pauses: Twisted's figure.
BUFFER_SIZE = 65536


class ResourceMount(tornado.routing.Rule):
    """A rule for a Tornado application's (or router's) list of rules: what is at ``prefix`` and below goes to ``resource``.

    ``prefix`` is a path without a slash at its end; "" stands for all of the server. All calls belong to the loop's thread.

    Counterpart: ``twisted.web.server.Site`` with the resource at that place.
    """

    def __init__(self, prefix: str, resource: web_resource.IResource) -> None:
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise ValueError(f"a prefix begins with a slash and does not end with one: {prefix!r}")
        super().__init__(
            tornado.routing.PathMatches(
                re.escape(urllib.parse.quote(prefix)) + "(?:/.*)?" if prefix else ".*"
            ),
            _Router(self),
        )
        self.prefix = prefix
        self.resource = resource
        self._site: server.Site | None = None

    @property
    def site(self) -> server.Site:
        """The Site that the resource's requests belong to. RuntimeError if there is no reactor yet: asking makes none."""
        if self._site is None:
            # Twisted would choose one, which no loop of ours drives.
            if "twisted.internet.reactor" not in sys.modules:
                raise RuntimeError(
                    "Twisted's reactor is not on this loop: call interloop.twisted.install() first"
                )
            root: Any = self.resource
            for segment in reversed(self.prefix.split("/")[1:]):
                parent = web_resource.Resource()  # type: ignore[no-untyped-call]
                parent.putChild(segment.encode(), root)
                root = parent
            self._site = server.Site(root)  # type: ignore[no-untyped-call]
        return self._site


class _Router(tornado.routing.Router):
    """What Tornado's routers ask for the rule's target."""

    def __init__(self, mount: ResourceMount) -> None:
        self._mount = mount

    def find_handler(
        self, request: tornado.httputil.HTTPServerRequest, **kwargs: Any
    ) -> tornado.httputil.HTTPMessageDelegate:
        return _Channel(self._mount.site, request)


@implementer(interfaces.ITransport, interfaces.IConsumer)
class _Channel(tornado.httputil.HTTPMessageDelegate):
    """What Tornado tells the request to, and what Twisted's Request takes for its channel. Counterpart: its ``H2Stream``."""

    def __init__(self, site: server.Site, request: tornado.httputil.HTTPServerRequest) -> None:
        self.site: Any = site
        self.factory: Any = site
        self.transport = self
        self._tornado = request
        self._connection: Any = request.connection
        self._peer, self._host = _addresses(request)
        self._request: Any = None
        self._status = 0
        self._head: tuple[Any, tornado.httputil.HTTPHeaders] | None = None
        self._buffer: list[bytes] = []
        self._size = 0  # bytes in the buffer and on their way
        self._flying: asyncio.Future[None] | None = None
        self._pushing = False
        self._done = False
        self._over = False  # and Tornado knows
        self._lost = False
        self._lose = False
        self._producer: Any = None
        self._streaming = False
        self._paused = False

    # Tornado's side.

    def headers_received(
        self,
        start_line: tornado.httputil.RequestStartLine | tornado.httputil.ResponseStartLine,
        headers: tornado.httputil.HTTPHeaders,
    ) -> None:
        self._connection.set_close_callback(self.on_connection_close)
        self._request = self.site.requestFactory(self)
        for name, value in headers.get_all():
            self._request.requestHeaders.addRawHeader(
                name.encode("latin-1"), value.encode("latin-1")
            )
        length = headers.get("Content-Length")
        chunked = "Transfer-Encoding" in headers
        self._request.gotLength(int(length) if length else None if chunked else 0)
        self._request.parseCookies()

    def data_received(self, chunk: bytes) -> None:
        self._request.handleContentChunk(chunk)

    def finish(self) -> None:
        # Not HTTP/1.1: how the answer is framed is the connection's business, as it is for Twisted over HTTP/2.
        assert self._tornado.uri is not None
        self._request.requestReceived(
            self._tornado.method.encode("latin-1"), self._tornado.uri.encode("latin-1"), b"HTTP/2"
        )

    def on_connection_close(self) -> None:
        if self._lost or self._over:
            return
        self._lost = True
        self._buffer.clear()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        stream_error = getattr(getattr(self._connection, "stream", None), "error", None)
        reason = error.ConnectionLost(str(stream_error)) if stream_error else error.ConnectionDone()
        if not self._done:
            self._request.connectionLost(Failure(reason))  # type: ignore[no-untyped-call]

    # Twisted's side: what Request asks of its channel.

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Any) -> None:
        self._status = int(code)
        answer = tornado.httputil.HTTPHeaders()
        for name, values in headers.getAllRawHeaders():
            for value in values:
                answer.add(name.decode("latin-1"), value.decode("latin-1"))
        line = tornado.httputil.ResponseStartLine(
            "HTTP/1.1", self._status, reason.decode("latin-1")
        )
        self._head = line, answer
        self._push_soon()

    def write(self, data: bytes) -> None:
        if self._lost or not data:
            return
        self._buffer.append(bytes(data))
        self._size += len(data)
        self._push_soon()
        if (
            self._producer is not None
            and self._streaming
            and not self._paused
            and self._size > BUFFER_SIZE
        ):
            self._paused = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def requestDone(self, request: Any) -> None:
        self._done = True
        self._push_soon()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer, self._streaming, self._paused = producer, streaming, False
        if self._lost:
            self._producer = None
            producer.stopProducing()
        elif not streaming:
            self._push_soon()

    def unregisterProducer(self) -> None:
        self._producer = None

    def getPeer(self) -> Any:
        return self._peer

    def getHost(self) -> Any:
        return self._host

    def isSecure(self) -> bool:
        return self._tornado.protocol == "https"

    def loseConnection(self) -> None:
        """After what has been written."""
        self._lose = True
        self._push_soon()

    def abortConnection(self) -> None:
        self._connection.close()
        self.on_connection_close()

    def _respondToBadRequestAndDisconnect(self) -> None:
        self._head = (
            tornado.httputil.ResponseStartLine("HTTP/1.1", 400, "Bad Request"),
            tornado.httputil.HTTPHeaders({"Content-Length": "0", "Connection": "close"}),
        )
        self._status = 400
        self._done = self._lose = True
        self._push_soon()

    # What was written leaves at the end of the turn, one write of Tornado's at a time.

    def _push_soon(self) -> None:
        if not self._pushing and self._flying is None:
            self._pushing = True
            asyncio.get_running_loop().call_soon(self._push)

    def _push(self) -> None:
        self._pushing = False
        if self._lost or self._over or self._flying is not None:
            return
        data = b"".join(self._buffer)
        self._buffer.clear()
        written: asyncio.Future[None] | None = None
        try:
            if self._head is not None:
                (line, headers), self._head = self._head, None
                written = self._connection.write_headers(line, headers, data or None)
            elif data:
                written = self._connection.write(data)
            if self._done:
                self._over = True
                self._connection.set_close_callback(None)
                self._connection.finish()
                _access.log(self._tornado, self._status)
        except tornado.httputil.HTTPOutputError:
            tornado.log.app_log.error(
                "%s %s: the answer is not what its headers say",
                self._tornado.method,
                self._tornado.uri,
                exc_info=True,
            )
            self.abortConnection()
            return
        if written is None or written.done():
            self._left()
        else:
            self._flying = written
            written.add_done_callback(self._left)

    def _left(self, _written: asyncio.Future[None] | None = None) -> None:
        """What was pushed is in the kernel."""
        self._flying = None
        self._size = sum(map(len, self._buffer))
        if self._lost:
            return
        if self._buffer or self._head is not None:
            self._push_soon()
        elif self._lose and self._done == self._over:
            self._connection.close()
            self.on_connection_close()
        elif not self._done and self._producer is not None:
            if not self._streaming:
                self._producer.resumeProducing()
                if self._producer is not None:
                    self._push_soon()
            elif self._paused:
                self._paused = False
                self._producer.resumeProducing()
        elif self._done and not self._over:
            # The request ended while this was on its way.
            self._push_soon()


def _addresses(request: tornado.httputil.HTTPServerRequest) -> tuple[Any, Any]:
    """The client's and the server's, as Twisted's transports have them."""
    connection: Any = request.connection
    context = getattr(connection, "context", None)
    peer = getattr(context, "address", None)
    sock = getattr(getattr(connection, "stream", None), "socket", None)
    host = getattr(connection, "server", None)
    if sock is not None:
        try:
            host = sock.getsockname()
        except OSError:
            host = None
    if isinstance(peer, tuple) and request.remote_ip and request.remote_ip != peer[0]:
        peer = (request.remote_ip, 0)
    return _address(peer), _address(host)


def _address(name: Any) -> Any:
    if not isinstance(name, tuple) or name[1] is None:
        path = name[0] if isinstance(name, tuple) else name
        return address.UNIXAddress(path or None)
    kind = address.IPv6Address if ":" in name[0] else address.IPv4Address
    return kind("TCP", name[0], name[1])
