"""Twisted's UNIX stream transports on the Rust loop's own streams and listeners.

As `connections` and `ports`, with descriptors that travel beside the bytes: every read looks for them, natively, and each that
is to be sent leaves with one byte, as `_SendmsgMixin` sends them. Paths, modes, lock files and addresses are Twisted's.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import error, unix
from twisted.python import log

from interloop.twisted.connections import Accepted, Native
from interloop.twisted.ports import Listening

# Without annotations in Twisted.
_msg: Any = log.msg


class _Passing(Native):
    """What both kinds of connections have in common."""

    def _attach(self: Any) -> None:
        reactor = self.reactor
        self._join(reactor._asyncioEventloop, self.socket, False, reactor._connections)

    def _isSendBufferFull(self: Any) -> bool:
        full: bool = (
            self._passing > self._fileDescriptorBufferSize or self._waiting > self.bufferSize
        )
        return full

    def sendFileDescriptor(self: Any, fileno: int) -> None:
        """Like `IUNIXTransport.sendFileDescriptor`."""
        self._pass(fileno)
        self._maybePauseProducer()
        self.startWriting()


class Server(_Passing, Accepted, unix.Server):  # type: ignore[misc]
    """A connection that was accepted, like `twisted.internet.unix.Server`. Ours make it without its constructor."""


class Client(_Passing, unix.Client):  # type: ignore[misc]
    """A connection that was asked for, like `twisted.internet.unix.Client`."""

    # Tells the connector, too.
    connectionLost: Any = unix.Client.connectionLost

    def _connectDone(self) -> None:
        self._attach()
        super()._connectDone()  # type: ignore[no-untyped-call]


class Connector(unix.Connector):
    """Like `twisted.internet.unix.Connector`."""

    def _makeTransport(self) -> Any:
        return Client(self.address, self, self.reactor, self.checkPID)


class Port(Listening, unix.Port):
    """A listening port, like `twisted.internet.unix.Port`."""

    transport = Server


def beside(connection: Any, messages: list[tuple[int | None, int | None, bytes]]) -> None:
    """What came beside bytes: numbers of descriptors, or a level, a type and something that is no descriptor. The rest of
    `_SendmsgMixin.doRead`."""
    for level, kind, data in messages:
        if level is None:
            connection._ancillaryLevelSOLSOCKETTypeSCMRIGHTS(data)
        else:
            _msg(
                format=(
                    "%(protocolName)s (on %(hostAddress)r) "
                    "received unsupported ancillary data "
                    "(level=%(cmsgLevel)r, type=%(cmsgType)r) "
                    "from %(peerAddress)r."
                ),
                hostAddress=connection.getHost(),
                peerAddress=connection.getPeer(),
                protocolName=connection._getLogPrefix(connection.protocol),
                cmsgLevel=level,
                cmsgType=kind,
            )


def overrun(connection: Any) -> None:
    """There are more descriptors to send than bytes."""
    connection.reactor._disconnectSelectable(connection, error.FileDescriptorOverrun(), False)
