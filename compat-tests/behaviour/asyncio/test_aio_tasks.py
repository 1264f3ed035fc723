"""Point 9 and around it: create_task, names, contexts, task factories, eager tasks."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys

import pytest
from aio_support import turns

var = contextvars.ContextVar("var", default="unset")

eager = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
# Since 3.13.3 a factory is given all keywords that create_task was given.
FACTORIES_GET_ALL_KEYWORDS = sys.version_info >= (3, 13, 3)


async def answer(value=None):
    return value


def test_create_task(new_loop):
    """A task is asyncio.Task, belongs to the loop, and starts in a later turn."""
    loop = new_loop()
    seen = []

    async def coroutine():
        seen.append(asyncio.current_task())

    task = loop.create_task(coroutine())
    assert type(task) is asyncio.Task
    assert task.get_loop() is loop
    assert seen == [] and asyncio.all_tasks(loop) == {task}
    loop.run_until_complete(task)
    assert seen == [task]


def test_create_task_refuses_what_is_no_coroutine(new_loop):
    """TypeError, and nothing is scheduled."""
    loop = new_loop()
    with pytest.raises(TypeError, match="a coroutine was expected, got 1"):
        loop.create_task(1)
    assert asyncio.all_tasks(loop) == set()


def test_names(run):
    """A name given is kept, one not given is Task-N."""

    async def main():
        loop = asyncio.get_running_loop()
        named, unnamed = loop.create_task(turns(), name="named"), loop.create_task(turns())
        number = loop.create_task(turns(), name=7)
        assert named.get_name() == "named"
        assert unnamed.get_name().startswith("Task-")
        assert number.get_name() == "7"
        await asyncio.gather(named, unnamed, number)

    run(main)


def test_context(run):
    """context= is the task's context itself; without it the task gets a copy."""

    async def change():
        var.set(var.get() + "+")
        await asyncio.sleep(0)
        var.set(var.get() + "+")

    async def main():
        loop = asyncio.get_running_loop()
        var.set("mine")
        context = contextvars.copy_context()
        await loop.create_task(change(), context=context)
        assert context[var] == "mine++"
        assert var.get() == "mine"
        await loop.create_task(change())
        assert var.get() == "mine"

    run(main)


def test_factory_gets_loop_and_coroutine(new_loop):
    """Point 9: up to 3.13.2 (loop, coro) and no keyword; the name is set on what it returns."""
    loop = new_loop()
    calls = []

    def factory(loop, coro, **kwargs):
        calls.append((loop, coro, kwargs))
        name = kwargs.pop("name", None)
        task = asyncio.Task(coro, loop=loop, **kwargs)
        if name is not None:
            task.set_name(name)
        return task

    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    coro = answer(1)
    task = loop.create_task(coro, name="named")
    (call,) = calls
    assert call[0] is loop and call[1] is coro
    assert "eager_start" not in call[2]
    if not FACTORIES_GET_ALL_KEYWORDS:
        assert call[2] == {}
    assert task.get_name() == "named"
    assert loop.run_until_complete(task) == 1


def test_factory_gets_a_context_only_if_one_was_given(new_loop):
    """Point 9: `context=` goes through, and is not made up."""
    loop = new_loop()
    calls = []

    def factory(loop, coro, *, context="not given", **kwargs):
        calls.append(context)
        return asyncio.Task(coro, loop=loop, context=None if context == "not given" else context)

    loop.set_task_factory(factory)
    context = contextvars.copy_context()
    loop.run_until_complete(loop.create_task(answer(), context=context))
    loop.run_until_complete(loop.create_task(answer()))
    assert calls[0] is context
    assert calls[1] in (("not given", None) if FACTORIES_GET_ALL_KEYWORDS else ("not given",))


@pytest.mark.skipif(
    FACTORIES_GET_ALL_KEYWORDS, reason="from 3.13.3 on factories must take **kwargs"
)
def test_factory_of_two_arguments(new_loop):
    """Point 9: factories that exist take (loop, coro) only; ensure_future, gather and TaskGroup use them."""
    loop = new_loop()
    made = []

    def factory(loop, coro):
        task = asyncio.Task(coro, loop=loop)
        made.append(task)
        return task

    loop.set_task_factory(factory)

    async def main():
        task = asyncio.create_task(answer(1), name="one")
        assert task is made[-1] and task.get_name() == "one"
        await asyncio.gather(answer(2), answer(3))
        async with asyncio.TaskGroup() as group:
            group.create_task(answer(4), name="four")
        await asyncio.wait_for(answer(5), None)
        return len(made)

    assert loop.run_until_complete(main()) >= 5


def test_factory_must_be_callable_or_none(new_loop):
    """Point 9: set_task_factory(1) is a TypeError and changes nothing."""
    loop = new_loop()
    assert loop.get_task_factory() is None
    with pytest.raises(TypeError, match="task factory must be a callable or None"):
        loop.set_task_factory(1)
    assert loop.get_task_factory() is None
    loop.set_task_factory(asyncio.Task)
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None


def test_factory_that_raises(new_loop):
    """The exception reaches who wanted the task."""
    loop = new_loop()

    def factory(loop, coro, **kwargs):
        coro.close()
        raise LookupError("no task for you")

    loop.set_task_factory(factory)
    with pytest.raises(LookupError, match="no task for you"):
        loop.create_task(answer())
    with pytest.raises(LookupError):
        loop.run_until_complete(answer())
    loop.set_task_factory(None)
    assert loop.run_until_complete(answer(1)) == 1


@eager
def test_eager_factory(new_loop):
    """Point 9: the interpreter's own eager_task_factory works, with and without name and context."""
    loop = new_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    seen = []

    async def coroutine(value):
        seen.append((value, asyncio.current_task().get_name(), var.get()))
        return value

    async def main():
        task = asyncio.create_task(coroutine(1))
        assert task.done() and task.result() == 1
        assert seen[0][0] == 1
        named = loop.create_task(coroutine(2), name="named")
        assert named.done() and named.get_name() == "named"
        context = contextvars.copy_context()
        context.run(var.set, "in context")
        loop.create_task(coroutine(3), context=context)
        assert seen[2] == (3, seen[2][1], "in context")
        assert asyncio.current_task().get_name() == "main"
        return asyncio.all_tasks()

    task = loop.create_task(main(), name="main")
    assert loop.run_until_complete(task) == {task}


@eager
def test_eager_task_that_blocks_goes_on_as_any_task(new_loop):
    """It runs to its first real wait at once and then by the loop."""
    loop = new_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    seen = []

    async def coroutine():
        seen.append("started")
        await asyncio.sleep(0)
        seen.append("went on")

    async def main():
        task = asyncio.create_task(coroutine())
        assert seen == ["started"] and not task.done()
        assert asyncio.current_task() is not task
        await task
        return seen

    assert loop.run_until_complete(main()) == ["started", "went on"]


@eager
def test_eager_task_that_fails(new_loop):
    """The exception waits in the task; one who never looks is told of by the exception handler."""
    loop = new_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context["message"]))

    async def coroutine():
        raise LookupError

    async def main():
        task = asyncio.create_task(coroutine())
        assert task.done()
        with pytest.raises(LookupError):
            await task
        asyncio.create_task(coroutine())  # noqa: RUF006 - that nobody keeps it is the point

    loop.run_until_complete(main())
    gc.collect()
    assert contexts == ["Task exception was never retrieved"]


@eager
def test_eager_tasks_do_streams_and_sockets(new_loop):
    """Library code under an eager factory: a connection is made, served and closed."""
    loop = new_loop()
    loop.set_task_factory(asyncio.eager_task_factory)

    async def serve(reader, writer):
        writer.write((await reader.readline()).upper())
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\n")
            text = await reader.read()
            writer.close()
            await writer.wait_closed()
            return text

    assert loop.run_until_complete(main()) == b"HELLO\n"


def test_create_future(new_loop):
    """create_future() gives an asyncio.Future of this loop."""
    loop = new_loop()
    future = loop.create_future()
    assert isinstance(future, asyncio.Future) and future.get_loop() is loop


def test_futures_callbacks_run_by_call_soon(new_loop):
    """A Future's callbacks go through the loop's call_soon, with the context they were added in."""
    loop = new_loop()
    seen = []
    future = loop.create_future()
    contextvars.copy_context().run(
        lambda: (var.set("there"), future.add_done_callback(lambda f: seen.append(var.get())))
    )
    calls = []
    original = loop.call_soon
    loop.call_soon = lambda *args, **kw: (calls.append(kw), original(*args, **kw))[1]
    future.set_result(1)
    del loop.call_soon
    assert seen == [] and len(calls) == 1 and "context" in calls[0]
    loop.run_until_complete(answer())
    assert seen == ["there"]


def test_cancel_and_timeout(run):
    """Cancellation and asyncio.timeout work as ever."""

    async def main():
        task = asyncio.create_task(asyncio.sleep(1000))
        await asyncio.sleep(0)
        task.cancel("why")
        with pytest.raises(asyncio.CancelledError, match="why"):
            await task
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.sleep(1000)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(1000), 0.001)

    run(main)
