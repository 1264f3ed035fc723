"""The application as it was written: Tornado's handlers. `api` is what moves, `rest` what stays for now."""

from __future__ import annotations

import asyncio
import pathlib

from board import Board
from tornado.web import RequestHandler, stream_request_body
from tornado.websocket import WebSocketHandler


class BoardHandler(RequestHandler):
    def initialize(self, board: Board) -> None:
        self.board = board


@stream_request_body
class Notes(BoardHandler):
    """GET: all notes. POST: each line of the body is one; the body may be as long as it likes."""

    rest = b""
    added = 0

    def data_received(self, chunk: bytes) -> None:
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        for line in lines:
            self.board.add(line.decode())
            self.added += 1

    def get(self) -> None:
        self.write({"notes": self.board.notes})

    def post(self) -> None:
        self.write({"added": self.added})


class Feed(BoardHandler):
    """Notes, one in a line, as they come, until the client goes away."""

    queue: asyncio.Queue[str | None] | None = None

    async def get(self) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.queue = self.board.follow()
        await self.flush()
        while (note := await self.queue.get()) is not None:
            self.write(f"{note}\n")
            await self.flush()

    def on_connection_close(self) -> None:
        if self.queue is not None:
            self.board.leave(self.queue)


class Chat(WebSocketHandler):
    """Each message is a note; each note is a message to everybody."""

    def initialize(self, board: Board) -> None:
        self.board = board

    def open(self) -> None:
        self.queue = self.board.follow()
        self.sender = asyncio.create_task(self.send_notes())

    async def send_notes(self) -> None:
        while (note := await self.queue.get()) is not None:
            await self.write_message(note)

    def on_message(self, message: str | bytes) -> None:
        if message == "bye":
            self.close(4000, "bye")
        else:
            self.board.add(str(message))

    def on_close(self) -> None:
        self.board.leave(self.queue)


class Page(RequestHandler):
    def get(self) -> None:
        self.write((pathlib.Path(__file__).parent / "page.html").read_text())


class Count(BoardHandler):
    def get(self) -> None:
        self.write({"notes": len(self.board.notes), "followers": len(self.board.followers)})


def api(board: Board) -> list:
    return [
        ("/api/notes", Notes, {"board": board}),
        ("/api/feed", Feed, {"board": board}),
        ("/api/chat", Chat, {"board": board}),
    ]


def rest(board: Board) -> list:
    """The page, and what other programs of ours still use: the same feed and chat under older names."""
    return [
        ("/", Page),
        ("/count", Count, {"board": board}),
        ("/feed", Feed, {"board": board}),
        ("/chat", Chat, {"board": board}),
    ]
