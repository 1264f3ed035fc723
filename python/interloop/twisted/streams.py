"""IReactorTCP, IReactorUNIX, IReactorUNIXDatagram, IReactorUDP, IReactorMulticast and IReactorSocket, on the Rust loop's own
sockets."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import error
from twisted.internet.posixbase import PosixReactorBase

from interloop.twisted import datagrams, unix
from interloop.twisted.connections import Connector, Server
from interloop.twisted.ports import Port

_INTERNET = (socket.AF_INET, socket.AF_INET6)


class Streams(PosixReactorBase):
    """What makes native transports. The reactor's thread; errors are those of Twisted's own methods, whose set-up it is."""

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Port:
        """Like `IReactorTCP.listenTCP`."""
        listening = Port(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(  # type: ignore[override]
        self,
        host: str,
        port: int,
        factory: Any,
        timeout: float = 30.0,
        bindAddress: Any = None,
    ) -> Connector:
        """Like `IReactorTCP.connectTCP`."""
        connector = Connector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    def listenUNIX(
        self,
        address: str | bytes,
        factory: Any,
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: int = 0,
    ) -> Any:
        """Like `IReactorUNIX.listenUNIX`."""
        listening: Any = unix.Port(address, factory, backlog, mode, self, wantPID)
        listening.startListening()
        return listening

    def connectUNIX(
        self, address: str | bytes, factory: Any, timeout: float = 30, checkPID: int = 0
    ) -> Any:
        """Like `IReactorUNIX.connectUNIX`."""
        connector: Any = unix.Connector(  # type: ignore[no-untyped-call]
            address, factory, timeout, self, checkPID
        )
        connector.connect()
        return connector

    def listenUDP(
        self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192
    ) -> Any:
        """Like `IReactorUDP.listenUDP`."""
        listening: Any = datagrams.Port(port, protocol, interface, maxPacketSize, self)
        listening.startListening()
        return listening

    def listenMulticast(
        self,
        port: int,
        protocol: Any,
        interface: str = "",
        maxPacketSize: int = 8192,
        listenMultiple: bool = False,
    ) -> Any:
        """Like `IReactorMulticast.listenMulticast`."""
        listening: Any = datagrams.MulticastPort(
            port, protocol, interface, maxPacketSize, self, listenMultiple
        )
        listening.startListening()
        return listening

    def listenUNIXDatagram(
        self, address: str | bytes, protocol: Any, maxPacketSize: int = 8192, mode: int = 0o666
    ) -> Any:
        """Like `IReactorUNIXDatagram.listenUNIXDatagram`."""
        listening: Any = datagrams.DatagramPort(address, protocol, maxPacketSize, mode, self)
        listening.startListening()
        return listening

    def connectUNIXDatagram(
        self,
        address: str | bytes,
        protocol: Any,
        maxPacketSize: int = 8192,
        mode: int = 0o666,
        bindAddress: str | bytes | None = None,
    ) -> Any:
        """Like `IReactorUNIXDatagram.connectUNIXDatagram`: a failure is the protocol's to hear of."""
        connected: Any = datagrams.ConnectedDatagramPort(
            address, protocol, maxPacketSize, mode, bindAddress, self
        )
        connected.startListening()
        return connected

    def adoptDatagramPort(
        self, fileDescriptor: int, addressFamily: int, protocol: Any, maxPacketSize: int = 8192
    ) -> Any:
        """Like `IReactorSocket.adoptDatagramPort`."""
        if addressFamily not in _INTERNET:
            raise error.UnsupportedAddressFamily(addressFamily)
        listening: Any = datagrams.Port._fromListeningDescriptor(  # type: ignore[no-untyped-call]
            self, fileDescriptor, addressFamily, protocol, maxPacketSize=maxPacketSize
        )
        listening.startListening()
        return listening

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """Like `IReactorSocket.adoptStreamPort`."""
        listening: Any
        if addressFamily == socket.AF_UNIX:
            listening = unix.Port._fromListeningDescriptor(  # type: ignore[no-untyped-call]
                self, fileDescriptor, factory
            )
        elif addressFamily in _INTERNET:
            listening = Port._fromListeningDescriptor(  # type: ignore[no-untyped-call]
                self, fileDescriptor, addressFamily, factory
            )
        else:
            raise error.UnsupportedAddressFamily(addressFamily)
        listening.startListening()
        return listening

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """Like `IReactorSocket.adoptStreamConnection`."""
        if addressFamily == socket.AF_UNIX:
            return unix.Server._fromConnectedSocket(  # type: ignore[no-untyped-call]
                fileDescriptor, factory, self
            )
        if addressFamily not in _INTERNET:
            raise error.UnsupportedAddressFamily(addressFamily)
        return Server._fromConnectedSocket(  # type: ignore[no-untyped-call]
            fileDescriptor, addressFamily, factory, self
        )
