"""Point 32: create_connection. Names, several addresses, happy eyeballs, local addresses, and the errors of all that."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import sys

import pytest
from aio_support import Recorder, polls


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


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def closed_ports():
    """Two addresses nobody listens on: bound, so that nobody else gets them meanwhile."""
    socks = [socket.socket(), socket.socket()]
    for sock in socks:
        sock.bind(("127.0.0.1", 0))
    yield [sock.getsockname() for sock in socks]
    for sock in socks:
        sock.close()


async def connect_and_close(*args, **kwargs):
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(Recorder, *args, **kwargs)
    peername = transport.get_extra_info("peername")
    transport.close()
    await protocol.lost
    return peername


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


def test_refused(run, closed_ports):
    """ConnectionRefusedError with errno and the address in the text."""

    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ConnectionRefusedError) as caught:
            await loop.create_connection(Recorder, *closed_ports[0])
        assert caught.value.errno == errno.ECONNREFUSED
        assert f"Connect call failed {closed_ports[0]}" in str(caught.value)

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


def test_local_addr(run, listener):
    """The connection comes from there."""

    async def main():
        loop = asyncio.get_running_loop()
        host, port = listener.getsockname()
        transport, protocol = await loop.create_connection(
            Recorder, host, port, local_addr=("127.0.0.2", 0)
        )
        assert transport.get_extra_info("sockname")[0] == "127.0.0.2"
        accepted, address = listener.accept()
        assert address == transport.get_extra_info("sockname")
        accepted.close()
        await protocol.lost

    run(main)


def test_local_addr_errors(run, listener):
    """errno, and the address in strerror; a local address of another family is an error of its own."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            with pytest.raises(OSError) as caught:
                await loop.create_connection(
                    Recorder, *listener.getsockname(), local_addr=taken.getsockname()
                )
            assert caught.value.errno == errno.EADDRINUSE
            assert re.search(
                r"error while attempting to bind on address "
                + re.escape(repr(taken.getsockname()))
                + r": .*address already in use",
                caught.value.strerror,
            )
        with pytest.raises(OSError) as caught:
            await loop.create_connection(
                Recorder, *listener.getsockname(), local_addr=("192.0.2.1", 0)
            )
        assert caught.value.errno == errno.EADDRNOTAVAIL

    run(main)


def test_bind_errors_of_servers(run):
    """Same errno; the address in strerror, the reason in lower case; what was bound before is closed."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(OSError) as caught:
                await loop.create_server(Recorder, ["127.0.0.2", "127.0.0.1"], port)
            assert caught.value.errno == errno.EADDRINUSE
            assert re.fullmatch(
                rf"error while attempting to bind on address \('127\.0\.0\.1', {port}\): "
                r"(\[errno 98\] )?address already in use",
                caught.value.strerror,
            )
        with pytest.raises(OSError) as caught:
            await loop.create_server(Recorder, "192.0.2.1", 0)
        assert caught.value.errno in (errno.EADDRNOTAVAIL, None)

    run(main)


def test_cancelled_while_connecting(run):
    """The socket is closed, and nothing stays registered."""

    async def main():
        loop = asyncio.get_running_loop()
        connecting = loop.create_future()
        socks = []

        async def sock_connect(sock, address):
            socks.append(sock)
            connecting.set_result(None)
            await loop.create_future()

        loop.sock_connect = sock_connect
        task = asyncio.ensure_future(loop.create_connection(Recorder, "127.0.0.1", 1))
        await connecting
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert socks[0].fileno() == -1

    run(main)


def test_cancelled_while_the_kernel_connects(run):
    """The same in earnest: a listener whose backlog is full lets connects hang."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
            transports = []
            while True:
                task = asyncio.ensure_future(
                    loop.create_connection(Recorder, *listener.getsockname())
                )
                await polls()
                if not task.done():
                    break
                transports.append(await task)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            for transport, protocol in transports:
                transport.abort()
                await protocol.lost

    run(main)


def test_cancelled_after_the_connection(run, listener):
    """Cancelled between the connection and connection_made: the transport is closed again."""

    async def main():
        loop = asyncio.get_running_loop()
        made = []

        def factory():
            made.append(Recorder())
            task.cancel()
            return made[-1]

        task = asyncio.ensure_future(loop.create_connection(factory, *listener.getsockname()))
        with pytest.raises(asyncio.CancelledError):
            await task
        await made[0].lost
        assert made[0].events in (["made", "lost"], ["lost"])

    run(main)


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        (("h", 1), {"server_hostname": "x"}, "server_hostname is only meaningful with ssl"),
        ((), {"ssl": True}, "You must set server_hostname when using ssl without a host"),
        (("h", 1), {"ssl_handshake_timeout": 1}, "ssl_handshake_timeout is only meaningful"),
        (("h", 1), {"ssl_shutdown_timeout": 1}, "ssl_shutdown_timeout is only meaningful"),
        ((), {}, "host and port was not specified and no sock specified"),
    ],
    ids=["hostname", "no hostname", "handshake", "shutdown", "nothing"],
)
def test_wrong_arguments(run, args, kwargs, text):
    """ValueErrors of the call, in asyncio's words."""

    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match=text):
            await loop.create_connection(Recorder, *args, **kwargs)
        with socket.socket() as sock:
            with pytest.raises(ValueError, match="host/port and sock can not be specified"):
                await loop.create_connection(Recorder, "h", 1, sock=sock)

    run(main)


def test_unconnected_socket(run):
    """A socket that is not connected is the caller's mistake: the connection is lost at once, with the error."""

    async def main():
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        transport, protocol = await loop.create_connection(Recorder, sock=sock)
        assert transport.get_extra_info("peername") is None
        transport.write(b"x")
        assert isinstance(await protocol.lost, OSError)

    run(main)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6(run):
    """The same over ::1; a server on all addresses has one socket a family."""

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, "::1", 0)
        assert (await connect_and_close(*server.sockets[0].getsockname()[:2]))[0] == "::1"
        server.close()
        await server.wait_closed()
        server = await loop.create_server(Recorder, None, 0)
        families = [sock.family for sock in server.sockets]
        assert len(families) == len(set(families)) == 2
        server.close()
        await server.wait_closed()

    run(main)
