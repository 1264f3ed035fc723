"""Unix sockets: create_unix_server, create_unix_connection, paths and who removes them."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import sys

import pytest
from aio_support import Recorder

CLEANS_UP = sys.version_info >= (3, 13)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "socket")


async def round_trip(path):
    """One connection through the path."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_unix_connection(Recorder, path)
    transport.write(b"ping")
    assert await protocol.received(4) == b"PING"
    transport.close()
    await protocol.lost


class Upper(Recorder):
    def data_received(self, data):
        super().data_received(data)
        self.transport.write(data.upper())


@pytest.mark.parametrize("kind", [str, os.fsencode, "path", "abstract"], ids=str)
def test_paths(run, tmp_path, kind):
    """str, bytes, path-like objects and Linux's abstract names."""

    async def main():
        path = tmp_path / "socket"
        if kind == "abstract":
            path = f"\0interloop-test-{os.getpid()}"
        elif kind != "path":
            path = kind(path)
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(Upper, path)
        await round_trip(path)
        assert server.sockets[0].family == socket.AF_UNIX
        server.close()
        await server.wait_closed()

    run(main)


def test_names(run, path):
    """sockname is the path on the server's side, peername on the client's."""

    async def main():
        loop = asyncio.get_running_loop()
        made = loop.create_future()
        server = await loop.create_unix_server(
            lambda: Recorder(connection_made=made.set_result), path
        )
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        accepted = await made
        assert transport.get_extra_info("peername") == path
        assert transport.get_extra_info("sockname") == ""
        assert accepted.transport.get_extra_info("sockname") == path
        assert accepted.transport.get_extra_info("peername") == ""
        transport.close()
        await protocol.lost
        await accepted.lost
        server.close()
        await server.wait_closed()

    run(main)


@pytest.mark.skipif(not CLEANS_UP, reason="from 3.13 on")
def test_path_is_removed_at_close(run, path):
    """Point 31: the path is unlinked when the server closes, at once."""

    async def main():
        server = await asyncio.get_running_loop().create_unix_server(Recorder, path)
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        server.close()
        assert not os.path.exists(path)
        await server.wait_closed()

    run(main)


@pytest.mark.skipif(not CLEANS_UP, reason="from 3.13 on")
def test_path_of_somebody_else_is_not_removed(run, path):
    """Point 31: only while the inode is still the server's own; and no error if it is gone."""

    async def main():
        loop = asyncio.get_running_loop()
        first = await loop.create_unix_server(Recorder, path)
        os.rename(path, path + ".kept")  # keeps the inode from being used again
        second = await loop.create_unix_server(Upper, path)
        first.close()
        await round_trip(path)
        os.unlink(path)
        second.close()
        for server in (first, second):
            await server.wait_closed()
        os.unlink(path + ".kept")

    run(main)


@pytest.mark.skipif(not CLEANS_UP, reason="from 3.13 on")
def test_cleanup_socket_false(run, path):
    """Point 31: cleanup_socket=False leaves it there."""

    async def main():
        server = await asyncio.get_running_loop().create_unix_server(
            Recorder, path, cleanup_socket=False
        )
        server.close()
        await server.wait_closed()
        assert os.path.exists(path)

    run(main)


@pytest.mark.skipif(CLEANS_UP, reason="up to 3.12")
def test_path_stays(run, path):
    """Before 3.13 nobody removes it."""

    async def main():
        server = await asyncio.get_running_loop().create_unix_server(Recorder, path)
        server.close()
        await server.wait_closed()
        assert os.path.exists(path)

    run(main)


def test_stale_path_is_replaced(run, path):
    """A socket file nobody listens on, left by a dead server, is in nobody's way."""

    async def main():
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        server = await asyncio.get_running_loop().create_unix_server(Upper, path)
        await round_trip(path)
        server.close()
        await server.wait_closed()

    run(main)


def test_bind_errors(run, path):
    """Point 32: an ordinary file is not replaced: EADDRINUSE with the path; other errors as they are."""

    async def main():
        loop = asyncio.get_running_loop()
        with open(path, "w"):
            pass
        with pytest.raises(OSError, match="is already in use") as caught:
            await loop.create_unix_server(Recorder, path)
        assert caught.value.errno == errno.EADDRINUSE
        assert repr(path) in str(caught.value)
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_server(Recorder, path + ".no/such/directory")
        with pytest.raises(OSError, match="too long"):
            await loop.create_unix_server(Recorder, "/" + "x" * 200)

    run(main)


def test_connect_errors(run, path):
    """Nothing there, and nobody listening."""

    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_connection(Recorder, path)
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(path)
            with pytest.raises(ConnectionRefusedError):
                await loop.create_unix_connection(Recorder, path)

    run(main)


def test_wrong_arguments(run, path):
    """Errors of the calls, in asyncio's words."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket() as tcp, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
            for sock in (tcp, datagram):
                for call in (loop.create_unix_server, loop.create_unix_connection):
                    with pytest.raises(ValueError) as caught:
                        await call(Recorder, sock=sock)
                    assert str(caught.value) == (
                        f"A UNIX Domain Stream Socket was expected, got {sock!r}"
                    )
                    with pytest.raises(ValueError, match="path and sock can not be specified"):
                        await call(Recorder, path, sock=sock)
        with pytest.raises(ValueError, match="no path and sock were specified"):
            await loop.create_unix_connection(Recorder)
        with pytest.raises(ValueError, match="path was not specified, and no sock specified"):
            await loop.create_unix_server(Recorder)
        with pytest.raises(ValueError, match="server_hostname is only meaningful with ssl"):
            await loop.create_unix_connection(Recorder, path, server_hostname="x")
        with pytest.raises(TypeError, match="ssl argument must be an SSLContext or None"):
            await loop.create_unix_server(Recorder, path, ssl=False)

    run(main)


def test_passed_sockets(run, path):
    """sock= on both sides; the caller's objects, closed with server and transport."""

    async def main():
        loop = asyncio.get_running_loop()
        listener, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        listener.bind(path)
        server = await loop.create_unix_server(Upper, sock=listener)
        client.connect(path)
        transport, protocol = await loop.create_unix_connection(Recorder, sock=client)
        transport.write(b"ping")
        assert await protocol.received(4) == b"PING"
        transport.close()
        await protocol.lost
        assert client.fileno() == -1
        server.close()
        await server.wait_closed()
        assert listener.fileno() == -1

    run(main)


def test_create_connection_takes_unix_sockets(run):
    """create_connection(sock=) is not only for TCP."""

    async def main():
        one, other = socket.socketpair()
        with other:
            transport, protocol = await asyncio.get_running_loop().create_connection(
                Recorder, sock=one
            )
            other.send(b"unix")
            assert await protocol.received(4) == b"unix"
            transport.close()
            await protocol.lost

    run(main)


def test_streams(run, path):
    """asyncio.start_unix_server and open_unix_connection."""

    async def main():
        async def serve(reader, writer):
            writer.write((await reader.readline()).upper())
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_unix_server(serve, path):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"line\n")
            assert await reader.read() == b"LINE\n"
            writer.close()
            await writer.wait_closed()

    run(main)
