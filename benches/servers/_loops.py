"""The asyncio event loops that compete, by name. Each is imported only when it is asked for."""

from __future__ import annotations

import asyncio

NAMES = ("stock", "uvloop", "interloop")


def new_event_loop(name: str) -> asyncio.AbstractEventLoop:
    """Make the loop called `name`. ImportError if it is not installed."""
    if name == "stock":
        return asyncio.SelectorEventLoop()
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    if name == "interloop":
        import interloop

        return interloop.new_event_loop()
    raise ValueError(f"no loop is called {name!r}")


def kind(loop: asyncio.AbstractEventLoop) -> str:
    """What it really is: told with every result, so that none can be credited to another loop."""
    return f"{type(loop).__module__}.{type(loop).__qualname__}"
