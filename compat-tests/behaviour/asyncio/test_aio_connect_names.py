"""Point 32: names and their addresses. The resolver, several addresses, happy eyeballs, and the errors of all of them."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import sys

import pytest
from aio_support import Recorder, connect_and_close


def tcp(address, family=socket.AF_INET):
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)


def resolve_to(loop, *infos):
    """Makes the loop's resolver answer these addresses; the list of what was asked."""
    asked = []

    async def getaddrinfo(host, port, **kwargs):
        asked.append((host, port, kwargs))
        return list(infos)

    loop.getaddrinfo = getaddrinfo
    return asked


def test_names_go_through_the_loops_resolver(run, listener):
    """Host, port, family, type, protocol and flags as given."""

    async def main():
        loop = asyncio.get_running_loop()
        asked = resolve_to(loop, tcp(listener.getsockname()))
        await connect_and_close(
            "name.invalid", 80, family=socket.AF_INET, proto=6, flags=socket.AI_CANONNAME
        )
        ((host, port, kwargs),) = asked
        assert (host, port) == ("name.invalid", 80)
        assert kwargs == {
            "family": socket.AF_INET,
            "type": socket.SOCK_STREAM,
            "proto": 6,
            "flags": socket.AI_CANONNAME,
        }

    run(main)


def test_numeric_hosts_bypass_it(run, listener):
    """A numeric host is not looked up; a service name as port is."""

    async def main():
        loop = asyncio.get_running_loop()
        asked = resolve_to(loop, tcp(listener.getsockname()))
        host, port = listener.getsockname()
        await connect_and_close(host, port)
        await connect_and_close(host, str(port))
        assert asked == []
        await connect_and_close(host, "service")
        assert [entry[:2] for entry in asked] == [(host, "service")]

    run(main)


def test_scope_ids_are_kept(run):
    """A link-local address with a scope reaches connect() with it."""

    async def main():
        loop = asyncio.get_running_loop()
        seen = []

        async def sock_connect(sock, address):
            seen.append(address)
            raise OSError(errno.ENETUNREACH, "not really tried")

        loop.sock_connect = sock_connect
        resolve_to(loop, tcp(("fe80::1", 80, 0, 7), socket.AF_INET6))
        with pytest.raises(OSError, match="not really tried"):
            await loop.create_connection(Recorder, "name.invalid", 80)
        assert seen == [("fe80::1", 80, 0, 7)]

    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    run(main)


def test_empty_answer(run):
    """A resolver that knows nothing: OSError."""

    async def main():
        loop = asyncio.get_running_loop()
        resolve_to(loop)
        with pytest.raises(OSError, match=r"getaddrinfo\(\) returned empty list"):
            await loop.create_connection(Recorder, "name.invalid", 80)
        with pytest.raises(OSError, match=r"returned empty list"):
            await loop.create_server(Recorder, "name.invalid", 80)

    run(main)


def test_resolver_that_fails(run):
    """Its exception comes out."""

    async def main():
        loop = asyncio.get_running_loop()

        async def getaddrinfo(*args, **kwargs):
            raise socket.gaierror(socket.EAI_NONAME, "no such name")

        loop.getaddrinfo = getaddrinfo
        with pytest.raises(socket.gaierror, match="no such name"):
            await loop.create_connection(Recorder, "name.invalid", 80)

    run(main)


def test_addresses_are_tried_in_turn(run, listener, closed_ports):
    """The first that answers counts; those before it leave nothing open."""

    async def main():
        loop = asyncio.get_running_loop()
        resolve_to(loop, *map(tcp, closed_ports), tcp(listener.getsockname()))
        assert await connect_and_close("name.invalid", 80) == listener.getsockname()

    run(main)


def test_several_errors_are_joined(run, closed_ports):
    """Different ones: OSError "Multiple exceptions: ..., ..."; all the same: that one."""

    async def main():
        loop = asyncio.get_running_loop()
        resolve_to(loop, *map(tcp, closed_ports))
        with pytest.raises(OSError) as caught:
            await loop.create_connection(Recorder, "name.invalid", 80)
        one, other = (re.escape(f"Connect call failed {address}") for address in closed_ports)
        assert re.fullmatch(
            rf"Multiple exceptions: \[Errno 111\] {one}, \[Errno 111\] {other}", str(caught.value)
        )
        resolve_to(loop, tcp(closed_ports[0]), tcp(closed_ports[0]))
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, "name.invalid", 80)

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="came with 3.12")
def test_all_errors(run, closed_ports):
    """all_errors=True: an ExceptionGroup of them."""

    async def main():
        loop = asyncio.get_running_loop()
        resolve_to(loop, *map(tcp, closed_ports))
        with pytest.raises(ExceptionGroup, match="create_connection failed") as caught:
            await loop.create_connection(Recorder, "name.invalid", 80, all_errors=True)
        assert [type(exc) for exc in caught.value.exceptions] == [ConnectionRefusedError] * 2

    run(main)


def test_happy_eyeballs(run, listener, closed_ports):
    """With a delay that never passes, the next address is tried when the one before has failed."""

    async def main():
        loop = asyncio.get_running_loop()
        resolve_to(loop, *map(tcp, closed_ports), tcp(listener.getsockname()))
        peer = await connect_and_close("name.invalid", 80, happy_eyeballs_delay=1000)
        assert peer == listener.getsockname()

    run(main)


def test_happy_eyeballs_does_not_wait_for_a_slow_one(run, listener):
    """The first address hangs; after the delay the next is tried beside it and wins; the loser is cancelled."""

    async def main():
        loop = asyncio.get_running_loop()
        hangs = ("192.0.2.1", 80)
        cancelled = []
        original = loop.sock_connect

        async def sock_connect(sock, address):
            if address != hangs:
                return await original(sock, address)
            try:
                await loop.create_future()
            except asyncio.CancelledError:
                cancelled.append(address)
                raise

        loop.sock_connect = sock_connect
        resolve_to(loop, tcp(hangs), tcp(listener.getsockname()))
        peer = await connect_and_close("name.invalid", 80, happy_eyeballs_delay=0.01)
        assert peer == listener.getsockname()
        assert cancelled == [hangs]
        del loop.sock_connect

    run(main)


def test_happy_eyeballs_all_fail(run, closed_ports):
    """The errors are joined as without."""

    async def main():
        loop = asyncio.get_running_loop()
        resolve_to(loop, *map(tcp, closed_ports))
        with pytest.raises(OSError, match="Multiple exceptions: "):
            await loop.create_connection(Recorder, "name.invalid", 80, happy_eyeballs_delay=0.01)

    run(main)


def test_interleave(run):
    """Families take turns, beginning with so many of the first."""

    async def main():
        loop = asyncio.get_running_loop()
        tried = []

        async def sock_connect(sock, address):
            tried.append(address[0])
            raise OSError(errno.ENETUNREACH, "not really tried")

        loop.sock_connect = sock_connect
        six = [tcp((f"2001:db8::{n}", 80, 0, 0), socket.AF_INET6) for n in (1, 2, 3)]
        four = [tcp((f"192.0.2.{n}", 80)) for n in (1, 2)]
        resolve_to(loop, *six, *four)
        with pytest.raises(OSError, match="not really tried"):
            await loop.create_connection(Recorder, "name.invalid", 80, interleave=1)
        assert tried == ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "2001:db8::3"]

    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    run(main)
