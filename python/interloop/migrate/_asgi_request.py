"""One HTTP request to an ASGI application, from Tornado's connection and back to it."""

from __future__ import annotations

import asyncio
import http.client
import time
from typing import TYPE_CHECKING, Any

import tornado
import tornado.httputil
import tornado.log

from interloop.migrate import _access, _asgi

if TYPE_CHECKING:
    from interloop.migrate.asgi_in_tornado import ASGIMount

# Bytes of a request's body that wait for the application before reading from the client stops: uvicorn's figure.
HIGH_WATER = 65536

_no_body = frozenset({204, 304})


class Exchange(tornado.httputil.HTTPMessageDelegate):
    """What Tornado tells the request to, and what the application receives and sends by."""

    def __init__(self, mount: ASGIMount, request: tornado.httputil.HTTPServerRequest) -> None:
        self._mount = mount
        self._request = request
        self._connection: Any = request.connection
        # The request.
        self._body = bytearray()
        self._more = True  # of the body, from the client
        self._told_end = False
        self._news = asyncio.Event()  # for receive()
        self._room: asyncio.Future[None] | None = None  # what Tornado waits for before it reads on
        # The response.
        self._start: _asgi.Message | None = None  # kept until the first bytes of the body
        self._started = False
        self._complete = False
        self._status = 0
        self._close_after = False
        self._disconnected = False
        self._writing = asyncio.Lock()
        self._flushing: asyncio.Future[None] | None = None

    # Tornado's side.

    def headers_received(
        self,
        start_line: tornado.httputil.RequestStartLine | tornado.httputil.ResponseStartLine,
        headers: tornado.httputil.HTTPHeaders,
    ) -> None:
        if self._mount.max_body_size is not None:
            self._connection.set_max_body_size(self._mount.max_body_size)
        # It is called once the whole body has been read; until then it is on_connection_close().
        self._connection.set_close_callback(self.on_connection_close)
        self._mount._start(self._run())

    def data_received(self, chunk: bytes) -> asyncio.Future[None] | None:
        self._body += chunk
        self._news.set()
        if len(self._body) <= HIGH_WATER:
            return None
        self._room = asyncio.get_running_loop().create_future()
        return self._room

    def finish(self) -> None:
        self._more = False
        self._news.set()

    def on_connection_close(self) -> None:
        self._disconnected = not self._complete
        self._body.clear()
        self._news.set()
        self._make_room()
        self._flushed()

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    def _flushed(self, _written: asyncio.Future[None] | None = None) -> None:
        if self._flushing is not None and not self._flushing.done():
            self._flushing.set_result(None)

    # The application's side.

    async def _run(self) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": _asgi.VERSION, "spec_version": "2.3"},
            "scheme": self._request.protocol,
            "method": self._request.method,
            **self._mount._scope(self._request),
        }
        try:
            try:
                result = await self._mount.application(scope, self._receive, self._send)
            except Exception:
                await self._failed("Exception in ASGI application", exc_info=True)
            else:
                if result is not None:
                    await self._failed(
                        f"ASGI callable should return None, but returned {result!r}."
                    )
                elif not self._started and not self._disconnected:
                    await self._failed("ASGI callable returned without starting response.")
                elif not self._complete and not self._disconnected:
                    await self._failed("ASGI callable returned without completing response.")
        finally:
            # Cancelled, for one: the client must not take half a response for a whole one.
            if not self._complete and not self._disconnected:
                self._connection.close()
            self._complete = True
            self.on_connection_close()

    async def _failed(self, message: str, exc_info: bool = False) -> None:
        tornado.log.app_log.error(
            "%s: %s %s", message, self._request.method, self._request.uri, exc_info=exc_info
        )
        if self._started or self._disconnected:
            return
        self._start = {
            "status": 500,
            "headers": [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", b"21"),
                (b"connection", b"close"),
            ],
        }
        await self._send({"type": "http.response.body", "body": b"Internal Server Error"})

    async def _receive(self) -> _asgi.Message:
        while True:
            if self._disconnected or self._complete:
                return {"type": "http.disconnect"}
            if self._body or not (self._more or self._told_end):
                body = bytes(self._body)
                self._body.clear()
                self._told_end = not self._more
                self._make_room()
                return {"type": "http.request", "body": body, "more_body": self._more}
            self._news.clear()
            await self._news.wait()

    async def _send(self, message: _asgi.Message) -> None:
        # One after another: Tornado's connection keeps track of one write at a time.
        async with self._writing:
            if self._disconnected:
                return
            kind = message["type"]
            if self._complete:
                raise RuntimeError(
                    f"Unexpected ASGI message '{kind}' sent, after response already completed."
                )
            if self._start is None and not self._started:
                if kind != "http.response.start":
                    raise RuntimeError(
                        f"Expected ASGI message 'http.response.start', but got '{kind}'."
                    )
                if not 200 <= message["status"] <= 999:
                    raise RuntimeError(
                        f"Invalid HTTP status code {message['status']!r} in response."
                    )
                self._start = message
                return
            if kind != "http.response.body":
                raise RuntimeError(f"Expected ASGI message 'http.response.body', but got '{kind}'.")
            await self._write(bytes(message.get("body", b"")), message.get("more_body", False))

    async def _write(self, body: bytes, more: bool) -> None:
        if self._request.method == "HEAD":
            body = b""
        written: asyncio.Future[None] | None = None
        if self._start is not None:
            start = self._start
            line, headers = self._head(start, body, more)
            self._start, self._started = None, True
            written = self._connection.write_headers(line, headers, body or None)
        elif body:
            written = self._connection.write(body)
        if not more:
            self._complete = True
            self._news.set()
            self._make_room()
            self._connection.finish()
            _access.log(self._request, self._status)
        if written is not None and not written.done():
            # Tornado forgets a write of a connection that is closed in the middle of it.
            self._flushing = asyncio.get_running_loop().create_future()
            written.add_done_callback(self._flushed)
            await self._flushing
        if self._complete and self._close_after:
            self._connection.close()

    def _head(
        self, start: _asgi.Message, body: bytes, more: bool
    ) -> tuple[tornado.httputil.ResponseStartLine, tornado.httputil.HTTPHeaders]:
        status = start["status"]
        headers = tornado.httputil.HTTPHeaders()
        for name, value in start.get("headers", ()):
            # How the body is framed is the connection's business.
            if name.lower() != b"transfer-encoding":
                headers.add(name.decode("latin-1"), value.decode("latin-1"))
        if status in _no_body and (body or more):
            raise RuntimeError(f"A response with status {status} has no body.")
        if "Server" not in headers:
            headers["Server"] = f"TornadoServer/{tornado.version}"
        if "Date" not in headers:
            headers["Date"] = tornado.httputil.format_timestamp(time.time())
        # Tornado closes by itself only what the client wants closed.
        unframed = self._request.version == "HTTP/1.0" and "Content-Length" not in headers
        self._close_after = unframed or headers.get("Connection", "").lower() == "close"
        reason = http.client.responses.get(status, "Unknown")
        self._status = status
        return tornado.httputil.ResponseStartLine("HTTP/1.1", status, reason), headers
