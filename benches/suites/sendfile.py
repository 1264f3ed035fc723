"""Sending files: CPU time of the sender per file. uvloop has none."""

from __future__ import annotations

from harness.kinds import TimedProgram
from harness.model import Suite, Target

from suites._asyncio import loops

TARGET = (Target("interloop", issue=3, ratio=1.0),)

NAMES = ("sendfile_16KiB", "sendfile_1MiB", "sock_sendfile_16KiB", "sock_sendfile_1MiB")

SUITE = Suite(
    name="sendfile",
    title="loop.sendfile and loop.sock_sendfile: CPU time of the sender per file (own core)",
    contestants=tuple(
        loop for loop in loops("micro/asyncio_files.py") if loop.name in ("interloop", "stock")
    ),
    cases=tuple(TimedProgram(name, targets=TARGET, quick=name.endswith("1MiB")) for name in NAMES),
    base="stock",
    by_default=False,
)
