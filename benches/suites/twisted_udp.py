"""Twisted DatagramProtocol echo over UDP."""

from __future__ import annotations

from harness.kinds import ServerLoad
from harness.model import Suite

from suites._twisted import reactors
from suites.udp import FLOOR

SUITE = Suite(
    name="twisted-udp",
    title="UDP echo, Twisted DatagramProtocol: server CPU time per request",
    contestants=(*reactors("servers/twisted_echo.py"), FLOOR),
    base="epoll",
    cases=tuple(
        ServerLoad(
            f"1KiB-{connections}",
            connections=connections,
            protocol="udp",
            server_arguments=("--serve", "udp"),
            quick=connections == 10,
        )
        for connections in (1, 10)
    ),
    by_default=False,
)
