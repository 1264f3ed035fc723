"""Twisted's TCP transports on the Rust loop's own streams.

`Server` and `Client` are Twisted's classes with another first base: what runs per event and per byte is native, what runs
once per connection is Twisted's. The functions are what the native half asks of this one; each logs what is raised in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet import _newtls, abstract, error, main, tcp
from twisted.python import context, log
from twisted.python.failure import Failure as _Failure

from interloop._core import TwistedConnection

if TYPE_CHECKING:
    from interloop.twisted.reactor import Reactor

# Without annotations in Twisted.
FileDescriptor: Any = abstract.FileDescriptor
Failure: Callable[..., Any] = _Failure
_call_with_logger: Callable[..., Any] = log.callWithLogger
_err: Callable[..., None] = log.err
_start_tls: Callable[..., None] = _newtls.startTLS

# Shared by all connections, as the reactor's own are.
_DONE = Failure(error.ConnectionDone())
_LOST = Failure(error.ConnectionLost())


class _Plain:
    """What TLS calls to get at the connection beneath it; see `_newtls._BypassTLS`."""

    write = TwistedConnection._write
    writeSequence = TwistedConnection._write_sequence
    loseConnection = TwistedConnection._lose_connection
    registerProducer = FileDescriptor.registerProducer
    unregisterProducer = FileDescriptor.unregisterProducer


class _Native(TwistedConnection):
    """What both kinds have in common. Not in a loop yet, it behaves as Twisted's own does."""

    reactor: Reactor

    def _attach(self: Any) -> None:
        """Put the connected socket into the reactor's loop."""
        self._join(self.reactor._asyncioEventloop, self.socket, True)
        self.reactor._connections.add(self)

    def _closeSocket(self: Any, orderly: bool) -> None:
        # Before the number is free for somebody else.
        self._leave()
        self.reactor._connections.discard(self)
        tcp.Connection._closeSocket(self, orderly)  # type: ignore[no-untyped-call]

    def _start_reading(self: Any) -> None:
        FileDescriptor.startReading(self)

    def _stop_reading(self: Any) -> None:
        FileDescriptor.stopReading(self)

    def _start_writing(self: Any) -> None:
        FileDescriptor.startWriting(self)

    def _stop_writing(self: Any) -> None:
        FileDescriptor.stopWriting(self)

    def _lose_at_once(self: Any) -> None:
        self.stopReading()
        self.connectionLost(Failure(main.CONNECTION_DONE))

    def _isSendBufferFull(self: Any) -> bool:
        full: bool = self._waiting > self.bufferSize
        return full

    def startTLS(self: Any, ctx: Any, normal: bool = True) -> None:
        """Like `ITLSTransport.startTLS`."""
        _start_tls(self, ctx, normal, _Plain)


class Server(_Native, tcp.Server):  # type: ignore[misc]
    """A connection that was accepted, like `twisted.internet.tcp.Server`."""

    def _start_reading(self) -> None:
        # Its constructor's last step, when everything is in place.
        if not self.disconnected:
            self._attach()

    def _start_writing(self) -> None:
        """Nothing: it is over."""


class Client(_Native, tcp.Client):  # type: ignore[misc]
    """A connection that was asked for, like `twisted.internet.tcp.Client`. Until it is made its socket is watched as any."""

    def _connectDone(self) -> None:
        self._attach()
        super()._connectDone()  # type: ignore[no-untyped-call]


class Port(tcp.Port):
    """A listening port, like `twisted.internet.tcp.Port`."""

    transport = Server


class Connector(tcp.Connector):
    """Like `twisted.internet.tcp.Connector`."""

    def _makeTransport(self) -> Client:
        return Client(self.host, self.port, self.bindAddress, self, self.reactor)


def log_context(connection: Any) -> tuple[list[Any], dict[Any, Any]]:
    """The thread's stack of contexts, and what `log.callWithLogger` pushes there for a connection."""
    try:
        prefix = connection.logPrefix()
    except KeyboardInterrupt:
        raise
    except BaseException:
        prefix = "(buggy logPrefix method)"
        _err(system=prefix)
    tracker: Any = context.theContextTracker
    system = context.get(log.ILogContext).copy()  # type: ignore[no-untyped-call]
    system["system"] = prefix
    return tracker.currentContext().contexts, {log.ILogContext: system}


def data_failed(connection: Any, exception: BaseException) -> None:
    """`dataReceived` raised."""
    _call_with_logger(connection, _failed, connection, exception, True)


def read_ended(connection: Any) -> None:
    """The peer has ended its direction."""
    _call_with_logger(connection, connection.readConnectionLost, _DONE)


def lost(connection: Any) -> None:
    """A system call failed."""
    _call_with_logger(connection, connection.connectionLost, _LOST)


def done(connection: Any) -> None:
    """Everything has left after `loseConnection`."""
    _call_with_logger(connection, connection.connectionLost, _DONE)


def drained(connection: Any) -> None:
    """Everything has left: the end of `FileDescriptor.doWrite`."""
    _call_with_logger(connection, _drained, connection)


def _failed(connection: Any, exception: BaseException, read: bool) -> None:
    _err(Failure(exception))
    connection.reactor._disconnectSelectable(connection, exception, read)


def _drained(connection: Any) -> None:
    try:
        producer = connection.producer
        if producer is not None and (not connection.streamingProducer or connection.producerPaused):
            connection.producerPaused = False
            producer.resumeProducing()
        elif connection.disconnecting:
            connection._finish()
        elif connection._writeDisconnecting and not connection._writeDisconnected:
            # First, since the protocol may lose the connection when it is told.
            connection._writeDisconnected = True
            connection._closeWriteConnection()
    except BaseException as exception:
        _failed(connection, exception, False)
