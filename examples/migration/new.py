"""What has moved: the API, written for ASGI with Starlette. The same URLs, the same answers."""

from __future__ import annotations

import asyncio
import contextlib

from board import Board
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect


def api(board: Board) -> Starlette:
    """To be mounted at /api."""

    async def notes(request: Request) -> JSONResponse:
        if request.method == "GET":
            return JSONResponse({"notes": board.notes})
        rest, added = b"", 0
        # A client that goes away in the middle has said what it has said.
        with contextlib.suppress(ClientDisconnect):
            async for chunk in request.stream():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    board.add(line.decode())
                    added += 1
        return JSONResponse({"added": added})

    async def feed(request: Request) -> StreamingResponse:
        async def lines():
            queue = board.follow()
            try:
                while (note := await queue.get()) is not None:
                    yield f"{note}\n"
            finally:
                board.leave(queue)

        return StreamingResponse(lines(), media_type="text/plain")

    async def chat(socket: WebSocket) -> None:
        await socket.accept()
        queue = board.follow()

        async def send_notes() -> None:
            while (note := await queue.get()) is not None:
                await socket.send_text(note)

        sender = asyncio.create_task(send_notes())
        try:
            while (message := await socket.receive_text()) != "bye":
                board.add(message)
            await socket.close(4000, "bye")
        except WebSocketDisconnect:
            pass
        finally:
            board.leave(queue)
            with contextlib.suppress(WebSocketDisconnect):
                await sender

    return Starlette(
        routes=[
            Route("/notes", notes, methods=["GET", "POST"]),
            Route("/feed", feed),
            WebSocketRoute("/chat", chat),
        ]
    )
