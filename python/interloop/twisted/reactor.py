"""The reactor: Twisted's asyncio reactor with the Rust loop's timers, watchers and cross-thread queue."""

from __future__ import annotations

import asyncio
import threading
from asyncio import tasks
from typing import TYPE_CHECKING, Any

from twisted.internet import error
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.base import ReactorBase
from twisted.internet.interfaces import IReactorDaemonize
from zope.interface import implementer  # type: ignore[import-untyped]

from interloop import Loop, new_event_loop
from interloop.twisted.children import Children
from interloop.twisted.descriptors import Descriptors
from interloop.twisted.life import Life
from interloop.twisted.signals import Signals
from interloop.twisted.streams import Streams
from interloop.twisted.threads import ThreadCalls
from interloop.twisted.timers import TimedCalls


@implementer(IReactorDaemonize)
# misc: ReactorBase and AsyncioSelectorReactor disagree about the name of callFromThread's first argument.
class Reactor(  # type: ignore[misc]
    TimedCalls, ThreadCalls, Streams, Descriptors, Children, AsyncioSelectorReactor
):
    """Twisted's reactor on an `interloop.Loop`.

    It takes the given loop, else the one that runs, else makes one. In a loop that runs, or is run by
    somebody else later, it is running, without a call to `run()`; see `interloop.twisted.life`.

    All methods belong to the loop's thread, but for `callFromThread` and `wakeUp`. Raises TypeError
    for a loop that is not an `interloop.Loop`. Counterparts: `AsyncioSelectorReactor`, whose instances
    these are (Scrapy and pytest-twisted look for that class), and `EPollReactor`, whose behaviour is
    kept where the two differ.
    """

    # Where install() is: Twisted's own tests, for one, look it up by the reactor's module.
    __module__ = "interloop.twisted"

    _asyncioEventloop: Loop

    def __init__(self, eventloop: asyncio.AbstractEventLoop | None = None) -> None:
        running = asyncio._get_running_loop()
        home = None
        if eventloop is None:
            eventloop = running
        if eventloop is None:
            eventloop = home = new_event_loop()
        if not isinstance(eventloop, Loop):
            raise TypeError(
                f"this reactor runs on interloop.Loop, not on {eventloop!r}: start the program "
                "with interloop.run(), or give the loop's owner interloop.new_event_loop"
            )
        self._connections = set()
        self._ports = set()
        AsyncioSelectorReactor.__init__(self, eventloop)
        self._life = Life(self, home)
        if eventloop is running:
            self._life.loop_started(eventloop)

    def __getattr__(self, name: str) -> Any:
        # Its loop was closed, and it is not known yet which one comes next.
        if name == "_asyncioEventloop" and "_life" in self.__dict__:
            self._asyncioEventloop = self._life.home()
            return self._asyncioEventloop
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __del__(self) -> None:
        # Taken away first: closing the loop would else tell it to move.
        life = self.__dict__.pop("_life", None)
        if life is not None:
            life.close_home()

    # IReactorCore

    def run(self, installSignalHandlers: bool = True) -> None:
        """Run the loop until `stop()` or `crash()`.

        Raises ReactorNotRestartable after `stop()` until the `run()` that was stopped has returned,
        ReactorAlreadyRunning when the reactor, or any loop in this thread, is running: there is no
        need then. SIGINT, SIGTERM and SIGCHLD have their handlers back when it returns.
        """
        if self._startedBefore:
            raise error.ReactorNotRestartable()
        paused = self._life.joined and not self._asyncioEventloop.is_running()
        if asyncio._get_running_loop() is not None or (self._started and not paused):
            raise error.ReactorAlreadyRunning()
        self._life.run(installSignalHandlers)

    def mainLoop(self) -> None:
        """Run the loop until the reactor stops. For those who have called `startRunning()`."""
        self._life.run(False)

    def stop(self) -> None:
        """Have the shutdown triggers called in the loop's next turn. A loop that was not started by
        `run()` goes on. Raises ReactorNotRunning when it is not running or stopping already."""
        ReactorBase.stop(self)
        self._life.stopped()

    def crash(self) -> None:
        """Stop without shutdown triggers; `run()` returns at the end of the turn."""
        ReactorBase.crash(self)
        self._life.crashed()

    def iterate(self, delay: float | None = 0.0) -> None:
        """One turn of the loop, which waits for `delay` seconds at most: 0 does not wait, None waits
        for as long as it takes. Counterpart: `ReactorBase.iterate`."""
        self._runThreadCalls()
        loop = self._asyncioEventloop
        running = asyncio._get_running_loop()
        if running is loop:
            self._turn_within(delay)
            return
        asyncio._set_running_loop(loop)
        loop._thread_id = threading.get_ident()
        try:
            loop._turn(delay)
        finally:
            loop._thread_id = None
            asyncio._set_running_loop(running)

    def _turn_within(self, delay: float | None) -> None:
        """A turn from within one, in a coroutine's step perhaps: no other could begin one while its task is the current one."""
        loop = self._asyncioEventloop
        task: Any = asyncio.current_task(loop)
        if task is None:
            loop._turn(delay)
            return
        tasks._leave_task(loop, task)
        try:
            loop._turn(delay)
        finally:
            tasks._enter_task(loop, task)

    if TYPE_CHECKING:

        def doIteration(self, delay: float | None) -> None:
            """What `ReactorBase` calls a turn in its own main loop."""

    else:
        doIteration = iterate

    def runUntilCurrent(self) -> None:
        """Call what is due. Counterpart: `ReactorBase.runUntilCurrent`, which does no I/O."""
        self.iterate(0.0)

    def installWaker(self) -> None:
        """Nothing: the loop has a waker of its own."""

    def _signalsFactory(self) -> Signals:
        return Signals(self, stops=True)

    # IReactorDaemonize

    def beforeDaemonize(self) -> None:
        """Nothing to do: a fork leaves the parent's loop alone."""

    def afterDaemonize(self) -> None:
        """In the forked child: give the loop a poller of its own, with all that is registered."""
        self._asyncioEventloop._after_fork()


# Code that does not want to import reactors goes by the name, and expects of this one what it expects of
# the class whose place it takes. The qualified name, which people see, stays ours.
Reactor.__name__ = AsyncioSelectorReactor.__name__
