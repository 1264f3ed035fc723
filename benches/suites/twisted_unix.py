"""Twisted Protocol echo over UNIX sockets."""

from __future__ import annotations

from harness.kinds import ServerLoad
from harness.model import Suite

from suites._twisted import SERVERS

SUITE = Suite(
    name="twisted-unix",
    title="UNIX socket echo, Twisted Protocol: server CPU time per request",
    contestants=SERVERS,
    base="epoll",
    cases=tuple(
        ServerLoad(f"{size}KiB-10", size=size * 1024, unix=True, quick=size == 1)
        for size in (1, 100)
    ),
    by_default=False,
)
