"""A websocket handler of a Tornado application, on an ASGI server's websocket."""

from __future__ import annotations

import asyncio
import sys
import weakref
from typing import Any

import tornado.escape
import tornado.httputil
import tornado.iostream
import tornado.log
import tornado.routing
import tornado.web
from tornado.websocket import WebSocketClosedError, WebSocketHandler, WebSocketProtocol

from interloop.migrate._asgi import Message, Receive, Scope, Send
from interloop.migrate._tornado_request import Connection, Server

# A handler's class to the class that is used in its place under ASGI.
_classes: weakref.WeakKeyDictionary[type[WebSocketHandler], type[WebSocketHandler]] = (
    weakref.WeakKeyDictionary()
)
# What the handshake is made of: the server's part.
_HANDSHAKE = frozenset({"upgrade", "connection", "content-type", "content-length"})


def _under_asgi(handler: type[WebSocketHandler]) -> type[WebSocketHandler]:
    """The application's handler, but that it asks for our protocol."""
    known = _classes.get(handler)
    if known is None:

        def get_websocket_protocol(self: Any) -> WebSocketProtocol:
            return Protocol(self)

        known = type(
            handler.__name__,
            (handler,),
            {
                "__module__": handler.__module__,
                "__qualname__": handler.__qualname__,
                "__doc__": handler.__doc__,
                "get_websocket_protocol": get_websocket_protocol,
            },
        )
        _classes[handler] = known
    return known


class SocketConnection(Connection):
    """``request.connection`` until the handshake; then what the protocol sends by."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.protocol: Protocol | None = None
        self.accepted = False
        self.gone: tuple[int, str | None] | None = None
        self._answered = False
        self._denial = "websocket.http.response" in scope.get("extensions", {})

    # For the handlers.

    def set_max_body_size(self, max_body_size: int) -> None:
        """A websocket's request has no body."""

    def set_body_timeout(self, timeout: float) -> None:
        """A websocket's request has no body."""

    def detach(self) -> Any:
        if not self.accepted:
            raise RuntimeError("an ASGI server does not give its connections away")

    def write_headers(
        self,
        start_line: tornado.httputil.RequestStartLine | tornado.httputil.ResponseStartLine,
        headers: tornado.httputil.HTTPHeaders,
        chunk: bytes | None = None,
    ) -> asyncio.Future[None]:
        assert isinstance(start_line, tornado.httputil.ResponseStartLine)
        self._answered = True
        if start_line.code == 101:
            self.accepted = True
            assert self.protocol is not None
            accept = {
                "type": "websocket.accept",
                "subprotocol": self.protocol.selected_subprotocol,
                "headers": [
                    (name, value)
                    for name, value in self._headers(headers)
                    if name.decode() not in _HANDSHAKE and not name.startswith(b"sec-websocket-")
                ],
            }
            return self._out.put((accept,))
        if not self._denial:
            # The server knows one refusal only, and says 403.
            return self._out.put(({"type": "websocket.close"},))
        start = {
            "type": "websocket.http.response.start",
            "status": start_line.code,
            "headers": self._headers(headers),
        }
        return self._out.put((start, *self._part(chunk)))

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        return self._out.put(self._part(chunk) if self._denial else ())

    def _part(self, chunk: bytes | None) -> tuple[Message, ...]:
        kind = "websocket.http.response.body"
        return ({"type": kind, "body": bytes(chunk), "more_body": True},) if chunk else ()

    def finish(self) -> None:
        if self.accepted:
            return
        if self._denial:
            self._out.put(({"type": "websocket.http.response.body", "body": b""},))
        self._out.end()

    # For the protocol.

    def put(self, message: Message) -> asyncio.Future[None]:
        return self._out.put((message,))

    def end(self) -> None:
        self._out.end()

    # The exchange.

    async def serve(
        self,
        application: tornado.httputil.HTTPServerConnectionDelegate,
        start_line: tornado.httputil.RequestStartLine,
        headers: tornado.httputil.HTTPHeaders,
        receive: Receive,
        send: Send,
    ) -> None:
        message = await receive()
        assert message["type"] == "websocket.connect", message
        try:
            await self._begin(application, start_line, headers)
        except tornado.httputil.HTTPInputError as malformed:
            tornado.log.gen_log.info("Malformed HTTP message from %s: %s", self.context, malformed)
            bad = tornado.httputil.ResponseStartLine("HTTP/1.1", 400, "Bad Request")
            self.write_headers(bad, tornado.httputil.HTTPHeaders())
            self.finish()
        reading = asyncio.create_task(self._read(receive))
        try:
            await self._out.run(lambda messages: self._send(messages, send))
        finally:
            self._out.close()
            reading.cancel()
            await asyncio.wait((reading,))
            self._over(1006, None)
        if not reading.cancelled() and (error := reading.exception()) is not None:
            raise error

    async def _begin(
        self,
        application: tornado.httputil.HTTPServerConnectionDelegate,
        start_line: tornado.httputil.RequestStartLine,
        headers: tornado.httputil.HTTPHeaders,
    ) -> None:
        request = tornado.httputil.HTTPServerRequest(
            connection=self, server_connection=Server(), start_line=start_line, headers=headers
        )
        delegate: Any = None
        if isinstance(application, tornado.routing.Router):
            delegate = application.find_handler(request)
            handler = getattr(delegate, "handler_class", None)
            if isinstance(handler, type) and issubclass(handler, WebSocketHandler):
                delegate.handler_class = _under_asgi(handler)
        if delegate is None:
            delegate = application.start_request(request.server_connection, self)
        if (ready := delegate.headers_received(start_line, headers)) is not None:
            await ready
        delegate.finish()

    async def _send(self, messages: tuple[Message, ...], send: Send) -> None:
        for message in messages:
            if self._out.closed:
                return
            try:
                await send(message)
            except OSError:
                self._out.close()

    async def _read(self, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self._over(message.get("code", 1005), message.get("reason"))
                return
            assert self.protocol is not None
            text = message.get("text")
            await self.protocol.received(text if text is not None else message["bytes"])

    def _over(self, code: int, reason: str | None) -> None:
        """The client has closed, or is gone."""
        self.gone = code, reason
        if self.protocol is not None:
            self.protocol.ended(code, reason)
        else:
            self._call_close_callback()
        if not self._answered or self.accepted:
            self._out.end()


class Protocol(WebSocketProtocol):
    """What Tornado's handler has in place of a protocol of frames. Counterpart: Tornado's WebSocketProtocol13."""

    handler: WebSocketHandler

    def __init__(self, handler: WebSocketHandler) -> None:
        super().__init__(handler)
        connection: Any = handler.request.connection
        self._connection: SocketConnection = connection
        self._subprotocol: str | None = None
        self._ready = asyncio.Event()  # open() has returned
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._close_sent = False
        self.close_code: int | None = None
        self.close_reason: str | None = None

    async def accept_connection(self, handler: WebSocketHandler) -> None:
        self._connection.protocol = self
        offered = handler.request.headers.get("Sec-WebSocket-Protocol", "")
        offers = [token.strip() for token in offered.split(",") if token.strip()]
        self._subprotocol = handler.select_subprotocol(offers)
        handler.clear_header("Content-Type")
        handler.set_status(101)
        # Its own marks of a websocket, which finish() writes through write_headers().
        handler.finish()
        handler._detach_stream()
        if self._connection.gone is not None:
            self.ended(*self._connection.gone)
        try:
            opened = handler.open(*handler.open_args, **handler.open_kwargs)
            if opened is not None:
                await opened
        except Exception:
            handler.log_exception(*sys.exc_info())
            self._abort()
            return
        finally:
            self._ready.set()
        await self._receive_frame_loop()

    async def _receive_frame_loop(self) -> None:
        """The server's messages come to `received`; this is the handler's request, which lasts until the end."""
        try:
            await self._over
        finally:
            self.handler.on_ws_connection_close(self.close_code, self.close_reason)

    async def received(self, message: str | bytes) -> None:
        """A message; returns when the handler is through with it, and not before is the next one asked for."""
        await self._ready.wait()
        if self.client_terminated:
            return
        if len(message) > self.handler.max_message_size:
            self.close(1009, "message too big")
            return
        handled = self._run_callback(self.handler.on_message, message)
        if handled is not None:
            await handled

    def ended(self, code: int, reason: str | None) -> None:
        self.client_terminated = True
        if self._over.done():
            return
        # 1005 and 1006 are no codes that somebody sent.
        self.close_code = None if code in (1005, 1006) else code
        self.close_reason = reason or None
        self._over.set_result(None)

    @property
    def selected_subprotocol(self) -> str | None:
        return self._subprotocol

    def write_message(
        self, message: str | bytes | dict[str, Any], binary: bool = False
    ) -> asyncio.Future[None]:
        if isinstance(message, dict):
            message = tornado.escape.json_encode(message)
        content: Message = {"type": "websocket.send"}
        if binary:
            content["bytes"] = tornado.escape.utf8(message)
        else:
            content["text"] = tornado.escape.to_unicode(message)
        sent = self._connection.put(content)

        async def wrapper() -> None:
            try:
                await sent
            except tornado.iostream.StreamClosedError:
                raise WebSocketClosedError from None

        return asyncio.ensure_future(wrapper())

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        self.server_terminated = True
        if self._close_sent:
            return
        self._close_sent = True
        if not self.client_terminated:
            message = {"type": "websocket.close", "code": code or 1000, "reason": reason or ""}
            self._connection.put(message)

    def _abort(self) -> None:
        """The handler has failed, or its request is over."""
        if not self._close_sent and not self.client_terminated:
            self.close(1011)
        super()._abort()
        self.ended(1006, None)
        self._connection.end()

    def is_closing(self) -> bool:
        return self.client_terminated or self.server_terminated or self._connection._out.closed

    def write_ping(self, data: bytes) -> None:
        """ASGI has no word for it; servers ping by themselves."""

    def start_pinging(self) -> None:
        """As `write_ping`."""

    def set_nodelay(self, x: bool) -> None:
        """The server's business; uvicorn and hypercorn do not delay."""

    def _process_server_headers(
        self, key: str | bytes, headers: tornado.httputil.HTTPHeaders
    ) -> None:
        raise NotImplementedError("this is the server's side")
