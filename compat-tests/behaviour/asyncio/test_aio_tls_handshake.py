"""Handshakes: what contexts may do in them, what fails and how it is told, what waits for them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import warnings

import pytest
from aio_support import Contexts, Recorder, ServerThread, polls, tcp_pair
from aio_tls import Echo, connection, served

pytestmark = pytest.mark.usefixtures("engine")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(run, server_context, client_context, version):
    """TLS 1.2 and 1.3, with data in both directions."""

    async def main():
        client_context.minimum_version = client_context.maximum_version = version
        async with connection(server_context, client_context) as (transport, protocol, peer):
            names = {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}
            assert transport.get_extra_info("ssl_object").version() == names[version]
            assert peer.transport.get_extra_info("cipher")[1] == names[version]
            transport.write(b"x" * 100_000)
            assert await protocol.received(100_000) == b"x" * 100_000
            transport.close()
            assert await protocol.lost is None
            assert await peer.lost is None

    run(main)


def test_alpn(run, server_context, client_context):
    """The protocol that both know."""

    async def main():
        server_context.set_alpn_protocols(["h2", "http/1.1"])
        client_context.set_alpn_protocols(["spdy/3", "http/1.1"])
        async with connection(server_context, client_context) as (transport, _, peer):
            for end in (transport, peer.transport):
                assert end.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"

    run(main)


def test_client_certificate(run, server_context, client_context, certificate):
    """A server that asks for one sees it."""

    async def main():
        server_context.load_verify_locations(certificate)
        server_context.verify_mode = ssl.CERT_REQUIRED
        client_context.load_cert_chain(certificate)
        async with connection(server_context, client_context) as (transport, _, peer):
            # TLS 1.3: the client is done before the server is.
            assert peer.transport.get_extra_info("peercert")["subject"] == (
                (("commonName", "localhost"),),
            )
            assert transport.get_extra_info("peercert") is not None

    run(main)


@pytest.mark.stock_wrong(
    "the alert that says why goes down with the connection",
    raises=(ConnectionResetError, AssertionError),
)
def test_client_certificate_missing(run, server_context, client_context, certificate):
    """A server that wants one and gets none: the client's connection ends with an SSLError, the server's never begins."""

    async def main():
        loop = asyncio.get_running_loop()
        contexts = Contexts(loop)
        server_context.load_verify_locations(certificate)
        server_context.verify_mode = ssl.CERT_REQUIRED
        client_context.maximum_version = ssl.TLSVersion.TLSv1_2
        async with served(server_context) as (address, made):
            with pytest.raises(ssl.SSLError) as caught:
                await loop.create_connection(Recorder, *address, ssl=client_context)
            assert "ALERT" in caught.value.reason
            await polls()
            assert [protocol.events for protocol in made] == [[]]
            assert contexts == []

    run(main)


@pytest.mark.stock_wrong(
    "the alert that says why goes down with the connection",
    raises=(ConnectionResetError, AssertionError),
)
def test_refused_for_a_client_that_believes_it_is_connected(
    run, server_context, client_context, certificate
):
    """TLS 1.3: the client hears of a missing certificate when it reads; its connection ends with that."""

    async def main():
        loop = asyncio.get_running_loop()
        Contexts(loop)
        server_context.load_verify_locations(certificate)
        server_context.verify_mode = ssl.CERT_REQUIRED
        client_context.minimum_version = ssl.TLSVersion.TLSv1_3
        async with served(server_context) as (address, made):
            _, protocol = await loop.create_connection(Recorder, *address, ssl=client_context)
            error = await protocol.lost
            assert isinstance(error, ssl.SSLError)
            assert error.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
            assert error.library == "SSL"
            assert "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]" in str(error)
            assert protocol.events == ["made", "lost"]
            assert made[0].events == []

    run(main)


def test_server_names(run, server_context, client_context, certificate):
    """The callback of the server's context may choose another context; it is called with the object that programs see."""

    async def main():
        other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        other.load_cert_chain(certificate)
        other.set_alpn_protocols(["other"])
        client_context.set_alpn_protocols(["other"])
        seen = []

        def choose(sslobj, name, context):
            seen.append((type(sslobj), name, context is server_context))
            sslobj.context = other

        server_context.sni_callback = choose
        async with connection(server_context, client_context, server_hostname="localhost") as (
            transport,
            protocol,
            peer,
        ):
            assert seen == [(ssl.SSLObject, "localhost", True)]
            assert peer.transport.get_extra_info("ssl_object").context is other
            assert peer.transport.get_extra_info("sslcontext") is server_context
            transport.write(b"hello")
            assert await protocol.received(5) == b"hello"

    run(main)


@pytest.mark.stock_wrong(
    "the alert that says why goes down with the connection",
    raises=(ConnectionResetError, AssertionError),
)
@pytest.mark.parametrize("how", ["alert", "raise"])
def test_server_name_refused(run, server_context, client_context, how, monkeypatch):
    """A callback that answers an alert, or raises: the client hears the alert, no connection is made."""

    async def main():
        loop = asyncio.get_running_loop()
        contexts = Contexts(loop)
        raised = []
        monkeypatch.setattr("sys.unraisablehook", lambda info: raised.append(info.exc_type))

        def refuse(sslobj, name, context):
            if how == "raise":
                raise LookupError
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

        server_context.sni_callback = refuse
        async with served(server_context) as (address, made):
            with pytest.raises(ssl.SSLError) as caught:
                await loop.create_connection(
                    Recorder,
                    *address,
                    ssl=client_context,
                    server_hostname="localhost",
                )
            wanted = {"alert": "UNRECOGNIZED_NAME", "raise": "HANDSHAKE_FAILURE"}[how]
            assert caught.value.reason.endswith(wanted)
            assert raised == ([LookupError] if how == "raise" else [])
            await polls()
            assert [protocol.events for protocol in made] == [[]]
            assert contexts == []

    run(main)


@pytest.mark.parametrize("deed", ["abort", "close", "turn", "get"])
def test_in_the_middle_of_a_handshake(run, server_context, client_context, deed):
    """A callback of the context may end the very connection, or use its transport."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = tcp_pair()

        def connect(sock):
            try:
                with client_context.wrap_socket(sock, server_hostname="localhost") as tls:
                    return tls.recv(10)
            except (ssl.SSLError, ConnectionError) as exc:
                return type(exc)

        plain, protocol = await loop.create_connection(Recorder, sock=ours)
        seen = []

        def callback(sslobj, name, context):
            seen.append(name)
            if deed in ("abort", "close"):
                getattr(plain, deed)()
            elif deed == "get":
                seen.append(plain.get_extra_info("peername"))
                assert plain.is_closing() is False

        server_context.sni_callback = callback
        thread = ServerThread(connect, theirs)
        if deed in ("abort", "close"):
            # Nobody says that it failed: whoever aborts it knows. asyncio's own answers None.
            transport = await loop.start_tls(plain, protocol, server_context, server_side=True)
            assert transport is None or transport.is_closing()
            await polls()
            assert protocol.events == ["made"]
            await loop.run_in_executor(None, thread._thread.join)
            assert thread.result() in (b"", ConnectionResetError, ssl.SSLEOFError)
        else:
            transport = await loop.start_tls(plain, protocol, server_context, server_side=True)
            transport.write(b"hello")
            await loop.run_in_executor(None, thread._thread.join)
            assert thread.result() == b"hello"
            transport.abort()
            await protocol.lost
        assert seen[0] == "localhost"

    run(main)


def test_other_kinds_of_context(run, server_context, certificate, engine):
    """A subclass that overrides what makes the object, and an object that overrides its handshake, are asked."""

    async def main():
        called = []

        class Object(ssl.SSLObject):
            def do_handshake(self):
                called.append("do_handshake")
                super().do_handshake()

        class Context(ssl.SSLContext):
            sslobject_class = Object

            def wrap_bio(self, *args, **kwargs):
                called.append("wrap_bio")
                return super().wrap_bio(*args, **kwargs)

        client = Context(ssl.PROTOCOL_TLS_CLIENT)
        client.load_verify_locations(certificate)
        async with connection(server_context, client) as (transport, protocol, _):
            assert type(transport.get_extra_info("ssl_object")) is Object
            assert called[:2] == ["wrap_bio", "do_handshake"]
            transport.write(b"hello")
            assert await protocol.received(5) == b"hello"
            if engine != "stock":
                assert transport._engine == engine

    run(main)


def test_a_context_that_hears_every_message(run, server_context, client_context, engine):
    """`_msg_callback` is called for handshake and data; the direct way, which would call it at the wrong time, is not taken."""

    async def main():
        heard = []
        client_context._msg_callback = lambda conn, direction, version, content, msg, data: (
            heard.append((direction, content))
        )
        async with connection(server_context, client_context) as (transport, protocol, peer):
            transport.write(b"hello")
            assert await protocol.received(5) == b"hello"
            if engine != "stock":
                assert transport._engine == "object"
                assert peer.transport._engine == engine
        assert {direction for direction, _ in heard} == {"read", "write"}

    run(main)


def test_keys_are_logged(run, server_context, certificate, tmp_path):
    """`keylog_filename`."""

    async def main():
        client_context = ssl.create_default_context(cafile=certificate)
        client_context.keylog_filename = str(tmp_path / "keys")
        async with connection(server_context, client_context):
            pass
        assert "CLIENT_TRAFFIC_SECRET_0" in (tmp_path / "keys").read_text()

    run(main)


def test_wrong_name(run, server_context, client_context):
    """A certificate for another name: SSLCertVerificationError, with everything that ssl's own sockets tell."""

    async def main():
        loop = asyncio.get_running_loop()
        contexts = Contexts(loop)
        async with served(server_context) as (address, _made):
            with pytest.raises(ssl.SSLCertVerificationError) as caught:
                await loop.create_connection(
                    Recorder,
                    *address,
                    ssl=client_context,
                    server_hostname="example.org",
                )
            error = caught.value
            assert (error.verify_code, error.reason, error.library) == (
                62,
                "CERTIFICATE_VERIFY_FAILED",
                "SSL",
            )
            assert error.verify_message == (
                "Hostname mismatch, certificate is not valid for 'example.org'."
            )
            await polls()
            assert contexts == []

    run(main)


@pytest.mark.stock_wrong(
    "the alert that says why goes down with the connection",
    raises=(ConnectionResetError, AssertionError),
)
def test_no_common_version(run, server_context, client_context):
    """The alert that the server sends is the client's error."""

    async def main():
        loop = asyncio.get_running_loop()
        server_context.minimum_version = ssl.TLSVersion.TLSv1_3
        client_context.maximum_version = ssl.TLSVersion.TLSv1_2
        async with served(server_context) as (address, _made):
            with pytest.raises(ssl.SSLError) as caught:
                await loop.create_connection(Recorder, *address, ssl=client_context)
            assert caught.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"
            await polls()

    run(main)


def test_cannot_begin(run, client_context):
    """A context that allows nothing: the client's own SSLError, and its socket is closed."""

    async def main():
        loop = asyncio.get_running_loop()
        client_context.minimum_version = ssl.TLSVersion.TLSv1_3
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            client_context.options |= ssl.OP_NO_TLSv1_3
        ours, theirs = tcp_pair()
        with theirs:
            with pytest.raises(ssl.SSLError) as caught:
                await loop.create_connection(
                    Recorder, sock=ours, ssl=client_context, server_hostname="localhost"
                )
            assert caught.value.reason == "NO_PROTOCOLS_AVAILABLE"
            await polls()
            assert ours.fileno() == -1

    run(main)


@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
@pytest.mark.parametrize("value", [0, -1])
def test_timeouts_are_positive(run, client_context, name, value):
    """ValueError, as the name says."""

    async def main():
        ours, theirs = tcp_pair()
        with ours, theirs:
            with pytest.raises(
                ValueError, match=f"{name} should be a positive number, got {value}"
            ):
                await asyncio.get_running_loop().create_connection(
                    Recorder,
                    sock=ours,
                    ssl=client_context,
                    server_hostname="localhost",
                    **{name: value},
                )

    run(main)


def test_a_server_waits_no_longer_than_its_timeout(run, server_context):
    """A client that says nothing is closed; its protocol hears nothing."""

    async def main():
        loop = asyncio.get_running_loop()
        contexts = Contexts(loop)
        made = []
        server = await loop.create_server(
            lambda: made.append(Recorder()) or made[-1],
            "127.0.0.1",
            0,
            ssl=server_context,
            ssl_handshake_timeout=0.01,
        )
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, server.sockets[0].getsockname())
            assert await loop.sock_recv(client, 10) == b""
        await polls()
        assert [protocol.events for protocol in made] == [[]]
        assert contexts == []
        server.close()
        await server.wait_closed()

    run(main)


def test_cancelled(run, client_context):
    """A create_connection() that is cancelled in its handshake closes the socket."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        with peer:
            task = asyncio.ensure_future(
                loop.create_connection(
                    Recorder, sock=ours, ssl=client_context, server_hostname="localhost"
                )
            )
            assert await loop.sock_recv(peer, 10_000)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await loop.sock_recv(peer, 10) == b""
            assert ours.fileno() == -1

    run(main)


def test_a_handshake_in_pieces(run, server_context, client_context):
    """Every byte of both sides' handshake comes alone."""

    async def main():
        loop = asyncio.get_running_loop()
        async with served(server_context) as (address, made):
            through = socket.create_server(("127.0.0.1", 0))
            through.setblocking(False)

            async def forward(one, other):
                while data := await loop.sock_recv(one, 65536):
                    for byte in data:
                        await loop.sock_sendall(other, bytes([byte]))
                        await asyncio.sleep(0)
                other.shutdown(socket.SHUT_WR)

            async def between():
                client, _ = await loop.sock_accept(through)
                with client, socket.socket() as upstream:
                    upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    upstream.setblocking(False)
                    await loop.sock_connect(upstream, address)
                    await asyncio.gather(forward(client, upstream), forward(upstream, client))

            with through:
                task = asyncio.ensure_future(between())
                transport, protocol = await loop.create_connection(
                    Recorder, *through.getsockname(), ssl=client_context
                )
                transport.write(b"hello")
                assert await protocol.received(5) == b"hello"
                transport.close()
                assert await protocol.lost is None
                assert await made[0].lost is None
                await task

    run(main)


def test_connection_made_that_raises(run, server_context, client_context):
    """Told once; the connection ends with it; the other side is told the end."""

    async def main():
        loop = asyncio.get_running_loop()
        contexts = Contexts(loop)

        def fail(protocol):
            raise LookupError("no")

        async with served(server_context, lambda: Echo(connection_made=fail)) as (address, made):
            _, protocol = await loop.create_connection(Recorder, *address, ssl=client_context)
            await protocol.lost
            assert isinstance(await made[0].lost, LookupError)
            assert [type(context["exception"]) for context in contexts] == [LookupError]

    run(main)


def test_debug(run, server_context, client_context, caplog):
    """Debug mode logs that a handshake begins and how long it took."""

    async def main():
        async with connection(server_context, client_context):
            pass

    caplog.set_level("DEBUG", "asyncio")
    run(main, debug=True)
    texts = [record.getMessage() for record in caplog.records]
    assert len([text for text in texts if text.endswith("starts SSL handshake")]) == 2
    assert len([text for text in texts if "SSL handshake took" in text]) == 2
