"""`callFromThread`: one queue, and one call of the loop per turn that it is not empty. And the pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.base import ReactorBase
from twisted.logger import Logger
from twisted.python.failure import Failure

from interloop._core import call_from_thread, run_thread_calls
from interloop.twisted.pool import ContextThreadPool

if TYPE_CHECKING:
    from interloop import Loop

_log = Logger()


def call_failed(error: BaseException) -> None:
    """Log what a call raised: anything, SystemExit included, as Twisted does."""
    failure = Failure(error)  # type: ignore[no-untyped-call]
    _log.failure("while calling from thread", failure)


def _nothing() -> None:
    pass


class ThreadCalls(ReactorBase):
    """IReactorFromThreads, for any thread.

    The queue is Twisted's: it keeps calls while there is no loop, and across loops. And it keeps
    Twisted's order, in which what thread calls ask for by `callFromThread` comes after the timers
    that are due by then.
    """

    _asyncioEventloop: Loop

    # Whether the loop is about to call _runThreadCalls. Whoever appends to the queue looks here
    # afterwards; whoever clears it looks into the queue afterwards. So no call is left behind.
    _thread_calls_due = False

    # Native, and for any thread. An entry of the queue is the function, its arguments and its context.
    callFromThread = call_from_thread

    def _initThreadPool(self) -> None:
        super()._initThreadPool()
        # Made in there; nothing runs in it yet.
        vars(self)["threadpool"].__class__ = ContextThreadPool

    def wakeUp(self) -> None:
        """Have the loop begin another turn."""
        if self._started:
            self._wake(_nothing)

    def _wake_for_thread_calls(self) -> None:
        self._thread_calls_due = True
        self._wake(self._runThreadCalls)

    def _wake(self, f: Callable[[], None]) -> None:
        loop = self._asyncioEventloop
        try:
            loop.call_soon_threadsafe(f)
        except RuntimeError:
            # It ends just now, seen from another thread: the next one looks into the queue.
            if not loop.is_closed():
                raise

    def _runThreadCalls(self) -> None:
        """Make the calls that are in the queue now."""
        self._thread_calls_due = True
        calls = self.threadCallQueue[:]
        # Others append meanwhile: no more is removed than was copied.
        del self.threadCallQueue[: len(calls)]
        run_thread_calls(calls)
        self._thread_calls_due = False
        if self.threadCallQueue:
            self._thread_calls_due = True
            loop = self._asyncioEventloop
            loop.call_at(loop.time(), self._runThreadCalls)

    def _look_for_thread_calls(self) -> None:
        """For a loop that begins to run: what was due on another one will not happen there."""
        self._thread_calls_due = False
        if self.threadCallQueue:
            self._thread_calls_due = True
            self._asyncioEventloop.call_soon(self._runThreadCalls)
