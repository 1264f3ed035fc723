"""What programs and debuggers ask about tasks: current_task, all_tasks, stacks, and the call graph of 3.14."""

from __future__ import annotations

import asyncio
import io

import pytest
from aio_support import turns

graphs = pytest.mark.skipif(
    not hasattr(asyncio, "capture_call_graph"), reason="from CPython 3.14 on"
)
eager = pytest.mark.skipif(
    not hasattr(asyncio, "eager_task_factory"), reason="from CPython 3.12 on"
)


def test_current_and_all_tasks(run):
    """Within a task it is the current one; within a callback there is none."""

    async def main():
        loop = asyncio.get_running_loop()
        me = asyncio.current_task()
        other = asyncio.create_task(asyncio.Event().wait(), name="other")
        assert asyncio.current_task(loop) is me
        assert asyncio.all_tasks() == {me, other} == asyncio.all_tasks(loop)
        seen = loop.create_future()
        loop.call_soon(lambda: seen.set_result(asyncio.current_task()))
        assert await seen is None
        other.cancel()
        await asyncio.wait([other])
        assert asyncio.all_tasks() == {me}

    run(main)


def test_tasks_of_another_loop_are_not_ours(new_loop):
    """Each loop has its own."""
    one, other = new_loop(), new_loop()
    task = other.create_task(asyncio.sleep(0))

    async def main():
        return asyncio.all_tasks()

    assert task not in one.run_until_complete(main())
    assert asyncio.all_tasks(other) == {task}
    other.run_until_complete(task)


def test_stack_of_a_waiting_task(run):
    """Where a task waits, as `task.print_stack()` tells it to somebody who looks for a hang."""

    async def waits(future):
        await future

    async def main():
        future = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(waits(future))
        await turns(2)
        (frame,) = task.get_stack()
        assert frame.f_code.co_name == "waits"
        told = io.StringIO()
        task.print_stack(file=told)
        assert "await future" in told.getvalue()
        future.set_result(None)
        await task

    run(main)


@eager
def test_current_task_within_an_eager_one(run):
    """It runs inside create_task(): it is the current one for that time, and the caller afterwards."""

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        me = asyncio.current_task()

        async def child():
            current = asyncio.current_task()
            await asyncio.sleep(0)
            return current

        task = asyncio.create_task(child())
        assert asyncio.current_task() is me
        assert task in asyncio.all_tasks()
        assert await task is task
        assert task not in asyncio.all_tasks()

    run(main)


@eager
def test_eager_start_of_a_task_made_by_hand(run):
    """`asyncio.Task(..., eager_start=True)`: done before anybody awaits it, without a turn of the loop."""

    async def main():
        loop = asyncio.get_running_loop()
        task = asyncio.Task(asyncio.sleep(0, "slept"), loop=loop, eager_start=True)
        assert not task.done()

        async def quick():
            return "quick"

        done = asyncio.Task(quick(), loop=loop, eager_start=True)
        assert done.done() and done.result() == "quick"
        assert await task == "slept"

    run(main)


@graphs
def test_call_graph_of_the_running_task(run):
    """Who awaits whom, from within."""

    async def leaf():
        return asyncio.capture_call_graph()

    async def main():
        task = asyncio.create_task(leaf(), name="leaf")
        graph = await task
        assert graph.future is task
        assert graph.call_stack[-1].frame.f_code.co_name == "leaf"
        (above,) = graph.awaited_by
        assert above.future is asyncio.current_task()

    run(main)


@graphs
def test_call_graph_of_a_waiting_task(run):
    """And from outside, through groups and gathered awaitables."""

    async def main():
        event = asyncio.Event()
        waiting = asyncio.create_task(event.wait(), name="waiting")
        gathering = asyncio.gather(waiting, asyncio.sleep(0))

        async def collect():
            await gathering

        collector = asyncio.create_task(collect(), name="collector")
        await turns()
        graph = asyncio.capture_call_graph(waiting)
        told = io.StringIO()
        asyncio.print_call_graph(waiting, file=told)
        assert graph.future is waiting and graph.awaited_by
        assert "waiting" in told.getvalue() and "collector" in told.getvalue()
        event.set()
        await collector

    run(main)
