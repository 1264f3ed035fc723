"""How a server knows its connections: the methods and attributes that programs and suites replace and look at."""

from __future__ import annotations

import asyncio
import sys
from unittest import mock

import pytest
from aio_servers import connect, serving
from aio_support import polls, turns


def count_of(server):
    """How many connections the server has, by the attribute that this version keeps them in."""
    if sys.version_info >= (3, 13):
        return len(server._clients)
    return server._active_count


async def come_and_go(server, made):
    client, protocol = await connect(server, made)
    client.close()
    await protocol.lost
    await turns()
    return protocol


def test_they_are_counted(run):
    """Each from its beginning to its end, also when the server is closed in between."""

    async def main():
        server, made = await serving()
        assert count_of(server) == 0
        clients = [await connect(server, made) for _ in range(3)]
        assert count_of(server) == 3
        if sys.version_info >= (3, 13):
            assert set(server._clients) == {protocol.transport for protocol in made}
        clients[0][0].close()
        await made[0].lost
        await turns()
        assert count_of(server) == 2
        server.close()
        assert count_of(server) == 2
        for client, protocol in clients[1:]:
            client.close()
            await protocol.lost
        await server.wait_closed()
        assert count_of(server) == 0

    run(main)


@pytest.mark.parametrize("where", ["the server", "its class", "a subclass"])
def test_methods_replaced(run, where):
    """_attach and _detach are called wherever they were replaced: before the first connection, or between two."""

    async def main():
        server, made = await serving()
        calls = []
        methods = {}
        for name in ("_attach", "_detach"):
            stock = getattr(asyncio.base_events.Server, name)

            def replaced(self, *args, _name=name, _stock=stock):
                calls.append(_name)
                return _stock(self, *args)

            methods[name] = replaced
        await come_and_go(server, made)
        assert calls == []
        if where == "the server":
            for name, method in methods.items():
                setattr(server, name, method.__get__(server))
            await come_and_go(server, made)
            del server._attach, server._detach
        elif where == "its class":
            with mock.patch.multiple(asyncio.base_events.Server, **methods):
                await come_and_go(server, made)
        else:
            stock_class = type(server)
            server.__class__ = type("Server", (stock_class,), methods)
            await come_and_go(server, made)
            server.__class__ = stock_class
        assert calls == ["_attach", "_detach"]
        await come_and_go(server, made)
        assert calls == ["_attach", "_detach"] and count_of(server) == 0
        server.close()
        await server.wait_closed()

    run(main)


def test_a_descriptor_for_the_sockets(run):
    """A subclass may keep the sockets where it likes: a property comes before the attribute of that name."""

    async def main():
        server, made = await serving()
        asked = []
        stock_class = type(server)

        class Elsewhere(stock_class):
            @property
            def _sockets(self):
                asked.append("sockets")
                return self.__dict__["_sockets"]

            @_sockets.setter
            def _sockets(self, sockets):
                self.__dict__["_sockets"] = sockets

        await come_and_go(server, made)
        server.__class__ = Elsewhere
        await come_and_go(server, made)
        assert asked
        server.close()
        await server.wait_closed()

    run(main)


def test_the_last_one_wakes_who_waits(run):
    """_wakeup is called, through the server, when a closed server loses its last connection, and not before."""

    async def main():
        server, made = await serving()
        clients = [await connect(server, made) for _ in range(2)]
        calls = []
        stock = server._wakeup
        server._wakeup = lambda: (calls.append(count_of(server)), stock())
        server.close()
        clients[0][0].close()
        await made[0].lost
        await polls()
        assert calls == []
        clients[1][0].close()
        await made[1].lost
        await server.wait_closed()
        assert calls == [0]

    run(main)
