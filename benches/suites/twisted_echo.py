"""Twisted Protocol echo over TCP, connections that come and go, and lines."""

from __future__ import annotations

from harness.kinds import ServerLoad
from harness.model import Suite, Target

from suites._twisted import SERVERS

# What is demanded of a case, by its name.
DEMANDS = {"1KiB-10": 3.0, "100KiB-10": 1.7}

SUITE = Suite(
    name="twisted",
    title="TCP echo, Twisted Protocol: server CPU time per request",
    contestants=SERVERS,
    base="epoll",
    cases=(
        *(
            ServerLoad(
                f"{size}KiB-{connections}",
                connections=connections,
                size=size * 1024,
                quick=(size, connections) == (1, 10),
                targets=tuple(
                    Target("interloop", issue=4, ratio=ratio)
                    for name, ratio in DEMANDS.items()
                    if name == f"{size}KiB-{connections}"
                ),
            )
            for size in (1, 100)
            for connections in (1, 10, 1000)
        ),
        ServerLoad(
            "churn-10",
            mode="churn",
            connections=10,
            targets=(Target("interloop", issue=4, ratio=1.8),),
        ),
        *(
            ServerLoad(
                f"line-{name}-10",
                connections=10,
                size=size,
                server_arguments=("--serve", "line"),
                targets=(Target("interloop", issue=4, ratio=2.7),),
            )
            for name, size in (("100B", 100), ("1KiB", 1024))
        ),
    ),
    by_default=False,
)
