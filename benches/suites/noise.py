"""The harness judging itself: one contestant under two names. Ratios that differ from 1.000 are
noise, and a claim smaller than them is none."""

from __future__ import annotations

from dataclasses import replace

from harness.kinds import ServerLoad
from harness.model import Suite

from suites._asyncio import loops

UVLOOP = next(loop for loop in loops("servers/asyncio_echo.py") if loop.name == "uvloop")

SUITE = Suite(
    name="noise",
    title="The same server twice: how far from 1.000 the ratio is, is noise",
    contestants=(UVLOOP, replace(UVLOOP, name="uvloop-again")),
    cases=tuple(
        ServerLoad(f"{size}KiB-{connections}", connections=connections, size=size * 1024)
        for size, connections in ((1, 1), (1, 10), (1, 1000), (100, 10))
    ),
    by_default=False,
)
