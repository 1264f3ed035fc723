"""How TLS begins: wait_for_handshake, connect, start_tls, and what goes wrong there."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
from to_streams import connected, received, tcp_pair
from to_tls import (  # noqa: F401
    both,
    certificate,
    client_context,
    in_thread,
    records,
    server_context,
    with_peer,
    wrapped,
)
from tornado import iostream, netutil, tcpclient, tcpserver

LARGE = bytes(range(256)) * 40_000


@pytest.fixture
def run(io_loop, records, server_context, client_context):  # noqa: F811
    """run(main): the result of `main(server_context, client_context)` in an IOLoop of the kind under test."""
    return lambda main: io_loop.run_sync(lambda: main(server_context, client_context))


def shake(sock, context):
    """The server's end of a handshake, in a thread: the socket, or why it failed."""
    try:
        return context.wrap_socket(sock, server_side=True)
    except OSError as error:
        sock.close()
        return error


def test_what_is_written_before_the_handshake_leaves_after_it(run):
    async def main(server, client):
        ours, theirs = tcp_pair()
        stream = iostream.SSLIOStream(wrapped(ours, client))
        over = []
        for number in range(3):
            future = stream.write(b"%d" % number * 3)
            assert not future.done()
            future.add_done_callback(lambda _, number=number: over.append(number))
        large = stream.write(LARGE)
        read = stream.read_until(b"\n")
        assert stream.reading()
        assert stream.writing()
        peer = await in_thread(shake, theirs, server)
        await in_thread(peer.sendall, b"line\n")
        assert await read == b"line\n"
        data = await in_thread(received, peer, 9 + len(LARGE))
        assert data == b"000111222" + LARGE
        await large
        assert over == [0, 1, 2]
        stream.close()
        peer.close()

    run(main)


def test_what_comes_right_behind_the_handshake(run):
    async def main(server, client):
        ours, theirs = tcp_pair()
        stream = iostream.SSLIOStream(wrapped(ours, server, True))

        def speak():
            peer = client.wrap_socket(theirs, server_hostname="localhost")
            peer.sendall(b"hello")
            peer.sendall(b"again")
            return peer

        peer = await in_thread(speak)
        assert await stream.read_bytes(10) == b"helloagain"
        # Waits for what is over.
        assert await stream.wait_for_handshake() is stream
        stream.close()
        peer.close()

    run(main)


def test_a_handshake_that_is_over(run):
    """A socket on which the program has made it itself."""

    async def main(server, client):
        ours, theirs = tcp_pair()
        shaking = in_thread(shake, theirs, server)
        sock = await in_thread(lambda: client.wrap_socket(ours, server_hostname="localhost"))
        peer = await shaking
        stream = iostream.SSLIOStream(sock)
        await in_thread(peer.sendall, b"23")
        assert await stream.read_bytes(2) == b"23"
        await stream.write(b"x")
        assert await in_thread(received, peer, 1) == b"x"
        stream.close()
        peer.close()

    run(main)


def test_who_waits_twice(run):
    async def main(server, client):
        ours, theirs = tcp_pair()
        stream = iostream.SSLIOStream(wrapped(ours, client))
        waiting = stream.wait_for_handshake()
        with pytest.raises(RuntimeError, match="Already waiting"):
            stream.wait_for_handshake()
        peer = await in_thread(shake, theirs, server)
        assert await waiting is stream
        stream.close()
        peer.close()

    run(main)


def test_a_certificate_that_nobody_vouches_for(run):
    async def main(server, _):
        ours, theirs = tcp_pair()
        stream = iostream.SSLIOStream(wrapped(ours, ssl.create_default_context()))
        closed = asyncio.Event()
        stream.set_close_callback(closed.set)
        read = stream.read_bytes(1)
        waiting = stream.wait_for_handshake()
        shaking = in_thread(shake, theirs, server)
        with pytest.raises(ssl.SSLCertVerificationError, match=r"self.signed") as caught:
            await waiting
        with pytest.raises(iostream.StreamClosedError) as read_caught:
            await read
        assert read_caught.value.real_error is stream.error is caught.value
        await closed.wait()
        outcome = await shaking
        if isinstance(outcome, ssl.SSLSocket):
            # TLS 1.3: the server is done before the client has looked.
            with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
                await in_thread(outcome.recv, 1)
            outcome.close()
        else:
            assert "alert" in str(outcome).lower()

    run(main)


def test_a_certificate_of_somebody_else(run):
    async def main(server, client):
        ours, theirs = tcp_pair()
        stream = iostream.SSLIOStream(wrapped(ours, client, server_hostname="elsewhere.example"))
        shaking = in_thread(shake, theirs, server)
        with pytest.raises(ssl.SSLCertVerificationError, match=r"elsewhere\.example"):
            await stream.wait_for_handshake()
        outcome = await shaking
        if isinstance(outcome, ssl.SSLSocket):
            outcome.close()

    run(main)


def test_who_speaks_no_tls(run):
    async def main(server, _):
        ours, theirs = tcp_pair()
        stream = iostream.SSLIOStream(wrapped(ours, server, True))
        waiting = stream.wait_for_handshake()
        theirs.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(ssl.SSLError, match=r"(?i)http"):
            await waiting
        assert stream.closed()
        theirs.close()

    run(main)


def test_who_ends_in_the_middle_of_the_handshake(run):
    async def main(_, client):
        ours, theirs = tcp_pair()
        stream = iostream.SSLIOStream(wrapped(ours, client))
        written = stream.write(b"never")
        assert len(await in_thread(theirs.recv, 5)) == 5
        # Not everything was read, so the other end hears of a reset.
        theirs.close()
        with pytest.raises(iostream.StreamClosedError) as caught:
            await written
        assert isinstance(caught.value.real_error, OSError)
        assert stream.closed()

    run(main)


def test_closed_in_the_middle_of_the_handshake(run):
    async def main(_, client):
        ours, theirs = tcp_pair()
        stream = iostream.SSLIOStream(wrapped(ours, client))
        waiting, written = stream.wait_for_handshake(), stream.write(b"never")
        await in_thread(theirs.recv, 5)
        stream.close()
        for future in (waiting, written):
            with pytest.raises(iostream.StreamClosedError):
                await future
        theirs.close()

    run(main)


@pytest.mark.parametrize("as_dict", [False, True])
def test_connect(run, as_dict, certificate):  # noqa: F811
    async def main(server, client):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = in_thread(lambda: shake(listener.accept()[0], server))
            options = {"ca_certs": certificate, "cert_reqs": ssl.CERT_REQUIRED}
            stream = iostream.SSLIOStream(
                socket.socket(), ssl_options=options if as_dict else client
            )
            connecting = stream.connect(listener.getsockname(), server_hostname="localhost")
            early = stream.write(b"early")
            assert await connecting is stream
            peer = await serving
        await early
        assert await in_thread(received, peer, 5) == b"early"
        assert isinstance(stream.socket, ssl.SSLSocket)
        assert stream.socket.server_hostname == "localhost"
        await in_thread(peer.sendall, b"answer")
        assert await stream.read_bytes(6) == b"answer"
        stream.close()
        peer.close()

    run(main)


def test_connect_to_nobody(run):
    async def main(_, client):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
        stream = iostream.SSLIOStream(socket.socket(), ssl_options=client)
        with pytest.raises((ConnectionRefusedError, iostream.StreamClosedError)) as caught:
            await stream.connect(address, server_hostname="localhost")
        assert type(caught.value) is ConnectionRefusedError
        assert isinstance(stream.error, ConnectionRefusedError)

    run(main)


def test_connect_checks_the_name(run):
    async def main(server, client):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = in_thread(lambda: shake(listener.accept()[0], server))
            stream = iostream.SSLIOStream(socket.socket(), ssl_options=client)
            with pytest.raises(ssl.SSLCertVerificationError, match="elsewhere"):
                await stream.connect(listener.getsockname(), server_hostname="elsewhere.example")
            outcome = await serving
        if isinstance(outcome, ssl.SSLSocket):
            outcome.close()

    run(main)


def test_start_tls_on_both_sides(run):
    async def main(server_context, client_context):  # noqa: F811
        one, other = tcp_pair()
        server, client = iostream.IOStream(one, read_chunk_size=4096), iostream.IOStream(other)
        closed = asyncio.Event()
        server.set_close_callback(closed.set)
        await client.write(b"STARTTLS\n")
        assert await server.read_until(b"\n") == b"STARTTLS\n"
        await server.write(b"OK\n")
        assert await client.read_until(b"\n") == b"OK\n"
        upgraded = server.start_tls(True, server_context)
        secure_client = await client.start_tls(False, client_context, "localhost")
        secure_server = await upgraded
        assert isinstance(secure_server, iostream.SSLIOStream)
        assert (server.socket, client.socket) == (None, None)
        assert secure_server.read_chunk_size == 4096
        written = secure_client.write(LARGE)
        assert await secure_server.read_bytes(len(LARGE)) == LARGE
        await written
        # What was set on the plain stream is the new one's.
        secure_client.close()
        with pytest.raises(iostream.StreamClosedError):
            await secure_server.read_bytes(1)
        await closed.wait()

    run(main)


def test_start_tls_wants_an_idle_stream(run):
    async def main(_, client):
        with connected() as (stream, peer):
            peer.sendall(b"line\nmore")
            assert await stream.read_until(b"\n") == b"line\n"
            with pytest.raises(ValueError, match="not idle"):
                stream.start_tls(False, client, "localhost")
            assert await stream.read_bytes(4) == b"more"
            read = stream.read_bytes(1)
            with pytest.raises(ValueError, match="not idle"):
                stream.start_tls(False, client, "localhost")
            peer.sendall(b"x")
            assert await read == b"x"

    run(main)


def test_start_tls_that_fails(run):
    async def main(server, _):
        ours, theirs = tcp_pair()
        stream = iostream.IOStream(ours)
        shaking = in_thread(shake, theirs, server)
        with pytest.raises(ssl.SSLCertVerificationError):
            await stream.start_tls(False, ssl.create_default_context(), "localhost")
        outcome = await shaking
        if isinstance(outcome, ssl.SSLSocket):
            outcome.close()

    run(main)


def test_start_tls_that_is_given_up(run):
    async def main(_, client):
        ours, peer = tcp_pair()
        starting = iostream.IOStream(ours).start_tls(False, client, "localhost")
        assert len(await in_thread(peer.recv, 5)) == 5
        starting.cancel()

        def drain():
            while peer.recv(1000):
                pass

        await in_thread(drain)
        peer.close()

    run(main)


class Lines(tcpserver.TCPServer):
    seen = None

    async def handle_stream(self, stream, address):
        self.seen = stream
        try:
            while True:
                await stream.write(await stream.read_until(b"\n"))
        except iostream.StreamClosedError:
            pass


def test_a_server_and_a_client(run, certificate):  # noqa: F811
    async def main(server_context, _):  # noqa: F811
        server = Lines(ssl_options={"certfile": certificate})
        (sock,) = netutil.bind_sockets(0, "127.0.0.1")
        server.add_socket(sock)
        client = tcpclient.TCPClient()
        stream = await client.connect(
            "localhost",
            sock.getsockname()[1],
            af=socket.AF_INET,
            ssl_options={"ca_certs": certificate, "cert_reqs": ssl.CERT_REQUIRED},
        )
        for number in range(20):
            await stream.write(b"line %d\n" % number)
            assert await stream.read_until(b"\n") == b"line %d\n" % number
        assert isinstance(server.seen, iostream.SSLIOStream)
        server.stop()
        closed = asyncio.Event()
        server.seen.set_close_callback(closed.set)
        stream.close()
        await closed.wait()
        client.close()

    run(main)


def test_a_read_way_replaced_in_the_middle_of_the_handshake(run):
    async def main(server, client):
        ours, theirs = tcp_pair()
        stream = iostream.SSLIOStream(wrapped(ours, client))
        read = stream.read_bytes(2)
        waiting = stream.wait_for_handshake()
        await asyncio.sleep(0)
        original, seen = stream.read_from_fd, []

        def read_from_fd(buf):
            count = original(buf)
            seen.append(count)
            return count

        stream.read_from_fd = read_from_fd
        peer = await in_thread(shake, theirs, server)
        await waiting
        await in_thread(peer.sendall, b"ok")
        assert await read == b"ok"
        assert 2 in seen
        stream.close()
        peer.close()

    run(main)
