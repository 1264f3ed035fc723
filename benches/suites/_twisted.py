"""Twisted's reactors as contestants: its own on epoll, its asyncio reactor on two loops, and ours."""

from __future__ import annotations

from harness.model import Contestant

from suites._asyncio import FLOOR

PROBES = {
    "interloop": "import interloop.twisted",
    "epoll": "import twisted.internet.epollreactor",
    "asyncio": "import twisted.internet.asyncioreactor",
    "uvloop": "import uvloop, twisted.internet.asyncioreactor",
}

SERVERS = (
    *(
        Contestant(
            name, ("{python}", "{benches}/servers/twisted_echo.py", "--reactor", name), probe
        )
        for name, probe in PROBES.items()
    ),
    FLOOR,
)
