"""How TLS connections end: in good order, too early, too late, by an error; and what is left of them."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
import threading
import weakref

import pytest
from aio_support import (
    MORE_THAN_KERNEL_TAKES,
    Contexts,
    Recorder,
    polls,
    reset,
    tcp_pair,
    turns,
)
from aio_tls import Echo, connection, served, with_blocking_peer

pytestmark = pytest.mark.usefixtures("engine")


def test_close_sends_everything_first(run, server_context, client_context):
    """Sixteen megabytes, then close_notify; the peer sees all of it, and a clean end."""

    def peer(sock):
        with server_context.wrap_socket(sock, server_side=True) as tls:
            count = 0
            while data := tls.recv(1 << 20):
                count += len(data)
            tls.unwrap().close()
            return count

    async def main():
        async with with_blocking_peer(peer, client_context) as (transport, protocol, thread):
            transport.write(bytes(MORE_THAN_KERNEL_TAKES))
            transport.close()
            assert transport.is_closing()
            transport.close()
            assert await protocol.lost is None
            assert thread.result() == MORE_THAN_KERNEL_TAKES
            assert protocol.events[0] == "made" and protocol.events[-1] == "lost"

    run(main)


def test_close_waits_for_the_peers_last_word(run, server_context, client_context):
    """The connection stands until the peer has said close_notify too."""
    go = threading.Event()

    def peer(sock):
        with server_context.wrap_socket(sock, server_side=True) as tls:
            assert tls.recv(10) == b""
            assert go.wait(30)
            tls.unwrap().close()

    async def main():
        loop = asyncio.get_running_loop()
        async with with_blocking_peer(peer, client_context) as (transport, protocol, thread):
            transport.close()
            await polls()
            assert protocol.events == ["made"]
            go.set()
            assert await protocol.lost is None
            assert protocol.events == ["made", "eof", "lost"]
            await loop.run_in_executor(None, thread._thread.join)
        await loop.shutdown_default_executor()

    run(main)


def test_shutdown_timeout(run, server_context, client_context):
    """A peer that says nothing more: connection_lost with TimeoutError."""
    go = threading.Event()

    def peer(sock):
        with server_context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=True) as tls:
            assert tls.recv(10) == b""
            assert go.wait(30)

    async def main():
        async with with_blocking_peer(peer, client_context, ssl_shutdown_timeout=0.01) as (
            transport,
            protocol,
            _,
        ):
            transport.close()
            error = await protocol.lost
            assert isinstance(error, TimeoutError)
            assert str(error) == "SSL shutdown timed out"
            go.set()

    run(main)


@pytest.mark.stock_wrong(
    "what the peer had sent before it saw the end is taken for an error", raises=AssertionError
)
def test_late_data_is_for_nobody(run, server_context, client_context):
    """What the peer sends between our close_notify and its own is dropped, and is no error."""
    go = threading.Event()

    def peer(sock):
        with server_context.wrap_socket(sock, server_side=True) as tls:
            assert go.wait(30)
            tls.sendall(bytes(100_000))
            assert tls.recv(10) == b""
            tls.unwrap().close()

    async def main():
        async with with_blocking_peer(peer, client_context) as (transport, protocol, _):
            transport.close()
            await polls()
            go.set()
            assert await protocol.lost is None
            assert protocol.events == ["made", "eof", "lost"]

    run(main)


def test_peers_close_notify(run, server_context, client_context):
    """Data, then eof_received, our own close_notify, then connection_lost."""

    def peer(sock):
        with server_context.wrap_socket(sock, server_side=True) as tls:
            tls.sendall(b"last words")
            plain = tls.unwrap()  # returns when our close_notify came
            with plain:
                return plain.recv(10)

    async def main():
        async with with_blocking_peer(peer, client_context) as (transport, protocol, thread):
            assert await protocol.lost is None
            assert protocol.events == ["made", "data", "eof", "lost"]
            assert protocol.data == b"last words"
            assert transport.is_closing()
            assert thread.result() == b""

    run(main)


def test_end_of_file_without_a_word(run, server_context, client_context):
    """The socket ends without close_notify: as if it had come."""

    def peer(sock):
        tls = server_context.wrap_socket(sock, server_side=True)
        tls.sendall(b"cut")
        tls.close()

    async def main():
        async with with_blocking_peer(peer, client_context) as (_, protocol, _thread):
            assert await protocol.lost is None
            assert protocol.events == ["made", "data", "eof", "lost"]

    run(main)


def test_reset(run, server_context, client_context):
    """connection_lost has the error."""

    def peer(sock):
        tls = server_context.wrap_socket(sock, server_side=True)
        tls.recv(1)
        reset(tls)

    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        async with with_blocking_peer(peer, client_context) as (transport, protocol, _):
            transport.write(b"x")
            assert isinstance(await protocol.lost, ConnectionResetError)
            assert protocol.events == ["made", "lost"]
        assert contexts == []

    run(main)


def test_garbage(run, server_context, client_context):
    """A record that is none: connection_lost with the SSLError."""

    def peer(sock):
        tls = server_context.wrap_socket(sock, server_side=True)
        tls.sendall(b"good")
        assert tls.recv(1) == b"x"
        os.write(tls.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
        tls.close()

    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        async with with_blocking_peer(peer, client_context) as (transport, protocol, _):
            assert await protocol.received(4) == b"good"
            transport.write(b"x")
            error = await protocol.lost
            assert isinstance(error, ssl.SSLError)
            assert error.reason == "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"
            assert error.library == "SSL"
            assert protocol.events == ["made", "data", "lost"]
        assert contexts == []

    run(main)


def test_eof_received_has_no_say(run, server_context, client_context, asyncio_log):
    """TLS has no half-closed connections: a protocol that wants one is told so in the log."""

    def peer(sock):
        with server_context.wrap_socket(sock, server_side=True) as tls:
            tls.unwrap().close()

    async def main():
        def client():
            return Recorder(eof_received=lambda _: True)

        async with with_blocking_peer(peer, client_context, client) as (_, protocol, _thread):
            assert await protocol.lost is None
        asyncio_log.take("returning true from eof_received() has no effect when using ssl")

    run(main)


def test_unread_data_comes_before_the_end(run, server_context, client_context):
    """A protocol that has paused has everything, and then the end, when it resumes."""
    go, sent = threading.Event(), threading.Event()

    def peer(sock):
        tls = server_context.wrap_socket(sock, server_side=True)
        assert go.wait(30)
        tls.sendall(b"a" * 50_000)
        tls.close()
        sent.set()

    async def main():
        loop = asyncio.get_running_loop()

        async with with_blocking_peer(peer, client_context) as (transport, protocol, _):
            transport.pause_reading()
            go.set()
            await loop.run_in_executor(None, sent.wait)
            await polls()
            assert protocol.events == ["made"]
            transport.resume_reading()
            assert await protocol.lost is None
            assert protocol.data == b"a" * 50_000
            assert protocol.events == ["made", "data", "eof", "lost"]
        await loop.shutdown_default_executor()

    run(main)


def test_written_after_the_end(run, server_context, client_context, asyncio_log):
    """Dropped; from the sixth time on asyncio's log has a word for it."""

    async def main():
        async with connection(server_context, client_context) as (transport, protocol, _):
            transport.close()
            for _ in range(5):
                transport.write(b"x")
            await protocol.lost
            assert asyncio_log.texts() == []
            transport.write(b"x")
            transport.write(b"x")
            asyncio_log.take("SSL connection is closed")
            while asyncio_log.records:
                asyncio_log.take("SSL connection is closed")
            assert transport.get_write_buffer_size() == 0

    run(main)


@pytest.mark.parametrize("callback", ["data_received", "eof_received", "connection_lost"])
def test_callbacks_that_raise(run, server_context, client_context, callback):
    """Told once; the connection ends, with the exception where it is not over anyway."""

    async def main():
        contexts = Contexts(asyncio.get_running_loop())

        def fail(protocol):
            raise LookupError(callback)

        async with connection(
            server_context, client_context, client=lambda: Recorder(**{callback: fail})
        ) as (transport, protocol, peer):
            if callback == "data_received":
                transport.write(b"x")
            else:
                peer.transport.close()
            error = await protocol.lost
            await peer.lost
            if callback == "connection_lost":
                assert error is None
            else:
                assert isinstance(error, LookupError)
        (context,) = contexts
        assert isinstance(context["exception"], LookupError)
        message = {
            "data_received": "Fatal error on SSL protocol",
            "eof_received": "Error calling eof_received()",
            "connection_lost": "Exception in callback",
        }[callback]
        assert context["message"].startswith(message)

    run(main)


@pytest.mark.parametrize("how", ["close", "abort", "peer"])
def test_nothing_is_left(run, server_context, client_context, how, engine):
    """Transport and protocol are gone when nobody holds them; the socket is closed."""

    async def main():
        async with connection(server_context, client_context) as (transport, protocol, peer):
            references = [weakref.ref(protocol), weakref.ref(peer)]
            if engine != "stock":
                references.append(weakref.ref(transport))
            sock = transport.get_extra_info("socket")
            transport.write(b"x")
            await protocol.received(1)
            if how == "peer":
                peer.transport.close()
            else:
                getattr(transport, how)()
            await protocol.lost
            await peer.lost
            await turns()
            assert sock.fileno() == -1
            assert transport.get_extra_info("cipher") is not None
        del transport, protocol, peer, sock
        await turns()
        gc.collect()
        assert [reference() for reference in references] == [None] * len(references)

    run(main)


def test_an_object_that_outlives_its_connection(run, server_context, client_context):
    """The ssl.SSLObject still answers, and what it cannot do any more is an error."""

    async def main():
        async with connection(server_context, client_context) as (transport, protocol, _):
            sslobj = transport.get_extra_info("ssl_object")
            version = sslobj.version()
            transport.close()
            await protocol.lost
        del transport, protocol
        gc.collect()
        assert sslobj.cipher() is not None
        assert sslobj.pending() == 0
        assert version.startswith("TLSv1")
        with pytest.raises(ssl.SSLError):
            sslobj.read(1)

    run(main)


def test_a_server_closes_its_clients(run, server_context, client_context):
    """Server.close_clients() and abort_clients(), where there are any."""
    if not hasattr(asyncio.Server, "close_clients"):
        pytest.skip("3.13")

    async def main():
        loop = asyncio.get_running_loop()
        for method in ("close_clients", "abort_clients"):
            made = []
            server = await loop.create_server(
                lambda made=made: made.append(Echo()) or made[-1],
                "127.0.0.1",
                0,
                ssl=server_context,
            )
            _, protocol = await loop.create_connection(
                Recorder, *server.sockets[0].getsockname(), ssl=client_context
            )
            await made[0].made
            server.close()
            getattr(server, method)()
            await protocol.lost
            await made[0].lost
            await server.wait_closed()

    run(main)


def test_a_loop_closed_with_a_connection(new_loop, server_context, client_context):
    """The socket is closed, and a ResourceWarning says so."""
    loop = new_loop()

    async def main():
        ours, theirs = tcp_pair()
        _, plain = await loop.create_connection(Recorder, sock=theirs)
        connecting = asyncio.ensure_future(
            loop.create_connection(
                Recorder, sock=ours, ssl=client_context, server_hostname="localhost"
            )
        )
        upgraded = await loop.start_tls(plain.transport, plain, server_context, server_side=True)
        transport, _ = await connecting
        return transport, upgraded

    def left_open():
        transports = loop.run_until_complete(main())
        socks = [transport.get_extra_info("socket") for transport in transports]
        loop.close()
        del transports
        gc.collect()
        return socks

    with pytest.warns(ResourceWarning, match="unclosed"):
        socks = left_open()
    for sock in socks:
        if sock.fileno() != -1:  # stock leaves it to the collector
            sock._sock.close()


def test_served_ends_with_its_block(run, server_context):
    """A server with TLS that nobody connected to."""

    async def main():
        async with served(server_context) as (_, made):
            pass
        assert made == []

    run(main)
