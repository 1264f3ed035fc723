"""A page of thirteen bytes from Tornado's HTTPServer, and a websocket that echoes 1 KiB, on connections that stay."""

from __future__ import annotations

from harness.kinds import ServerLoad
from harness.model import Suite, Target

from suites._tornado import loops

SUITE = Suite(
    name="tornado-web",
    title="Tornado's HTTPServer and websockets: server CPU time per request",
    contestants=loops("servers/tornado_web.py"),
    base="stock",
    cases=(
        ServerLoad(
            "hello-10",
            connections=10,
            size=13,
            load_arguments=("--http",),
            quick=True,
            targets=(Target("interloop", issue=5, ratio=1.3),),
        ),
        ServerLoad(
            "websocket-1KiB-10",
            connections=10,
            size=1024,
            server_arguments=("--serve", "websocket"),
            load_arguments=("--websocket",),
            targets=(Target("interloop", issue=5, ratio=1.8),),
        ),
        ServerLoad(
            "tls-hello-10",
            connections=10,
            size=13,
            server_arguments=("--tls",),
            load_arguments=("--http", "--tls"),
        ),
    ),
    by_default=False,
)
