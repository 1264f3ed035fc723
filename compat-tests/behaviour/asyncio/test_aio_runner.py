"""asyncio.Runner, asyncio.run and interloop.run on the loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys

import pytest

var = contextvars.ContextVar("var", default="unset")


def test_runner(loop_factory):
    """Several runs on one loop; closed with the block."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        loop = runner.get_loop()
        assert runner.run(asyncio.sleep(0, 1)) == 1
        assert runner.run(asyncio.sleep(0, 2)) == 2
        assert runner.get_loop() is loop
    assert loop.is_closed()


def test_runner_keeps_its_context(loop_factory):
    """The runs of one Runner share a context."""

    async def change():
        old = var.get()
        var.set(old + "+")
        return old

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(change()) == "unset"
        assert runner.run(change()) == "unset+"
    assert var.get() == "unset"


@pytest.mark.parametrize("debug", [None, True, False])
def test_runner_sets_debug(loop_factory, debug):
    """debug=None leaves the loop's own choice."""
    with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
        assert runner.get_loop().get_debug() is bool(debug)


def test_runner_cancels_what_is_left(loop_factory):
    """Tasks still there are cancelled and waited for; their errors are reported."""
    contexts = []
    seen = []

    async def stubborn():
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            seen.append("cancelled")
            raise

    async def failing():
        try:
            await asyncio.sleep(1000)
        finally:
            raise LookupError

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: contexts.append(context))
        tasks = [asyncio.create_task(stubborn()), asyncio.create_task(failing())]
        await asyncio.sleep(0)
        return tasks

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        tasks = runner.run(main())
    assert seen == ["cancelled"]
    assert tasks[0].cancelled()
    assert [context["message"] for context in contexts] == [
        "unhandled exception during asyncio.run() shutdown"
    ]
    assert contexts[0]["task"] is tasks[1]


def test_runner_refuses_to_run_inside(loop_factory):
    """Point 3: RuntimeError, and the outer loop goes on."""

    async def main():
        coroutine = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="cannot be called from a running event loop"):
            asyncio.run(coroutine)
        coroutine.close()
        await asyncio.sleep(0)
        return "went on"

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(main()) == "went on"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio.run(loop_factory=) came with 3.12")
def test_asyncio_run(loop_factory):
    """asyncio.run takes the factory."""

    async def main():
        return asyncio.get_running_loop()

    loop = asyncio.run(main(), loop_factory=loop_factory)
    assert loop.is_closed()


def module_run(loop_kind):
    """What is documented as this implementation's own run(main, *, debug=None)."""
    return asyncio.run if loop_kind == "stock" else __import__(loop_kind).run


def test_run_of_the_package(loop_kind, loop_factory):
    """interloop.run() is asyncio.run() on our loop: result, exception, debug, closing."""
    run = module_run(loop_kind)

    async def main(fail=False):
        loop = asyncio.get_running_loop()
        if fail:
            raise LookupError("told")
        return loop, loop.get_debug()

    loop, debug = run(main())
    assert loop.is_closed() and debug is False
    assert type(loop).__module__.partition(".")[0] == (
        "asyncio" if loop_kind == "stock" else loop_kind
    )
    assert run(main(), debug=True)[1] is True
    with pytest.raises(LookupError, match="told"):
        run(main(fail=True))
    with pytest.raises((ValueError, TypeError), match="coroutine"):
        run(1)


def test_run_of_the_package_inside_a_loop(loop_kind, loop_factory):
    """It refuses as asyncio.run() does: the coroutine is not begun, and the loop goes on."""
    run = module_run(loop_kind)

    async def main():
        coroutine = asyncio.sleep(0)
        with pytest.raises(RuntimeError):
            run(coroutine)
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
        coroutine.close()
        await asyncio.sleep(0)

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="its loop_factory came with 3.13")
def test_isolated_asyncio_test_case(loop_factory):
    """unittest's IsolatedAsyncioTestCase runs its tests on the loop its factory makes."""
    import unittest

    seen = []

    class Case(unittest.IsolatedAsyncioTestCase):
        async def asyncSetUp(self):
            seen.append(asyncio.get_running_loop())

        async def test(self):
            await asyncio.sleep(0)
            seen.append(asyncio.get_running_loop())

    Case.loop_factory = staticmethod(loop_factory)
    result = unittest.TestResult()
    Case("test").run(result)
    assert result.errors == [] and result.failures == [] and result.testsRun == 1
    assert seen[0] is seen[1] and seen[1].is_closed()
