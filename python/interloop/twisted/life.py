"""When a reactor runs, and on which loop.

Two ways lead to a running reactor. `reactor.run()` runs the loop, and stops it. Or the loop runs
already, or somebody else starts it: then the reactor has joined it, and is running without a call. The
same events happen at the same moments either way: startup triggers before the loop's first turn,
shutdown triggers after `stop()`, and at the latest when the loop ends.

The installed reactor joins whatever loop runs next in the thread that installed it, any other reactor
its own loop only. Between two loops it stands on a loop that it makes itself, its home, and what is
scheduled and registered there moves with it.

Loops can also take turns, none of them closed: a test runner has one for the session and one for each
test. The reactor is on the one that runs, with all it has, and that is one life, which ends with the last
of these loops. What was registered on one of them is lost when that one closes, wherever it is by then.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from asyncio import AbstractEventLoop, runners
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from interloop import Loop, new_event_loop
from interloop._loop import lifecycle
from interloop.twisted.children import HAS_PIDFDS
from interloop.twisted.signals import Signals

# asyncio.run()'s own, which reports what tasks raise in answer.
cancel_all_tasks: Callable[[AbstractEventLoop], None] = runners._cancel_all_tasks  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from interloop.twisted.reactor import Reactor


class Life:
    """The life of one reactor; an observer of the loops.

    It is kept in the reactor's `__dict__` and serves it only while it is there: Twisted's
    ReactorBuilder lends the installed reactor another one's dict.
    """

    def __init__(self, reactor: Reactor, home: Loop | None) -> None:
        self._reactor = reactor
        self._thread = threading.get_ident()
        # The loop made for this reactor.
        self._home = home
        # Whether loops that are not the reactor's own are joined, too.
        self.follows: bool = False
        # Whether it was started by a loop that somebody else runs, and has not stopped since.
        self.joined: bool = False
        # Whether reactor.run() runs the loop, and whether that shall take the signals.
        self._owns = False
        self._takes_signals = False
        # The loops on which a joined reactor was stopped, or that have ended: it is not started there again.
        self._over: weakref.WeakSet[AbstractEventLoop] = weakref.WeakSet()
        # The loops that it has left in this life, the last one last, and what was registered on each of them. Weak, since
        # who gives up a loop unclosed shall hear of it from asyncio.
        self._left: weakref.WeakKeyDictionary[Loop, set[Any]] = weakref.WeakKeyDictionary()
        # Whether the shutdown triggers were called, and so used up.
        self._fired = False
        # Waited for in shutdown_asyncgens().
        self._end: asyncio.Future[None] | None = None
        # What ReactorBase has called during shutdown. Kept, since trial lends the reactor another crash() at times.
        self._at_shutdown = reactor.crash, reactor.disconnectAll
        self._await_shutdown()
        lifecycle.observe(self)

    def follow(self) -> None:
        """Join whatever loop runs in this thread, beginning with the one that runs now."""
        self.follows = True
        running = asyncio._get_running_loop()
        if running is not None:
            self.loop_started(running)

    def leave(self) -> None:
        """Follow no loop any more, and give up all that is scheduled and registered."""
        self.follows = False
        reactor = self._reactor
        reactor.disconnectAll()
        for call in reactor.getDelayedCalls():
            call.cancel()
        for reader in tuple(reactor._internalReaders):
            reactor._removeInternalReader(reader)
            reader.connectionLost(None)
        self._left.clear()
        self.end_home()

    def run(self, takes_signals: bool) -> None:
        """Run the loop until the reactor has stopped or crashed, whatever else may stop it."""
        reactor = self._reactor
        self._owns, self._takes_signals = True, takes_signals
        # Whichever thread runs it: Scrapy's shell has it in another than the one that installed it.
        thread, self._thread = self._thread, threading.get_ident()
        self._over.clear()
        reactor._exitSignal = None
        try:
            reactor._asyncioEventloop.run_forever()
        finally:
            self._owns = False
            self._thread = thread
            if reactor._started:
                # loop.stop(), or what left run_forever().
                reactor.crash()
            reactor._signals.uninstall()
            self._rearm()

    def stopped(self) -> None:
        """For `reactor.stop()`: have the shutdown triggers called, but not before it has returned."""
        self._reactor._asyncioEventloop.call_soon(self._fire_shutdown)

    def crashed(self) -> None:
        """For `reactor.crash()`: stop the loop if it is the reactor that runs it."""
        reactor = self._reactor
        loop = reactor._asyncioEventloop
        if self._owns:
            loop.stop()
        else:
            reactor._signals.uninstall()
        if self.joined:
            self.joined = False
            self._over.add(loop)
        if self._end is not None and not self._end.done():
            self._end.set_result(None)

    def loop_started(self, loop: AbstractEventLoop) -> None:
        reactor = self._reactor
        if not self._in_charge() or threading.get_ident() != self._thread:
            return
        if not self._stands_on(loop):
            old = vars(reactor).get("_asyncioEventloop")
            if not self.follows or not isinstance(loop, Loop):
                return
            if old is not None and old.is_running():
                # This one runs inside of it, or it is in another thread by now.
                return
            if old is not None and reactor._started:
                self._left[old] = set(self._registered_here())
            self._go_to(loop)
        if self._owns:
            if not reactor._started:
                self._left.clear()
                reactor.startRunning(installSignalHandlers=self._takes_signals)
            elif self.joined:
                # Started by the loop when somebody else ran it, and run() carries on.
                self.joined = False
                if self._takes_signals:
                    self._use_signals(stops=True)
        elif not reactor._started and loop not in self._over:
            self._left.clear()
            self.joined = True
            reactor.startRunning(installSignalHandlers=False)
            if not HAS_PIDFDS and threading.current_thread() is threading.main_thread():
                self._use_signals(stops=False)
        reactor._look_for_thread_calls()

    def loop_stopping(self, loop: AbstractEventLoop) -> Awaitable[None] | None:
        if not self._in_charge() or not self._stands_on(loop) or self._owns:
            return None
        self._over.add(loop)
        # Else it lives on where it was before.
        ends = self._reactor._started and not self._paused()
        return self._shut_down() if ends else None

    async def _shut_down(self) -> None:
        reactor = self._reactor
        end = self._end = asyncio.get_running_loop().create_future()
        if not reactor._stopped:
            reactor.stop()
        # A "before" trigger may have returned a Deferred, which may take its time.
        await end

    def loop_closing(self, loop: AbstractEventLoop) -> None:
        if loop is self._home:
            self._home = None
        reactor = self._reactor
        if not self._in_charge() or not isinstance(loop, Loop):
            return
        if not self._stands_on(loop):
            lost = self._left.pop(loop, None)
            if lost and threading.get_ident() == self._thread:
                reactor._disconnect([held for held in reactor._held() if held in lost])
            return
        paused = self._paused()
        if paused:
            reactor._disconnect(self._registered_here())
            if reactor._started or reactor._held():
                self._go_to(paused[-1])
                return
        if reactor._started:
            # Closed without shutdown_asyncgens(): no coroutine and no Deferred can be waited for.
            if not reactor._stopped:
                reactor.stop()
            self._fire_shutdown()
            if reactor._started:
                reactor.crash()
        reactor.disconnectAll()
        # Those that neither read nor write, which no reactor takes for registered, would end unheard.
        reactor._disconnect_rest()
        if reactor.getDelayedCalls() or reactor.getReaders():
            self._go_to(self.home())
        else:
            del reactor._asyncioEventloop

    def home(self) -> Loop:
        """The loop to stand on while there is no other."""
        if self._home is None:
            self._home = new_event_loop()
        return self._home

    def close_home(self) -> None:
        """Close the loop that was made for this reactor, if it is still there."""
        if self._home is not None and not self._home.is_running():
            self._home.close()

    def end_home(self) -> None:
        """As `close_home`, in the way of `asyncio.run`: tasks are cancelled and end first. Where that cannot be, in
        another thread or beside a loop that runs, it is only closed."""
        loop = self._home
        if (
            loop is not None
            and not loop.is_running()
            and threading.get_ident() == self._thread
            and asyncio._get_running_loop() is None
        ):
            # The loop runs once more, and the reactor does not, there or on a loop that was left alone.
            self._over.update((loop, self._reactor._asyncioEventloop, *self._left))
            try:
                cancel_all_tasks(loop)
                loop.run_until_complete(loop.shutdown_asyncgens())
            finally:
                self.close_home()
        else:
            self.close_home()

    def _in_charge(self) -> bool:
        return vars(self._reactor).get("_life") is self

    def _stands_on(self, loop: AbstractEventLoop) -> bool:
        # Not by the attribute, which would make a loop where there is none.
        return vars(self._reactor).get("_asyncioEventloop") is loop

    def _paused(self) -> list[Loop]:
        """The loops that the reactor has left in this life and that may run again, the last one last."""
        return [
            loop
            for loop in self._left
            if not loop.is_closed() and not loop.is_running() and loop not in self._over
        ]

    def _registered_here(self) -> list[Any]:
        """What is lost with the loop on which the reactor stands."""
        elsewhere = set[Any]().union(*self._left.values())
        return [held for held in self._reactor._held() if held not in elsewhere]

    def _go_to(self, loop: Loop) -> None:
        """Stand on `loop` from now on, with all that is scheduled and registered."""
        reactor = self._reactor
        old = vars(reactor).get("_asyncioEventloop")
        reactor._asyncioEventloop = loop
        self._left.pop(loop, None)
        if old is not None:
            reactor._take_timers(old)
            reactor._take_descriptors(old)
        if isinstance(reactor._signals, Signals):
            reactor._signals.move()
        if reactor._justStopped:
            # The triggers were to be called in a turn that the other loop did not come to.
            self.stopped()

    def _use_signals(self, *, stops: bool) -> None:
        self._reactor._signals = Signals(self._reactor, stops=stops)
        self._reactor._signals.install()

    def _fire_shutdown(self) -> None:
        reactor = self._reactor
        if not reactor._justStopped:
            return
        reactor._justStopped = False
        reactor.fireSystemEvent("shutdown")

    def _await_shutdown(self) -> None:
        """Learn of the shutdown triggers' being called, by whomever: `fireSystemEvent` is for everybody."""
        self._fired = False
        self._reactor.addSystemEventTrigger("during", "shutdown", self._shutdown_fired)

    def _shutdown_fired(self) -> None:
        self._fired = True
        if not self._owns:
            self._reactor.addSystemEventTrigger("after", "shutdown", self._rearm)

    def _rearm(self) -> None:
        """Make the reactor that has stopped one that can be started."""
        reactor = self._reactor
        reactor._startedBefore = False
        reactor._justStopped = False
        if self._fired:
            # In __init__'s order; crash() has put back the one for startup.
            for call in self._at_shutdown:
                reactor.addSystemEventTrigger("during", "shutdown", call)
            self._await_shutdown()
