"""Tornado on asyncio's loop, on uvloop and on ours, as contestants."""

from __future__ import annotations

from harness.model import Contestant

from suites._asyncio import FLOOR

PROBES = {
    "interloop": "import interloop.tornado",
    "stock": "import tornado.iostream",
    "uvloop": "import uvloop, tornado.iostream",
}


def loops(program: str) -> tuple[Contestant, ...]:
    """The three, running `program` (a path below benches/) with `--loop NAME`."""
    return tuple(
        Contestant(name, ("{python}", f"{{benches}}/{program}", "--loop", name), probe)
        for name, probe in PROBES.items()
    )


SERVERS = (*loops("servers/tornado_echo.py"), FLOOR)
