"""The event loops that can be put in place of asyncio's own, and how that is done.

Runs in a worker only. Every path by which a program gets a loop is changed, not one test: the policy's factory
(``asyncio.new_event_loop``, ``asyncio.run``, ``asyncio.Runner``, every policy class derived from the default one), the
class's names in ``asyncio`` and ``asyncio.unix_events``, the abstract classes where they are called, and all of these in child processes that run Python
(see ``children``). ``proof`` tells whether it worked.
"""

from __future__ import annotations

import asyncio
import asyncio.base_events
import asyncio.events
import asyncio.selector_events
import asyncio.unix_events
import functools
import unittest
import warnings
from collections.abc import Callable
from typing import Any

# How many loops were made since the process started: "placed" ones are the contestant's, "stock" ones come from a class
# of the suite's own that is derived from an abstract one of asyncio's (TestLoop), and "missed" ones are stock's Unix loops
# beside a contestant: there should be none.
LOOPS_MADE: dict[str, int] = {"placed": 0, "stock": 0, "missed": 0}

STOCK_UNIX = asyncio.SelectorEventLoop

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
    if name in (STOCK, PLACED_STOCK):
        return STOCK_UNIX
    raise SystemExit(f"no event loop is known by the name of {name!r}")


def count_instances(base: Any, kind_of: Callable[[Any], str | None]) -> None:
    """Count in LOOPS_MADE every instance of ``base`` that is made, subclasses included."""
    original = base.__init__

    @functools.wraps(original)
    def counting(self: Any, *args: Any, **kwargs: Any) -> None:
        kind = kind_of(self)
        if kind is not None:
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
        count_instances(asyncio.base_events.BaseEventLoop, lambda loop: "stock")
        return None
    placed = loop_class(name)
    count_instances(placed, lambda loop: "placed")

    def other(loop: Any) -> str | None:
        if isinstance(loop, placed):
            return None
        return "missed" if isinstance(loop, STOCK_UNIX) else "stock"

    count_instances(asyncio.base_events.BaseEventLoop, other)
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
        # EventLoop came with 3.13.
        for alias in ("SelectorEventLoop", "EventLoop", "_UnixSelectorEventLoop"):
            if hasattr(module, alias):
                setattr(module, alias, placed)
    place_behind_abstract_classes(placed)


def place_behind_abstract_classes(placed: Any) -> None:
    """Make the contestant's loops where asyncio's abstract classes themselves are called. Not of classes derived from
    them: these replace what the contestant has not got."""
    abstract = (
        asyncio.base_events.BaseEventLoop,
        asyncio.selector_events.BaseSelectorEventLoop,
    )

    def new(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if cls in abstract:
            return placed.__new__(placed)
        return object.__new__(cls)

    for kind in abstract:
        # Called with a selector, the object's own __init__, the placed class's, closes it.
        kind.__new__ = staticmethod(new)


def _by_policy() -> asyncio.AbstractEventLoop:
    return asyncio.get_event_loop_policy().new_event_loop()


def _by_new_policy() -> asyncio.AbstractEventLoop:
    return asyncio.DefaultEventLoopPolicy().new_event_loop()


def _by_runner() -> asyncio.AbstractEventLoop:
    with asyncio.Runner() as runner:
        return runner.get_loop()


async def _running() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def _by_run() -> asyncio.AbstractEventLoop:
    return asyncio.run(_running())


def _by_isolated_case() -> asyncio.AbstractEventLoop:
    seen: list[asyncio.AbstractEventLoop] = []

    class Case(unittest.IsolatedAsyncioTestCase):
        async def runTest(self) -> None:
            seen.append(asyncio.get_running_loop())

    Case().run(unittest.TestResult())
    (loop,) = seen
    return loop


def qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def proof() -> dict[str, str]:
    """The class of the loop that each path by which a program gets one leads to, by the path's name."""
    paths: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "asyncio.new_event_loop": asyncio.new_event_loop,
        "asyncio.get_event_loop_policy().new_event_loop": _by_policy,
        "asyncio.DefaultEventLoopPolicy().new_event_loop": _by_new_policy,
        "asyncio.Runner": _by_runner,
        "asyncio.run": _by_run,
        "unittest.IsolatedAsyncioTestCase": _by_isolated_case,
        "asyncio.SelectorEventLoop": asyncio.SelectorEventLoop,
        "asyncio.unix_events.SelectorEventLoop": asyncio.unix_events.SelectorEventLoop,
        "asyncio.BaseEventLoop": asyncio.BaseEventLoop,
        "BaseSelectorEventLoop": asyncio.selector_events.BaseSelectorEventLoop,
    }
    if hasattr(asyncio, "EventLoop"):
        paths["asyncio.EventLoop"] = asyncio.EventLoop
    found = {}
    with warnings.catch_warnings():
        # 3.14 on policies.
        warnings.simplefilter("ignore", DeprecationWarning)
        for path, make in paths.items():
            loop = make()
            loop.close()
            found[path] = qualified(type(loop))
        # asyncio.run() and Runner leave none behind; tests that look for one expect what a new process has.
        asyncio.set_event_loop_policy(None)
    return found
