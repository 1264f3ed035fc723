"""The asyncio loops as contestants, for a server or for a program that times itself."""

from __future__ import annotations

from harness.model import Contestant

PROBES = {
    "interloop": "import interloop; interloop.new_event_loop().close()",
    "uvloop": "import uvloop; uvloop.new_event_loop().close()",
    "stock": "",
}

FLOOR = Contestant("floor", ("{load}", "floor"), reference=True)


def loops(program: str) -> tuple[Contestant, ...]:
    """The three loops, running `program` (a path below benches/) with `--loop NAME`."""
    return tuple(
        Contestant(name, ("{python}", f"{{benches}}/{program}", "--loop", name), probe)
        for name, probe in PROBES.items()
    )


SERVERS = (*loops("servers/asyncio_echo.py"), FLOOR)
