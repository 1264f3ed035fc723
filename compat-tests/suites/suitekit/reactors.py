"""Twisted's reactors that can be made the global one, and what the connections are that tests make on them.

Runs in a worker only, but for ``CONTESTANTS`` and ``doubts``.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

# Per contestant: the module whose install() makes the global reactor, and the reactor's dotted name as ReactorBuilder's
# list has it. asyncioreactor's is Twisted's own alias there: a new asyncio loop for each reactor.
CONTESTANTS = {
    "interloop": ("interloop.twisted", "interloop.twisted.Reactor"),
    "epoll": ("twisted.internet.epollreactor", "twisted.internet.epollreactor.EPollReactor"),
    "asyncio": (
        "twisted.internet.asyncioreactor",
        "twisted.internet.test.reactormixins.AsyncioSelectorReactor",
    ),
    "uvloop": (
        "twisted.internet.asyncioreactor",
        "twisted.internet.test.reactormixins.AsyncioSelectorReactor",
    ),
    "select": ("twisted.internet.selectreactor", "twisted.internet.selectreactor.SelectReactor"),
    "poll": ("twisted.internet.pollreactor", "twisted.internet.pollreactor.PollReactor"),
}

# The global reactor's package must be this; where two contestants share it, the asyncio loop tells them apart.
LOOP_OF = {"interloop": "interloop", "asyncio": "asyncio", "uvloop": "uvloop"}

# How many connections were made since the process started: "placed" ones are the contestant's own, on native streams;
# "stock" ones have Twisted's own transport.
CONNECTIONS_MADE: dict[str, int] = {"placed": 0, "stock": 0}


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def install(contestant: str) -> dict[str, Any]:
    """Make the contestant's the global reactor, and count its connections; returns what it is, and what loop it is on."""
    if contestant == "uvloop":
        from suitekit.contestants import place_in_policy

        place_in_policy("uvloop")
    import_module(CONTESTANTS[contestant][0]).install()
    count_connections(contestant)
    return installed()


def installed() -> dict[str, Any]:
    """What the global reactor is, and what loop it is on."""
    from twisted.internet import reactor

    loop = getattr(reactor, "_asyncioEventloop", None)
    kind = type(reactor)
    return {
        "reactor": _qualified(STANDS_FOR.get(kind, kind)),
        "loop": "" if loop is None else _qualified(type(loop)),
    }


def doubts(contestant: str, info: dict[str, Any]) -> list[str]:
    """What speaks against ``info``, which ``installed()`` gave, being the contestant's."""
    wanted = CONTESTANTS[contestant][0].partition(".")[0]
    found = []
    if info["reactor"].partition(".")[0] != wanted:
        found.append(f"the global reactor is {info['reactor']}")
    if info["loop"].partition(".")[0] != LOOP_OF.get(contestant, ""):
        found.append(f"its asyncio loop is {info['loop']}")
    return found


def count_connections(contestant: str) -> None:
    """Count in CONNECTIONS_MADE every TCP connection that a protocol gets.

    By the moment when it gets it: from then on, bytes go one way or the other.
    """
    from twisted.internet import protocol, tcp, unix

    original = protocol.BaseProtocol.makeConnection
    ours: Any = ()
    if contestant == "interloop":
        from interloop._core import TwistedConnection as ours

    @functools.wraps(original)
    def counting(self: Any, transport: Any) -> None:
        if isinstance(transport, tcp.Connection) and not isinstance(transport, UNIX):
            native = isinstance(transport, ours) and transport._joined
            CONNECTIONS_MADE["placed" if native else "stock"] += 1
        original(self, transport)

    UNIX = (unix.Server, unix.Client)
    protocol.BaseProtocol.makeConnection = counting  # type: ignore[method-assign]


# What ``place`` put in the place of asyncio's, and whose it is.
STANDS_FOR: dict[type, type] = {}

# What tells the Python programs that a suite starts whose reactor to put in place; see site/sitecustomize.py.
VARIABLE = "INTERLOOP_SUITES_REACTOR"
SITE = Path(__file__).parent / "site"


def place(contestant: str) -> None:
    """Put the contestant's reactor in the place of asyncio's, behind its name and its installer's.

    And its loop in the place of asyncio's, since programs hand the reactor the loop that it shall have.
    """
    from suitekit.contestants import place_everywhere

    if contestant == "asyncio":
        return
    if contestant != "interloop":
        raise SystemExit(f"{contestant}'s reactor is none of asyncio's kind")
    place_everywhere(contestant)
    from twisted.internet import asyncioreactor

    import interloop.twisted
    from interloop.twisted import _install

    ours = interloop.twisted.Reactor
    # The name is in what Scrapy logs.
    stock = asyncioreactor.AsyncioSelectorReactor
    placed = type(stock.__name__, (ours,), {"__module__": stock.__module__})
    STANDS_FOR[placed] = ours
    asyncioreactor.AsyncioSelectorReactor = _install.Reactor = placed  # type: ignore[misc]
    asyncioreactor.install = interloop.twisted.install  # type: ignore[assignment]


def place_in_children(contestant: str) -> dict[str, str]:
    """The same in every Python program that is started from now on; returns what such a one says it has."""
    os.environ[VARIABLE] = contestant
    os.environ["PYTHONPATH"] = str(SITE)
    command = [sys.executable, "-c", WHAT_REACTOR]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


WHAT_REACTOR = """
import json, sys
from scrapy.utils.reactor import install_reactor
install_reactor("twisted.internet.asyncioreactor.AsyncioSelectorReactor")
print(json.dumps(sys.modules["suitekit.reactors"].installed()))
"""
