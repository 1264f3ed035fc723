"""asyncio Protocol echo with TLS 1.3 over TCP: 1, 10 and 100 KiB on 1, 10 and 1,000 connections."""

from __future__ import annotations

from harness.kinds import ServerLoad
from harness.model import Suite, Target

from suites._tls import SERVERS

QUICK = {(1, 10), (100, 1)}

SUITE = Suite(
    name="tls",
    title="TLS echo, asyncio Protocol: server CPU time per request",
    contestants=SERVERS,
    base="aiofastnet",
    cases=tuple(
        ServerLoad(
            f"{size}KiB-{connections}",
            connections=connections,
            size=size * 1024,
            load_arguments=("--tls",),
            quick=(size, connections) in QUICK,
            targets=(Target("interloop", issue=3, ratio=1.0),),
        )
        for size in (1, 10, 100)
        for connections in (1, 10, 1000)
    ),
    overall=(Target("interloop", issue=3, ratio=1.0),),
)
