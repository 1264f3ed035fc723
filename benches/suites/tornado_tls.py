"""Tornado's SSLIOStream, echoing; TLS 1.3."""

from __future__ import annotations

from harness.kinds import ServerLoad
from harness.model import Suite, Target

from suites._tornado import loops

SUITE = Suite(
    name="tornado-tls",
    title="TLS echo, Tornado's SSLIOStream: server CPU time per request",
    contestants=loops("servers/tornado_echo.py"),
    base="stock",
    cases=tuple(
        ServerLoad(
            f"bytes-{size}KiB-10",
            connections=10,
            size=size * 1024,
            server_arguments=("--tls", "--bytes", str(size * 1024)),
            load_arguments=("--tls",),
            quick=size == 1,
            targets=(Target("interloop", issue=5, ratio=2.5),) if size == 1 else (),
        )
        for size in (1, 10)
    ),
    by_default=False,
)
