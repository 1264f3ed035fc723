"""Tornado's streams on the Rust loop's own.

`IOStream` and `SSLIOStream` are Tornado's classes with another first base: what runs per event, per byte and per call is
native, what runs once per connection (connecting, closing, `start_tls`, the TLS handshake) is Tornado's. The functions are
what the native half asks of this one.
"""

from __future__ import annotations

import types
from typing import Any

from tornado import iostream, netutil
from tornado.concurrent import Future
from tornado.ioloop import IOLoop as _StockIOLoop
from tornado.log import gen_log

from interloop import Loop
from interloop._core import TornadoStream

_Stock = iostream.IOStream
_StockTls = iostream.SSLIOStream
_StockBase = iostream.BaseIOStream

# As they are in Tornado: who replaces one of them, in a class or on one stream, wants it called.
_read_from_fd = _Stock.read_from_fd
_write_to_fd = _Stock.write_to_fd
_tls_read_from_fd = _StockTls.read_from_fd
_tls_write_to_fd = _StockTls.write_to_fd


def _own_loop(io_loop: Any) -> Loop | None:
    """The Rust loop that an IOLoop stands on, if it does."""
    loop = getattr(io_loop, "asyncio_loop", None)
    return loop if isinstance(loop, Loop) else None


class IOStream(TornadoStream, _Stock):  # type: ignore[misc, override]  # the native attributes are properties
    """A stream on a socket, connected or not. Counterpart: `tornado.iostream.IOStream`, whose arguments, methods and
    errors it has.

    It belongs to the thread of the IOLoop that is current when it is made. With an IOLoop that does not stand on an
    `interloop.Loop`, and when `read_from_fd` or `write_to_fd` is replaced (in a subclass, or on one stream at any time),
    Tornado's own code does everything.
    """

    # What Tornado's constructor puts into each instance.
    error: BaseException | None = None
    _close_callback: Any = None
    _connect_future: Any = None
    _ssl_connect_future: Any = None
    _state: int | None = None
    # Any: a test's stand-in will do.
    socket: Any

    def __init__(
        self,
        socket: Any,
        max_buffer_size: int | None = None,
        read_chunk_size: int | None = None,
        max_write_buffer_size: int | None = None,
    ) -> None:
        io_loop: Any = _StockIOLoop.current()
        loop = _own_loop(io_loop)
        kind = type(self)
        if (
            loop is None
            or kind.read_from_fd is not _read_from_fd
            or kind.write_to_fd is not _write_to_fd
        ):
            self.__class__ = python_class(kind)
            _Stock.__init__(self, socket, max_buffer_size, read_chunk_size, max_write_buffer_size)
            return
        self._begin(io_loop, loop, socket, max_buffer_size, read_chunk_size, max_write_buffer_size)

    def _begin(
        self,
        io_loop: Any,
        loop: Loop,
        socket: Any,
        max_buffer_size: int | None = None,
        read_chunk_size: int | None = None,
        max_write_buffer_size: int | None = None,
    ) -> None:
        """What Tornado's constructors do."""
        self.socket = socket
        socket.setblocking(False)
        self.io_loop = io_loop
        limit = max_buffer_size or 104857600
        # As in Tornado.
        chunk = min(read_chunk_size or 65536, limit // 2)
        self._set_up(loop, limit, chunk, max_write_buffer_size)

    def connect(self, address: Any, server_hostname: str | None = None) -> Future[Any]:
        """Like `IOStream.connect`."""
        # Until it is connected the socket is watched as any.
        self._leave()
        return super().connect(address, server_hostname)

    def start_tls(
        self, server_side: bool, ssl_options: Any = None, server_hostname: str | None = None
    ) -> Future[iostream.SSLIOStream]:
        """Like `IOStream.start_tls`."""
        if self._idle:
            # The socket goes over to the new stream. Of one that is not idle Tornado's own says so.
            self._leave()
        return super().start_tls(server_side, ssl_options, server_hostname)

    def close_fd(self) -> None:
        """Like `IOStream.close_fd`."""
        # Before the number is free for somebody else.
        self._leave()
        super().close_fd()

    def _add_io_state(self, state: int) -> None:
        if self._connecting:
            super()._add_io_state(state)
        else:
            self._wait()

    def _handle_events(self, fd: Any, events: int) -> None:
        """The socket that is being connected can be written to."""
        if self.closed():
            gen_log.warning("Got events for closed stream %s", fd)
            return
        try:
            self._handle_connect()
            if self.closed():
                return
            self.io_loop.remove_handler(self.socket)
            self._state = None
            self._connected()
        except Exception as e:
            gen_log.error("Uncaught exception, closing connection.", exc_info=True)
            self.close(exc_info=e)
            raise


class SSLIOStream(IOStream, _StockTls):  # type: ignore[misc, override]  # as above
    """A stream with TLS. Counterpart: `tornado.iostream.SSLIOStream`, whose arguments, methods and errors it has.

    Tornado's own code makes the handshake; then the socket, an `ssl.SSLSocket` still, answers for certificates and
    protocols, and no byte goes through its methods. Where the OpenSSL inside it cannot be driven (a class or a
    `suppress_ragged_eofs` of one's own, an interpreter that is not known) Tornado's own code does everything, as it does when
    `read_from_fd` or `write_to_fd` is replaced.
    """

    _handshake_reading = False
    _handshake_writing = False
    _server_hostname: str | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        io_loop: Any = _StockIOLoop.current()
        loop = _own_loop(io_loop)
        kind = type(self)
        if (
            loop is None
            or kind.read_from_fd is not _tls_read_from_fd
            or kind.write_to_fd is not _tls_write_to_fd
        ):
            self.__class__ = python_class(kind)
            _StockTls.__init__(self, *args, **kwargs)
            return
        self._ssl_options = kwargs.pop("ssl_options", None)
        if self._ssl_options is None:
            self._ssl_options = netutil._client_ssl_defaults()
        self._begin(io_loop, loop, *args, **kwargs)
        self._ssl_accepting = True
        try:
            self.socket.getpeername()
        except OSError:
            return
        # Connected: the handshake begins with the next turn.
        self._add_io_state(io_loop.WRITE)

    def reading(self) -> bool:
        """Whether a read is pending, or the handshake waits for the peer."""
        return self._handshake_reading or super().reading()

    def writing(self) -> bool:
        """Whether bytes wait to be sent, or the handshake has some to send."""
        return self._handshake_writing or super().writing()

    def close_fd(self) -> None:
        """Like `IOStream.close_fd`."""
        # Without the last word that Tornado does not say either.
        TornadoStream._leave(self)
        super().close_fd()

    def _leave(self) -> None:
        if self._secured and self._joined:
            # The socket is somebody else's from now on, who calls its methods.
            take_python_path(self, listening=False)
        else:
            super()._leave()

    def _add_io_state(self, state: int) -> None:
        if self._ssl_accepting:
            _StockBase._add_io_state(self, state)
        else:
            super()._add_io_state(state)

    def _handle_events(self, fd: Any, events: int) -> None:
        """The socket is being connected, or the handshake goes on."""
        if self.closed():
            gen_log.warning("Got events for closed stream %s", fd)
            return
        try:
            if self._connecting:
                self._handle_connect()
            if not self.closed() and self._ssl_accepting:
                self._do_ssl_handshake()
            if self.closed():
                return
            if self._ssl_accepting:
                self._go_on_with_handshake()
                return
            self.io_loop.remove_handler(self.socket)
            self._state = None
            if not self._secure():
                take_python_path(self, listening=True)
        except Exception as e:
            gen_log.error("Uncaught exception, closing connection.", exc_info=True)
            self.close(exc_info=e)
            raise

    def _go_on_with_handshake(self) -> None:
        """The end of `BaseIOStream._handle_events`."""
        state = self.io_loop.ERROR
        if self.reading():
            state |= self.io_loop.READ
        if self.writing():
            state |= self.io_loop.WRITE
        if state != self._state:
            self._state = state
            self.io_loop.update_handler(self.fileno(), state)


class _Plain:
    """An attribute in the instance's dict, in the place of a native one."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, stream: Any, owner: type | None = None) -> Any:
        if stream is None:
            return self
        try:
            return stream.__dict__[self._name]
        except KeyError:
            raise AttributeError(self._name) from None

    def __set__(self, stream: Any, value: Any) -> None:
        stream.__dict__[self._name] = value


# Native attributes that Tornado does not have.
_OURS = ("_idle", "_joined", "_native", "_secured")

_python_classes: dict[type, type] = {}


def python_class(kind: type) -> Any:
    """A subclass of `kind`, ours or derived from it, on which everything that is native or ours is Tornado's again."""
    known = _python_classes.get(kind)
    if known is None:
        namespace: dict[str, Any] = {"__module__": kind.__module__, "__slots__": ()}
        stock = _StockTls if issubclass(kind, _StockTls) else _Stock
        ours = (SSLIOStream, IOStream, TornadoStream)
        for owner in ours[stock is _Stock :]:
            for name, value in vars(owner).items():
                # What a subclass of ours has of its own stays.
                own = next(base for base in kind.__mro__ if name in vars(base))
                if name.startswith("__") or own not in ours:
                    continue
                if isinstance(value, types.GetSetDescriptorType):
                    if name not in _OURS:
                        namespace[name] = _Plain()
                elif hasattr(stock, name):
                    namespace[name] = getattr(stock, name)
        known = type(kind.__name__, (kind,), namespace)
        _python_classes[kind] = known
    return known


def take_python_path(stream: Any, listening: bool | None = None) -> None:
    """`read_from_fd` or `write_to_fd` was replaced on a native stream. `listening` is whether the loop is to tell of bytes,
    by default as it did until now."""
    if listening is None:
        listening = stream._joined
    state = stream._hand_over()
    pieces = state.pop("_write_buffer")
    stream.__class__ = python_class(type(stream))
    stream.__dict__.update(state)
    if stream.closed():
        stream._write_buffer = None
        return
    stream._write_buffer = iostream._StreamBuffer()
    for piece in pieces:
        stream._write_buffer.append(piece)
    if stream._connecting or getattr(stream, "_ssl_accepting", False):
        # Its handler is a method of the class that it had.
        events, stream._state = stream._state, None
        if events is not None:
            stream.io_loop.remove_handler(stream.socket)
            stream._add_io_state(events)
        return
    if stream._read_future is not None and (size := stream._find_read_pos()) is not None:
        # What was received had not been decoded.
        stream._read_from_buffer(size)
    if listening:
        stream._add_io_state(stream.io_loop.READ)
        if pieces:
            stream._add_io_state(stream.io_loop.WRITE)


def not_found(delimiter: Any, max_bytes: int) -> iostream.UnsatisfiableReadError:
    """`BaseIOStream._check_max_bytes`."""
    return iostream.UnsatisfiableReadError(
        "delimiter %r not found within %d bytes" % (delimiter, max_bytes)  # noqa: UP031  # bytes, by %r
    )


def give_up(stream: Any, error: iostream.UnsatisfiableReadError) -> None:
    """No byte that may come satisfies the pending read."""
    gen_log.info("Unsatisfiable read, closing connection: %s", error)
    stream.close(exc_info=error)


def read_failed(stream: Any, error: OSError, inline: bool) -> bool:
    """A read failed. True when the read call that asked is to raise it."""
    stream.close(exc_info=error)
    if stream._is_connreset(error):
        return False
    if not inline:
        gen_log.warning("error on read: %s", error)
    return inline


def read_too_much(stream: Any, inline: bool) -> None:
    """More has arrived than may wait."""
    gen_log.error("Reached maximum read buffer size")
    error = iostream.StreamBufferFullError("Reached maximum read buffer size")
    stream.close(exc_info=error)
    if inline:
        raise error
    gen_log.warning("error on read: %s", error)


def write_failed(stream: Any, error: OSError) -> None:
    """A write failed."""
    if not stream._is_connreset(error):
        gen_log.warning("Write error on %s: %s", stream.fileno(), error)
    stream.close(exc_info=error)


def register_failed(stream: Any, error: OSError) -> None:
    """The kernel does not tell of this descriptor."""
    stream.close(exc_info=error)


def uncaught(stream: Any, error: BaseException) -> None:
    """Something else was raised in an event: the end of `BaseIOStream._handle_events`."""
    gen_log.error("Uncaught exception, closing connection.", exc_info=error)
    try:
        stream.close(exc_info=error)
    finally:
        stream.io_loop.asyncio_loop.call_exception_handler(
            {"message": f"Exception in callback of {stream!r}", "exception": error}
        )
