"""What every test in this tree may count on: which loops it runs on, and that it ends.

Loops: a test that takes `loop_kind` (or a fixture built on it: `loop_factory`, `new_loop`, `run`) runs once per
implementation, by default stock asyncio and interloop. So it states asyncio's contract and not a habit of ours. uvloop can
be asked for (`--loops=uvloop`), to see what it does; nothing is promised about it.

Ending: every test has a time limit. `pytest-timeout` raises in the main thread when it is over; a loop that does not come
back to Python at all is ended by faulthandler a little later, with the stacks of all threads.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import signal

import pytest

LOOP_KINDS = ("stock", "interloop", "uvloop")
DEFAULT_KINDS = "stock,interloop"

# Seconds. No test waits for time to pass, so this only says when to give one up.
TEST_TIMEOUT = 60
# The backstop: beyond any limit a test may set for itself.
HARD_TIMEOUT_EXTRA = 60

# Tests.
FREEZE_EVERY = 50

_stderr_fd = pytest.StashKey[int]()
_tests_run = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--loops",
        default=DEFAULT_KINDS,
        help=f"event loops to run the behaviour tests on, of {', '.join(LOOP_KINDS)} (default: {DEFAULT_KINDS})",
    )


def _kinds(config: pytest.Config) -> list[str]:
    kinds = [kind for kind in config.getoption("--loops").split(",") if kind]
    unknown = [kind for kind in kinds if kind not in LOOP_KINDS]
    if unknown or not kinds:
        raise pytest.UsageError(
            f"--loops: {unknown or 'nothing given'}; known are {', '.join(LOOP_KINDS)}"
        )
    return kinds


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "stock_wrong(reason, when=True, raises=None): what this test states is known to be broken in stock asyncio "
        "(if `when`); there the failure is expected, and its absence an error",
    )
    config.addinivalue_line(
        "markers",
        "once: says the same on every interpreter and takes long; CI runs it on the newest only",
    )
    # Output capturing replaces fd 2 for the length of a test, and a stack dump must not vanish in it.
    config.stash[_stderr_fd] = os.dup(2)
    # A shell starts its background jobs with Ctrl-C ignored, which the programs that tests start would inherit.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    fd = config.stash.get(_stderr_fd, None)
    if fd is not None:
        faulthandler.cancel_dump_traceback_later()
        os.close(fd)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "loop_kind" in metafunc.fixturenames:
        metafunc.parametrize("loop_kind", _kinds(metafunc.config), indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        # A limit given on the command line is one for all, also a shorter one for somebody who looks for a hang.
        if item.get_closest_marker("timeout") is None and not config.getoption("timeout"):
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT))
        callspec = getattr(item, "callspec", None)
        if callspec is None or callspec.params.get("loop_kind") != "stock":
            continue
        for mark in item.iter_markers("stock_wrong"):
            (reason,) = mark.args
            if mark.kwargs.get("when", True):
                raises = {"raises": mark.kwargs["raises"]} if "raises" in mark.kwargs else {}
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True, **raises))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    mark = item.get_closest_marker("timeout")
    limit = mark.args[0] if mark is not None and mark.args else item.config.getoption("timeout")
    faulthandler.dump_traceback_later(
        limit + HARD_TIMEOUT_EXTRA, exit=True, file=item.config.stash[_stderr_fd]
    )
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
        stash = item.config.stash
        stash[_tests_run] = stash.get(_tests_run, 0) + 1
        if stash[_tests_run] % FREEZE_EVERY == 0:
            _leave_the_old_alone()


def pytest_collection_finish(session: pytest.Session) -> None:
    _leave_the_old_alone()


def _leave_the_old_alone() -> None:
    """
    Many tests collect garbage twice. What importing Twisted, Tornado and all test modules has left, and what pytest keeps of each
    test that has run, would be looked through each time: most of the suite's time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def loop_kind(request: pytest.FixtureRequest) -> str:
    """Name of the implementation under test, one of LOOP_KINDS."""
    return request.param


@pytest.fixture
def loop_factory(loop_kind: str):
    """Callable without arguments that makes a new loop of the implementation under test."""
    if loop_kind == "stock":
        import asyncio

        return asyncio.SelectorEventLoop
    if loop_kind == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    import interloop

    return interloop.new_event_loop


@pytest.fixture
def new_loop(loop_factory):
    """Makes loops as `loop_factory` does, and closes them when the test is over."""
    made = []

    def new_loop():
        loop = loop_factory()
        made.append(loop)
        return loop

    yield new_loop
    for loop in made:
        loop.close()


@pytest.fixture
def run(loop_factory):
    """run(main, debug=None): runs a coroutine, or what a coroutine function makes, in a Runner on a loop of its own."""
    import asyncio
    import inspect

    def run(main, *, debug=None):
        with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
            return runner.run(main() if inspect.iscoroutinefunction(main) else main)

    return run
