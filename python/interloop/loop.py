"""`interloop.Loop`: the native turn beneath asyncio's own policy.

The native base (`LoopCore`) has what runs per event, per byte and per callback. What runs once per program or per
connection attempt is inherited from the interpreter's own `asyncio.SelectorEventLoop`, so that each version's exact
behaviour comes with it: `run_until_complete`, task factories, `create_connection`, executors, asynchronous
generators, the exception handler.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import threading
import warnings
import weakref
from asyncio import constants, events
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from interloop._core import (
    DatagramTransport,
    LoopCore,
    ReadPipeTransport,
    StreamTransport,
    WritePipeTransport,
)

# `native` is for the extension, which looks it up when something goes wrong: too late to read a file when the process
# is out of descriptors.
from interloop._loop import fork, lifecycle, native, pipes, processes, sendfile, tls  # noqa: F401
from interloop._loop.selector import SelectorView
from interloop._loop.signals import Wakeup
from interloop._loop.stock import StockLoop

__all__ = ("Loop", "new_event_loop")

_Factory = Callable[[], asyncio.BaseProtocol]


class Loop(LoopCore, StockLoop):
    """An asyncio event loop whose turn, timers, watchers and TCP and Unix streams are native.

    Make one with `interloop.run`, `asyncio.Runner(loop_factory=interloop.Loop)` or by calling it. Like
    every asyncio loop it belongs to the thread that runs it; only `call_soon_threadsafe` and the methods
    that say so may be called from another.
    """

    def __init__(self) -> None:
        # Not SelectorEventLoop's own: it would make a selector and a self-pipe, which we do not need.
        asyncio.BaseEventLoop.__init__(self)
        self._signal_handlers: dict[int, asyncio.Handle] = {}
        self._unix_server_sockets: dict[socket.socket, Any] = {}
        # Stock's datagram and pipe transports enter themselves here.
        self._transports: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._selector: SelectorView | None = SelectorView(self)
        self._wakeup: Wakeup | None = None
        # The native waker: what stock counts its self-pipe as.
        self._internal_fds = 1
        self._serving: dict[socket.socket, tuple[Any, ...]] = {}
        fork.follow(self)

    # -- life

    def run_forever(self) -> None:
        """Run until `stop()`. Errors: RuntimeError when closed, running, or inside another loop; what a
        callback raises to stop the loop (SystemExit, KeyboardInterrupt)."""
        self._check_closed()
        self._check_running()
        self._set_coroutine_origin_tracking(self._debug)
        hooks = sys.get_asyncgen_hooks()
        try:
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(
                firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook
            )
            events._set_running_loop(self)
            if lifecycle.observers:
                lifecycle.started(self)
            self._run_until_stopped()
        finally:
            self._stopping = False
            self._thread_id = None
            events._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*hooks)

    async def shutdown_asyncgens(self) -> None:
        """Close every asynchronous generator; the last moment at which coroutines can run."""
        if lifecycle.observers:
            await lifecycle.stopping(self)
        await super().shutdown_asyncgens()

    def close(self) -> None:
        """Release everything. Errors: RuntimeError while the loop runs. Closing twice is fine."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        if lifecycle.observers:
            lifecycle.closing(self)
        asyncio.BaseEventLoop.close(self)
        if not sys.is_finalizing():
            for signum in list(self._signal_handlers):
                self.remove_signal_handler(signum)
        elif self._signal_handlers:
            warnings.warn(
                f"Closing the loop {self!r} on interpreter shutdown stage, "
                "skipping signal handlers removal",
                ResourceWarning,
                source=self,
            )
        self._signal_handlers.clear()
        self._drop_idle_wakeup()
        self._serving.clear()
        self._close_core()
        self._selector = None
        self._internal_fds = 0

    # -- signals

    @property
    def _ssock(self) -> socket.socket | None:
        """Where signals are read, while a handler is set."""
        return self._wakeup.reader if self._wakeup is not None else None

    @property
    def _csock(self) -> Wakeup | None:
        """What asyncio's `add_signal_handler` gives to `signal.set_wakeup_fd`: made when it asks."""
        if self.is_closed():
            return None
        if self._wakeup is None:
            self._wakeup = Wakeup(self._handle_signal)
            self._add_reader(self._wakeup.reader.fileno(), self._wakeup.read)
        else:
            self._wakeup.retake()
        return self._wakeup

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        """Call `callback(*args)` in the loop when the signal arrives. The main thread only.

        Errors: TypeError for a coroutine function or what is no int, ValueError for what is no signal,
        RuntimeError in another thread or for a signal that cannot be caught. Bytes for a wakeup fd
        that was set before (Twisted's) are handed on to it.
        """
        try:
            super().add_signal_handler(sig, callback, *args)
        finally:
            self._drop_idle_wakeup()

    def remove_signal_handler(self, sig: int) -> bool:
        """Forget the signal's handler and restore its default action; False when it had none."""
        try:
            return super().remove_signal_handler(sig)
        finally:
            self._drop_idle_wakeup()

    def _drop_idle_wakeup(self) -> None:
        wakeup = self._wakeup
        if wakeup is not None and not self._signal_handlers:
            self._wakeup = None
            self._remove_reader(wakeup.reader.fileno())
            wakeup.close()

    def _add_callback(self, handle: asyncio.Handle) -> None:
        """Run a handle in the next turn: what stock appends to `_ready`, which is a copy here."""
        if not handle._cancelled:
            self.call_soon(handle._run)

    def _add_callback_signalsafe(self, handle: asyncio.Handle) -> None:
        # It enters its own context.
        self.call_soon(handle._run)

    # -- descriptors

    def _ensure_fd_no_transport(self, fd: Any) -> None:
        fileno = fd
        if not isinstance(fileno, int):
            try:
                fileno = int(fileno.fileno())
            except (AttributeError, TypeError, ValueError):
                raise ValueError(f"Invalid file object: {fd!r}") from None
        transport = self._transport_of(fileno) or self._transports.get(fileno)
        # Twisted's and Tornado's are in the loop only until they are closed.
        closing = getattr(transport, "is_closing", None)
        if transport is not None and (closing is None or not closing()):
            raise RuntimeError(f"File descriptor {fd!r} is used by transport {transport!r}")

    def remove_reader(self, fd: Any) -> bool:
        """Stop watching for reading; True when it was watched, False on a closed loop."""
        if self.is_closed():
            return False
        self._ensure_fd_no_transport(fd)
        return self._remove_reader(fd)

    def remove_writer(self, fd: Any) -> bool:
        """Stop watching for writing; True when it was watched, False on a closed loop."""
        if self.is_closed():
            return False
        self._ensure_fd_no_transport(fd)
        return self._remove_writer(fd)

    # -- streams

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> StreamTransport:
        self._ensure_fd_no_transport(sock)
        return StreamTransport(self, sock, protocol, waiter, extra, server)

    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.DatagramProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> DatagramTransport:
        self._ensure_fd_no_transport(sock)
        return DatagramTransport(self, sock, protocol, address, waiter, extra)

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        waiter: asyncio.Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        ssl_handshake_timeout: float | None = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: float | None = constants.SSL_SHUTDOWN_TIMEOUT,
    ) -> Any:
        self._ensure_fd_no_transport(rawsock)
        settings = tls.settings(
            sslcontext,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
            server_side=server_side,
            server_hostname=server_hostname,
        )
        return self._open_tls(rawsock, protocol, settings, waiter, extra, server)

    async def start_tls(
        self,
        transport: asyncio.BaseTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport | None:
        """Begin TLS on a connection; answer the transport that `protocol` uses from now on. What the peer has
        sent and nobody has read belongs to the handshake. None when the connection was closing already: the
        protocol has heard of its end.

        Errors: TypeError for what is no context, or for a transport that cannot be upgraded; those of the handshake;
        ConnectionAbortedError after `ssl_handshake_timeout` seconds. Transports that are not this loop's own get
        asyncio's TLS.
        """
        # By its own type: asyncio's classes answer for isinstance.
        own = issubclass(type(transport), StreamTransport)
        ours: Any = transport
        if not own or ours._loop is not self or not isinstance(sslcontext, ssl.SSLContext):
            upgraded = await super().start_tls(
                ours,
                protocol,
                sslcontext,
                server_side=server_side,
                server_hostname=server_hostname,
                ssl_handshake_timeout=ssl_handshake_timeout,
                ssl_shutdown_timeout=ssl_shutdown_timeout,
            )
            return upgraded
        closing = ours.is_closing()
        waiter = self.create_future()
        settings = tls.settings(
            sslcontext,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
            server_side=server_side,
            server_hostname=server_hostname,
        )
        upgraded = self._begin_tls(ours, protocol, settings, waiter)
        try:
            await waiter
        except BaseException:
            upgraded.close()
            raise
        return None if closing else cast(asyncio.Transport, upgraded)

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: int | None) -> int:
        check: Any = asyncio.BaseEventLoop._check_sendfile_params  # type: ignore[attr-defined]
        check(self, transp.get_extra_info("socket"), file, offset, count)
        return await sendfile.send(transp, file, offset, count)

    async def _sock_sendfile_native(
        self, sock: socket.socket, file: Any, offset: int, count: int | None
    ) -> int:
        return await sendfile.send_by_socket(self, sock, file, offset, count)

    # -- pipes

    def _make_read_pipe_transport(
        self,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> ReadPipeTransport:
        return ReadPipeTransport(self, pipe, protocol, waiter, extra)

    def _make_write_pipe_transport(
        self,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> WritePipeTransport:
        return WritePipeTransport(self, pipe, protocol, waiter, extra)

    async def _make_subprocess_transport(
        self,
        protocol: asyncio.SubprocessProtocol,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        chosen = processes.chosen_watcher() is not None
        make = (
            super()._make_subprocess_transport
            if chosen
            else partial(processes.make_transport, self)
        )
        return await make(
            protocol, args, shell, stdin, stdout, stderr, bufsize, extra=extra, **kwargs
        )

    # -- servers

    def _start_serving(
        self,
        protocol_factory: _Factory,
        sock: socket.socket,
        sslcontext: ssl.SSLContext | None = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: float | None = constants.SSL_SHUTDOWN_TIMEOUT,
    ) -> None:
        if hasattr(server, "_clients") and not isinstance(server._clients, set):
            # A WeakSet costs two hundred bytes a connection; the loop holds open transports anyway.
            server._clients = set(server._clients)
        secure = None
        if sslcontext is not None:
            secure = (sslcontext, ssl_handshake_timeout, ssl_shutdown_timeout)
        self._serving[sock] = (protocol_factory, sock, server, backlog, secure)
        self._listen_stream(protocol_factory, sock, server, backlog, secure)

    def _stop_serving(self, sock: socket.socket) -> None:
        self._serving.pop(sock, None)
        if not self.is_closed():
            self._stop_listening(sock.fileno())
        # Closes the socket, and unlinks a Unix socket's path where this version does.
        super()._stop_serving(sock)

    def _pause_listening(self, sock: socket.socket, seconds: float) -> None:
        """Out of descriptors: stop accepting, and go on in a while if the server is still there."""
        self._stop_listening(sock.fileno())
        self.call_later(seconds, self._resume_listening, sock)

    def _resume_listening(self, sock: socket.socket) -> None:
        arguments = self._serving.get(sock)
        if arguments is not None and sock.fileno() != -1:
            self._listen_stream(*arguments)


def new_event_loop() -> Loop:
    """Make a loop, like `asyncio.new_event_loop()`; the caller closes it. Any thread."""
    return Loop()
