"""`callFromThread`: one queue, and one call of the loop per turn that it is not empty."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.base import ReactorBase
from twisted.logger import Logger

if TYPE_CHECKING:
    from interloop import Loop

_failures = Logger().failureHandler("while calling from thread")


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

    def callFromThread(self, f: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """Call `f` in the loop's thread, in the order of the calls, in a copy of the caller's context.

        At any time: what comes while the reactor is not running waits until it is.
        """
        assert callable(f), f"{f} is not callable"
        self.threadCallQueue.append((contextvars.copy_context().run, (f, *args), kwargs))
        if self._started and not self._thread_calls_due:
            self._thread_calls_due = True
            self._wake(self._runThreadCalls)

    def wakeUp(self) -> None:
        """Have the loop begin another turn."""
        if self._started:
            self._wake(_nothing)

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
        for run, args, kwargs in calls:
            with _failures:
                run(*args, **kwargs)
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
