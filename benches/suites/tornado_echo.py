"""Tornado's IOStream, echoing."""

from __future__ import annotations

from harness.kinds import ServerLoad
from harness.model import Suite, Target

from suites._tornado import SERVERS

TARGETS = (Target("interloop", issue=5, ratio=2.7),)

SUITE = Suite(
    name="tornado",
    title="TCP echo, Tornado's IOStream: server CPU time per request",
    contestants=SERVERS,
    base="stock",
    cases=(
        ServerLoad("until-1KiB-10", connections=10, size=1024, quick=True, targets=TARGETS),
        *(
            ServerLoad(
                f"bytes-{size}KiB-10",
                connections=10,
                size=size * 1024,
                server_arguments=("--bytes", str(size * 1024)),
                targets=TARGETS,
            )
            for size in (1, 10)
        ),
    ),
    by_default=False,
)
