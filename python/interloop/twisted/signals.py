"""The process's signals while a reactor has them, given back when it ends.

Twisted leaves its handlers behind. Here another owner may come next (`interloop.run()`), which would
find that Ctrl-C still calls a reactor that is gone.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import TYPE_CHECKING, Any

from twisted.internet import process

if TYPE_CHECKING:
    from interloop import Loop
    from interloop.twisted.reactor import Reactor


class Signals:
    """SIGCHLD reaps children, and if `stops`, then SIGINT, SIGTERM and SIGBREAK stop the reactor.

    Set and given back in the main thread, elsewhere `install` raises ValueError. Counterpart:
    `PosixReactorBase._signalsFactory`, which takes the process's wakeup fd, whoever had it: a loop's
    `add_signal_handler`, for one, hears nothing after that.
    """

    def __init__(self, reactor: Reactor, *, stops: bool) -> None:
        self._reactor = reactor
        self._stops = stops
        # Our handler, and the one before it, of every signal that we have.
        self._taken: dict[int, tuple[Any, Any]] = {}
        # SIGCHLD's, which is called after ours.
        self._before_reap: Any = None
        self._pipe: _WakeupPipe | None = None

    def install(self) -> None:
        reactor = self._reactor
        if self._stops:
            # Somebody else's SIGINT handler (a debugger's) stays, as in Twisted.
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                self._take(signal.SIGINT, reactor.sigInt)
            self._take(signal.SIGTERM, reactor.sigTerm)
            if hasattr(signal, "SIGBREAK"):
                self._take(signal.SIGBREAK, reactor.sigBreak)
        self._before_reap = signal.getsignal(signal.SIGCHLD)
        self._take(signal.SIGCHLD, self._reap)
        # What fails in the middle of a system call is restarted by it: not everyone expects EINTR.
        signal.siginterrupt(signal.SIGCHLD, False)
        self._pipe = _WakeupPipe(reactor._asyncioEventloop)
        # Children that ended before there was a handler.
        process.reapAllProcesses()

    def uninstall(self) -> None:
        """Give everything back but what somebody else has taken since. Again: nothing."""
        while self._taken:
            number, (ours, before) = self._taken.popitem()
            # A handler that was not set from Python reads as None and cannot be set from here.
            if before is not None and signal.getsignal(number) == ours:
                signal.signal(number, before)
        if self._pipe is not None:
            self._pipe.give_back()
            self._pipe = None

    def move(self) -> None:
        """The reactor has gone to another loop, which is to be woken from now on."""
        if self._pipe is not None:
            self._pipe.give_back()
            self._pipe = _WakeupPipe(self._reactor._asyncioEventloop)

    def _take(self, number: int, handler: Any) -> None:
        self._taken[number] = (handler, signal.getsignal(number))
        signal.signal(number, handler)

    def _reap(self, number: int, frame: FrameType | None) -> None:
        # Also called when it is not ours any more: whoever kept it in one run may put it back in another.
        loop = vars(self._reactor).get("_asyncioEventloop")
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(process.reapAllProcesses)
        if callable(self._before_reap):
            self._before_reap(number, frame)


class _WakeupPipe:
    """Has a signal end the loop's sleep also if it comes just before the loop lies down.

    If somebody has the process's wakeup fd already, then it is the loop's and does the same.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._reader, self._writer = os.pipe()
        for fd in (self._reader, self._writer):
            os.set_blocking(fd, False)
        current = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        if current == -1:
            loop._add_reader(self._reader, os.read, self._reader, 4096)
        else:
            signal.set_wakeup_fd(current, warn_on_full_buffer=False)
            self._close()

    def give_back(self) -> None:
        if self._writer == -1:
            return
        self._loop._remove_reader(self._reader)
        current = signal.set_wakeup_fd(-1)
        if current == self._writer:
            self._close()
        else:
            # Somebody has taken it from us, and may still hand on what arrives to a number that must
            # not name another file by then. So the pipe stays open.
            signal.set_wakeup_fd(current, warn_on_full_buffer=False)

    def _close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)
        self._reader = self._writer = -1
