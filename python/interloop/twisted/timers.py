"""`callLater` on the loop's own timers: the DelayedCall is native, and there is no heap here."""

from __future__ import annotations

import time
import traceback
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from interloop._core import DelayedCall, call_later, delayed_calls

if TYPE_CHECKING:
    from interloop import Loop

_log = Logger()

# What epoll_wait(2) can wait for; Twisted's own limit for timeout().
_LONGEST_TIMEOUT = 2147483.0

# What `seconds` is mostly, and need not be called to know. A clock that somebody has put there is called.
WALL_CLOCK: object = time.time if isinstance(time.time, BuiltinFunctionType) else object()


class TimedCalls:
    """IReactorTime. All of it belongs to the loop's own thread."""

    _asyncioEventloop: Loop

    # Native: most calls are cancelled, and cost what it costs to make the object.
    callLater = call_later

    def getDelayedCalls(self) -> list[Any]:
        """The calls that are still to be made, soonest first.

        Raises nothing; costs one pass over everything the loop has scheduled, for whomever.
        """
        return delayed_calls(self._asyncioEventloop, self.__dict__)

    def timeout(self) -> float | None:
        """Seconds until the next DelayedCall is due, at most 2147483; None if there is none."""
        call = next(iter(self.getDelayedCalls()), None)
        if call is None:
            return None
        due: float = call._due() - self._asyncioEventloop.time()
        return max(0.0, min(due, _LONGEST_TIMEOUT))

    def _take_timers(self, old: Loop) -> None:
        """Take the DelayedCalls on `old` over to the reactor's loop."""
        for call in delayed_calls(old, self.__dict__):
            call._move(self._asyncioEventloop)


def creator() -> list[str]:
    """Where `callLater` was called: for debug mode. The native caller has no frame to leave out."""
    return traceback.format_stack()[:-1]


def call_failed(call: DelayedCall, error: BaseException) -> None:
    """Log what a call raised: anything, SystemExit included, as Twisted does."""
    failure = Failure(error)  # type: ignore[no-untyped-call]
    if call.creator is None:
        _log.failure("while handling timed call", failure)
        return
    lines = "".join(call.creator).rstrip().replace("\n", "\n C:")
    previous = f"\n C: from a DelayedCall created here:\n C:{lines}\n"
    _log.failure("while handling timed call {previous()}", failure, previous=lambda: previous)
