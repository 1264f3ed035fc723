"""What Tornado writes, on its way through something that takes one piece after another."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import tornado.iostream

_T = TypeVar("_T")


class Outgoing(Generic[_T]):
    """Pieces in their order. Tornado's writes do not wait, but answer Futures; `run` hands them out one by one."""

    def __init__(self) -> None:
        self._pieces: collections.deque[tuple[_T, asyncio.Future[None]]] = collections.deque()
        self._news = asyncio.Event()
        self._under_way: asyncio.Future[None] | None = None
        self.closed = False
        self.ended = False

    def put(self, piece: _T) -> asyncio.Future[None]:
        """The Future is done when the piece has been taken, and fails with StreamClosedError if nobody takes it any more."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.closed or self.ended:
            future.set_exception(tornado.iostream.StreamClosedError())
            future.exception()  # as in Tornado, who does not look is not told
            return future
        self._pieces.append((piece, future))
        self._news.set()
        return future

    def end(self) -> None:
        """`run` returns when all that was put has been taken."""
        self.ended = True
        self._news.set()

    def close(self) -> None:
        """Nobody takes anything any more."""
        self.closed = True
        self._news.set()
        lost = [future for _, future in self._pieces]
        self._pieces.clear()
        if self._under_way is not None:
            lost.append(self._under_way)
        for future in lost:
            if not future.done():
                future.set_exception(tornado.iostream.StreamClosedError())
                future.exception()

    async def run(self, take: Callable[[_T], Awaitable[object]]) -> None:
        while not self.closed:
            while self._pieces:
                piece, self._under_way = self._pieces.popleft()
                await take(piece)
                done, self._under_way = self._under_way, None
                if not done.done():
                    done.set_result(None)
            if self.ended or self.closed:
                return
            self._news.clear()
            await self._news.wait()
