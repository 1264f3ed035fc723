"""What the three programs have in common: a port, and an end."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import interloop


def listening(port: int) -> socket.socket:
    sock = socket.create_server(("127.0.0.1", port))
    sock.setblocking(False)
    print(f"serving on http://127.0.0.1:{sock.getsockname()[1]}/ until Ctrl-C", flush=True)
    return sock


async def stopped() -> None:
    """Returns at Ctrl-C, or SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def main(serve: Callable[[int], Coroutine[Any, Any, None]]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8888, help="0 for any that is free")
    interloop.run(serve(parser.parse_args().port))
