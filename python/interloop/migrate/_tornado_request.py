"""One HTTP request to a Tornado application, from an ASGI server and back to it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import tornado
import tornado.httputil
import tornado.iostream
import tornado.log

from interloop.migrate._asgi import Message, Receive, Scope, Send
from interloop.migrate._outgoing import Outgoing

# What a connection has between two servers, and none of an ASGI server's business. HTTP/2 forbids them.
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade"})


class Server:
    """What stands for Tornado's own server connection: ``request.server_connection``."""


class Context:
    """What Tornado's requests look at for the client's address, and for the protocol."""

    def __init__(self, scope: Scope) -> None:
        client = scope.get("client")
        self.address: Any = tuple(client) if client else ""
        self.address_family = (
            socket.AF_UNIX
            if not client
            else socket.AF_INET6
            if ":" in client[0]
            else socket.AF_INET
        )
        self.remote_ip: str = client[0] if client else "0.0.0.0"
        secure = scope.get("scheme", "http") in ("https", "wss")
        self.protocol = "https" if secure else "http"

    def __str__(self) -> str:
        return self.remote_ip


class Connection(tornado.httputil.HTTPConnection):
    """What requests and websockets have in common: what Tornado writes becomes messages, in their order."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.context = Context(scope)
        server = scope.get("server")
        self.server: tuple[str, int | None] | None = tuple(server) if server else None
        self.no_keep_alive = False
        self._out: Outgoing[tuple[Message, ...]] = Outgoing()
        self._close_callback: Callable[[], None] | None = None

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        self._close_callback = callback

    def close(self) -> None:
        """Give the client up."""
        self._out.close()

    def _call_close_callback(self) -> None:
        callback, self._close_callback = self._close_callback, None
        if callback is not None:
            try:
                callback()
            except Exception:
                tornado.log.app_log.error("Uncaught exception in %r", callback, exc_info=True)

    def _headers(self, headers: tornado.httputil.HTTPHeaders) -> list[tuple[bytes, bytes]]:
        dropped = {"date"}
        if headers.get("Server") == f"TornadoServer/{tornado.version}":
            dropped.add("server")
        if not self.scope.get("http_version", "1.1").startswith("1"):
            dropped |= _HOP_BY_HOP
        return [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in headers.get_all()
            if name.lower() not in dropped
        ]


class RequestConnection(Connection):
    """``request.connection`` of the handlers, and what runs the exchange."""

    def __init__(self, scope: Scope, max_body_size: int) -> None:
        super().__init__(scope)
        self._max_body_size = max_body_size
        self._body_timeout: float | None = None
        self._started = False
        self._finished = False
        self._expected: int | None = None  # bytes of the answer that are still to come
        self._broken: BaseException | None = None

    # For the handlers.

    def set_max_body_size(self, max_body_size: int) -> None:
        self._max_body_size = max_body_size

    def set_body_timeout(self, timeout: float) -> None:
        self._body_timeout = timeout or None

    def detach(self) -> tornado.iostream.IOStream:
        raise RuntimeError("an ASGI server does not give its connections away")

    def write_headers(
        self,
        start_line: tornado.httputil.RequestStartLine | tornado.httputil.ResponseStartLine,
        headers: tornado.httputil.HTTPHeaders,
        chunk: bytes | None = None,
    ) -> asyncio.Future[None]:
        assert isinstance(start_line, tornado.httputil.ResponseStartLine)
        if self.scope["method"] == "HEAD" or start_line.code == 304:
            self._expected = 0
        elif "Content-Length" in headers:
            self._expected = int(headers["Content-Length"])
        self._started = True
        start = {
            "type": "http.response.start",
            "status": start_line.code,
            "headers": self._headers(headers),
        }
        return self._out.put((start, *self._part(chunk)))

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        return self._out.put(self._part(chunk))

    def _part(self, chunk: bytes | None) -> tuple[Message, ...]:
        if not chunk:
            return ()
        if self._expected is not None:
            self._expected -= len(chunk)
            if self._expected < 0:
                self._fail("Tried to write more data than Content-Length")
        return ({"type": "http.response.body", "body": bytes(chunk), "more_body": True},)

    def finish(self) -> None:
        if self._finished:
            return
        if self._expected and not self._out.closed:
            self._fail(f"Tried to write {self._expected} bytes less than Content-Length")
        self._finished = True
        self._out.put(({"type": "http.response.body", "body": b"", "more_body": False},))
        self._out.end()

    def _fail(self, message: str) -> None:
        error = tornado.httputil.HTTPOutputError(message)
        self._broken = error
        self.close()
        raise error

    # The exchange.

    async def serve(
        self,
        delegate: tornado.httputil.HTTPMessageDelegate,
        start_line: tornado.httputil.RequestStartLine,
        headers: tornado.httputil.HTTPHeaders,
        receive: Receive,
        send: Send,
    ) -> None:
        reading = asyncio.create_task(self._read(delegate, start_line, headers, receive))
        try:
            await self._out.run(lambda messages: self._send(messages, send))
        finally:
            whole = self._finished and self._broken is None and not self._out.closed
            reading.cancel()
            await asyncio.wait((reading,))
            if not whole:
                # The client is gone, or the server wants an end.
                self._out.close()
                self._call_close_callback()
        if not reading.cancelled() and (error := reading.exception()) is not None:
            raise error
        if self._broken is not None:
            # For the server to see that the answer is not whole.
            raise self._broken

    async def _send(self, messages: tuple[Message, ...], send: Send) -> None:
        for message in messages:
            if self._out.closed:
                return
            try:
                await send(message)
            except OSError:
                # That is how later versions of ASGI tell that the client is gone.
                self._out.close()

    async def _read(
        self,
        delegate: tornado.httputil.HTTPMessageDelegate,
        start_line: tornado.httputil.RequestStartLine,
        headers: tornado.httputil.HTTPHeaders,
        receive: Receive,
    ) -> None:
        """Tells the delegate of the request, and later of the client's end. What HTTP1Connection does with a stream."""
        told = False
        try:
            await _wait_for(delegate.headers_received(start_line, headers))
            # Not before: it may have changed the limits.
            self._check_size(headers.get("Content-Length"))
            async with asyncio.timeout(self._body_timeout):
                told = await self._read_body(delegate, receive)
            if told and not self._finished:
                delegate.finish()
            elif not told:
                self.close()
                return
        except tornado.httputil.HTTPInputError as error:
            tornado.log.gen_log.info("Malformed HTTP message from %s: %s", self.context, error)
            self._refuse()
            return
        except TimeoutError:
            tornado.log.gen_log.info("Timeout reading body from %s", self.context)
            self.close()
            return
        except Exception as error:
            tornado.log.app_log.error("Uncaught exception", exc_info=True)
            self._broken = error
            self.close()
            return
        finally:
            if not told and not self._finished:
                # That is how it learns of the end before it has the whole request.
                self._close_callback = None
                delegate.on_connection_close()
        while (await receive())["type"] != "http.disconnect":
            pass
        if not self._finished:
            # The handler is told before its writes fail: the first of these may end its request.
            self._call_close_callback()
            self.close()

    async def _read_body(
        self, delegate: tornado.httputil.HTTPMessageDelegate, receive: Receive
    ) -> bool:
        """False if the client is gone before the end."""
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return self._finished
            chunk = message.get("body", b"")
            size += len(chunk)
            if not self._finished:
                self._check_size(size)
                if chunk:
                    await _wait_for(delegate.data_received(chunk))
            if not message.get("more_body", False):
                return True

    def _check_size(self, size: int | str | None) -> None:
        if size is not None and int(size) > self._max_body_size:
            raise tornado.httputil.HTTPInputError("Content-Length too long")

    def _refuse(self) -> None:
        if self._started:
            self.close()
            return
        self.write_headers(
            tornado.httputil.ResponseStartLine("HTTP/1.1", 400, "Bad Request"),
            tornado.httputil.HTTPHeaders({"Content-Length": "0", "Connection": "close"}),
        )
        self.finish()


async def _wait_for(awaitable: Awaitable[None] | None) -> None:
    if awaitable is not None:
        # An answer that is finished early ends the reading, and not what the handler is about.
        await asyncio.shield(asyncio.ensure_future(awaitable))
