"""Who is told when a loop begins to run, and when it ends.

A host that has no `run()` of its own to be called (Twisted's reactor inside `interloop.run()`)
learns here that there is a loop to live on. The loop tells, in this order:

* `started(loop)` at the beginning of every run, when `asyncio.get_running_loop()` answers the loop
  and before its first turn, so several times in a loop's life;
* `await stopping(loop)` in `shutdown_asyncgens()`, while coroutines still run;
* `closing(loop)` in `close()`, before anything is released.

The loop asks `if lifecycle.observers:` before each of them, so that without an observer there is
nothing to pay.
"""

from __future__ import annotations

import weakref
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Iterator
from typing import Protocol


class Observer(Protocol):
    """What an observer answers. It is called in the loop's thread, for every loop of every thread;
    what it raises reaches whoever called the loop's method."""

    def loop_started(self, loop: AbstractEventLoop) -> None: ...

    def loop_stopping(self, loop: AbstractEventLoop) -> Awaitable[None] | None: ...

    def loop_closing(self, loop: AbstractEventLoop) -> None: ...


# Weak: an observer that nobody else needs any more is forgotten.
observers: list[weakref.ref[Observer]] = []


def observe(observer: Observer) -> None:
    """Tell `observer` from now on, for as long as it lives. Any thread."""
    observers.append(weakref.ref(observer, observers.remove))


def started(loop: AbstractEventLoop) -> None:
    for observer in _alive():
        observer.loop_started(loop)


async def stopping(loop: AbstractEventLoop) -> None:
    for observer in _alive():
        ending = observer.loop_stopping(loop)
        if ending is not None:
            await ending


def closing(loop: AbstractEventLoop) -> None:
    for observer in _alive():
        observer.loop_closing(loop)


def _alive() -> Iterator[Observer]:
    # Over a copy: being told may add observers, and collecting garbage removes them.
    for reference in tuple(observers):
        observer = reference()
        if observer is not None:
            yield observer
