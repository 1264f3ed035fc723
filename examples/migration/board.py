"""What the application is about, with nothing of a web framework in it: notes, and who follows them."""

from __future__ import annotations

import asyncio


class Board:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.followers: set[asyncio.Queue[str | None]] = set()

    def add(self, note: str) -> None:
        self.notes.append(note)
        for queue in self.followers:
            queue.put_nowait(note)

    def follow(self) -> asyncio.Queue[str | None]:
        """All notes there are and will be. None is the end, after `leave`."""
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        for note in self.notes:
            queue.put_nowait(note)
        self.followers.add(queue)
        return queue

    def leave(self, queue: asyncio.Queue[str | None]) -> None:
        self.followers.discard(queue)
        queue.put_nowait(None)
