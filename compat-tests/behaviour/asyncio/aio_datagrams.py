"""What the tests of datagram endpoints share."""

from __future__ import annotations

import asyncio
import contextlib
import socket


class Receiver(asyncio.DatagramProtocol):
    """Records what it is told: datagrams in `got`, errors in `errors`, the order of everything in `events`."""

    def __init__(self, echo: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self.echo = echo
        self.transport = None
        self.events: list[str] = []
        self.got: list[tuple[bytes, object]] = []
        self.errors: list[Exception] = []
        self.lost = loop.create_future()
        self.taken = 0
        self._waiters: list[asyncio.Future] = []

    def connection_made(self, transport):
        self.transport = transport
        self.events.append("made")

    def datagram_received(self, data, addr):
        self.events.append("datagram")
        self.got.append((data, addr))
        if self.echo:
            self.transport.sendto(data, addr)
        self._wake()

    def error_received(self, exc):
        self.events.append("error")
        self.errors.append(exc)
        self._wake()

    def connection_lost(self, exc):
        self.events.append("lost")
        if not self.lost.done():
            self.lost.set_result(exc)

    def pause_writing(self):
        self.events.append("pause")

    def resume_writing(self):
        self.events.append("resume")

    def _wake(self):
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def waiting(self) -> asyncio.Future:
        """Done with the next datagram or error."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    async def next(self):
        """The next datagram that was not asked for yet, and its sender."""
        while len(self.got) <= self.taken:
            await self.waiting()
        self.taken += 1
        return self.got[self.taken - 1]

    async def error(self):
        """The first error."""
        while not self.errors:
            await self.waiting()
        return self.errors[0]


@contextlib.asynccontextmanager
async def endpoint(factory=Receiver, *, echo: bool = False, **kwargs):
    """An endpoint of the running loop: yields (transport, protocol). At the end it is closed."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: factory(echo=echo), **kwargs)
    try:
        yield transport, protocol
    finally:
        if not protocol.lost.done():
            transport.abort()
            await protocol.lost
        # The socket is closed after connection_lost().
        await asyncio.sleep(0)


def plain_socket(family=socket.AF_INET, address=None) -> socket.socket:
    """A bound, non-blocking datagram socket on loopback."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    sock.bind(address or (host, 0))
    return sock
