"""Twisted Protocol echo with TLS 1.3, by `listenSSL`."""

from __future__ import annotations

from harness.kinds import ServerLoad
from harness.model import Suite, Target

from suites._twisted import reactors

# What is demanded of a case, by its name.
DEMANDS = {"1KiB-10": 3.0, "100KiB-10": 1.6}

SUITE = Suite(
    name="twisted-tls",
    title="TLS echo, Twisted Protocol: server CPU time per request",
    contestants=reactors("servers/twisted_echo.py"),
    base="epoll",
    cases=tuple(
        ServerLoad(
            f"{size}KiB-{connections}",
            connections=connections,
            size=size * 1024,
            load_arguments=("--tls",),
            server_arguments=("--tls",),
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
    by_default=False,
)
