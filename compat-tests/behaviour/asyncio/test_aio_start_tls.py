"""start_tls(): on every kind of transport, more than once, at the wrong moment; and what remains of the old transport."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from aio_support import PAIRS, BufferedRecorder, Contexts, Recorder, ServerThread, polls
from aio_tls import Echo, connection

pytestmark = pytest.mark.usefixtures("engine")


async def plain_pair(kind, left=Recorder, right=Recorder):
    """Two transports of the loop under test, connected with each other, and their protocols."""
    loop = asyncio.get_running_loop()
    made = []
    for sock, factory in zip(PAIRS[kind](), (left, right), strict=True):
        create = loop.create_connection if kind == "tcp" else loop.create_unix_connection
        made += await create(factory, sock=sock)
    return made


async def upgrade(one, other, server_context, client_context):
    """start_tls() on both, `other` being the server's."""
    loop = asyncio.get_running_loop()
    return await asyncio.gather(
        loop.start_tls(one, one.get_protocol(), client_context, server_hostname="localhost"),
        loop.start_tls(other, other.get_protocol(), server_context, server_side=True),
    )


@pytest.mark.parametrize("kind", PAIRS)
def test_both_sides(run, server_context, client_context, kind):
    """Plain first, then TLS, over TCP and over Unix sockets; connection_made comes once."""

    async def main():
        one, left, other, right = await plain_pair(kind)
        one.write(b"plain ")
        other.write(b"also ")
        await left.received(5)
        await right.received(6)
        secure_one, secure_other = await upgrade(one, other, server_context, client_context)
        assert secure_one.get_protocol() is left
        assert secure_one is not one
        secure_one.write(b"secret")
        secure_other.write(b"hidden")
        assert await right.received(12) == b"plain secret"
        assert await left.received(11) == b"also hidden"
        assert secure_one.get_extra_info("sslcontext") is client_context
        assert secure_other.get_extra_info("cipher") is not None
        assert one.get_extra_info("sslcontext") is None
        sock = one.get_extra_info("socket")
        assert secure_one.get_extra_info("socket").fileno() == sock.fileno()
        secure_one.close()
        assert await left.lost is None
        assert await right.lost is None
        await polls()
        assert left.events == ["made", "data", "eof", "lost"]
        assert right.events == ["made", "data", "eof", "lost"]
        assert one.is_closing() and other.is_closing()
        assert sock.fileno() == -1

    run(main)


def test_what_was_written_before_leaves_before(run, server_context, client_context):
    """Megabytes of plain data that the kernel has not taken come before the first byte of the handshake."""

    async def main():
        # asyncio's own SSLProtocol is told to go on writing though it was never asked to stop: told, and nothing more.
        Contexts(asyncio.get_running_loop())
        one, left, other, right = await plain_pair("tcp")
        other.pause_reading()
        blocks = 0
        while "pause" not in left.events:
            one.write(b"p" * 65_536)
            blocks += 1
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(
            loop.start_tls(one, left, client_context, server_hostname="localhost")
        )
        await asyncio.sleep(0)

        def begin(protocol):
            if len(protocol.data) >= blocks * 65_536:
                # Not a byte of the handshake has been read yet, unless it came with the last of the data.
                other.pause_reading()

        right.hooks["data_received"] = begin
        other.resume_reading()
        await right.received(blocks * 65_536)
        head = bytes(right.data[blocks * 65_536 :])
        assert set(right.data[: blocks * 65_536]) == {ord("p")}
        assert head[:2] in (b"", b"\x16", b"\x16\x03")
        other.abort()
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await task
        await right.lost

    run(main)


def test_unread_bytes_are_the_handshakes(run, server_context, client_context):
    """A client that does not wait: what it sent while the transport was paused is not lost."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = PAIRS["tcp"]()

        def client(sock):
            with client_context.wrap_socket(sock, server_hostname="localhost") as tls:
                tls.sendall(b"early")
                return tls.recv(10)

        plain, protocol = await loop.create_connection(Recorder, sock=ours)
        plain.pause_reading()
        thread = ServerThread(client, theirs)
        await polls()
        secure = await loop.start_tls(plain, protocol, server_context, server_side=True)
        assert secure.is_reading()
        assert await protocol.received(5) == b"early"
        secure.write(b"answer")
        await protocol.lost
        assert thread.result() == b"answer"

    run(main)


def test_another_protocol(run, server_context, client_context):
    """The protocol given is the one that hears from then on; it may be a buffered one."""

    async def main():
        one, left, other, _ = await plain_pair("tcp", right=Echo)
        second = BufferedRecorder(50, get_buffer=lambda protocol: memoryview(protocol.buffer))
        loop = asyncio.get_running_loop()
        echo = other.get_protocol()
        secure, secure_other = await asyncio.gather(
            loop.start_tls(one, second, client_context, server_hostname="localhost"),
            loop.start_tls(other, echo, server_context, server_side=True),
        )
        echo.transport = secure_other
        assert secure.get_protocol() is second
        second.connection_made(secure)
        secure.write(b"x" * 1000)
        assert await second.received(1000) == b"x" * 1000
        secure.close()
        await second.lost
        await echo.lost
        assert left.events == ["made"]

    run(main)


def test_three_layers(run, server_context, client_context):
    """TLS in TLS in TLS, with more data than a record holds."""

    async def main():
        async with connection(server_context, client_context, Recorder) as (
            transport,
            protocol,
            peer,
        ):
            one, other = transport, peer.transport
            sent = b""
            for layer in range(2):
                one, other = await upgrade(one, other, server_context, client_context)
                piece = bytes([layer]) * 100_000
                sent += piece
                one.write(piece)
                other.write(piece)
                assert await peer.received(len(sent)) == sent
                assert await protocol.received(len(sent)) == sent
            assert one.get_extra_info("peername") == transport.get_extra_info("peername")
            one.close()
            assert await protocol.lost is None
            assert await peer.lost is None
            await polls()
            assert transport.is_closing() and peer.transport.is_closing()
            assert protocol.events == ["made", "data", "eof", "lost"]
            assert peer.events == ["made", "data", "eof", "lost"]

    run(main)


def test_failed(run, server_context):
    """A certificate that is not trusted: the error, and both connections end."""

    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        one, left, other, right = await plain_pair("tcp")
        loop = asyncio.get_running_loop()
        context = ssl.create_default_context()
        outcomes = await asyncio.gather(
            loop.start_tls(one, left, context, server_hostname="localhost"),
            loop.start_tls(other, right, server_context, server_side=True),
            return_exceptions=True,
        )
        assert isinstance(outcomes[0], ssl.SSLCertVerificationError)
        assert isinstance(outcomes[1], (ssl.SSLError, ConnectionError))
        assert isinstance(await left.lost, ssl.SSLCertVerificationError)
        assert isinstance(await right.lost, (ssl.SSLError, ConnectionError))
        assert one.is_closing() and other.is_closing()
        assert contexts == []

    run(main)


def test_timeout(run, client_context):
    """The peer says nothing: ConnectionAbortedError, and the connection is closed."""

    async def main():
        one, left, _, right = await plain_pair("tcp")
        with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer"):
            await asyncio.get_running_loop().start_tls(
                one,
                left,
                client_context,
                server_hostname="localhost",
                ssl_handshake_timeout=0.01,
            )
        await right.lost
        assert one.is_closing()
        await polls()
        # Whoever waits for the handshake was told; asyncio tells the protocol nothing more.
        assert left.events == ["made"]

    run(main)


@pytest.mark.parametrize("method", ["close", "abort"])
def test_the_old_transport_still_ends_it(run, server_context, client_context, method):
    """close() and abort() of the transport that was upgraded end the connection."""

    async def main():
        one, left, other, right = await plain_pair("tcp")
        await upgrade(one, other, server_context, client_context)
        getattr(one, method)()
        await left.lost
        await right.lost
        assert left.events[-1] == right.events[-1] == "lost"

    run(main)


def test_a_transport_of_somebody_elses(run, server_context, client_context):
    """A transport that is only compatible gets asyncio's own TLS."""

    class Wrapped(asyncio.Transport):
        """Hands everything on to another transport."""

        _start_tls_compatible = True

        def __init__(self, inner):
            super().__init__()
            self._inner = inner
            for name in (
                "write",
                "close",
                "abort",
                "is_closing",
                "pause_reading",
                "resume_reading",
                "set_protocol",
                "get_protocol",
                "get_extra_info",
                "_force_close",
            ):
                setattr(self, name, getattr(inner, name))

    async def main():
        one, left, other, right = await plain_pair("tcp")
        loop = asyncio.get_running_loop()
        secure, secure_other = await asyncio.gather(
            loop.start_tls(Wrapped(one), left, client_context, server_hostname="localhost"),
            loop.start_tls(other, right, server_context, server_side=True),
        )
        assert type(secure) is asyncio.sslproto._SSLProtocolTransport
        secure.write(b"through two")
        assert await right.received(11) == b"through two"
        secure_other.write(b"and back")
        assert await left.received(8) == b"and back"
        secure.close()
        assert await left.lost is None
        assert await right.lost is None

    run(main)


@pytest.mark.parametrize("method", ["close", "abort"])
def test_a_transport_that_closes_already(run, client_context, method):
    """No transport comes of it, and the new protocol hears of the end. aiohttp's connector counts on both."""

    async def main():
        loop = asyncio.get_running_loop()
        one, left, _, right = await plain_pair("tcp")
        getattr(one, method)()
        protocol = Recorder()
        secure = await loop.start_tls(one, protocol, client_context, server_hostname="localhost")
        assert secure is None
        assert await protocol.lost is None
        assert protocol.events == ["lost"]
        assert left.events == ["made"]
        assert await right.lost is None

    run(main)


def test_streams(run, server_context, client_context):
    """StreamWriter.start_tls() on both sides."""

    async def main():
        async def serve(reader, writer):
            assert await reader.readline() == b"STARTTLS\n"
            writer.write(b"go\n")
            await writer.start_tls(server_context)
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"STARTTLS\n")
            assert await reader.readline() == b"go\n"
            await writer.start_tls(client_context, server_hostname="localhost")
            writer.write(b"hello\n")
            assert await reader.read() == b"HELLO\n"
            writer.close()
            await writer.wait_closed()

    run(main)
