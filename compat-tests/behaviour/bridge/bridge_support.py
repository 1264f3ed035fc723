"""What the tests of the bridge share."""

from __future__ import annotations

import asyncio
import threading
import traceback


class Told(Exception):
    """The error that the tests raise on one side and expect on the other."""


def fail(text: str):
    """Raises from a function whose name can be looked for in a traceback."""
    raise Told(text)


async def turns(count: int = 5) -> None:
    """Lets the loop turn a few times: a chance for what must not happen to happen."""
    for _ in range(count):
        await asyncio.sleep(0)


def functions_in(exception: BaseException) -> list[str]:
    """The names of the functions in the exception's traceback, outermost first."""
    return [frame.name for frame in traceback.extract_tb(exception.__traceback__)]


def in_thread(function, *args):
    """Calls a function in another thread and waits for it: its result, or its exception is raised."""
    outcome = []

    def call() -> None:
        try:
            outcome.append((True, function(*args)))
        except BaseException as exc:
            outcome.append((False, exc))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    succeeded, value = outcome[0]
    if not succeeded:
        raise value
    return value
