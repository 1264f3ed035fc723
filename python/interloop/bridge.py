"""Between Twisted's Deferreds and asyncio's Futures, in both directions.

    value = await as_future(client.get("key"))        # a Deferred, in a coroutine
    d = as_deferred(fetch(session, url))              # a coroutine, in Twisted code

Both directions keep what each host promises its users:

* A result arrives as it is. A failure arrives as the exception itself, with the traceback of the
  place that raised it.
* Cancelling one side asks the other side to stop, and the one who asked sees the end only when the
  other side has cleaned up. asyncio code sees `asyncio.CancelledError`, Twisted code sees
  `twisted.internet.defer.CancelledError`. A side that swallows the request and produces a result
  has that result delivered, as a Task and a Deferred both do among themselves.
* An error is reported once, by the side that owns it last: "Future exception was never retrieved"
  after `as_future`, "Unhandled error in Deferred" after `as_deferred`. A cancellation that nobody
  listens to is not an error and is reported by neither.
* A coroutine runs in its own copy of the caller's context, as any Task. A Deferred's callbacks run
  in the context of whoever fires it; for one made by `as_deferred` that is the context in which
  `as_deferred` was called. A Future's callbacks run in the context in which they were added.

Nothing here depends on the loop or the reactor in use: it works on `interloop.Loop`, and on any
other asyncio loop on which Twisted's reactor runs. Twisted is imported by the first call, never by
importing this module.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
from asyncio import _get_running_loop
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

__all__ = ["as_deferred", "as_future"]

T = TypeVar("T")


def as_future(
    deferred: Deferred[T], *, loop: asyncio.AbstractEventLoop | None = None
) -> asyncio.Future[T]:
    """Return an asyncio Future that completes with what `deferred` ends with.

    The Future takes the Deferred over, result and failure: callbacks added to the Deferred
    afterwards see None. A Deferred that has its result already gives a Future that is done.

    Cancelling the Future (also through the task that awaits it, `asyncio.timeout()`, `wait_for()`)
    cancels the Deferred, and the Future is cancelled when the Deferred has ended, so what its
    errbacks still wait for is waited for. A second cancel reaches what the clean-up waits for. If
    nothing is left that could be cancelled (the Deferred has fired and is held by `pause()`, or its
    canceller raised, which is reported to the loop's exception handler), the Future is cancelled at
    once and a failure that still comes is left to Twisted's log. An error in the clean-up takes the
    place of the cancellation, as it does in a task, except where the error is only Twisted's word
    for it (ConnectingCancelledError; ResponseNeverReceived, FirstError and their like because of a
    CancelledError). A Deferred that somebody else cancels cancels the Future, too.

    `loop` is the loop of the Future; None is the running one. It is only needed before the loop
    runs.

    Threads: call it, and `cancel()` on its result, in the loop's own thread; elsewhere both raise
    RuntimeError. A Deferred fired in another thread, which Twisted does not allow but cannot
    notice, still completes the Future, in the loop's thread.

    Raises TypeError if `deferred` is not a Deferred, RuntimeError if there is no running loop and
    none was given, or if `loop` is closed or not the one running in this thread.

    Twisted's counterpart: `Deferred.asFuture(loop)`, which does not wait for the clean-up, shows
    Twisted's CancelledError to asyncio code, which does not take it for a cancellation, and on
    Python 3.11 never completes if the Deferred fails with StopIteration.
    """
    if not _is_deferred(deferred):
        hint = "; use as_deferred() for that direction" if _is_awaitable(deferred) else ""
        raise TypeError(f"as_future() takes a Deferred, not {type(deferred).__name__!r}{hint}")
    return DeferredFuture(deferred, _usable_loop(loop, "as_future()"))


def as_deferred(
    awaitable: Awaitable[T], *, loop: asyncio.AbstractEventLoop | None = None
) -> Deferred[T]:
    """Return a Deferred that fires with what `awaitable` ends with.

    `awaitable` is a coroutine, a Task, a Future, or any object with `__await__`; what is not a
    Future yet becomes a Task, which the loop keeps alive until it ends, even if the Deferred is
    dropped. A Future that is done gives a Deferred that has fired. A Deferred is returned as it is.
    A coroutine that returns a Deferred is followed by that Deferred, as in any callback.

    Cancelling the Deferred cancels the Task or Future. As Twisted's rules demand, the Deferred
    counts as called from then on, but waits (like one whose callback returned a Deferred) until the
    task has ended: with `CancelledError`, or with what the task made of the cancellation. A second
    cancel cancels the task again. A task that somebody else cancels fails the Deferred with
    `CancelledError`, too. asyncio's own CancelledError is its `__cause__`.

    `loop` is the loop of the Task; None is the running one, or the one of a Future given.

    Threads: call it, and `cancel()` on its result, in the loop's own thread; elsewhere both raise
    RuntimeError. The Deferred always fires in the loop's thread.

    Raises TypeError if `awaitable` cannot be awaited, RuntimeError if there is no running loop and
    none was given, if `loop` is closed or not the one running in this thread, or if a Future given
    belongs to another loop.

    Twisted's counterparts: `Deferred.fromFuture(future)`, which takes Futures only, shows asyncio's
    CancelledError to Twisted code (so that `addTimeout` misses it) and ends at the second cancel
    without waiting; `Deferred.fromCoroutine` and `ensureDeferred`, whose coroutines can await
    Deferreds only.
    """
    from twisted.internet.defer import Deferred

    if isinstance(awaitable, Deferred):
        return awaitable
    if asyncio.isfuture(awaitable):
        future = cast("asyncio.Future[T]", awaitable)
        _check_own_loop(future, loop)
        return _Relay(future).deferred
    if not _is_awaitable(awaitable):
        hint = ""
        if isinstance(awaitable, concurrent.futures.Future):
            hint = "; asyncio.wrap_future() makes one of it"
        raise TypeError(f"as_deferred() takes an awaitable, not {type(awaitable).__name__!r}{hint}")
    chosen = _usable_loop(loop, "as_deferred()")
    return _Relay(asyncio.ensure_future(awaitable, loop=chosen), keep=True).deferred


class DeferredFuture(asyncio.Future[T]):
    """What `as_future` returns: a Future that waits for a Deferred and passes cancellation on."""

    def __init__(self, deferred: Deferred[T], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._deferred: Deferred[T] | None = deferred
        self._requested = False
        self._request_message: Any | None = None
        handover = _Handover(self)
        deferred.addCallbacks(handover.succeeded, handover.failed)

    def cancel(self, msg: Any | None = None) -> bool:
        """Ask the Deferred to stop; this Future ends when the Deferred has.

        Returns False if the Future is done, else True, as `Task.cancel()` does: it is a request.
        """
        if self.done():
            return False
        loop = self.get_loop()
        _check_thread(loop, "cancel() of a Future made by as_future()")
        deferred = self._deferred
        if deferred is None or not _can_be_cancelled(deferred):
            # It has fired and is held back by pause(), or is just now running its callbacks. No
            # canceller would be called, so there is no clean-up to wait for.
            return super().cancel(msg)
        self._requested = True
        self._request_message = msg
        try:
            deferred.cancel()
        except Exception as exc:
            # Twisted leaves such a Deferred unfired for ever, so do not wait for it.
            loop.call_exception_handler(
                {
                    "message": "The canceller of a Deferred raised an exception",
                    "exception": exc,
                    "future": self,
                }
            )
            super().cancel(msg)
        return True

    def forget_deferred(self) -> None:
        """Let go of the Deferred: whoever keeps the Future must not keep the Deferred with it."""
        self._deferred = None

    def take_result(self, result: T) -> bool:
        """Complete with the Deferred's result; False if it came too late."""
        if self.done():
            return False
        self.set_result(result)
        return True

    def take_failure(self, failure: Failure) -> bool:
        """Complete with the Deferred's failure; False if it came too late and is not told."""
        is_cancellation = _is_cancellation(failure, requested=self._requested)
        if self.done():
            # Cancelled while the Deferred could not be: that it is cancelled now is no news.
            return is_cancellation and self.cancelled()
        if is_cancellation:
            super().cancel(self._request_message if self._requested else _message(failure.value))
        else:
            self.set_exception(_exception_of(failure))
        return True


class _Handover(Generic[T]):
    """The last callback and errback of a Deferred that `as_future` was given.

    It lets go of the Future when it is called: the traceback of a failure refers to the frames of
    the Deferred, these to the callbacks they called last, and the Future to the failure.
    """

    __slots__ = ("_future",)

    def __init__(self, future: DeferredFuture[T]) -> None:
        self._future: DeferredFuture[T] | None = future

    def succeeded(self, result: T) -> T | None:
        future = self._let_go()
        loop = future.get_loop()
        if _is_here(loop):
            return None if future.take_result(result) else result
        loop.call_soon_threadsafe(future.take_result, result)
        return None

    def failed(self, failure: Failure) -> Failure | None:
        future = self._let_go()
        loop = future.get_loop()
        if _is_here(loop):
            # Returned to the Deferred, a failure that the Future does not take reaches Twisted's
            # log, unless the caller has added an errback of its own after this one.
            return None if future.take_failure(failure) else failure
        try:
            loop.call_soon_threadsafe(_take_failure_or_report, future, failure)
        except RuntimeError:
            # The loop is closed. The failure stays with the Deferred, for Twisted to report.
            return failure
        return None

    def _let_go(self) -> DeferredFuture[T]:
        future, self._future = self._future, None
        assert future is not None  # a Deferred calls one of the two, once
        future.forget_deferred()
        return future


def _take_failure_or_report(future: DeferredFuture[Any], failure: Failure) -> None:
    if not future.take_failure(failure):
        future.get_loop().call_exception_handler(
            {
                "message": "A Deferred failed after the Future waiting for it was done",
                "exception": _exception_of(failure),
                "future": future,
            }
        )


class _Relay:
    """Fires a Deferred with the end of a Future, and cancels the Future for the Deferred."""

    __slots__ = ("_future", "_keeper", "_target", "deferred")

    def __init__(self, future: asyncio.Future[Any], *, keep: bool = False) -> None:
        self._future = future
        self._keeper: set[Any] | None = None
        # The Deferred handed out, and the one to fire: another one after a cancel().
        self.deferred = self._target = self._new_deferred()
        if future.done():
            self._fire(future)
            return
        future.add_done_callback(self._fire)
        if keep:
            # The loop itself knows its tasks by weak reference only. Kept on the loop, and not in
            # a global, they go with a loop that is closed before they end, and say so.
            self._keeper = vars(future.get_loop()).setdefault("_interloop_bridge_tasks", set())
            self._keeper.add(future)

    def _new_deferred(self) -> Deferred[Any]:
        from twisted.internet.defer import Deferred

        deferred: Deferred[Any] = Deferred(self._cancel)
        return deferred.addCallback(_follow)

    def _cancel(self, deferred: Deferred[Any]) -> None:
        """The Deferred's canceller, which Twisted obliges to fire it before it returns."""
        _check_thread(self._future.get_loop(), "cancel() of a Deferred made by as_deferred()")
        self._future.cancel()
        self._target = self._new_deferred()
        deferred.callback(_ToBeContinued(self._target))

    def _fire(self, future: asyncio.Future[Any]) -> None:
        from twisted.python.failure import Failure

        if self._keeper is not None:
            self._keeper.discard(future)
        target = self._target
        if future.cancelled():
            failure = _cancelled_failure(future)
            target.errback(failure)
            self._do_not_report(failure)
        elif (exception := future.exception()) is not None:
            target.errback(Failure(exception))  # type: ignore[no-untyped-call]
        else:
            target.callback(future.result())

    def _do_not_report(self, failure: Failure) -> None:
        """If the cancellation came to the end of the chain unhandled, keep it out of the log.

        `asyncio.run()` cancels what is left when it ends, and the Deferreds of fire-and-forget
        tasks would all be reported. Later errbacks still get the failure.
        """
        # Deferred.__await__ does the same to mark a failure as seen; there is no public way.
        info = getattr(self.deferred, "_debugInfo", None)
        if info is not None and info.failResult is failure:
            info.failResult = None


class _ToBeContinued:
    """The result that fires a cancelled Deferred: the next one carries what the task ends with."""

    __slots__ = ("deferred",)

    def __init__(self, deferred: Deferred[Any]) -> None:
        self.deferred = deferred


def _follow(result: Any) -> Any:
    return result.deferred if type(result) is _ToBeContinued else result


def _is_deferred(given: object) -> bool:
    from twisted.internet.defer import Deferred

    return isinstance(given, Deferred)


def _is_awaitable(given: object) -> bool:
    return inspect.isawaitable(given)


def _can_be_cancelled(deferred: Deferred[Any]) -> bool:
    """Whether cancel() would find an unfired Deferred, here or where this one waits."""
    from twisted.internet.defer import Deferred

    while deferred.called:
        waits_for = deferred.result
        if not isinstance(waits_for, Deferred):
            return False
        deferred = waits_for
    return True


def _is_cancellation(failure: Failure, *, requested: bool) -> bool:
    """Whether a failure is the answer to a cancellation, of ours if one was `requested`.

    An answer to our own may come in other words: a connection attempt fails with
    ConnectingCancelledError, and an HTTP request or a list of Deferreds with an exception that has
    CancelledError among its reasons. Unrequested, those are failures like any other: they may well
    come from a time limit inside a library, and then nobody has cancelled the one who waits.
    """
    from twisted.internet.defer import CancelledError

    if isinstance(failure.value, (CancelledError, asyncio.CancelledError)):
        return True
    if not requested:
        return False
    from twisted.internet.error import ConnectingCancelledError

    if isinstance(failure.value, ConnectingCancelledError):
        return True
    return any(_is_cancellation(reason, requested=True) for reason in _reasons(failure.value))


def _reasons(exception: BaseException | None) -> list[Failure]:
    """The Failures that one of Twisted's wrapping exceptions is made of."""
    from twisted.python.failure import Failure

    found = [getattr(exception, "subFailure", None)]  # FirstError
    for name in "reasons", "failures":  # ResponseNeverReceived and its like; FailureGroup
        several = getattr(exception, name, None)
        if isinstance(several, (list, tuple)):
            found.extend(several)
    return [reason for reason in found if isinstance(reason, Failure)]


def _exception_of(failure: Failure) -> BaseException:
    """The exception in a Failure, ready to be raised by a Future, with the Failure's traceback."""
    value: object = failure.value
    if not isinstance(value, BaseException):
        value = _thrown_by(failure)
    traceback: object = failure.getTracebackObject()  # type: ignore[no-untyped-call]
    if isinstance(traceback, TracebackType):
        value.__traceback__ = traceback
    elif traceback is not None:
        # cleanFailure(), or a pickle from another process, left names and line numbers only.
        _add_note_once(value, f"From a Twisted Failure:\n{failure.getTraceback().rstrip()}")
    if isinstance(value, StopIteration):
        # It would end the coroutine that awaits it; Futures refuse it (3.11: with a TypeError).
        wrapped = RuntimeError("a Deferred failed with StopIteration, which no Future can raise")
        wrapped.__cause__ = value
        return wrapped
    return value


def _thrown_by(failure: Failure) -> BaseException:
    """What Twisted throws into its coroutines. One class of Failures has only a text, and makes the exception then: those
    that have come from another process with Perspective Broker."""
    from twisted.python.failure import Failure

    its_own = type(failure).throwExceptionIntoGenerator is not Failure.throwExceptionIntoGenerator
    value: object = failure.value
    if its_own or isinstance(value, BaseException):
        thrown: BaseException = failure.throwExceptionIntoGenerator(_Asks)  # type: ignore[no-untyped-call]
        return thrown
    # Twisted accepts any object, Python can raise exceptions only.
    return RuntimeError(f"a Deferred failed with {value!r}, which is not an exception")


class _Asks:
    """Stands for a generator, and answers what would be thrown into it."""

    @staticmethod
    def throw(error: BaseException) -> BaseException:
        return error


def _add_note_once(exception: BaseException, note: str) -> None:
    if note not in getattr(exception, "__notes__", ()):
        exception.add_note(note)


def _cancelled_failure(future: asyncio.Future[Any]) -> Failure:
    """A Failure with Twisted's CancelledError and the traceback of where the task was stopped."""
    from twisted.internet.defer import CancelledError
    from twisted.python.failure import Failure

    cause = _cancellation_of(future)
    cancelled = CancelledError(*cause.args).with_traceback(cause.__traceback__)
    cancelled.__cause__ = cause
    return Failure(cancelled)  # type: ignore[no-untyped-call]


def _cancellation_of(future: asyncio.Future[Any]) -> asyncio.CancelledError:
    try:
        future.result()
    except asyncio.CancelledError as exc:
        # Without the frame of this function, which refers to the Future.
        inner = exc.__traceback__.tb_next if exc.__traceback__ is not None else None
        return exc.with_traceback(inner)
    raise AssertionError("a cancelled Future returned a result")


def _message(cancelled: BaseException | None) -> Any | None:
    return cancelled.args[0] if cancelled is not None and cancelled.args else None


def _usable_loop(loop: asyncio.AbstractEventLoop | None, caller: str) -> asyncio.AbstractEventLoop:
    if loop is None:
        loop = _get_running_loop()
        if loop is None:
            raise RuntimeError(
                f"{caller} found no running event loop: call it in a coroutine or a callback of "
                "the loop, or pass loop="
            )
    else:
        _check_thread(loop, caller)
    if loop.is_closed():
        raise RuntimeError("Event loop is closed")
    return loop


def _check_own_loop(future: asyncio.Future[Any], loop: asyncio.AbstractEventLoop | None) -> None:
    own = future.get_loop()
    if loop is not None and loop is not own:
        raise RuntimeError(f"as_deferred() got {future!r}, which belongs to a different loop")
    _check_thread(own, f"as_deferred() with {future!r}")


def _is_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether Futures of `loop` may be touched in this thread now."""
    return _get_running_loop() is loop or not loop.is_running()


def _check_thread(loop: asyncio.AbstractEventLoop, what: str) -> None:
    """Raise RuntimeError if `loop` runs elsewhere, or another loop runs here."""
    running = _get_running_loop()
    if running is loop:
        return
    if running is not None:
        raise RuntimeError(f"{what} belongs to a different loop than the one that is running here")
    if loop.is_running():
        raise RuntimeError(
            f"{what} is for the thread of its loop only; use loop.call_soon_threadsafe()"
        )
