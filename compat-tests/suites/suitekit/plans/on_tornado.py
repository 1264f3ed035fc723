"""Tornado's own suite, with the IOLoop under test configured and its event loop behind asyncio's policy."""

from __future__ import annotations

import sys
from typing import Any

from suitekit import plans
from suitekit.jobs import Job
from suitekit.journal import Journal, Recorder, UnittestResults, flatten, keep_only

NAME = "tornado"
BASE = "stock"
OURS = "interloop"
PLACED = None
STALL = 60.0
MODULE_LIMIT = 240.0


def prepare() -> None:
    plans.require("tornado.test", "pip install -r compat-tests/requirements.txt")


def modules() -> list[str]:
    """runtests.TEST_MODULES, read by a worker: see run()."""
    return ["all"]


def batches(selected: list[str]) -> list[list[str]]:
    """All in one process, as ``python -m tornado.test`` runs them."""
    return [selected]


def canonical(test: str, contestant: str) -> str:
    return test


def own_name(test: str, contestant: str) -> str:
    return test


# The packages that the IOLoop's class, its asyncio loop's class and its streams' class must come from.
KINDS = {
    "interloop": ("interloop", "interloop", "interloop"),
    "stock": ("tornado", "asyncio", "tornado"),
    "placed-stock": ("tornado", "asyncio", "tornado"),
    "uvloop": ("tornado", "uvloop", "tornado"),
}


def doubts(contestant: str, info: dict[str, Any]) -> list[str]:
    return [
        f"the {what} is {info[what]}"
        for what, wanted in zip(("ioloop", "loop", "stream"), KINDS[contestant], strict=True)
        if info[what].partition(".")[0] != wanted
    ]


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _install(contestant: str) -> None:
    from suitekit import contestants

    # The suite makes loops by asyncio.run() and new_event_loop() as well as by IOLoop(), and sets policies derived from
    # the default one.
    contestants.place_in_policy(contestant)
    if contestant == "interloop":
        import interloop.tornado

        interloop.tornado.install()


def run(job: Job, journal: Journal) -> None:
    """Install, then tornado.test.runtests.main(). Ends by SystemExit, as that does."""
    from suitekit.contestants import LOOPS_MADE

    _install(job.contestant)
    import socket

    from tornado.ioloop import IOLoop
    from tornado.iostream import IOStream
    from tornado.test import runtests

    names = list(runtests.TEST_MODULES) if job.modules == ["all"] else job.modules
    io_loop = IOLoop(make_current=False)

    async def stream_kind() -> type:
        stream = IOStream(socket.socket())
        stream.close()
        return type(stream)

    journal.write(
        "info",
        ioloop=_qualified(type(io_loop)),
        loop=_qualified(type(io_loop.asyncio_loop)),
        stream=_qualified(io_loop.run_sync(stream_kind)),
    )
    io_loop.close()
    # A doctest's id starts with its module's name, "tornado.util.doctests" is what loads it.
    recorder = Recorder(journal, [name.removesuffix(".doctests") for name in names], LOOPS_MADE)
    original = runtests.test_runner_factory

    def factory(stderr: Any) -> Any:
        class Runner(original(stderr)):  # type: ignore[misc]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                bases = (UnittestResults, self.resultclass)
                self.resultclass: Any = type("Results", bases, {"recorder": recorder})

            def run(self, test: Any) -> Any:
                keep_only(test, job.wanted)
                recorder.plan(flatten(test))
                return super().run(test)

        return Runner

    runtests.test_runner_factory = factory
    sys.argv = ["tornado.test", *names]
    runtests.main()
