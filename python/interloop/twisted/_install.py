"""Make ours the reactor that `from twisted.internet import reactor` gives, and undo it."""

from __future__ import annotations

import asyncio
import atexit
import sys
from asyncio import AbstractEventLoop
from typing import Any

import twisted.internet
from twisted.internet.error import ReactorAlreadyInstalledError
from twisted.internet.main import installReactor

from interloop import Loop
from interloop.twisted import awaiting
from interloop.twisted.culprit import who_installed
from interloop.twisted.reactor import Reactor

try:
    from interloop.twisted import tls
except ImportError:
    # Without pyOpenSSL Twisted has no TLS either.
    tls = None  # type: ignore[assignment]

_NAME = "twisted.internet.reactor"

# The loop that install() has made the current one of its thread, and what `_current()` was before.
_made_current: tuple[AbstractEventLoop, tuple[AbstractEventLoop | None, bool]] | None = None


def install(eventloop: Loop | None = None) -> Reactor:
    """Install a `Reactor` as the global one and return it. Again: return the one that is installed.

    It stands on `eventloop`, else on the loop that runs in this thread, else on a new one, which becomes
    the thread's current loop. From then on it joins every `interloop.Loop` that runs in this thread, so
    that inside `interloop.run()` nothing else is needed; where nobody runs a loop, `reactor.run()` does.

    Call it before anything imports `twisted.internet.reactor`. Raises ReactorAlreadyInstalledError if
    another reactor is installed (it says where that is likely to have happened), or ours on another
    loop than `eventloop`; TypeError if the loop that runs is not an `interloop.Loop`. Counterpart:
    `twisted.internet.asyncioreactor.install`.
    """
    installed: Any = sys.modules.get(_NAME)
    if installed is None:
        reactor = Reactor(eventloop)
        installReactor(reactor)  # type: ignore[no-untyped-call]
        if asyncio._get_running_loop() is None:
            _make_current(reactor._asyncioEventloop)
        atexit.register(reactor._life.end_home)
    elif not isinstance(installed, Reactor):
        raise ReactorAlreadyInstalledError(
            f"{who_installed(installed)}; call interloop.twisted.install() before anything imports "
            f"{_NAME}"
        )
    elif eventloop is not None and eventloop is not installed._asyncioEventloop:
        raise ReactorAlreadyInstalledError(
            f"interloop's reactor is installed already, on {installed._asyncioEventloop!r}"
        )
    else:
        reactor = installed
    awaiting.enable()
    reactor._life.follow()
    if tls is not None:
        tls.offer()
    return reactor


def uninstall() -> None:
    """Undo `install()`: the next import of `twisted.internet.reactor` installs a new reactor.

    The thread's current loop is what it was before, unless somebody has set another one since.
    Selectables still registered get `connectionLost`, calls still scheduled are cancelled. Modules that
    have imported the reactor keep it; it follows no loop any more. Nothing happens if ours is not
    installed. Raises RuntimeError if it is running.
    """
    reactor: Any = sys.modules.get(_NAME)
    if not isinstance(reactor, Reactor):
        return
    if reactor._started:
        raise RuntimeError("the reactor is running: stop it, or the loop that it has joined, first")
    del sys.modules[_NAME]
    if getattr(twisted.internet, "reactor", None) is reactor:
        del twisted.internet.reactor
    awaiting.disable()
    atexit.unregister(reactor._life.end_home)
    if tls is not None:
        tls.withdraw()
    _give_back_current()
    reactor._life.leave()


def _make_current(loop: Loop) -> None:
    global _made_current
    _made_current = (loop, _current())
    asyncio.set_event_loop(loop)


def _give_back_current() -> None:
    global _made_current
    if _made_current is None:
        return
    ours, before = _made_current
    _made_current = None
    # In another thread it is not ours either.
    if _current()[0] is not ours:
        return
    loop, was_set = before
    asyncio.set_event_loop(loop)
    if not was_set:
        _policy_record()._set_called = False


def _current() -> tuple[AbstractEventLoop | None, bool]:
    """The thread's current loop, if it has one; and whether that was decided, or asking for it would make one.

    Only asking tells from CPython 3.14 on, which makes none. Before that asking would make a loop, with a DeprecationWarning, so
    the policy's own record is read. A policy that keeps none is asked.
    """
    record = None if sys.version_info >= (3, 14) else _policy_record()
    if record is not None:
        return record._loop, record._set_called
    try:
        return asyncio.get_event_loop(), True
    except RuntimeError:
        return None, True


def _policy_record() -> Any:
    return getattr(asyncio.get_event_loop_policy(), "_local", None)
