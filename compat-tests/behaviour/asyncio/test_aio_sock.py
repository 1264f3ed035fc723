"""Points 22 and 23: sock_recv, sock_recv_into, sock_sendall, sock_connect, sock_accept and the datagram ones."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
from aio_support import (
    MORE_THAN_KERNEL_TAKES,
    PAIRS,
    is_readable,
    polls,
    recv_exactly,
    recv_to_eof,
    tcp_pair,
    unix_pair,
)

every_pair = pytest.mark.parametrize("make_pair", PAIRS.values(), ids=PAIRS)


def first_step(coroutine):
    """What a coroutine returns in its first step, without a loop's help; None if it wants to wait."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    return None


@every_pair
def test_recv(run, make_pair):
    """What is there comes at once, what is not is waited for, the end is b""."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = make_pair()
        with one, other:
            other.send(b"there")
            assert await loop.sock_recv(one, 100) == b"there"
            loop.call_soon(other.send, b"later")
            assert await loop.sock_recv(one, 2) == b"la"
            assert await loop.sock_recv(one, 100) == b"ter"
            loop.call_soon(other.close)
            assert await loop.sock_recv(one, 100) == b""

    run(main)


@every_pair
def test_recv_into(run, make_pair):
    """Bytes land in the buffer given; the answer is how many. bytearray and memoryview alike."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = make_pair()
        buffer = bytearray(b"-" * 10)
        with one, other:
            other.send(b"there")
            assert await loop.sock_recv_into(one, buffer) == 5
            assert buffer == b"there-----"
            loop.call_soon(other.send, b"later")
            assert await loop.sock_recv_into(one, memoryview(buffer)[5:]) == 5
            assert buffer == b"therelater"
            other.shutdown(socket.SHUT_WR)
            assert await loop.sock_recv_into(one, buffer) == 0

    run(main)


@every_pair
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_sendall(run, make_pair, kind):
    """Several megabytes against a peer that reads meanwhile; nothing is lost or doubled."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = make_pair()
        block = os.urandom(1 << 16)
        data = block * (MORE_THAN_KERNEL_TAKES // len(block))
        with one, other:
            reading = asyncio.ensure_future(recv_exactly(other, len(data)))
            assert await loop.sock_sendall(one, kind(data)) is None
            assert await reading == data
            await loop.sock_sendall(one, kind(b""))

    run(main)


def test_both_directions_of_one_socket(run):
    """A receive and a send of one socket wait beside each other."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = tcp_pair()
        with one, other:
            receiving = asyncio.ensure_future(loop.sock_recv(one, 100))
            data = bytes(MORE_THAN_KERNEL_TAKES)
            sending = asyncio.ensure_future(loop.sock_sendall(one, data))
            await polls()
            assert not receiving.done() and not sending.done()
            other.send(b"answer")
            assert await receiving == b"answer"
            assert not sending.done()
            assert await recv_exactly(other, len(data)) == data
            await sending

    run(main)


def test_connect_and_accept(run):
    """A connection is made; the accepted socket is non-blocking, not inheritable, and comes with its address."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            listener.setblocking(False)
            client.setblocking(False)
            accepting = asyncio.ensure_future(loop.sock_accept(listener))
            await polls(2)
            assert await loop.sock_connect(client, listener.getsockname()) is None
            server, address = await accepting
            with server:
                assert address == client.getsockname()
                assert server.gettimeout() == 0 and not server.get_inheritable()
                await loop.sock_sendall(client, b"hello")
                assert await loop.sock_recv(server, 100) == b"hello"

    run(main)


def test_accept_what_waits_already(run):
    """Connections made before are accepted in order, without another one having to come."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            clients = [socket.create_connection(listener.getsockname()) for _ in range(5)]
            for client in clients:
                server, address = await loop.sock_accept(listener)
                assert address == client.getsockname()
                server.close()
                client.close()

    run(main)


def test_unix_connect(run, tmp_path):
    """Paths need no resolution; a path that is not there is a FileNotFoundError."""

    async def main():
        loop = asyncio.get_running_loop()
        path = str(tmp_path / "socket")
        with (
            socket.socket(socket.AF_UNIX) as listener,
            socket.socket(socket.AF_UNIX) as client,
            socket.socket(socket.AF_UNIX) as lost,
        ):
            for sock in (listener, client, lost):
                sock.setblocking(False)
            listener.bind(path)
            listener.listen()
            await loop.sock_connect(client, path)
            server, _ = await loop.sock_accept(listener)
            with server:
                await loop.sock_sendall(server, b"hello")
                assert await loop.sock_recv(client, 100) == b"hello"
            with pytest.raises(FileNotFoundError):
                await loop.sock_connect(lost, path + "not there")

    run(main)


def test_tried_at_once(run):
    """Point 22: the operation is tried in the coroutine's first step: no turn of the loop is needed."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:
            other.send(b"abcdef")
            assert first_step(loop.sock_recv(one, 3)) == b"abc"
            assert first_step(loop.sock_recv_into(one, bytearray(2))) == 2
            first_step(loop.sock_sendall(one, b"sent"))
            assert other.recv(100) == b"sent"
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            with socket.create_connection(listener.getsockname()) as client:
                task = asyncio.ensure_future(loop.sock_accept(listener))
                await asyncio.sleep(0)
                assert not is_readable(listener)
                server, address = await task
                assert address == client.getsockname()
                server.close()

    run(main)


def test_connect_is_under_way_after_one_turn(run):
    """Point 22: after sleep(0) a listener's own accept() sees the connection; numeric addresses need no resolver."""

    async def main():
        loop = asyncio.get_running_loop()

        async def no_resolver(*args, **kwargs):
            raise AssertionError(f"asked for {args}")

        loop.getaddrinfo = no_resolver
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            listener.setblocking(False)
            client.setblocking(False)
            task = asyncio.ensure_future(loop.sock_connect(client, listener.getsockname()))
            await asyncio.sleep(0)
            server, _ = listener.accept()
            server.close()
            await task

    run(main)


def test_names_are_looked_up(run):
    """A host name goes through loop.getaddrinfo, with family, type and protocol of the socket."""

    async def main():
        loop = asyncio.get_running_loop()
        asked = []

        async def getaddrinfo(host, port, **kwargs):
            asked.append((host, kwargs["family"], kwargs["type"]))
            return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]

        loop.getaddrinfo = getaddrinfo
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, ("name.invalid", listener.getsockname()[1]))
            assert client.getpeername() == listener.getsockname()
        assert asked == [("name.invalid", socket.AF_INET, socket.SOCK_STREAM)]

    run(main)


def test_datagrams(run):
    """Point 22: sock_recvfrom, sock_recvfrom_into and sock_sendto are there."""

    async def main():
        loop = asyncio.get_running_loop()
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
        ):
            for sock in (one, other):
                sock.setblocking(False)
                sock.bind(("127.0.0.1", 0))
            waiting = asyncio.ensure_future(loop.sock_recvfrom(one, 100))
            await polls(2)
            assert await loop.sock_sendto(other, b"first", one.getsockname()) == 5
            assert await waiting == (b"first", other.getsockname())
            buffer = bytearray(10)
            waiting = asyncio.ensure_future(loop.sock_recvfrom_into(one, buffer, 3))
            await polls(2)
            await loop.sock_sendto(other, b"second", one.getsockname())
            assert await waiting == (3, other.getsockname())
            assert buffer[:3] == b"sec"

    run(main)


def test_sendfile(run, tmp_path):
    """Point 22: sock_sendfile is there, sends what was asked for and moves the file's position by it."""
    path = tmp_path / "file"
    data = os.urandom(300_000)
    path.write_bytes(data)

    async def main():
        loop = asyncio.get_running_loop()
        one, other = tcp_pair()
        with one, other, path.open("rb") as file:
            reading = asyncio.ensure_future(recv_to_eof(other))
            assert await loop.sock_sendfile(one, file, 10, 200_000) == 200_000
            assert file.tell() == 200_010
            one.close()
            assert await reading == data[10:200_010]

    run(main)
