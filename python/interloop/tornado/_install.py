"""Make Tornado choose our IOLoop and our streams, and undo it."""

from __future__ import annotations

import asyncio
import functools
import sys
from types import ModuleType
from typing import Any, NamedTuple

import tornado.ioloop
import tornado.iostream

from interloop import Loop, new_event_loop
from interloop.tornado.ioloop import IOLoop, MainIOLoop
from interloop.tornado.streams import IOStream, SSLIOStream

_Stock = tornado.ioloop.IOLoop
_stock_current = _Stock.current
_StockStream = tornado.iostream.IOStream
_STREAMS: dict[Any, Any] = {
    tornado.iostream.IOStream: IOStream,
    tornado.iostream.SSLIOStream: SSLIOStream,
}


class _Replaced(NamedTuple):
    """What stood where ours stands now."""

    configuration: tuple[Any, Any]
    current: Any


_replaced: _Replaced | None = None

# Ours, once it has replaced something in Tornado's.
_websockets: ModuleType | None = None


def install() -> None:
    """Make Tornado's IOLoops ours: those made by ``tornado.ioloop.IOLoop()``, and those that
    ``IOLoop.current()`` makes for an :class:`interloop.Loop`, or for a thread with no event loop
    (for which it makes an ``interloop.Loop``).

    From then on ``tornado.iostream.IOStream(...)`` makes an :class:`interloop.tornado.IOStream` where the current IOLoop
    stands on an :class:`interloop.Loop`, whoever calls it: TCPServer, TCPClient and all that is made of them; likewise
    ``SSLIOStream``. Subclasses of Tornado's are made as they were. Websockets take their frames natively from such streams; where a program
    has a way of its own to read, or replaces one, they go that way.

    IOLoops that exist already stay what they are, as does what ``AsyncIOLoop()`` and
    ``AsyncIOMainLoop()`` make when an application names them. Keyword arguments given to an earlier
    ``IOLoop.configure`` stay in force. A second call changes nothing. Counterpart:
    ``IOLoop.configure``; call it from one thread, before the application makes its IOLoops.
    """
    global _replaced
    if _replaced is not None:
        return
    configuration = _Stock._save_configuration()
    replaced = _Replaced(configuration, _Stock.current)
    _Stock.configure(IOLoop, **(configuration[1] or {}))
    _Stock.current = staticmethod(_current)  # type: ignore[method-assign, assignment]
    if "__new__" not in vars(_StockStream):
        _StockStream.__new__ = _new_stream  # type: ignore[method-assign]
    _replaced = replaced
    _replace_websockets()


def uninstall() -> None:
    """Undo :func:`install`; IOLoops and streams made meanwhile keep working. Without an install nothing
    happens, and what somebody else configured or replaced since then stays."""
    global _replaced, _websockets
    if _replaced is None:
        return
    if _Stock.configured_class() is IOLoop:
        _Stock._restore_configuration(_replaced.configuration)
    if _Stock.current is _current:
        _Stock.current = staticmethod(_replaced.current)  # type: ignore[method-assign]
    if _websockets is not None:
        _websockets.uninstall()
        _websockets = None
    _replaced = None


def _replace_websockets() -> None:
    """Have websockets take frames natively. Not before the program has imported them: it may never need them, and they
    bring all of Tornado's web framework."""
    global _websockets
    if _websockets is None and "tornado.websocket" in sys.modules:
        from interloop.tornado import websockets

        websockets.install()
        _websockets = websockets


def _new_stream(cls: Any, *args: Any, **kwargs: Any) -> Any:
    """``IOStream.__new__``, which SSLIOStream inherits. It stays after :func:`uninstall`, and lets everything pass: a class whose ``__new__`` was
    taken away again refuses arguments."""
    if _replaced is not None and (ours := _STREAMS.get(cls)) is not None:
        loop = getattr(_Stock.current(), "asyncio_loop", None)
        if isinstance(loop, Loop):
            _replace_websockets()
            return ours.__new__(ours)
    new: Any = super(_StockStream, cls).__new__
    return new(cls) if new is object.__new__ else new(cls, *args, **kwargs)


def _current(instance: bool = True) -> tornado.ioloop.IOLoop | None:
    """``IOLoop.current`` while installed; afterwards Tornado's, for those who kept a reference."""
    running = asyncio._get_running_loop()
    # The usual case by far: Tornado asks several times per request.
    if running is not None and (known := _Stock._ioloop_for_asyncio.get(running)) is not None:
        return known
    if instance and _replaced is not None:
        if running is None and not _thread_has_loop():
            asyncio.set_event_loop(new_event_loop())
        loop = running or asyncio.get_event_loop()
        if isinstance(loop, Loop) and loop not in _Stock._ioloop_for_asyncio:
            main: IOLoop = MainIOLoop()
            return main
    return _stock_current(instance)


def _thread_has_loop() -> bool:
    """Whether ``asyncio.get_event_loop()`` would return a loop here without making one.

    Up to 3.13 asking would make a stock loop, with a DeprecationWarning, so the policy's own record
    is read. A policy that keeps none decides for itself.
    """
    if sys.version_info >= (3, 14):
        try:
            asyncio.get_event_loop()
        except RuntimeError:
            return False
        return True
    local = getattr(asyncio.get_event_loop_policy(), "_local", None)
    return local is None or local._loop is not None


# It stands on Tornado's class as Tornado's own method: who lists the class's interface finds it unchanged.
functools.update_wrapper(_current, _stock_current, ("__module__", "__name__", "__qualname__"))
