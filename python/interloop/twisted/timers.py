"""`callLater` on the loop's own timers: one `TimerHandle` per DelayedCall, and no heap here."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet import base
from twisted.logger import Logger

from interloop._core import TimerHandle

if TYPE_CHECKING:
    from interloop import Loop

_log = Logger()
_failures = _log.failureHandler("while handling timed call")

# A call that comes early by the reactor's clock, but by less than this many seconds, waits for the
# rest. Timers run on the monotonic clock, getTime() tells the wall clock's time: they differ by
# rounding always, and by more when the wall clock is set. LoopingCall would take a call that comes a
# microsecond early for one interval, and the next one a microsecond later for another. After a larger
# step the wall clock says nothing about how long to wait, and the monotonic clock decides.
_SET_CLOCK = 1.0

# What epoll_wait(2) can wait for; Twisted's own limit for timeout().
_LONGEST_TIMEOUT = 2147483.0


class DelayedCall(base.DelayedCall):
    """Twisted's DelayedCall, its place in the loop's heap kept by the handle.

    `time`, `delayed_time` and what is computed from them tell the reactor's `seconds()`; the handle's
    deadline is the loop's monotonic time and follows every `reset` and `delay` at once.
    """

    _handle: Any = None
    # What Twisted's constructor would write into each call: most are cancelled, or called once.
    cancelled = called = 0
    delayed_time = 0

    def __init__(
        self,
        time: float,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kw: dict[str, Any],
        seconds: Callable[[], float],
    ) -> None:
        self.time: float = time
        self.func: Callable[..., Any] = func
        self.args: tuple[Any, ...] = args
        self.kw: dict[str, Any] = kw
        self.seconds: Callable[[], float] = seconds
        if self.debug:
            # Without this constructor and callLater.
            self.creator: Sequence[str] | None = traceback.format_stack()[:-2]

    @staticmethod
    def canceller(call: base.DelayedCall) -> None:
        assert isinstance(call, DelayedCall)
        handle, call._handle = call._handle, None
        handle.cancel()

    @staticmethod
    def resetter(call: base.DelayedCall) -> None:
        """Nothing: `reset` and `delay` move the handle whichever way the time went."""

    def reset(self, secondsFromNow: float) -> None:
        super().reset(secondsFromNow)
        self._move(self._handle._loop.time() + secondsFromNow)

    def delay(self, secondsLater: float) -> None:
        super().delay(secondsLater)
        self._move(self._due() + secondsLater)

    def _due(self) -> float:
        """On the loop's clock."""
        # Without a delay it waits for its turn, not for a time.
        when: Callable[[], float] = getattr(self._handle, "when", self._handle._loop.time)
        return when()

    def _move(self, when: float) -> None:
        handle = self._handle
        if not isinstance(handle, TimerHandle) or not handle._reschedule(when):
            # Due already, and behind other callbacks of this turn.
            self._move_to(handle._loop, when)

    def _move_to(self, loop: Loop, when: float) -> None:
        """Leave the handle for a new one, in the same context."""
        old = self._handle
        self._handle = loop.call_at(when, old._callback, *old._args, context=old._context)
        old.cancel()


def _run(call: DelayedCall, state: dict[str, Any]) -> None:
    early = call.getTime() - call.seconds()
    if 0.0 < early < _SET_CLOCK:
        loop = call._handle._loop
        call._move_to(loop, loop.time() + early)
        return
    call._handle = None
    call.called = 1
    with (
        _failures
        if call.creator is None
        else _log.failuresHandled(
            "while handling timed call {previous()}", previous=lambda: _creation(call)
        )
    ):
        call.func(*call.args, **call.kw)


def _creation(call: DelayedCall) -> str:
    lines = "".join(call.creator or ()).rstrip().replace("\n", "\n C:")
    return f"\n C: from a DelayedCall created here:\n C:{lines}\n"


class TimedCalls:
    """IReactorTime. All of it belongs to the loop's own thread."""

    _asyncioEventloop: Loop
    seconds: Callable[[], float]

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: object, **kw: object
    ) -> DelayedCall:
        """Call `callable` in `delay` seconds (at least 0), in a copy of the current context.

        Counterpart: `ReactorBase.callLater`, whose calls run in whatever context is the loop's.
        """
        assert delay >= 0, f"{delay} is not greater than or equal to 0 seconds"
        call = DelayedCall(self.seconds() + delay, callable, args, kw, self.seconds)
        loop = self._asyncioEventloop
        if delay == 0 and not loop._is_timer_due():
            # Before any event that the next poll brings, as on Twisted's own reactors, which make due calls and poll
            # in turn: ClientCreator, for one, tells of a connection so, and must not be overtaken by its first data.
            call._handle = loop.call_soon(_run, call, self.__dict__)
            return call
        # Read after seconds(), so that the call is not due before getTime().
        call._handle = loop.call_at(loop.time() + delay, _run, call, self.__dict__)
        return call

    def getDelayedCalls(self) -> list[Any]:
        """The calls that are still to be made, soonest first.

        Raises nothing; costs one pass over everything the loop has scheduled, for whomever.
        """
        return [handle._args[0] for handle in self._timers()]

    def timeout(self) -> float | None:
        """Seconds until the next DelayedCall is due, at most 2147483; None if there is none."""
        handle = next(self._timers(), None)
        if handle is None:
            return None
        due: float = handle._args[0]._due() - self._asyncioEventloop.time()
        return max(0.0, min(due, _LONGEST_TIMEOUT))

    def _timers(self, loop: Loop | None = None) -> Iterator[Any]:
        """The handles of the DelayedCalls on `loop` (default: the reactor's), soonest first.

        In front stand those whose time has come in this turn, and which wait for their place in it.
        """
        loop = loop or self._asyncioEventloop
        for handle in (*loop._ready, *loop._scheduled):
            # A cancelled handle has no callback.
            if handle._callback is _run and handle._args[1] is self.__dict__:
                yield handle

    def _take_timers(self, old: Loop) -> None:
        """Take the DelayedCalls on `old` over to the reactor's loop. All loops count on one clock."""
        for handle in tuple(self._timers(old)):
            call = handle._args[0]
            call._move_to(self._asyncioEventloop, call._due())
