"""The event loops that can be put in place of asyncio's own, and how that is done.

Runs in a worker only. Every path by which a program gets a loop is changed, not one test: the policy's factory
(``asyncio.new_event_loop``, ``asyncio.run``, ``asyncio.Runner``, every policy class derived from the default one) and
the class's names in ``asyncio`` and ``asyncio.unix_events``.
"""

from __future__ import annotations

import asyncio
import asyncio.base_events
import asyncio.events
import asyncio.unix_events
import functools
from typing import Any

# How many loops were made since the process started: "placed" ones are the contestant's, "stock"
# ones come from a class of asyncio's own that a test names directly (BaseEventLoop,
# BaseSelectorEventLoop, test_utils.TestLoop).
LOOPS_MADE: dict[str, int] = {"placed": 0, "stock": 0}

STOCK = "stock"

# Stock's own class, put in place of itself: what fails then fails by the placing.
PLACED_STOCK = "placed-stock"


def loop_class(name: str) -> type[asyncio.AbstractEventLoop]:
    """The contestant's loop class."""
    if name == "interloop":
        import interloop

        found: type[asyncio.AbstractEventLoop] = interloop.Loop
        return found
    if name == "uvloop":
        import uvloop

        found = uvloop.Loop
        return found
    if name == PLACED_STOCK:
        return asyncio.SelectorEventLoop
    raise SystemExit(f"no event loop is known by the name of {name!r}")


def count_instances(base: Any, kind: str, but_not: tuple[Any, ...] = ()) -> None:
    """Count in LOOPS_MADE every instance of ``base`` that is made, subclasses included."""
    original = base.__init__

    @functools.wraps(original)
    def counting(self: Any, *args: Any, **kwargs: Any) -> None:
        if not isinstance(self, but_not):
            LOOPS_MADE[kind] += 1
        original(self, *args, **kwargs)

    base.__init__ = counting


def taking_a_selector(base: Any) -> Any:
    """``base`` as a class that takes a selector, as asyncio.SelectorEventLoop does.

    The selector is closed at once: what stock polls with is no matter of the loop in its place.
    """

    class Placed(base):  # type: ignore[misc]
        def __new__(cls, selector: Any = None) -> Any:
            return base.__new__(cls)

        def __init__(self, selector: Any = None) -> None:
            if selector is not None:
                selector.close()
            super().__init__()

    Placed.__name__ = base.__name__
    Placed.__qualname__ = base.__qualname__
    Placed.__module__ = base.__module__
    return Placed


def place_in_policy(name: str) -> Any:
    """Make asyncio's default policy, and every policy derived from it, make the contestant's loops.

    Returns the class, None for stock.
    """
    if name == STOCK:
        count_instances(asyncio.base_events.BaseEventLoop, "stock")
        return None
    placed = loop_class(name)
    count_instances(placed, "placed")
    count_instances(asyncio.base_events.BaseEventLoop, "stock", but_not=(placed,))
    _set_factory(placed)
    return placed


def _set_factory(factory: Any) -> None:
    # The second name is 3.14's.
    for policy in ("_UnixDefaultEventLoopPolicy", "_DefaultEventLoopPolicy"):
        found = getattr(asyncio.unix_events, policy, None)
        if found is not None:
            found._loop_factory = staticmethod(factory)
            return
    raise SystemExit("this asyncio has no default event loop policy whose factory could be changed")


def place_everywhere(name: str) -> None:
    """Put the contestant also behind the class's names, for suites that use them."""
    base = place_in_policy(name)
    if base is None:
        return
    placed = taking_a_selector(base)
    _set_factory(placed)
    for module in (asyncio, asyncio.unix_events):
        for alias in ("SelectorEventLoop", "EventLoop"):
            # EventLoop came with 3.13.
            if hasattr(module, alias):
                setattr(module, alias, placed)
