"""Stream transports whose peer, or whose descriptor, has gone: what is still told, and what must not be touched."""

from __future__ import annotations

import asyncio
import os
import socket
import struct


class Told(asyncio.Protocol):
    def __init__(self):
        self.data = b""
        self.news = asyncio.Event()
        self.lost = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.data += data
        self.news.set()

    def connection_lost(self, exc):
        self.lost.set_result(exc)


def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as server:
        end = socket.create_connection(server.getsockname())
        return server.accept()[0], end


async def connect(sock):
    return await asyncio.get_running_loop().create_connection(Told, sock=sock)


def test_last_words_while_much_is_to_be_sent(run):
    """The peer says something and resets the connection; a send that fails afterwards does not lose it."""

    async def main():
        sock, end = tcp_pair()
        transport, told = await connect(sock)
        transport.write(b"x" * 20_000_000)
        end.sendall(b"goodbye")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.close()
        assert isinstance(await told.lost, ConnectionError)
        assert told.data == b"goodbye"

    run(main)


def test_urgent_data(run):
    """A read ends before it; the rest is there all the same, with no news from the kernel."""

    async def main():
        sock, end = tcp_pair()
        transport, told = await connect(sock)
        with end:
            end.sendall(b"before")
            end.send(b"!", socket.MSG_OOB)
            end.sendall(b"behind")
            while told.data != b"beforebehind":
                await told.news.wait()
                told.news.clear()
            transport.close()
            assert await told.lost is None

    run(main)


def test_a_socket_that_its_program_closes(run):
    """Its number may be somebody else's: nothing is sent there."""

    async def main():
        sock, end = tcp_pair()
        ours, theirs = socket.socketpair()
        transport, told = await connect(sock)
        number = sock.fileno()
        sock.close()
        with end, ours, theirs, socket.socket(fileno=os.dup2(ours.fileno(), number)) as other:
            transport.write(b"secret")
            assert isinstance(await told.lost, OSError)
            assert other.fileno() == number
            theirs.setblocking(False)
            other.send(b"public")
            assert theirs.recv(100) == b"public"

    run(main)
