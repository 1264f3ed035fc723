"""Points 17, 22 and 23: sock_* operations that are refused, cancelled, or meet a peer that is gone."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

import pytest
from aio_support import (
    MORE_THAN_KERNEL_TAKES,
    fill,
    polls,
    reset,
    tcp_pair,
    turns,
    unix_pair,
)


def test_connect_refused(run):
    """ConnectionRefusedError with the errno and the address."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
        with socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError) as caught:
                await loop.sock_connect(client, address)
            assert caught.value.errno == errno.ECONNREFUSED
            assert loop.remove_writer(client) is False

    run(main)


OPERATIONS = {
    "sock_recv": lambda loop, sock: loop.sock_recv(sock, 10),
    "sock_recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(10)),
    "sock_recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 10),
    "sock_recvfrom_into": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(10)),
    "sock_sendall": lambda loop, sock: loop.sock_sendall(sock, b"x"),
    "sock_sendto": lambda loop, sock: loop.sock_sendto(sock, b"x", ("127.0.0.1", 1)),
    "sock_connect": lambda loop, sock: loop.sock_connect(sock, ("127.0.0.1", 1)),
    "sock_accept": lambda loop, sock: loop.sock_accept(sock),
}


every_operation = pytest.mark.parametrize("name", OPERATIONS)


@every_operation
def test_blocking_sockets_are_refused_in_debug_mode(run, name):
    """Point 22: ValueError "the socket must be non-blocking"."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            for timeout in (None, 5.0):
                sock.settimeout(timeout)
                with pytest.raises(ValueError, match="the socket must be non-blocking"):
                    await OPERATIONS[name](loop, sock)

    run(main, debug=True)


@every_operation
def test_ssl_sockets_are_refused(run, name):
    """TypeError: an SSLSocket keeps bytes where no poll sees them."""
    import ssl

    async def main():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        with context.wrap_socket(socket.socket()) as sock:
            with pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
                await OPERATIONS[name](asyncio.get_running_loop(), sock)

    run(main)


@every_operation
def test_closed_sockets(run, name):
    """EBADF, and nothing is registered for descriptor -1."""

    async def main():
        sock = socket.socket()
        sock.setblocking(False)
        sock.close()
        with pytest.raises(OSError) as caught:
            await OPERATIONS[name](asyncio.get_running_loop(), sock)
        assert caught.value.errno == errno.EBADF
        await polls(2)

    run(main)


@pytest.mark.parametrize("name", ["sock_recv", "sock_recv_into", "sock_accept", "sock_sendall"])
def test_cancelled_leaves_nothing_registered(run, name):
    """Point 22: after a cancellation neither reader nor writer is left on the descriptor."""

    async def main():
        loop = asyncio.get_running_loop()
        if name == "sock_accept":
            one, other = socket.create_server(("127.0.0.1", 0)), socket.socket()
            one.setblocking(False)
        else:
            one, other = unix_pair()
        with one, other:
            if name == "sock_sendall":
                fill(one)
            task = asyncio.ensure_future(OPERATIONS[name](loop, one))
            await polls(2)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await polls(1)
            assert loop.remove_reader(one) is False
            assert loop.remove_writer(one) is False

    run(main)


def test_cancelled_connect(run, tmp_path):
    """A connect that hangs (a full backlog) is cancelled and leaves no writer."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
            clients = []
            try:
                while True:
                    client = socket.socket()
                    client.setblocking(False)
                    clients.append(client)
                    task = asyncio.ensure_future(loop.sock_connect(client, listener.getsockname()))
                    await polls(3)
                    if not task.done():
                        break
                    await task
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await polls(1)
                assert loop.remove_writer(client) is False
            finally:
                for client in clients:
                    client.close()

    run(main)


def test_cancelled_receive_steals_nothing(run):
    """Point 23: data that comes in the turn of the cancellation is the next receiver's."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:
            for n in range(10):
                task = asyncio.ensure_future(loop.sock_recv(one, 100))
                await polls(2)
                text = b"data %d" % n
                # In either order: the event and the cancellation meet in one turn.
                if n % 2:
                    other.send(text)
                    task.cancel()
                else:
                    task.cancel()
                    other.send(text)
                assert await loop.sock_recv(one, 100) == text
                with pytest.raises(asyncio.CancelledError):
                    await task

    run(main)


def test_cancelled_accept_loses_no_connection(run):
    """Point 23 for accept: the connection that came meanwhile is the next one's."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            task = asyncio.ensure_future(loop.sock_accept(listener))
            await polls(2)
            with socket.create_connection(listener.getsockname()) as client:
                task.cancel()
                server, address = await loop.sock_accept(listener)
                server.close()
                assert address == client.getsockname()
                with pytest.raises(asyncio.CancelledError):
                    await task

    run(main)


def test_errors_of_the_peer(run):
    """A reset reaches the receive that waits, and sending into it."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = tcp_pair()
        with one:
            task = asyncio.ensure_future(loop.sock_recv(one, 10))
            await polls(2)
            reset(other)
            with pytest.raises(ConnectionResetError):
                await task
            with pytest.raises(BrokenPipeError):
                await loop.sock_sendall(one, b"x")
        one, other = tcp_pair()
        with one:
            task = asyncio.ensure_future(loop.sock_sendall(one, bytes(MORE_THAN_KERNEL_TAKES)))
            await polls(2)
            reset(other)
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await task
            assert loop.remove_writer(one) is False

    run(main)


def test_closed_while_waiting_then_cancelled(run):
    """Point 23: a socket closed under a waiting sock_recv; the cancelled task ends and nothing is left over."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with other:
            task = asyncio.ensure_future(loop.sock_recv(one, 10))
            await turns(2)
            number = one.fileno()
            one.close()
            await turns(2)
            task.cancel()
            await asyncio.wait([task])
            await turns(1)
            assert loop.remove_reader(number) is False

    run(main)


def test_descriptor_of_a_transport(run):
    """Point 17: a receive that would wait on a transport's descriptor is refused."""
    from aio_support import connected

    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _protocol, _peer):
            sock = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
            with sock:
                sock.setblocking(False)

                class Same:
                    """The transport's own number, and what a socket does."""

                    fileno = transport.get_extra_info("socket").fileno
                    gettimeout = sock.gettimeout
                    recv = sock.recv

                with pytest.raises(RuntimeError, match="is used by transport"):
                    await loop.sock_recv(Same(), 10)

    run(main)
