"""Twisted's reactors as contestants: its own on epoll, its asyncio reactor on two loops, and ours."""

from __future__ import annotations

from harness.model import Contestant

from suites._asyncio import FLOOR

PROBES = {
    "interloop": "import interloop.twisted",
    "epoll": "import twisted.internet.epollreactor",
    "asyncio": "import twisted.internet.asyncioreactor",
    "uvloop": "import uvloop, twisted.internet.asyncioreactor",
}


def reactors(program: str) -> tuple[Contestant, ...]:
    """The reactors, running `program` (a path below benches/) with `--reactor NAME`."""
    return tuple(
        Contestant(name, ("{python}", f"{{benches}}/{program}", "--reactor", name), probe)
        for name, probe in PROBES.items()
    )


SERVERS = (*reactors("servers/twisted_echo.py"), FLOOR)
