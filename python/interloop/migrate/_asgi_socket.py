"""A websocket of an ASGI application, on Tornado's websocket handler."""

from __future__ import annotations

import asyncio
import collections
from typing import TYPE_CHECKING, Any, cast

import tornado.httputil
import tornado.log
import tornado.web
from tornado.websocket import WebSocketClosedError, WebSocketHandler, WebSocketProtocol

from interloop.migrate import _asgi

if TYPE_CHECKING:
    from interloop.migrate.asgi_in_tornado import ASGIMount

# Messages that wait for the application before reading from the client stops.
MOST_WAITING = 16


def is_upgrade(request: tornado.httputil.HTTPServerRequest) -> bool:
    """Whether the client asks for a websocket, by uvicorn's measure."""
    connection = request.headers.get("Connection", "").lower().split(",")
    return (
        "upgrade" in (token.strip() for token in connection)
        and request.headers.get("Upgrade", "").lower() == "websocket"
    )


class SocketHandler(WebSocketHandler):
    """The handshake waits for the application's word; afterwards messages go to and fro."""

    def initialize(self, mount: ASGIMount) -> None:
        self._mount = mount
        self._incoming: collections.deque[_asgi.Message] = collections.deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        # "connecting", "accepted", "denying" (a response of the application's own), "closed"
        self._state = "connecting"
        self._decided: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._subprotocol: str | None = None
        self._said_close = False
        self._aborted = False

    async def get(self, *args: Any, **kwargs: Any) -> None:
        headers = self.request.headers
        if headers.get("Sec-WebSocket-Version") == "13" and "Sec-WebSocket-Key" in headers:
            self._incoming.append({"type": "websocket.connect"})
            self._mount._start(self._run())
            if not await self._decided:
                return
        # Or Tornado says what is wrong with the request.
        await super().get(*args, **kwargs)

    # Tornado's side.

    def _check_cross_origin(self, check: Any) -> str | None:
        # As under an ASGI server: which origins are welcome is for the application to say.
        return None

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return self._subprotocol if self._subprotocol in subprotocols else None

    def open(self, *args: str, **kwargs: str) -> None:
        if not self._opened.done():
            self._opened.set_result(None)

    async def on_message(self, message: str | bytes) -> None:
        if self._state != "accepted":
            return
        key = "text" if isinstance(message, str) else "bytes"
        self._tell({"type": "websocket.receive", key: message})
        while len(self._incoming) >= MOST_WAITING and self._state == "accepted":
            self._room.clear()
            await self._room.wait()

    def on_close(self) -> None:
        """The end, whoever closed; also of a connection that is lost before the handshake is over."""
        self._end(1006 if self.close_code is None else self.close_code, self.close_reason)

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        protocol: Any = super().get_websocket_protocol()
        if protocol is not None:
            abort = protocol._abort

            def noted() -> None:
                self._aborted = True
                abort()

            protocol._abort = noted
        return cast("WebSocketProtocol | None", protocol)

    def on_ws_connection_close(
        self, close_code: int | None = None, close_reason: str | None = None
    ) -> None:
        if close_code is None:
            # Without a word, or with a word but no code in it.
            close_code = 1006 if self._aborted else 1005
        super().on_ws_connection_close(close_code, close_reason)

    def _end(self, code: int, reason: str | None) -> None:
        if self._state == "closed":
            return
        self._state = "closed"
        if not self._decided.done():
            self._decided.set_result(False)
        if not self._opened.done():
            self._opened.set_result(None)
        self._tell({"type": "websocket.disconnect", "code": code, "reason": reason or ""})
        self._room.set()

    def _tell(self, message: _asgi.Message) -> None:
        self._incoming.append(message)
        self._news.set()

    # The application's side.

    async def _run(self) -> None:
        request = self.request
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        scope = {
            "type": "websocket",
            "asgi": {"version": _asgi.VERSION, "spec_version": "2.4"},
            "scheme": "wss" if request.protocol == "https" else "ws",
            "subprotocols": [token.strip() for token in offered.split(",") if token.strip()],
            "extensions": {"websocket.http.response": {}},
            **self._mount._scope(request),
        }
        try:
            await self._mount.application(scope, self._receive, self._send)
        except _asgi.ClientDisconnected:
            self._leave(1000)
        except Exception:
            tornado.log.app_log.error(
                "Exception in ASGI application: websocket %s", request.uri, exc_info=True
            )
            self._leave(1011)
        except BaseException:
            self._leave(1012)
            raise
        else:
            if self._state == "connecting":
                tornado.log.app_log.error(
                    "ASGI callable returned without completing handshake: websocket %s", request.uri
                )
            self._leave(1000)

    def _leave(self, code: int) -> None:
        """The application is over: what it has left open ends."""
        if self._state == "accepted":
            self.close(code)
        elif self._state in ("connecting", "denying") and not self._finished:
            if self._headers_written:
                connection: Any = self.request.connection
                connection.close()
            else:
                self.clear()
                self.set_status(500)
                self.set_header("Content-Type", "text/plain; charset=utf-8")
                self.finish("Internal Server Error")
            self._end(1006, None)

    async def _receive(self) -> _asgi.Message:
        while not self._incoming:
            self._news.clear()
            await self._news.wait()
        message = self._incoming.popleft()
        if len(self._incoming) < MOST_WAITING:
            self._room.set()
        return message

    async def _send(self, message: _asgi.Message) -> None:
        kind = message["type"]
        if self._state == "connecting":
            await self._answer(kind, message)
        elif self._state == "denying":
            await self._deny(kind, message)
        elif self._state == "closed" and not self._said_close:
            raise _asgi.ClientDisconnected("the client has closed the websocket")
        elif self._said_close:
            raise RuntimeError(
                f"Unexpected ASGI message '{kind}', after sending 'websocket.close'."
            )
        elif kind == "websocket.send":
            data = message.get("bytes")
            try:
                if data is not None:
                    await self.write_message(bytes(data), binary=True)
                else:
                    await self.write_message(message["text"])
            except WebSocketClosedError:
                raise _asgi.ClientDisconnected("the client has closed the websocket") from None
        elif kind == "websocket.close":
            self._said_close = True
            code, reason = message.get("code", 1000), message.get("reason") or ""
            self.close(code, reason)
            self._end(code, reason)
        else:
            raise RuntimeError(
                f"Expected ASGI message 'websocket.send' or 'websocket.close', but got '{kind}'."
            )

    async def _answer(self, kind: str, message: _asgi.Message) -> None:
        if kind == "websocket.accept":
            self._subprotocol = message.get("subprotocol")
            self._add_headers(message)
            self._state = "accepted"
            self._decided.set_result(True)
            await self._opened
        elif kind == "websocket.close":
            self._said_close = True
            self.clear_header("Content-Type")
            self.set_status(403)
            await self.finish()
            self._end(1006, None)
        elif kind == "websocket.http.response.start":
            self.clear_header("Content-Type")
            self.set_status(message["status"])
            self._add_headers(message)
            self._state = "denying"
        else:
            raise RuntimeError(
                "Expected ASGI message 'websocket.accept', 'websocket.close' or "
                f"'websocket.http.response.start' but got '{kind}'."
            )

    async def _deny(self, kind: str, message: _asgi.Message) -> None:
        if kind != "websocket.http.response.body":
            raise RuntimeError(
                f"Expected ASGI message 'websocket.http.response.body' but got '{kind}'."
            )
        self.write(bytes(message.get("body", b"")))
        if message.get("more_body", False):
            await self.flush()
            return
        self._said_close = True
        await self.finish()
        self._end(1006, None)

    def _add_headers(self, message: _asgi.Message) -> None:
        given: set[str] = set()
        for raw_name, raw_value in message.get("headers", ()):
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            if name.lower() in given:
                self.add_header(name, value)
            else:
                self.set_header(name, value)
            given.add(name.lower())
