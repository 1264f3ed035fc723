"""What every benchmark server does beside serving: name its address, answer questions, end.

The protocol, whatever the server is written with:

* the first line on stdout is the TCP port, or the path of the Unix socket;
* a line on stdin is answered with one line of JSON;
* the end of stdin ends the server.

A thread that sleeps in ``read`` does it, so that no watcher and no wake-up of the loop under test
is spent on it; during a measured window nobody asks anything.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import threading
from collections.abc import Callable
from typing import Any


def announce(address: int | str) -> None:
    """Print the address; the server must accept connections by now."""
    print(address, flush=True)


def start(stop: Callable[[], object], facts: Callable[[], dict[str, Any]]) -> None:
    """Answer on stdin from now on. ``stop`` is called from another thread, once, at its end."""

    def serve_control() -> None:
        for _ in sys.stdin:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            answer = {
                "pid": os.getpid(),
                "user_s": usage.ru_utime,
                "system_s": usage.ru_stime,
                "maxrss_kib": usage.ru_maxrss,
                "gc_collections": [generation["collections"] for generation in gc.get_stats()],
                **facts(),
            }
            print(json.dumps(answer), flush=True)
        stop()

    threading.Thread(target=serve_control, name="control", daemon=True).start()


def raise_descriptor_limit() -> None:
    """As many descriptors as we may have: the usual 1,024 do not hold 5,000 connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
