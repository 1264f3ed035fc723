"""Points 24 to 27: what a stream transport is as an object, what it tells of itself, and whose its socket is."""

from __future__ import annotations

import asyncio
import os
import re
import socket

import pytest
from aio_servers import connect, serving
from aio_support import (
    MORE_THAN_KERNEL_TAKES,
    PAIRS,
    Recorder,
    connected,
    polls,
    recv_exactly,
    tcp_pair,
    unix_pair,
)

every_pair = pytest.mark.parametrize("make_pair", PAIRS.values(), ids=PAIRS)


@every_pair
def test_type(run, make_pair):
    """Point 24: isinstance of asyncio's classes, as libraries test for them."""

    async def main():
        async with connected(make_pair) as (transport, _protocol, _peer):
            for cls in (asyncio.Transport, asyncio.ReadTransport, asyncio.WriteTransport):
                assert isinstance(transport, cls)
            assert isinstance(transport, asyncio.BaseTransport)
            assert not isinstance(transport, asyncio.DatagramTransport)
            assert issubclass(transport.__class__, asyncio.Transport)

    run(main)


def test_instance_dict(run):
    """Point 24: suites replace methods on the instance, and take them away again."""

    async def main():
        async with connected() as (transport, protocol, peer):
            written = []
            for name in ("write", "pause_reading", "resume_reading", "close", "get_extra_info"):
                setattr(transport, name, lambda *args: written.append(args))
                getattr(transport, name)(b"caught")
                delattr(transport, name)
            assert written == [(b"caught",)] * 5
            transport.anything = 1
            assert transport.__dict__ == {**transport.__dict__, "anything": 1}
            transport.write(b"through")
            assert await recv_exactly(peer, 7) == b"through"
            assert protocol.events == ["made"]

    run(main)


def test_mock_patch(run):
    """Point 24: mock.patch.object works on it and leaves it as it was."""
    from unittest import mock

    async def main():
        async with connected() as (transport, _protocol, peer):
            with mock.patch.object(transport, "write") as write:
                transport.write(b"mocked")
                write.assert_called_once_with(b"mocked")
            transport.write(b"real")
            assert await recv_exactly(peer, 4) == b"real"

    run(main)


def test_get_extra_info_of_the_class_can_be_patched(run, monkeypatch):
    """Point 24: websockets patches asyncio.Transport.get_extra_info: the transport must not hide it."""

    async def main():
        async with connected() as (transport, _protocol, _peer):
            with monkeypatch.context() as patch:
                patch.setattr(
                    asyncio.Transport, "get_extra_info", lambda self, name: f"patched {name}"
                )
                assert transport.get_extra_info("peername") == "patched peername"
            assert transport.get_extra_info("peername") != "patched peername"

    run(main)


def test_private_names(run):
    """Point 24: _extra, _loop, _protocol and _sock are touched by tests and libraries."""

    async def main():
        async with connected() as (transport, protocol, _peer):
            assert transport._loop is asyncio.get_running_loop()
            assert transport._protocol is protocol
            assert transport._sock.fileno() == transport.get_extra_info("socket").fileno()
            assert transport._extra["peername"] == transport.get_extra_info("peername")
            transport._extra["mine"] = 5
            assert transport.get_extra_info("mine") == 5
            assert transport._sock_fd == transport._sock.fileno()

    run(main)


def test_repr(run):
    """Point 24: class name, fd, whether it polls for reading and writing, the buffer's size, closing and closed."""

    async def main():
        async with connected() as (transport, protocol, _peer):
            fd = transport.get_extra_info("socket").fileno()
            await polls(1)
            name = type(transport).__name__
            assert repr(transport) == (f"<{name} fd={fd} read=polling write=<idle, bufsize=0>>")
            transport.pause_reading()
            assert "read=idle" in repr(transport)
            transport.write(bytes(MORE_THAN_KERNEL_TAKES))
            size = transport.get_write_buffer_size()
            assert size > 0
            assert f"write=<polling, bufsize={size}>" in repr(transport)
            transport.close()
            assert repr(transport).startswith(f"<{name} closing fd={fd} ")
            transport.abort()
            await protocol.lost
            assert re.fullmatch(f"<{name} closed fd=-?[0-9]+>", repr(transport))

    run(main)


@every_pair
def test_extra_info(run, make_pair):
    """Point 25: socket, peername, sockname; None or the default for what is not there."""

    async def main():
        async with connected(make_pair) as (transport, _protocol, peer):
            assert transport.get_extra_info("peername") == peer.getsockname()
            assert transport.get_extra_info("sockname") == peer.getpeername()
            for name in (
                "sslcontext",
                "ssl_object",
                "cipher",
                "peercert",
                "compression",
                "nothing",
            ):
                assert transport.get_extra_info(name) is None
                assert transport.get_extra_info(name, "default") == "default"

    run(main)


def test_names_survive_close(run):
    """Point 25: peername and sockname are still told when the connection is gone."""

    async def main():
        async with connected() as (transport, protocol, _peer):
            names = [transport.get_extra_info(name) for name in ("peername", "sockname")]
            transport.close()
            await protocol.lost
            assert [transport.get_extra_info(name) for name in ("peername", "sockname")] == names
            assert all(names)

    run(main)


@every_pair
def test_transport_socket(run, make_pair):
    """Point 25: a TransportSocket of the same descriptor, with which one cannot block or read."""

    async def main():
        async with connected(make_pair) as (transport, _protocol, _peer):
            sock = transport.get_extra_info("socket")
            assert transport.get_extra_info("socket") is sock
            assert type(sock) is asyncio.trsock.TransportSocket
            assert sock.fileno() >= 0 and sock.type == socket.SOCK_STREAM
            assert sock.family == (socket.AF_INET if make_pair is tcp_pair else socket.AF_UNIX)
            assert sock.gettimeout() == 0
            sock.settimeout(0)
            sock.setblocking(False)
            for blocking in (lambda: sock.settimeout(1), lambda: sock.setblocking(True)):
                with pytest.raises(ValueError):
                    blocking()
            assert sock.getsockname() == transport.get_extra_info("sockname")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
            with sock.dup() as twin:
                assert isinstance(twin, socket.socket) and twin.fileno() != sock.fileno()
            for missing in ("recv", "send", "close", "accept"):
                assert not hasattr(sock, missing)

    run(main)


def test_passed_socket_stays_the_callers(run):
    """Point 26: same object, same number, usable while the transport lives, closed by it then."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        fd = ours.fileno()
        with peer:
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            assert ours.fileno() == fd == transport.get_extra_info("socket").fileno()
            assert ours.getpeername() == peer.getsockname()
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            transport.close()
            await protocol.lost
            assert ours.fileno() == -1
            assert await loop.sock_recv(peer, 1) == b""

    run(main)


def test_blocking_socket_is_made_non_blocking(run):
    """Point 26: whatever timeout the passed socket had."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        ours.settimeout(5)
        with peer:
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            assert ours.gettimeout() == 0
            transport.close()
            await protocol.lost

    run(main)


def test_socket_closed_by_its_owner_under_the_transport(run):
    """Point 26: rude, but it must neither hang nor hit a stranger's descriptor when the transport closes."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        with peer:
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            await polls(1)
            transport.pause_reading()
            fd = ours.fileno()
            ours.close()
            one, other = unix_pair()
            with one, other:
                assert fd in (one.fileno(), other.fileno())
                transport.abort()
                await protocol.lost
                one.send(b"untouched")
                assert other.recv(100) == b"untouched"

    run(main)


@pytest.mark.parametrize("call", ["create_connection", "create_server", "connect_accepted_socket"])
def test_stream_sockets_only(run, call):
    """Point 26: ValueError "A Stream Socket was expected, got ..." and the socket is not touched."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            args = (sock,) if call == "connect_accepted_socket" else ()
            kwargs = {} if args else {"sock": sock}
            with pytest.raises(ValueError) as caught:
                await getattr(loop, call)(Recorder, *args, **kwargs)
            assert str(caught.value) == f"A Stream Socket was expected, got {sock!r}"
            assert sock.fileno() >= 0

    run(main)


def test_datagram_sockets_only(run):
    """Point 26: and the other way round for create_datagram_endpoint, in that version's words."""

    async def main():
        with socket.socket() as sock:
            with pytest.raises(ValueError, match=r"A (datagram|UDP) [Ss]ocket was expected, got "):
                await asyncio.get_running_loop().create_datagram_endpoint(
                    asyncio.DatagramProtocol, sock=sock
                )

    run(main)


def test_nodelay(run):
    """Point 27: TCP_NODELAY is on for TCP transports, made by the loop or accepted by it."""

    async def main():
        loop = asyncio.get_running_loop()
        accepted = loop.create_future()
        server = await loop.create_server(
            lambda: Recorder(connection_made=accepted.set_result), "127.0.0.1", 0
        )
        transport, protocol = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname()
        )
        other = await accepted
        for side in (transport, other.transport):
            sock = side.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        transport.close()
        await protocol.lost
        await other.lost
        server.close()
        await server.wait_closed()

    run(main)


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
def test_nodelay_by_then(run, writes):
    """Point 27: whenever an accepted connection's socket is asked for, in the last callback too; and from the second write on."""

    async def main():
        def nodelay(sock):
            return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

        told = []

        def lost(protocol):
            told.append(nodelay(protocol.transport.get_extra_info("socket")))

        server, made = await serving(lambda: Recorder(connection_lost=lost))
        client, protocol = await connect(server, made)
        for _ in range(writes):
            protocol.transport.write(b"12345")
        if writes > 1:
            with socket.socket(fileno=os.dup(protocol.transport._sock_fd)) as same:
                assert nodelay(same) == 1
        assert await recv_exactly(client, 5 * writes) == b"12345" * writes
        if writes:
            assert nodelay(protocol.transport.get_extra_info("socket")) == 1
        client.close()
        await protocol.lost
        assert told == [1]
        server.close()
        await server.wait_closed()

    run(main)


def test_accepted_sockets(run):
    """Point 27: non-blocking, and not inherited by children."""

    async def main():
        loop = asyncio.get_running_loop()
        accepted = loop.create_future()
        server = await loop.create_server(
            lambda: Recorder(connection_made=accepted.set_result), "127.0.0.1", 0
        )
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            protocol = await accepted
            sock = protocol.transport.get_extra_info("socket")
            assert sock.gettimeout() == 0
            assert sock.get_inheritable() is False
            assert protocol.transport.get_extra_info("peername") == client.getsockname()
            assert protocol.transport.get_extra_info("sockname") == client.getpeername()
        await protocol.lost
        server.close()
        await server.wait_closed()

    run(main)


def test_one_transport_a_descriptor(run):
    """Point 17: a second transport on the same socket is refused since 3.12, and the first goes on."""
    import sys

    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, protocol, peer):
            if sys.version_info >= (3, 12):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    await loop.create_connection(Recorder, sock=transport._sock)
            peer.send(b"goes on")
            assert await protocol.received(7) == b"goes on"

    run(main)


def test_connect_accepted_socket(run):
    """A socket accepted elsewhere becomes a transport, with the peer's name."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            with socket.create_connection(listener.getsockname()) as client:
                accepted, _ = await loop.sock_accept(listener)
                transport, protocol = await loop.connect_accepted_socket(Recorder, accepted)
                assert transport.get_extra_info("peername") == client.getsockname()
                client.send(b"hello")
                assert await protocol.received(5) == b"hello"
            await protocol.lost

    run(main)
