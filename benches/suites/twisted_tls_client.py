"""Twisted clients with TLS 1.3, by `wrapClientTLS`: CPU time of the client per request."""

from __future__ import annotations

from harness.kinds import TimedProgram
from harness.model import Suite

from suites._twisted import reactors

SUITE = Suite(
    name="twisted-tls-client",
    title="TLS requests of a Twisted client, wrapClientTLS: CPU time of the client per request",
    contestants=reactors("micro/twisted_tls_client.py"),
    base="epoll",
    cases=(TimedProgram("request_1KiB"), TimedProgram("request_100KiB", quick=False)),
    by_default=False,
)
