"""Cancelling the coroutines that Twisted drives in the moments when they do not just wait."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("first", ["asyncio.sleep(0)", "asyncio.sleep(0.001)"])
def test_cancelled_in_the_step_after_a_future(program, first):
    """As a task of asyncio's: the next await is told. Twisted's rule for Deferreds, that nothing happens, is for them."""
    assert (
        program(
            None,
            f"""
        import asyncio
        import interloop, interloop.twisted
        from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

        async def twisted(box, then):
            await {first}
            box[0].cancel()
            print("goes on")
            try:
                await then
            except (CancelledError, asyncio.CancelledError):
                print("told")
                raise

        async def main():
            interloop.twisted.install()
            for then in Deferred(), asyncio.get_running_loop().create_future(), asyncio.sleep(0):
                box = []
                box.append(ensureDeferred(twisted(box, then)))
                await box[0].addErrback(lambda failure: print(failure.type is CancelledError))

        interloop.run(main())
        """,
        )
        == ["goes on", "told", "True"] * 3
    )


@pytest.mark.parametrize("how", ["asyncio.create_task", "ensureDeferred"])
def test_ctrl_c_in_the_step_after_a_future(program, how):
    assert program(
        None,
        f"""
        import asyncio, signal
        import interloop, interloop.twisted
        from twisted.internet.defer import ensureDeferred

        async def busy():
            try:
                await asyncio.sleep(0)
                signal.raise_signal(signal.SIGINT)
                await asyncio.get_running_loop().create_future()
            finally:
                print("cleans up")

        async def main():
            interloop.twisted.install()
            await {how}(busy())

        try:
            interloop.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        """,
    ) == ["cleans up", "interrupted"]


@pytest.mark.parametrize("how", ["asyncio.create_task", "ensureDeferred"])
def test_a_cancellation_that_is_answered_with_a_value_on_the_spot(program, how):
    assert (
        program(
            None,
            f"""
        import asyncio
        import interloop, interloop.twisted
        from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

        async def swallows():
            try:
                await Deferred()
            except CancelledError:
                return "swallowed"

        async def limited(deferred):
            async with asyncio.timeout(0):
                return await deferred

        async def cancelled(deferred):
            asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)
            return await deferred

        async def main():
            interloop.twisted.install()
            for function in limited, cancelled:
                print(await {how}(function(Deferred(lambda deferred: deferred.callback("answered")))))
                print(await {how}(function(ensureDeferred(swallows()))))

        interloop.run(main())
        """,
        )
        == ["answered", "swallowed"] * 2
    )


@pytest.mark.parametrize("ours", [False, True])
def test_cancelled_after_what_it_waits_for_has_ended(program, ours):
    """Before the step that this leads to: a coroutine of Twisted's as a task of asyncio's."""
    assert (
        program(
            None,
            f"""
        import asyncio

        async def wait(future):
            try:
                await future
            except ValueError:
                pass
            print("goes on")

        async def main(start):
            for end in (
                lambda future: future.set_result(None),
                lambda future: future.set_exception(ValueError()),
                lambda future: future.cancel(),
            ):
                future = asyncio.get_running_loop().create_future()
                waits = start(wait(future))
                await asyncio.sleep(0)
                end(future)
                waits.cancel()
                try:
                    await waits
                except asyncio.CancelledError:
                    print("cancelled")

        if {ours}:
            import interloop, interloop.twisted
            from twisted.internet import defer
            interloop.twisted.install()
            interloop.run(main(defer.ensureDeferred))
        else:
            asyncio.run(main(asyncio.create_task))
        """,
        )
        == ["cancelled"] * 3
    )


@pytest.mark.parametrize("ours", [False, True])
def test_the_current_task_is_cancelled_in_between(program, ours):
    assert program(
        None,
        f"""
        import asyncio

        async def done_already():
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            future = loop.create_future()
            loop.call_soon(lambda: (future.set_result(None), task.cancel("told")))
            try:
                await future
            except asyncio.CancelledError as error:
                print(*error.args)

        async def last_step():
            asyncio.current_task().cancel()
            return "lost"

        async def last_step_fails():
            asyncio.current_task().cancel()
            raise ZeroDivisionError

        async def main(start):
            for function in done_already, last_step, last_step_fails:
                try:
                    print(await start(function()))
                except (asyncio.CancelledError, ZeroDivisionError) as error:
                    print(type(error).__name__)

        if {ours}:
            import interloop, interloop.twisted
            from twisted.internet.defer import ensureDeferred
            interloop.twisted.install()
            interloop.run(main(ensureDeferred))
        else:
            asyncio.run(main(asyncio.create_task))
        """,
    ) == ["told", "None", "CancelledError", "ZeroDivisionError"]


def test_cancelled_again_after_the_first_was_answered(program):
    """The second request counts, whatever the Deferred made of the first."""
    assert program(
        None,
        """
        import asyncio
        import interloop, interloop.twisted
        from twisted.internet.defer import Deferred, ensureDeferred

        async def twisted(deferred):
            task = asyncio.current_task()
            asyncio.get_running_loop().call_soon(lambda: (task.cancel("one"), task.cancel("two")))
            try:
                return await deferred
            except asyncio.CancelledError as error:
                return error.args

        async def main():
            interloop.twisted.install()
            for answer in None, lambda deferred: deferred.callback("answered"):
                print(await ensureDeferred(twisted(Deferred(answer))))

        interloop.run(main())
        """,
    ) == ["('two',)", "('two',)"]
