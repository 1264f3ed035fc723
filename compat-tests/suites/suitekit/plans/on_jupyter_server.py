"""Jupyter Server's own suite, on the contestant's loop, IOLoop and streams; but for what takes long."""

from __future__ import annotations

import importlib.util
from typing import Any

from suitekit import placing, sdists
from suitekit.jobs import Job
from suitekit.journal import Journal

NAME = "jupyter-server"
BASE = "stock"
OURS = "interloop"
PLACED = placing.LOOPS
# Their own limit for a test is 100 seconds.
STALL = 120.0
MODULE_LIMIT = 600.0

# Without a server, and long: they read and write files. Or with one in a program of its own, which would be on stock's loop on both
# sides, and on one port.
APART = (
    "tests/extension/test_launch.py",
    "tests/services/contents/test_manager",
    "tests/services/contents/test_fileio.py",
    "tests/services/contents/test_largefilemanager.py",
    "tests/unix_sockets/test_serverapp_integration.py",
)


def prepare() -> None:
    sdists.unpacked("jupyter_server")


def modules() -> list[str]:
    return [name for name in sdists.test_files("jupyter_server") if not name.startswith(APART)]


def doubts(contestant: str, info: dict[str, Any]) -> list[str]:
    from suitekit.plans.on_cpython import doubts as of_paths
    from suitekit.plans.on_tornado import KINDS

    found = of_paths(contestant, info)
    if "site-packages" not in info["package"]:
        found.append(f"jupyter_server is taken from {info['package']}")
    ioloop, _, stream, _ = KINDS[contestant]
    for what, wanted in (("ioloop", ioloop), ("stream", stream)):
        if info[what].partition(".")[0] != wanted:
            found.append(f"the {what} is {info[what]}")
    return found


def run(job: Job, journal: Journal) -> None:
    from suitekit import contestants, on_pytest

    contestants.place_everywhere(job.contestant)
    loops = contestants.proof()
    if job.contestant == "interloop":
        import interloop.tornado

        interloop.tornado.install()
    import asyncio
    import socket

    from tornado.ioloop import IOLoop
    from tornado.iostream import IOStream

    async def kinds() -> tuple[str, str]:
        stream = IOStream(socket.socket())
        stream.close()
        return contestants.qualified(type(IOLoop.current())), contestants.qualified(type(stream))

    ioloop, stream = asyncio.run(kinds())
    asyncio.set_event_loop_policy(None)
    # Not imported: pytest rewrites the plugin's assertions first.
    spec = importlib.util.find_spec("jupyter_server")
    journal.write(
        "info",
        loops=loops,
        ioloop=ioloop,
        stream=stream,
        package="" if spec is None else str(spec.origin),
    )
    folder = sdists.unpacked("jupyter_server")
    # Their own options ask for doctests and colours, and make every warning an error: what Tornado 6.6 and CPython
    # deprecate would fail on both sides.
    options = ["-c", str(folder / "pyproject.toml"), "-o", "addopts=", "-ra", "-o", "log_cli=false"]
    options += ["-W", "ignore::DeprecationWarning"]
    # A test that is over its own limit, of ten seconds often, fails: with their method, a thread, it takes the process with it, and what
    # a busy machine did would count as a crash.
    options += ["--timeout-method=signal"]
    # Each test has a hundred files of its own: away with them at once.
    options += ["-o", "tmp_path_retention_policy=none"]
    on_pytest.run(job, journal, folder, contestants.LOOPS_MADE, options)
