"""What the loop takes over from asyncio's own classes, driven once: datagrams, pipes, children, sendfile.

Points 34 to 36 and 39 get their own tests with the issue that builds them; here they must work, on the loop's watchers.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

import pytest
from aio_support import Recorder, connected, recv_exactly


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.received = asyncio.get_running_loop().create_future()
        self.failed = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.received.set_result((data, addr))

    def error_received(self, exc):
        if not self.failed.done():
            self.failed.set_result(exc)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


def test_datagrams(run):
    """There and back between two endpoints."""

    async def main():
        loop = asyncio.get_running_loop()
        one, one_protocol = await loop.create_datagram_endpoint(
            Datagrams, local_addr=("127.0.0.1", 0)
        )
        address = one.get_extra_info("sockname")
        other, other_protocol = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
        assert isinstance(one, asyncio.Transport)
        assert isinstance(one, asyncio.DatagramTransport) or sys.version_info < (3, 12)
        other.sendto(b"ping")
        data, addr = await one_protocol.received
        assert (data, addr) == (b"ping", other.get_extra_info("sockname"))
        one.sendto(b"pong", addr)
        assert await other_protocol.received == (b"pong", address)
        for transport, protocol in ((one, one_protocol), (other, other_protocol)):
            transport.close()
            assert await protocol.lost is None

    run(main)


def test_datagram_nobody_takes(run):
    """ECONNREFUSED goes to error_received, and the endpoint stays open."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
            deaf.bind(("127.0.0.1", 0))
            address = deaf.getsockname()
        transport, protocol = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
        transport.sendto(b"x")
        assert isinstance(await protocol.failed, ConnectionRefusedError)
        assert not transport.is_closing()
        transport.close()
        await protocol.lost

    run(main)


def test_pipes(run):
    """connect_read_pipe and connect_write_pipe over one pipe."""

    async def main():
        loop = asyncio.get_running_loop()
        read, write = os.pipe()
        source, reading = await loop.connect_read_pipe(Recorder, open(read, "rb", buffering=0))
        sink, writing = await loop.connect_write_pipe(Recorder, open(write, "wb", buffering=0))
        data = bytes(range(256)) * 4000
        sink.write(data)
        assert await reading.received(len(data)) == data
        sink.close()
        await writing.lost
        await reading.lost
        assert reading.events[-2:] == ["eof", "lost"] and source.is_closing()

    run(main)


def test_subprocess(run):
    """Input, output, errors and the exit status of a child."""

    async def main():
        code = "import sys; sys.stderr.write('err'); print(sys.stdin.read().upper()); sys.exit(3)"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(b"hello")
        assert (out, err, process.returncode) == (b"HELLO\n", b"err", 3)

    run(main)


def test_subprocesses_at_once(run):
    """Ten children; one is killed; each has its own status."""

    async def main():
        processes = [
            await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", f"read line; exit {n}", stdin=asyncio.subprocess.PIPE
            )
            for n in range(10)
        ]
        processes[0].kill()
        for process in processes[1:]:
            process.stdin.write(b"go\n")
            process.stdin.close()
        codes = await asyncio.gather(*(process.wait() for process in processes))
        assert codes == [-signal.SIGKILL, *range(1, 10)]
        processes[0].stdin.close()

    run(main)


@pytest.mark.parametrize("size", [0, 1, 1_000_000])
def test_sendfile(run, tmp_path, size):
    """loop.sendfile over a stream transport, between writes, with an offset."""
    path = tmp_path / "file"
    data = os.urandom(size)
    path.write_bytes(b"offset" + data)

    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, protocol, peer):
            with path.open("rb") as file:
                transport.write(b"head")
                reading = asyncio.ensure_future(recv_exactly(peer, size + 8))
                assert await loop.sendfile(transport, file, 6) == size
                transport.write(b"tail")
                assert await reading == b"head" + data + b"tail"
                assert file.tell() == 6 + size or size == 0
            assert transport.is_reading()
            assert transport.get_protocol() is protocol
            peer.send(b"goes on")
            assert await protocol.received(7) == b"goes on"

    run(main)


def test_sendfile_on_a_closing_transport(run, tmp_path):
    """RuntimeError "Transport is closing"."""
    path = tmp_path / "file"
    path.write_bytes(b"x")

    async def main():
        async with connected() as (transport, _protocol, _peer):
            transport.close()
            with path.open("rb") as file, pytest.raises(RuntimeError, match="closing"):
                await asyncio.get_running_loop().sendfile(transport, file)

    run(main)
