"""Point 33: handshakes, data, the end, start_tls; on ours with each of the two engines that make the records."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl

import pytest
from aio_support import (
    Contexts,
    Recorder,
    ServerThread,
    connected,
    polls,
    tcp_pair,
)
from aio_tls import Echo, serving

pytestmark = pytest.mark.usefixtures("engine")


def test_client_and_server(run, server_context, client_context, engine):
    """Both ends ours: data both ways, what the transports tell, the end."""

    async def main():
        loop = asyncio.get_running_loop()
        server, made = await serving(server_context)
        transport, protocol = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(), ssl=client_context
        )
        transport.write(b"hello")
        assert await protocol.received(5) == b"hello"
        assert isinstance(transport, asyncio.Transport)
        assert transport.get_extra_info("sslcontext") is client_context
        assert isinstance(transport.get_extra_info("ssl_object"), ssl.SSLObject)
        assert transport.get_extra_info("cipher")[1].startswith("TLS")
        assert dict(transport.get_extra_info("peercert")["subject"][0])["commonName"] == "localhost"
        assert transport.get_extra_info("peername") == server.sockets[0].getsockname()
        assert server._ssl_context is server_context
        assert transport._ssl_protocol._sslcontext is client_context
        if engine != "stock":
            assert transport._engine == engine
        transport.close()
        assert await protocol.lost is None
        await made[0].lost
        server.close()
        await server.wait_closed()

    run(main)


def test_large_both_ways(run, server_context, client_context):
    """Eight megabytes there and back."""

    async def main():
        loop = asyncio.get_running_loop()
        server, made = await serving(server_context)
        transport, protocol = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(), ssl=client_context
        )
        data = os.urandom(1 << 20) * 8
        transport.write(data)
        assert await protocol.received(len(data)) == data
        transport.close()
        await protocol.lost
        await made[0].lost
        server.close()
        await server.wait_closed()

    run(main)


def test_blocking_server(run, server_context, client_context):
    """Against a server of the ssl module's own; what it sends before its close_notify is delivered, then the end."""

    def serve(sock):
        with server_context.wrap_socket(sock, server_side=True) as tls:
            data = tls.recv(100)
            tls.sendall(data.upper() + bytes(100_000))
            return tls.unwrap().fileno() >= 0

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = tcp_pair()
        server = ServerThread(serve, theirs)
        transport, protocol = await loop.create_connection(
            Recorder, sock=ours, ssl=client_context, server_hostname="localhost"
        )
        transport.write(b"hello")
        assert await protocol.lost is None
        assert protocol.data == b"HELLO" + bytes(100_000)
        assert protocol.events == ["made", "data", "eof", "lost"]
        assert server.result()

    run(main)


def test_unverified_certificate(run, server_context):
    """A client that does not trust it: SSLCertVerificationError; nothing is left open on either side."""

    async def main():
        loop = asyncio.get_running_loop()
        Contexts(loop)
        server, _made = await serving(server_context)
        with pytest.raises(ssl.SSLCertVerificationError):
            await loop.create_connection(
                Recorder,
                *server.sockets[0].getsockname(),
                ssl=ssl.create_default_context(),
            )
        await polls()
        server.close()
        await server.wait_closed()

    run(main)


def test_plain_client_of_a_tls_server(run, server_context):
    """Garbage instead of a handshake closes that connection; the server goes on."""

    async def main():
        loop = asyncio.get_running_loop()
        Contexts(loop)
        server, made = await serving(server_context)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.setblocking(False)
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            try:
                while await loop.sock_recv(client, 100):
                    pass
            except ConnectionResetError:
                pass
        await polls()
        assert all(protocol.events == [] for protocol in made)
        server.close()
        await server.wait_closed()

    run(main)


def test_handshake_timeout(run, client_context):
    """A peer that says nothing: ConnectionAbortedError that tells of the handshake; the socket is closed."""

    async def main():
        ours, peer = tcp_pair()
        with peer:
            with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer"):
                await asyncio.get_running_loop().create_connection(
                    Recorder,
                    sock=ours,
                    ssl=client_context,
                    server_hostname="localhost",
                    ssl_handshake_timeout=0.01,
                )
            await polls(2)
            assert ours.fileno() == -1

    run(main)


def test_peer_gone_in_the_handshake(run, client_context):
    """The connection ends before it is one: a ConnectionError, or an SSLError, and no hang."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        task = asyncio.ensure_future(
            loop.create_connection(
                Recorder, sock=ours, ssl=client_context, server_hostname="localhost"
            )
        )
        assert len(await loop.sock_recv(peer, 10_000)) > 0
        peer.close()
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await task

    run(main)


@pytest.mark.parametrize("side", ["client", "server"])
def test_start_tls(run, server_context, client_context, side):
    """A plain connection becomes TLS: the protocol stays, the new transport is given back."""

    def serve(sock):
        sock.sendall(b"plain")
        assert sock.recv(5) == b"ready"  # the handshake begins after it
        if side == "client":
            tls = server_context.wrap_socket(sock, server_side=True)
        else:
            tls = client_context.wrap_socket(sock, server_hostname="localhost")
        with tls:
            tls.sendall(tls.recv(100).upper())
            tls.recv(100)

    async def main():
        loop = asyncio.get_running_loop()
        Contexts(loop)
        ours, theirs = tcp_pair()
        peer = ServerThread(serve, theirs)
        plain, protocol = await loop.create_connection(Recorder, sock=ours)
        assert plain._start_tls_compatible is True
        assert await protocol.received(5) == b"plain"
        plain.write(b"ready")
        if side == "client":
            secure = await loop.start_tls(
                plain, protocol, client_context, server_hostname="localhost"
            )
        else:
            secure = await loop.start_tls(plain, protocol, server_context, server_side=True)
        assert secure is not plain
        assert secure.get_extra_info("socket").fileno() == ours.fileno()
        secure.write(b"secret")
        assert await protocol.received(11) == b"plainSECRET"
        secure.close()
        await protocol.lost
        peer.result()
        assert protocol.events.count("made") == 1

    run(main)


def test_start_tls_needs_a_compatible_transport(run, client_context):
    """TypeError for anything that does not say it is."""

    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(TypeError, match=r"is not supported by start_tls\(\)"):
            await loop.start_tls(asyncio.Transport(), Recorder(), client_context)
        async with connected() as (transport, protocol, _peer):
            with pytest.raises(TypeError, match="sslcontext is expected to be an instance"):
                await loop.start_tls(transport, protocol, None)

    run(main)


def test_tls_in_tls(run, server_context, client_context):
    """start_tls over a TLS transport."""

    async def main():
        loop = asyncio.get_running_loop()
        upgraded = loop.create_future()
        tasks = []

        class Upgrading(Recorder):
            def data_received(self, data):
                super().data_received(data)
                if bytes(self.data) == b"upgrade":
                    self.transport.write(b"go")
                    tasks.append(asyncio.ensure_future(self.upgrade()))
                else:
                    self.transport.write(data.upper())

            async def upgrade(self):
                self.transport = await loop.start_tls(
                    self.transport, self, server_context, server_side=True
                )
                upgraded.set_result(None)

        server, made = await serving(server_context, Upgrading)
        outer, protocol = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(), ssl=client_context
        )
        outer.write(b"upgrade")
        assert await protocol.received(2) == b"go"
        inner = await loop.start_tls(outer, protocol, client_context, server_hostname="localhost")
        await upgraded
        inner.write(b"deep")
        assert await protocol.received(6) == b"goDEEP"
        inner.close()
        await protocol.lost
        await made[0].lost
        server.close()
        await server.wait_closed()

    run(main)


def test_streams(run, server_context, client_context):
    """open_connection and start_server with ssl=."""

    async def main():
        async def serve(reader, writer):
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context)
        async with server:
            reader, writer = await asyncio.open_connection(
                *server.sockets[0].getsockname(), ssl=client_context
            )
            writer.write(b"line\n")
            assert await reader.read() == b"LINE\n"
            writer.close()
            await writer.wait_closed()

    run(main)


def test_abort(run, server_context, client_context):
    """abort() of a TLS transport drops everything; both ends are lost, each once."""

    async def main():
        loop = asyncio.get_running_loop()
        server, made = await serving(server_context)
        transport, protocol = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(), ssl=client_context
        )
        transport.write(bytes(8 << 20))
        transport.abort()
        await protocol.lost
        await made[0].lost
        await polls()
        assert len(protocol.lost_with) == len(made[0].lost_with) == 1
        server.close()
        await server.wait_closed()

    run(main)


def test_data_that_raises(run, server_context, client_context):
    """A protocol over TLS that raises in data_received: told once, and the connection ends."""

    async def main():
        loop = asyncio.get_running_loop()
        contexts = Contexts(loop)

        def fail(protocol):
            raise LookupError

        server, made = await serving(server_context, lambda: Recorder(data_received=fail))
        transport, protocol = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(), ssl=client_context
        )
        transport.write(b"x")
        await protocol.lost
        assert isinstance(await made[0].lost, LookupError)
        assert [type(context["exception"]) for context in contexts] == [LookupError]
        server.close()
        await server.wait_closed()

    run(main)


def test_unix(run, server_context, client_context, tmp_path):
    """create_unix_server and create_unix_connection with ssl=."""

    async def main():
        loop = asyncio.get_running_loop()
        path = str(tmp_path / "socket")
        made = []
        server = await loop.create_unix_server(
            lambda: made.append(Echo()) or made[-1], path, ssl=server_context
        )
        transport, protocol = await loop.create_unix_connection(
            Recorder, path, ssl=client_context, server_hostname="localhost"
        )
        transport.write(b"hello")
        assert await protocol.received(5) == b"hello"
        assert transport.get_extra_info("peername") == path
        transport.close()
        assert await protocol.lost is None
        assert await made[0].lost is None
        server.close()
        await server.wait_closed()

    run(main)


def test_accepted_elsewhere(run, server_context, client_context):
    """connect_accepted_socket with ssl=: the transport is given back when the handshake is over."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = tcp_pair()
        (transport, protocol), (other, peer) = await asyncio.gather(
            loop.connect_accepted_socket(Recorder, ours, ssl=server_context),
            loop.create_connection(
                Recorder, sock=theirs, ssl=client_context, server_hostname="localhost"
            ),
        )
        transport.write(b"hello")
        assert await peer.received(5) == b"hello"
        other.close()
        assert await protocol.lost is None
        assert await peer.lost is None

    run(main)


def test_without_a_context(run, server_context, client_context, monkeypatch):
    """ssl=True is asyncio's default context for a client; a server wants a real one."""

    async def main():
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(ssl, "create_default_context", lambda: client_context)
        server, _made = await serving(server_context)
        transport, protocol = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(), ssl=True
        )
        assert transport.get_extra_info("sslcontext") is client_context
        transport.abort()
        await protocol.lost
        server.close()
        await server.wait_closed()
        with pytest.raises(TypeError, match="ssl argument must be an SSLContext or None"):
            await loop.create_server(Recorder, "127.0.0.1", 0, ssl=True)

    run(main)


def test_an_interrupted_handshake(new_loop, server_context, client_context):
    """Ctrl-C while a handshake runs leaves the loop; it can be run again, and the connection has ended."""
    loop = new_loop()
    raised = []

    class Object(ssl.SSLObject):
        def do_handshake(self):
            if not raised:
                raised.append(True)
                raise KeyboardInterrupt
            super().do_handshake()

    client_context.sslobject_class = Object
    ours, theirs = tcp_pair()
    with theirs:
        task = loop.create_task(
            loop.create_connection(
                Recorder, sock=ours, ssl=client_context, server_hostname="localhost"
            )
        )
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, KeyboardInterrupt)):
            loop.run_until_complete(task)
        loop.run_until_complete(polls())
        ours.close()
