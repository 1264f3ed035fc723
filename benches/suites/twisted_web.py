"""A page of thirteen bytes from twisted.web, on connections that stay."""

from __future__ import annotations

from harness.kinds import ServerLoad
from harness.model import Suite, Target

from suites._twisted import reactors

SUITE = Suite(
    name="twisted-web",
    title="twisted.web, HTTP/1.1 keep-alive: server CPU time per request",
    contestants=reactors("servers/twisted_echo.py"),
    base="epoll",
    cases=tuple(
        ServerLoad(
            f"hello{'-tls' if tls else ''}-{connections}",
            connections=connections,
            size=13,
            server_arguments=("--serve", "web", *tls),
            load_arguments=("--http", *tls),
            targets=targets,
        )
        for tls, connections, targets in (
            ((), 1, ()),
            ((), 10, (Target("interloop", issue=4, ratio=1.4),)),
            (("--tls",), 10, ()),
        )
    ),
    by_default=False,
)
