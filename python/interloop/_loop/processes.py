"""Subprocesses: stock's transport, with its pipes and the watch over its child on the native loop.

Each child has a pidfd in the loop's own poller. Nobody's SIGCHLD is needed, and no thread: a loop in any thread can
have children, beside Twisted's and Tornado's in the same process. A child watcher that the program has chosen itself is
asked as stock asks it.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from asyncio import base_subprocess, events, unix_events
from collections.abc import Callable
from typing import Any, Protocol

# Untyped: the names read from them are not published.
_unix_events: Any = unix_events
_base_subprocess: Any = base_subprocess
_events: Any = events

_Stock: Any = _unix_events._UnixSubprocessTransport

# What a child is said to have exited with when somebody else has reaped it.
UNKNOWN = 255
_UNKNOWN = (
    "Unknown child process pid %d, will report returncode 255"
    if sys.version_info < (3, 12)
    else "child process pid %d exit status already read:  will report returncode 255"
)


class Loop(Protocol):
    """What is asked of the loop here."""

    @property
    def connect_read_pipe(self) -> Any: ...
    @property
    def connect_write_pipe(self) -> Any: ...
    def create_future(self) -> asyncio.Future[Any]: ...
    def call_soon(self, callback: Callable[..., object], *args: Any) -> Any: ...
    def get_debug(self) -> bool: ...
    def _watch_child(self, pid: int, callback: Callable[[int | None], object]) -> None: ...
    def _make_read_pipe_transport(self, pipe: Any, protocol: Any, waiter: Any) -> Any: ...
    def _make_write_pipe_transport(self, pipe: Any, protocol: Any, waiter: Any) -> Any: ...


class SubprocessTransport(_Stock):  # type: ignore[misc]
    """`asyncio.SubprocessTransport`, as `loop.subprocess_exec()` and `loop.subprocess_shell()` make it."""

    _loop: Loop
    _proc: Any
    _pipes: dict[int, Any]
    _pending_calls: Any
    _returncode: int | None
    _exit_waiters: Any

    def _watch(self) -> None:
        """Hear of the child's end."""
        try:
            self._loop._watch_child(self._pid, self._reaped)
        except ProcessLookupError:
            # SIGCHLD is ignored, or somebody reaps whatever he finds.
            self._loop.call_soon(self._reaped, None)
        except OSError:
            # No pidfd to be had: old kernel, a filter of system calls, or out of descriptors.
            _threads().add_child_handler(self._pid, _reaped_by_thread, self._loop, self)

    def _reaped(self, code: int | None) -> None:
        if code is None:
            # Popen's own poll(), when it was asked, has kept it.
            code = self._proc.returncode
        if code is None:
            _unix_events.logger.warning(_UNKNOWN, self._pid)
            code = UNKNOWN
        self._process_exited(code)

    def _process_exited(self, code: int) -> None:
        super()._process_exited(code)
        if self._pending_calls is not None and not self._connecting:
            self._wake_waiters()

    # Whether `_connect_pipes` has not ended yet. What pends then will be told; later it never will.
    _connecting = True

    async def _connect_pipes(self, waiter: asyncio.Future[None] | None) -> None:
        try:
            if _connects_itself(self._loop):
                await self._connect_at_once(waiter)
            else:
                await super()._connect_pipes(waiter)
        finally:
            self._connecting = False
        if self._pending_calls is not None and self._returncode is not None:
            self._wake_waiters()

    def _wake_waiters(self) -> None:
        """The pipes could not be connected, so that there is no protocol to be told: only `_wait()` is."""
        for waiter in self._exit_waiters:
            if not waiter.done():
                waiter.set_result(self._returncode)

    async def _connect_at_once(self, waiter: asyncio.Future[None] | None) -> None:
        loop = self._loop
        streams = enumerate((self._proc.stdin, self._proc.stdout, self._proc.stderr))
        numbered = [(number, pipe) for number, pipe in streams if pipe is not None]
        made: list[tuple[int, Any, Any]] = []
        try:
            connected = None
            for number, pipe in numbered:
                connected = loop.create_future()
                if number == 0:
                    protocol = _base_subprocess.WriteSubprocessPipeProto(self, number)
                    transport: Any = loop._make_write_pipe_transport(pipe, protocol, connected)
                else:
                    protocol = _base_subprocess.ReadSubprocessPipeProto(self, number)
                    transport = loop._make_read_pipe_transport(pipe, protocol, connected)
                made.append((number, protocol, transport))
            if connected is not None:
                # They are made in one turn, in this order.
                await connected
            for number, protocol, _ in made:
                self._pipes[number] = protocol
            loop.call_soon(self._protocol.connection_made, self)
            for callback, data in self._pending_calls:
                loop.call_soon(callback, *data)
            self._pending_calls = None
            # What versions from 3.13.4 on ask for.
            self._pipes_connected = True
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            for _, _, transport in made:
                transport.close()
            for _, pipe in numbered[len(made) :]:
                pipe.close()
            if waiter is not None and not waiter.cancelled():
                waiter.set_exception(error)
        else:
            if waiter is not None and not waiter.cancelled():
                waiter.set_result(None)


_STOCK_CONNECTS = (
    asyncio.BaseEventLoop.connect_read_pipe,
    asyncio.BaseEventLoop.connect_write_pipe,
)


def _connects_itself(loop: Loop) -> bool:
    """Whether nobody has put his own `connect_read_pipe` on the loop, and no log is wanted of each."""
    kind: Any = type(loop)
    return (
        (kind.connect_read_pipe, kind.connect_write_pipe) == _STOCK_CONNECTS
        and not loop.get_debug()
        and loop.__dict__.keys().isdisjoint(("connect_read_pipe", "connect_write_pipe"))
    )


_thread_watcher: Any = None


def _threads() -> Any:
    global _thread_watcher
    if _thread_watcher is None:
        named = getattr(_unix_events, "ThreadedChildWatcher", None)
        _thread_watcher = (named or _unix_events._ThreadedChildWatcher)()
    return _thread_watcher


def _reaped_by_thread(pid: int, code: int, loop: Loop, transport: SubprocessTransport) -> None:
    loop.call_soon(transport._process_exited, code)


if sys.version_info >= (3, 14):

    def chosen_watcher() -> Any:
        """There are none any more that a program could choose."""
        return None

else:
    _Policy: Any = _unix_events._UnixDefaultEventLoopPolicy
    _STOCK_GET = _Policy.get_child_watcher
    _STOCK_ASK = _events.get_child_watcher

    # What a policy makes when it is asked and has none.
    _DEFAULT = (
        _unix_events.ThreadedChildWatcher
        if sys.version_info < (3, 12)
        else _unix_events.PidfdChildWatcher
    )

    def chosen_watcher() -> Any:
        """The child watcher that the program has chosen; None when it is what stock would take by itself."""
        policy = _events.get_event_loop_policy()
        if (
            _events.get_child_watcher is _STOCK_ASK
            and getattr(type(policy), "get_child_watcher", None) is _STOCK_GET
        ):
            # Asking would make one, and give a DeprecationWarning.
            watcher = policy._watcher
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                watcher = _events.get_child_watcher()
        return None if type(watcher) is _DEFAULT else watcher


async def make_transport(
    loop: Loop,
    protocol: asyncio.SubprocessProtocol,
    args: Any,
    shell: bool,
    stdin: Any,
    stdout: Any,
    stderr: Any,
    bufsize: int,
    extra: dict[str, Any] | None = None,
    **kwargs: Any,
) -> SubprocessTransport:
    """Start a child. Errors: those of `subprocess.Popen`."""
    waiter: asyncio.Future[None] = loop.create_future()
    transport = SubprocessTransport(
        loop, protocol, args, shell, stdin, stdout, stderr, bufsize, waiter, extra, **kwargs
    )
    transport._watch()
    try:
        await waiter
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException:
        transport.close()
        await transport._wait()
        raise
    return transport
