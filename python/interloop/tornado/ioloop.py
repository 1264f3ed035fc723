"""IOLoop whose fd handlers are the Rust loop's watchers.

Tornado's own IOLoop registers ``_handle_events`` with ``add_reader``, so that each event passes
through a Python method which looks the handler up. Here the watcher's callback is the handler.
Everything else (callbacks, timeouts, executors, the notion of the current loop) is inherited.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tornado.ioloop
from tornado.platform.asyncio import AsyncIOLoop, AsyncIOMainLoop

from interloop import Loop, _core, new_event_loop
from interloop._core import TornadoStream

if TYPE_CHECKING:
    from tornado.ioloop import _Selectable


# As it is in Tornado: a class that has another gets it called.
RUN_CALLBACK = tornado.ioloop.IOLoop._run_callback


class IOLoop(AsyncIOLoop):
    """An IOLoop on ``asyncio_loop``, or on a new :class:`interloop.Loop` if none is given.

    ``make_current`` (default True) is Tornado's. An asyncio loop that is not an
    ``interloop.Loop`` is served as Tornado's ``AsyncIOLoop`` serves it.

    ``add_callback`` may be called from any thread, also after ``close``, when it does nothing; all
    else belongs to the loop's own thread. Counterpart: ``tornado.platform.asyncio.AsyncIOLoop``,
    from which this differs so: an exception of a handler is reported to the asyncio loop's
    exception handler under the handler's own name, and an fd that cannot be watched (EPERM for a
    plain file, EBADF) leaves no entry in ``handlers``.
    """

    def initialize(  # type: ignore[override]
        self, asyncio_loop: asyncio.AbstractEventLoop | None = None, **kwargs: Any
    ) -> None:
        """Raises RuntimeError if ``asyncio_loop`` has an IOLoop already."""
        own = None if asyncio_loop is not None else new_event_loop()
        loop = asyncio_loop or own
        # The watchers, or None where the stock paths serve a foreign loop.
        self._watcher_loop = loop if isinstance(loop, Loop) else None
        try:
            super().initialize(asyncio_loop=loop, **kwargs)
        except BaseException:
            if own is not None:
                own.close()
            raise

    add_callback: Callable[..., None] = _core.add_callback

    def add_handler(self, fd: int | _Selectable, handler: Callable[..., None], events: int) -> None:
        """Call ``handler(fd, events)`` whenever ``fd`` is ready, for as long as it is.

        ``fd`` reaches the handler as it was given here, number or object. ValueError if the number
        has a handler already; RuntimeError if a transport owns it; OSError if it cannot be watched.
        """
        if self._watcher_loop is None:
            super().add_handler(fd, handler, events)
            return
        fd, fileobj = self.split_fd(fd)
        if fd in self.handlers:
            raise ValueError(f"fd {fd} added twice")
        self.handlers[fd] = (fileobj, handler)
        try:
            self.update_handler(fd, events)
        except BaseException:
            self.remove_handler(fd)
            raise

    def update_handler(self, fd: int | _Selectable, events: int) -> None:
        """Watch ``fd`` for ``events`` from now on; KeyError if an event is asked for and ``fd`` has
        no handler. A handler that stays registered keeps the context it was registered in."""
        loop = self._watcher_loop
        if loop is None:
            super().update_handler(fd, events)
            return
        fd, _ = self.split_fd(fd)
        if events & self.READ:
            if fd not in self.readers:
                fileobj, handler = self.handlers[fd]
                loop._add_reader(fd, handler, fileobj, self.READ)
                self.readers.add(fd)
        elif fd in self.readers:
            loop._remove_reader(fd)
            self.readers.remove(fd)
        if events & self.WRITE:
            if fd not in self.writers:
                fileobj, handler = self.handlers[fd]
                loop._add_writer(fd, handler, fileobj, self.WRITE)
                self.writers.add(fd)
        elif fd in self.writers:
            loop._remove_writer(fd)
            self.writers.remove(fd)

    def remove_handler(self, fd: int | _Selectable) -> None:
        """Forget ``fd``'s handler: it is not called any more, not even for an event of this turn
        that came before. Nothing happens if ``fd`` has none. The file is left open. A stream's
        descriptor is its owner's again."""
        loop = self._watcher_loop
        if loop is None:
            super().remove_handler(fd)
            return
        fd, _ = self.split_fd(fd)
        if fd in self.handlers:
            self.update_handler(fd, self.NONE)
            del self.handlers[fd]
        elif isinstance(stream := loop._transport_of(fd), TornadoStream):
            stream._leave()

    def close(self, all_fds: bool = False) -> None:
        """Like ``IOLoop.close``; ``all_fds`` closes the sockets of streams too."""
        loop = self._watcher_loop
        if loop is not None and not loop.is_closed():
            for stream in loop._tornado_streams():
                stream._leave()
                if all_fds:
                    self.close_fd(stream.fileno())
        super().close(all_fds=all_fds)


class MainIOLoop(AsyncIOMainLoop, IOLoop):  # type: ignore[misc]  # initialize() takes no loop
    """The IOLoop of the asyncio loop that runs in, or is set for, this thread.

    Made by ``IOLoop.current()`` after :func:`interloop.tornado.install`. As Tornado's
    ``AsyncIOMainLoop`` it does not own the asyncio loop's place in the thread: making it current
    does nothing, and ``tornado.testing`` leaves it open.
    """


def add_callback_slowly(
    io_loop: IOLoop, callback: Callable[..., Any], args: tuple[Any, ...], /, **kwargs: Any
) -> None:
    """`add_callback` in Tornado's own words."""
    AsyncIOLoop.add_callback(io_loop, callback, *args, **kwargs)


class _Outcome:
    """A callback that was called: what it answered or raised, once more."""

    def __init__(self, call: Callable[[], Any], result: Any, error: BaseException | None) -> None:
        self._call = call
        self._result = result
        self._error = error

    def __call__(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._result

    def __repr__(self) -> str:
        return repr(self._call)


def finish_callback(
    io_loop: IOLoop,
    callback: Callable[..., Any],
    args: tuple[Any, ...],
    result: Any,
    error: BaseException | None,
) -> None:
    """A callback answered something that may have to be waited for, or raised."""
    outcome = _Outcome(functools.partial(callback, *args), result, error)
    try:
        io_loop._run_callback(outcome)
    finally:
        # Its traceback holds this frame.
        del outcome, error
