"""Awaiting across the hosts: Deferreds in asyncio's tasks, Futures in the coroutines that Twisted drives.

`interloop.twisted.install()` puts it in place, `uninstall()` takes it back. In between

    value = await deferred                      # in any task; also wait_for(deferred, 1), gather(deferred)
    async with asyncio.timeout(1):              # in a coroutine under ensureDeferred
        value = await asyncio.to_thread(f)
    value = yield session.get(url)              # in an inlineCallbacks generator: a Future or a coroutine

What is replaced in Twisted, and nothing else: `Deferred.__await__`, which gives an object that serves both drivers;
`defer._inlineCallbacks`, the driver of coroutines and of `inlineCallbacks`, which all of them look up each time they
start; and `Deferred.callback`, which is quicker where nothing but an `await` waits for the result. The awaiter's class is
listed in `defer._DEFERRED_SUBCLASSES`. What is under way goes on under the driver that it
has begun with, also after `uninstall()`.

The rules are those of `interloop.bridge`: a failure arrives as the exception itself, once; cancelling one side asks the
other to stop, and who asked sees its own side's CancelledError when the other has cleaned up. What is peculiar to
awaiting without a wrapper:

* A task does not take a Deferred's result away: callbacks that are added later, and others who await it, get it as
  well. A coroutine that Twisted drives takes it, as ever.
* While Twisted drives a coroutine, `asyncio.current_task()` is an object that stands for that coroutine and can be cancelled
  (isinstance says `asyncio.Task`), and sniffio says "asyncio". In any other callback of the reactor there is no task. It is
  none of `asyncio.all_tasks()`, since the end of the loop is no business of Twisted's.
* Deferreds resume a coroutine on the spot, in the context of whoever fires them, as Twisted demands; a Future does it in
  the next turn. The coroutine itself runs in its own context.
* `Deferred.cancel()` of a coroutine that waits for a Future raises asyncio's CancelledError in it; if it waits for a Deferred,
  Twisted's. While it takes a step, what it has waited for last decides: after a Future the next await raises (or, if there is
  none, the Deferred fails with CancelledError), after a Deferred nothing happens.
* Without a loop that runs in the thread, coroutines run as they do in plain Twisted.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import reprlib
import types
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from twisted.internet import defer
from twisted.python.failure import Failure

from interloop import bridge
from interloop._core import (
    DeferredAwaiter,
    TwistedTask,
    deferred_await,
    fire,
    inline_callbacks,
    who_waits,
)

if TYPE_CHECKING:
    from contextvars import Context
    from types import CoroutineType, GeneratorType

NO_KEYWORDS: dict[str, Any] = {}

# Deferred's own, for all but the most common cases.
_stock_callback: Any = vars(defer.Deferred)["callback"]
# How it raises a failure: the frames are where trial cuts its reports, and where people look.
_stock_iter: Any = vars(defer.Deferred)["__iter__"]
_numbers = itertools.count(1)


@functools.wraps(_stock_callback)
def _callback(self: Any, result: object) -> None:
    # In Python, since here the interpreter finds an attribute where it was the last time, for a tenth of what a look-up costs.
    if self.debug:
        # In debug mode Twisted notes the frames but for two, which are to be its own and this one.
        self._startRunCallbacks(result)
        return
    if not self.paused:
        callbacks = self._callbacks
        try:
            waits = who_waits(self, callbacks, result)
        except BaseException:
            # A signal's handler, right after it.
            if self.called and not hasattr(self, "result"):
                self._canceller = None
                self.result = result
            raise
        if waits is not None:
            self._canceller = None
            self.result = result
            if waits is not True:
                fire(self, callbacks, waits, result)
            return
    _stock_callback(self, result)


# What is replaced where by what, and what was there before enable().
_REPLACED: tuple[tuple[Any, str, Any], ...] = (
    (defer.Deferred, "__await__", deferred_await(defer.Deferred)),
    (defer.Deferred, "callback", _callback),
    (defer, "_inlineCallbacks", inline_callbacks),
)
_before: dict[str, Any] = {}


def enable() -> None:
    """Put it in place. Again: nothing. The loop's thread."""
    if _before:
        return
    for owner, name, ours in _REPLACED:
        _before[name] = vars(owner)[name]
        setattr(owner, name, ours)
    # For Twisted's own driver, which may be in the middle of a step. All classes in that list are subclasses to those who look,
    # Twisted's tests among them, so it is registered as one: the one thing here that cannot be taken back.
    defer.Deferred.register(DeferredAwaiter)
    defer._DEFERRED_SUBCLASSES.append(DeferredAwaiter)  # type: ignore[arg-type]


def disable() -> None:
    """Take it back, but for what somebody else has replaced since. Again: nothing."""
    if not _before:
        return
    for owner, name, ours in _REPLACED:
        before = _before.pop(name)
        if vars(owner)[name] is ours:
            setattr(owner, name, before)
    defer._DEFERRED_SUBCLASSES.remove(DeferredAwaiter)  # type: ignore[arg-type]


# What the native half asks for.


def is_cancellation(failure: Failure) -> bool:
    return isinstance(failure.value, (defer.CancelledError, asyncio.CancelledError))


def outcome(
    deferred: defer.Deferred[Any], failure: Failure, requested: bool, message: Any
) -> BaseException:
    """What a task that awaits `deferred` is to raise. The failure counts as told."""
    info = deferred._debugInfo
    # Twisted's own __await__ does the same.
    if info is not None and info.failResult is failure:
        info.failResult = None
    if bridge._is_cancellation(failure, requested=requested):
        return _cancelled(failure, message if requested else bridge._message(failure.value))
    error = bridge._exception_of(failure)
    # The traceback will have this frame behind it: the Deferred is not to wait for a collection.
    del deferred, info
    return _raised_by_await(failure, waited=False) if error is failure.value else error


def thrown(failure: Failure, requested: bool, message: Any, awaited: bool) -> BaseException:
    """What a coroutine that Twisted drives is to raise where it waits."""
    if requested and bridge._is_cancellation(failure, requested=True):
        return _cancelled(failure, message)
    # Between Twisted's driver and a `yield` there is nothing.
    return _raised_by_await(failure, waited=True) if awaited else bridge._thrown_by(failure)


def _raised_by_await(failure: Failure, waited: bool) -> BaseException:
    """The exception with the traceback that it has when Twisted's own `await` raises it: at once, or after waiting."""
    deferred = types.SimpleNamespace(
        called=not waited,
        paused=0,
        result=failure,
        _debugInfo=types.SimpleNamespace(failResult=None),
    )
    steps = _stock_iter(deferred)
    try:
        next(steps)
        steps.throw(bridge._thrown_by(failure))
    except BaseException as error:
        if error.__traceback__ is not None:
            error.__traceback__ = error.__traceback__.tb_next
        return error
    raise AssertionError(f"{failure!r} was not raised")


def _cancelled(failure: Failure, message: Any) -> asyncio.CancelledError:
    if isinstance(failure.value, asyncio.CancelledError):
        return failure.value
    cancelled = asyncio.CancelledError(*(() if message is None else (message,)))
    if isinstance(failure.value, BaseException):
        cancelled.__cause__ = bridge._exception_of(failure)
    return cancelled


def cancel(deferred: defer.Deferred[Any], loop: asyncio.AbstractEventLoop | None) -> bool:
    """Ask a Deferred to stop. False if it would not even notice."""
    if not bridge._can_be_cancelled(deferred):
        return False
    try:
        deferred.cancel()
    except Exception as exc:
        if loop is None:
            raise
        # Twisted leaves such a Deferred unfired for ever.
        loop.call_exception_handler(
            {"message": "The canceller of a Deferred raised an exception", "exception": exc}
        )
        return False
    return True


def raised(deferred: defer.Deferred[Any], error: BaseException) -> None:
    """A native callback raised `error`; its Deferred has fired."""

    def again(result: object) -> None:
        raise error

    deferred.addCallback(again)


def spawn(
    coroutine: CoroutineType[Any, Any, Any] | GeneratorType[Any, Any, Any],
) -> defer.Deferred[Any]:
    """For a coroutine or a generator that was yielded."""
    return defer._cancellableInlineCallbacks(coroutine)


def end(
    status: defer._CancellationStatus[Any], error: BaseException, coroutine: Any, context: Context
) -> None:
    """A coroutine ended with an exception."""
    if isinstance(error, defer._DefGen_Return):
        # Twisted's own driver knows what returnValue() means, and when to warn of it. It looks through the traceback:
        # what is sent the exception must raise it without a frame of its own.
        over = _nothing()
        over.close()
        drive = _before.get("_inlineCallbacks", defer._inlineCallbacks)
        drive(error, types.SimpleNamespace(send=over.throw), status, context)
        return
    target = status.deferred
    if isinstance(error, asyncio.CancelledError) or _is_all_cancelled(error):
        args = error.args if isinstance(error, asyncio.CancelledError) else ()
        cancelled = defer.CancelledError(*args).with_traceback(error.__traceback__)
        cancelled.__cause__ = error
        error = cancelled
    target.errback(Failure(error, captureVars=target.debug))  # type: ignore[no-untyped-call]


def _is_all_cancelled(error: BaseException) -> bool:
    """A TaskGroup takes Twisted's CancelledError for a failure. Who cancelled, `addTimeout()` for one, wants to see it."""
    if not isinstance(error, BaseExceptionGroup):
        return False
    return error.split((defer.CancelledError, asyncio.CancelledError))[1] is None


def _nothing() -> Generator[None, None, None]:
    yield


def wait(task: TwistedTask) -> Generator[Any, None, Any]:
    """`TwistedTask.__await__`."""
    if not task.done():
        task._asyncio_future_blocking = True
        yield task
    return task.result()


def task_name(task: TwistedTask) -> str:
    name = f"Twisted-{next(_numbers)}"
    task.set_name(name)
    return name


@reprlib.recursive_repr()
def task_repr(task: TwistedTask) -> str:
    state = "cancelled" if task.cancelled() else "finished" if task.done() else "pending"
    words = [f"<{type(task).__name__} {state} name={task.get_name()!r} coro={task.get_coro()!r}"]
    if (waiter := task._fut_waiter) is not None:
        words.append(f"wait_for={waiter!r}")
    return " ".join(words) + ">"
