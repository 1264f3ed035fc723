"""What the tests of servers share: one that records its protocols, and blocking clients of it."""

from __future__ import annotations

import asyncio
import errno
import socket

from aio_support import Recorder, polls


async def serving(factory=Recorder, host="127.0.0.1", **kwargs):
    """A server, and the list its protocols are put into."""
    made = []
    server = await asyncio.get_running_loop().create_server(
        lambda: made.append(factory()) or made[-1], host, 0, **kwargs
    )
    return server, made


def address_of(server):
    return server.sockets[0].getsockname()


def refused(address):
    """Whether a blocking client's connect() is refused."""
    with socket.socket() as client:
        return client.connect_ex(address) == errno.ECONNREFUSED


async def connect(server, made):
    """A blocking client of the server, and the protocol that serves it."""
    count = len(made)
    client = socket.create_connection(address_of(server))
    client.setblocking(False)
    while len(made) == count:
        await polls(1)
    await made[-1].made
    return client, made[-1]
