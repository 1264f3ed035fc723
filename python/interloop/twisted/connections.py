"""Twisted's TCP transports on the Rust loop's own streams.

`Server` and `Client` are Twisted's classes with another first base: what runs per event and per byte is native, what runs
once per connection is Twisted's. The functions are what the native half asks of this one; each logs what is raised in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet import abstract, error, main, tcp
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

# Shared by all connections, as the reactor's own are.
DONE = Failure(error.ConnectionDone())
LOST = Failure(error.ConnectionLost())


class Plain:
    """What TLS calls to get at the connection beneath it; see `_newtls._BypassTLS`."""

    write: Callable[..., None] = TwistedConnection._write
    writeSequence: Callable[..., None] = TwistedConnection._write_sequence
    loseConnection: Callable[..., None] = TwistedConnection._lose_connection
    registerProducer = FileDescriptor.registerProducer
    unregisterProducer = FileDescriptor.unregisterProducer


class Native(TwistedConnection):
    """What both kinds have in common. Not in a loop yet, it behaves as Twisted's own does."""

    reactor: Reactor

    def _attach(self: Any) -> None:
        """Put the connected socket into the reactor's loop."""
        reactor = self.reactor
        self._join(reactor._asyncioEventloop, self.socket, True, reactor._connections)

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

    # Where there is no pyOpenSSL Twisted's connections have none.
    if hasattr(tcp.Connection, "startTLS"):

        def startTLS(self: Any, ctx: Any, normal: bool = True) -> None:
            """Like `ITLSTransport.startTLS`."""
            from twisted.internet import _newtls

            _newtls.startTLS(self, ctx, normal, Plain)  # type: ignore[no-untyped-call]


class Accepted(Native):
    """What accepted connections have in common. Ours make them without their constructor."""

    # What that would set; what waits to be sent is in the native half.
    _tempDataBuffer: Any = ()
    _tempDataLen = 0
    # The port's number, which the port forgets when it has ended.
    _accepted_on: int | None = None

    def _start_reading(self: Any) -> None:
        # Its constructor's last step, when everything is in place.
        if not self.disconnected:
            self._attach()

    def _start_writing(self: Any) -> None:
        """Nothing: it is over."""

    @property
    def repstr(self: Any) -> str:
        """What `repr()` shows. Like the attribute of `tcp.Server`, made when somebody looks."""
        try:
            text: str = self.__dict__["repstr"]
        except KeyError:
            # When it has been lost it has none.
            protocol = self.__dict__.get("_protocol_class") or self.protocol.__class__
            text = f"<{protocol.__name__} #{self.sessionno} on {self._accepted_on}>"
        return text

    @repstr.setter
    def repstr(self, text: str) -> None:
        self.__dict__["repstr"] = text


class Server(Accepted, tcp.Server):  # type: ignore[misc]
    """A connection that was accepted, like `twisted.internet.tcp.Server`."""

    def getHost(self) -> Any:
        """Like `ITCPTransport.getHost`."""
        host = self._host()
        return super().getHost() if host is None else host  # type: ignore[no-untyped-call]

    def getPeer(self) -> Any:
        """Like `ITCPTransport.getPeer`."""
        return self._address(self.client)

    def setTcpNoDelay(self, enabled: Any) -> None:
        """Like `ITCPTransport.setTcpNoDelay`."""
        if not self._set_nodelay(bool(enabled)):
            super().setTcpNoDelay(enabled)


class Client(Native, tcp.Client):  # type: ignore[misc]
    """A connection that was asked for, like `twisted.internet.tcp.Client`. Until it is made its socket is watched as any."""

    # Tells the connector, too.
    connectionLost: Any = tcp.Client.connectionLost

    def _connectDone(self) -> None:
        self._attach()
        super()._connectDone()  # type: ignore[no-untyped-call]


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
    """`dataReceived` raised: whatever it was, it was no end of file."""
    _call_with_logger(connection, _failed, connection, exception)


def failed(connection: Any, exception: BaseException) -> None:
    """A method that was told of the connection's end raised."""
    _err(Failure(exception), system=connection.logPrefix())


def fill_failed(connection: Any, exception: BaseException) -> None:
    """What TLS does before it writes raised, as in a delayed call of its own."""
    _call_with_logger(connection, _err, Failure(exception))


def half_closed(connection: Any, protocol: Any) -> None:
    """The peer has ended its direction, and the protocol wants to know: the rest of `Connection.readConnectionLost`."""
    try:
        protocol.readConnectionLost()
    except BaseException:
        _err()
        connection.connectionLost(Failure())


def close_socket(connection: Any, orderly: bool) -> None:
    """Closes the Python socket."""
    tcp.Connection._closeSocket(connection, orderly)  # type: ignore[no-untyped-call]


def resume_producer(connection: Any) -> None:
    """Everything has left, and a producer waits for that."""
    try:
        connection.producerPaused = False
        connection.producer.resumeProducing()
    except BaseException as exception:
        _failed(connection, exception)


def end_writing(connection: Any) -> None:
    """Everything has left after `loseWriteConnection`."""
    try:
        # First, since the protocol may lose the connection when it is told.
        connection._writeDisconnected = True
        connection._closeWriteConnection()
    except BaseException as exception:
        _failed(connection, exception)


def _failed(connection: Any, exception: BaseException) -> None:
    _err(Failure(exception))
    connection.reactor._disconnectSelectable(connection, exception, False)
