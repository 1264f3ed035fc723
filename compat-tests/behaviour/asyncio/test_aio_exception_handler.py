"""Points 5 and 6: who is told of an exception nobody can catch, in which context, and in which words."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import sys

import pytest
from aio_support import Contexts

var = contextvars.ContextVar("var", default="unset")


def fail():
    raise ZeroDivisionError("told")


def run_failing(loop):
    loop.call_soon(fail)
    loop.run_until_complete(asyncio.sleep(0))


def test_keys_of_a_handles_context(new_loop):
    """Point 6: message, exception and handle; source_traceback only in debug mode."""
    loop = new_loop()
    contexts = Contexts(loop)
    handle = loop.call_soon(fail)
    loop.run_until_complete(asyncio.sleep(0))
    (context,) = contexts
    assert type(context) is dict
    assert set(context) == {"message", "exception", "handle"}
    assert context["message"].startswith("Exception in callback fail() at ")
    assert type(context["exception"]) is ZeroDivisionError
    assert context["handle"] is handle
    loop.set_debug(True)
    handle = loop.call_soon(fail)
    loop.run_until_complete(asyncio.sleep(0))
    assert contexts[1]["source_traceback"] == handle._source_traceback != None  # noqa: E711


def test_the_exception_has_its_traceback(new_loop):
    """Point 6: the traceback ends in the function that raised."""
    loop = new_loop()
    contexts = Contexts(loop)
    run_failing(loop)
    traceback = contexts[0]["exception"].__traceback__
    while traceback.tb_next:
        traceback = traceback.tb_next
    assert traceback.tb_frame.f_code is fail.__code__


def test_keys_of_a_tasks_and_a_futures_context(new_loop):
    """Point 6: an exception never retrieved is told with the future or task when it is collected."""
    loop = new_loop()
    contexts = Contexts(loop)

    async def main():
        raise ZeroDivisionError

    task = loop.create_task(main())
    loop.run_until_complete(asyncio.sleep(0))
    future = loop.create_future()
    future.set_exception(LookupError())
    del task
    gc.collect()
    del future
    gc.collect()
    assert [sorted(context) for context in contexts] == [["exception", "future", "message"]] * 2
    assert contexts[0]["message"] == "Task exception was never retrieved"
    assert contexts[1]["message"] == "Future exception was never retrieved"
    contexts.clear()
    task = loop.create_task(asyncio.sleep(1000))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    del task
    gc.collect()
    assert [context["message"] for context in contexts] == ["Task was destroyed but it is pending!"]
    assert isinstance(contexts[0]["task"], asyncio.Task)
    contexts.clear()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="handlers run in that context since 3.12")
@pytest.mark.parametrize("source", ["call_soon", "call_later", "threadsafe", "reader"])
def test_handler_runs_in_the_handles_context(new_loop, source):
    """Point 5: what the handler reads is what the failing callback saw."""
    import socket

    loop = new_loop()
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append((var.get(), context["handle"])))
    one, other = socket.socketpair()
    with one, other:

        def set_up():
            var.set("of the handle")
            if source == "call_soon":
                loop.call_soon(fail)
            elif source == "call_later":
                loop.call_later(0, fail)
            elif source == "threadsafe":
                loop.call_soon_threadsafe(fail)
            else:
                other.send(b"x")
                loop.add_reader(one, lambda: (one.recv(1), fail()))

        contextvars.copy_context().run(set_up)
        while not seen:
            loop.run_until_complete(asyncio.sleep(0))
        loop.remove_reader(one)
    ((value, handle),) = seen
    assert value == "of the handle"
    assert isinstance(handle, asyncio.Handle)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="handlers run in that context since 3.12")
def test_handler_runs_in_the_tasks_context(new_loop):
    """Point 5: the same for a task whose exception nobody retrieved."""
    loop = new_loop()
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(var.get()))

    async def main():
        var.set("of the task")
        raise ZeroDivisionError

    task = loop.create_task(main())
    loop.run_until_complete(asyncio.sleep(0))
    del task
    gc.collect()
    assert seen == ["of the task"]


def test_call_exception_handler_passes_the_very_dict(new_loop):
    """Point 6: a context made by a library reaches the handler as it is, with any keys."""
    loop = new_loop()
    contexts = Contexts(loop)
    context = {"message": "from a library", "anything": object()}
    loop.call_exception_handler(context)
    assert contexts[0] is context


def test_handlers_are_set_and_read(new_loop):
    """set_exception_handler takes a callable or None; get_exception_handler gives it back."""
    loop = new_loop()
    assert loop.get_exception_handler() is None

    def handler(loop, context):
        pass

    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    for wrong in (1, "handler", object()):
        with pytest.raises(TypeError, match="A callable object or None is expected, got "):
            loop.set_exception_handler(wrong)
    assert loop.get_exception_handler() is handler
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None


def test_handler_gets_the_loop(new_loop):
    """The first argument is the loop itself."""
    loop = new_loop()
    seen = []
    loop.set_exception_handler(lambda *args: seen.append(args[0]))
    run_failing(loop)
    assert seen == [loop]


def test_default_handler_logs(new_loop, asyncio_log):
    """Point 6: the message, then the sorted keys but `exception`, which becomes exc_info."""
    loop = new_loop()
    exc = LookupError("why")
    loop.call_exception_handler({"message": "what", "exception": exc, "zeta": 1, "alpha": "a"})
    record = asyncio_log.take("what")
    assert record.getMessage() == "what\nalpha: 'a'\nzeta: 1"
    assert record.exc_info[1] is exc and record.levelno == logging.ERROR
    loop.call_exception_handler({})
    assert asyncio_log.take("Unhandled exception in event loop").exc_info in (None, False)


def test_default_handler_uses_the_logger_of_base_events(new_loop, monkeypatch):
    """Point 6: tests patch `asyncio.base_events.logger`, by that very name."""
    from unittest import mock

    loop = new_loop()
    logger = mock.Mock()
    monkeypatch.setattr("asyncio.base_events.logger", logger)
    run_failing(loop)
    assert logger.error.call_args.args[0].startswith("Exception in callback fail()")
    assert logger.error.call_args.kwargs["exc_info"][0] is ZeroDivisionError


def test_default_handler_can_be_overridden_in_a_subclass(loop_factory, loop_kind):
    """Point 13: default_exception_handler and call_exception_handler are looked up on the instance."""
    loop = loop_factory()
    seen = []

    class Sub(type(loop)):
        def default_exception_handler(self, context):
            seen.append(context["message"])

    loop.close()
    with_own = Sub()
    with_own.call_soon(fail)
    with_own.run_until_complete(asyncio.sleep(0))
    assert seen and seen[0].startswith("Exception in callback fail()")
    with_own.call_exception_handler = lambda context: seen.append("instance")
    with_own.call_soon(fail)
    with_own.run_until_complete(asyncio.sleep(0))
    assert seen[1:] == ["instance"]
    with_own.close()


def test_handle_traceback_in_debug_mode(new_loop, asyncio_log):
    """Point 6: an error without a source traceback is logged with that of the handle that is running."""
    loop = new_loop()
    loop.set_debug(True)
    loop.call_soon(lambda: loop.call_exception_handler({"message": "told by a callback"}))
    loop.run_until_complete(asyncio.sleep(0))
    text = asyncio_log.take("told by a callback").getMessage()
    assert "Handle created at (most recent call last):" in text
    assert "test_handle_traceback_in_debug_mode" in text


def test_source_traceback_in_debug_mode(new_loop, asyncio_log):
    """Point 6: with one, it is logged as where the object was created."""
    loop = new_loop()
    loop.set_debug(True)
    run_failing(loop)
    text = asyncio_log.take("Exception in callback").getMessage()
    assert "Object created at (most recent call last):" in text
    assert "in run_failing" in text


def test_a_failing_handler_is_reported_by_the_default_one(new_loop, asyncio_log):
    """Point 6: the handler's own exception, and the context it was given."""
    loop = new_loop()

    def handler(loop, context):
        raise LookupError("in the handler")

    loop.set_exception_handler(handler)
    run_failing(loop)
    record = asyncio_log.take("Unhandled error in exception handler")
    assert record.exc_info[0] is LookupError
    assert "context: {'message': 'Exception in callback fail()" in record.getMessage()


def test_a_broken_default_handler_is_logged(new_loop, asyncio_log):
    """Point 6: whatever the default handler does, the loop goes on."""
    loop = new_loop()

    def broken(context):
        raise LookupError("default")

    loop.default_exception_handler = broken
    run_failing(loop)
    asyncio_log.take("Exception in default exception handler")

    def handler(loop, context):
        raise LookupError("handler")

    loop.set_exception_handler(handler)
    run_failing(loop)
    asyncio_log.take(
        "Exception in default exception handler while handling an unexpected error "
        "in custom exception handler"
    )


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_base_exceptions_of_handlers_leave_the_run(new_loop, error):
    """Point 4 for handlers: a handler may end the program."""
    loop = new_loop()

    def handler(loop, context):
        raise error

    loop.set_exception_handler(handler)
    with pytest.raises(error):
        run_failing(loop)
    loop.set_exception_handler(None)
    assert loop.run_until_complete(asyncio.sleep(0, "runs")) == "runs"


@pytest.mark.parametrize("error", [GeneratorExit, asyncio.CancelledError, BaseException])
def test_other_base_exceptions_are_reported(new_loop, error):
    """Only SystemExit and KeyboardInterrupt leave; any other BaseException of a callback is reported."""
    loop = new_loop()
    contexts = Contexts(loop)

    def callback():
        raise error

    loop.call_soon(callback)
    loop.run_until_complete(asyncio.sleep(0))
    assert [type(context["exception"]) for context in contexts] == [error]


def test_handler_may_use_the_loop(new_loop):
    """A handler may schedule, stop and set handlers: it runs with nothing held."""
    loop = new_loop()
    seen = []

    def handler(loop, context):
        loop.set_exception_handler(None)
        loop.call_soon(seen.append, "scheduled")
        loop.call_later(0, loop.stop)

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    loop.run_forever()
    assert seen == ["scheduled"]
