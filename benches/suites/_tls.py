"""Who competes with TLS: the loops with their own, and aiofastnet's on the faster of the loops it knows."""

from __future__ import annotations

from harness.model import Contestant

from suites._asyncio import PROBES, loops

AIOFASTNET = Contestant(
    "aiofastnet",
    ("{python}", "{benches}/servers/tls_echo.py", "--loop", "uvloop", "--tls", "aiofastnet"),
    f"{PROBES['uvloop']}; import aiofastnet",
)

SERVERS = (*loops("servers/tls_echo.py"), AIOFASTNET)
