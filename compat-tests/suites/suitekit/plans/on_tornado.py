"""Tornado's own suite, with the IOLoop under test configured and its event loop behind asyncio's policy."""

from __future__ import annotations

import pathlib
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


# The packages that the IOLoop's class, its asyncio loop's class and the classes of its streams must come from.
KINDS = {
    "interloop": ("interloop", "interloop", "interloop", "interloop"),
    "stock": ("tornado", "asyncio", "tornado", "tornado"),
    "placed-stock": ("tornado", "asyncio", "tornado", "tornado"),
    "uvloop": ("tornado", "uvloop", "tornado", "tornado"),
}
WHAT = ("ioloop", "loop", "stream", "tls_stream")


def doubts(contestant: str, info: dict[str, Any]) -> list[str]:
    return [
        f"the {what} is {info[what]}"
        for what, wanted in zip(WHAT, KINDS[contestant], strict=True)
        if info[what].partition(".")[0] != wanted
    ]


async def _tls_stream_kind() -> str:
    """The class of TLS streams; ours only when their records are native after a handshake, with Tornado's own test
    certificate."""
    import asyncio
    import socket
    import ssl

    from tornado import iostream, netutil
    from tornado.test import httpserver_test

    directory = pathlib.Path(httpserver_test.__file__).parent
    certificate = {"certfile": str(directory / "test.crt"), "keyfile": str(directory / "test.key")}
    streams = []
    for sock, server_side in zip(socket.socketpair(), (True, False), strict=True):
        options: dict[str, Any] = certificate if server_side else {"cert_reqs": ssl.CERT_NONE}
        wrapped = netutil.ssl_wrap_socket(
            sock, options, server_side=server_side, do_handshake_on_connect=False
        )
        streams.append(iostream.SSLIOStream(wrapped, ssl_options=options))
    await asyncio.gather(*(stream.wait_for_handshake() for stream in streams))
    await streams[0].write(b"x")
    await streams[1].read_bytes(1)
    # Tornado's own streams do not have it.
    native = all(getattr(stream, "_secured", True) for stream in streams)
    (kind,) = {_qualified(type(stream)) for stream in streams}
    for stream in streams:
        stream.close()
    return kind if native else f"not native: {kind}"


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
        tls_stream=io_loop.run_sync(_tls_stream_kind),
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
