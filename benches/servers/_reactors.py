"""Twisted's reactors that compete, by name. Each is imported only when it is asked for."""

from __future__ import annotations

import asyncio

NAMES = ("epoll", "asyncio", "uvloop", "interloop")


def install(name: str) -> None:
    """Install the reactor called `name` as Twisted's global one. ImportError if it, or its loop, is not there."""
    if name == "epoll":
        from twisted.internet import epollreactor

        epollreactor.install()
    elif name == "asyncio":
        from twisted.internet import asyncioreactor

        asyncioreactor.install(asyncio.SelectorEventLoop())
    elif name == "uvloop":
        import uvloop
        from twisted.internet import asyncioreactor

        asyncioreactor.install(uvloop.new_event_loop())
    elif name == "interloop":
        import interloop.twisted

        interloop.twisted.install()
    else:
        raise ValueError(f"no reactor is called {name!r}")


def kind(reactor: object) -> str:
    """What its descriptors and timers really wait in: told with every result, so that none can be credited to another."""
    loop = type(getattr(reactor, "_asyncioEventloop", reactor))
    return f"{loop.__module__}.{loop.__qualname__}"
