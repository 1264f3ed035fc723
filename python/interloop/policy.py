"""The event loop policy: for programs that cannot pass a `loop_factory`.

Policies are deprecated in CPython 3.14 and gone in 3.16, so this stays thin: prefer `interloop.run` or
`asyncio.Runner(loop_factory=interloop.Loop)`.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from typing import TYPE_CHECKING

from interloop.loop import Loop

if TYPE_CHECKING or sys.version_info < (3, 14):
    from asyncio import DefaultEventLoopPolicy as _Base
else:
    from asyncio import _DefaultEventLoopPolicy as _Base


class EventLoopPolicy(_Base):
    """The stock policy, but for the loop that it makes."""

    _loop_factory = Loop


_replaced: list[asyncio.AbstractEventLoopPolicy | None] = []


def install() -> None:
    """Make `asyncio.new_event_loop()`, and with it `asyncio.run()`, use `interloop.Loop`.

    Changes the process-wide policy; `uninstall()` undoes it. Idempotent. From CPython 3.14 on it gives
    a DeprecationWarning, as everything about policies does. Any thread, before loops are made.
    """
    if sys.version_info >= (3, 14):
        warnings.warn(
            "event loop policies are deprecated; use interloop.run() or "
            "asyncio.Runner(loop_factory=interloop.Loop)",
            DeprecationWarning,
            stacklevel=2,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        current = asyncio.get_event_loop_policy()
        if isinstance(current, EventLoopPolicy):
            return
        _replaced.append(current)
        asyncio.set_event_loop_policy(EventLoopPolicy())


def uninstall() -> None:
    """Put the policy back that `install()` replaced. Does nothing when ours is not the current one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if _replaced and isinstance(asyncio.get_event_loop_policy(), EventLoopPolicy):
            asyncio.set_event_loop_policy(_replaced.pop())
