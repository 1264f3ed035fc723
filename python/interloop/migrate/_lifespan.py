"""ASGI's lifespan: the application is told of the start and the end of its server."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Literal

from interloop.migrate._asgi import VERSION, Application, Message

_log = logging.getLogger("interloop.migrate")


class Lifespan:
    """The lifespan of one ASGI application: its task, and what it has put in the state."""

    def __init__(self, application: Application, mode: Literal["auto", "on", "off"]) -> None:
        if mode not in ("auto", "on", "off"):
            raise ValueError(f"lifespan is 'auto', 'on' or 'off', not {mode!r}")
        self.state: dict[str, Any] = {}
        self._application = application
        self._mode = mode
        self._task: asyncio.Task[None] | None = None
        self._told: asyncio.Queue[Message] = asyncio.Queue()
        self._answer: asyncio.Future[Message] | None = None

    async def startup(self) -> None:
        """Tell the application that it starts, and wait until it has."""
        if self._mode == "off":
            return
        if self._task is not None:
            raise RuntimeError("the application has been started already")
        self._task = asyncio.create_task(self._run())
        try:
            answer = await self._ask("startup")
        except BaseException:
            await self._abandon()
            raise
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            await self._abandon()
            raise RuntimeError(
                f"the application did not start: {answer.get('message') or 'no reason given'}"
            )

    async def shutdown(self) -> None:
        """Tell the application that it ends, and wait until it has."""
        task = self._task
        if task is None:
            return
        try:
            if task.done():
                # It returned, or it does not know of lifespans.
                return
            answer = await self._ask("shutdown")
        finally:
            await self._abandon()
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            raise RuntimeError(
                f"the application did not end well: {answer.get('message') or 'no reason given'}"
            )

    async def _ask(self, what: str) -> Message | None:
        """Its answer; None if the application does not know of lifespans, or returned without one."""
        assert self._task is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._told.put_nowait({"type": f"lifespan.{what}"})
        await asyncio.wait((self._task, self._answer), return_when=asyncio.FIRST_COMPLETED)
        if self._answer.done():
            return self._answer.result()
        error = self._task.exception()
        if error is not None:
            if self._mode == "on" or what == "shutdown":
                raise error
            _log.info("%r does not support ASGI's lifespan: %r", self._application, error)
        return None

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": VERSION, "spec_version": "2.0"},
            "state": self.state,
        }
        await self._application(scope, self._told.get, self._send)

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind.removesuffix(".complete").removesuffix(".failed") not in (
            "lifespan.startup",
            "lifespan.shutdown",
        ):
            raise RuntimeError(f"Expected an ASGI message of the lifespan, but got '{kind}'.")
        if self._answer is None or self._answer.done():
            raise RuntimeError(f"Unexpected ASGI message '{kind}': nothing was asked.")
        self._answer.set_result(message)

    async def _abandon(self) -> None:
        """Let the application return; it has said what it had to say."""
        task, self._task = self._task, None
        self._told = asyncio.Queue()
        if task is None:
            return
        if not task.done():
            # A turn for it to return by itself: most do so right after their last message.
            await asyncio.sleep(0)
            task.cancel()
        (error,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(error, Exception):
            _log.debug("an ASGI application's lifespan ended with an error", exc_info=error)
