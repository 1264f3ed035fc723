"""TLS for Tornado's tests: a certificate, contexts, both ways to make records, streams and blocking peers."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl

import pytest
from to_streams import tcp_pair
from tornado import iostream, netutil


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Path of a file with a key and a certificate for localhost and 127.0.0.1, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return str(path)


@pytest.fixture(params=["TLSv1_3", "TLSv1_2"])
def server_context(certificate, request):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.maximum_version = ssl.TLSVersion[request.param]
    return context


@pytest.fixture
def client_context(certificate):
    return ssl.create_default_context(cafile=certificate)


@pytest.fixture(params=["native", "python"])
def records(request, loop_kind):
    """Ours makes records natively, or leaves all to Tornado's own code where it cannot."""
    if loop_kind != "interloop":
        if request.param == "python":
            pytest.skip("ours alone has two ways")
        yield "stock"
        return
    from interloop import _core

    before = _core._drive_openssl(request.param == "native")
    try:
        yield request.param
    finally:
        _core._drive_openssl(before)


def in_thread(function, *args):
    return asyncio.get_running_loop().run_in_executor(None, function, *args)


def wrapped(sock, context, server_side=False, **options):
    """A socket as `SSLIOStream` wants it."""
    if not server_side:
        options.setdefault("server_hostname", "localhost")
    return netutil.ssl_wrap_socket(
        sock, context, server_side=server_side, do_handshake_on_connect=False, **options
    )


@contextlib.asynccontextmanager
async def with_peer(server_context, client_context, server_side=True, kind=None, **options):
    """`(stream, peer)`: a stream whose handshake is over, and a socket of the ssl module's own, which blocks."""
    ours, theirs = tcp_pair()
    context, other = server_context, client_context
    if not server_side:
        context, other = other, context
    stream = (kind or iostream.SSLIOStream)(wrapped(ours, context, server_side), **options)
    peer = wrapped(theirs, other, not server_side)
    peer.setblocking(True)
    try:
        shaken = in_thread(peer.do_handshake)
        assert await stream.wait_for_handshake() is stream
        await shaken
        yield stream, peer
    finally:
        stream.close()
        peer.close()


@contextlib.asynccontextmanager
async def both(server_context, client_context, **options):
    """`(client, server)`: two streams, connected and with their handshakes over."""
    one, other = tcp_pair()
    server = iostream.SSLIOStream(wrapped(one, server_context, True), **options)
    client = iostream.SSLIOStream(wrapped(other, client_context), **options)
    try:
        await asyncio.gather(server.wait_for_handshake(), client.wait_for_handshake())
        yield client, server
    finally:
        client.close()
        server.close()
