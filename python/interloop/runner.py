"""`interloop.run`: like `asyncio.run`, on our loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from interloop.loop import Loop

_T = TypeVar("_T")


def run(main: Coroutine[Any, Any, _T], *, debug: bool | None = None) -> _T:
    """Run a coroutine on a new `interloop.Loop`, close the loop, and return its result.

    Like `asyncio.run(main, debug=debug, loop_factory=interloop.Loop)`, on every supported version.
    Errors: RuntimeError inside a running loop, ValueError for what is no coroutine, and whatever the
    coroutine raises. Call it from a thread in which no loop runs; Ctrl-C works in the main thread.
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("interloop.run() cannot be called from a running event loop")
    with asyncio.Runner(debug=debug, loop_factory=Loop) as runner:
        return runner.run(main)
