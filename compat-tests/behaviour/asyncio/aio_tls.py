"""What the tests of TLS share: a certificate, contexts, both ways to make records, an echo server, a blocking peer."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl

import pytest
from aio_support import Recorder, ServerThread, tcp_pair


@pytest.fixture(params=["direct", "object"])
def engine(request, loop_kind):
    """Ours has two ways to make records: OpenSSL driven directly, and the methods of ssl.SSLObject."""
    if loop_kind != "interloop":
        yield "stock"
        return
    from interloop import _core

    before = _core._drive_openssl(request.param == "direct")
    try:
        yield request.param
    finally:
        _core._drive_openssl(before)


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


@pytest.fixture
def server_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def client_context(certificate):
    return ssl.create_default_context(cafile=certificate)


class Echo(Recorder):
    def data_received(self, data):
        super().data_received(data)
        self.transport.write(data)


async def serving(server_context, factory=Echo):
    made = []
    server = await asyncio.get_running_loop().create_server(
        lambda: made.append(factory()) or made[-1], "127.0.0.1", 0, ssl=server_context
    )
    return server, made


@contextlib.asynccontextmanager
async def served(server_context, factory=Echo):
    """As `serving`, for the length of a block: the address, and the list of protocols."""
    server, made = await serving(server_context, factory)
    try:
        yield server.sockets[0].getsockname(), made
    finally:
        server.close()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def connection(server_context, client_context, server=Echo, client=Recorder, **kwargs):
    """A server of `server` and one connection to it: client transport, its protocol, the server's protocol. Everything
    must have ended, or is aborted, when the block is left."""
    listener, made = await serving(server_context, server)
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(
        client, *listener.sockets[0].getsockname(), ssl=client_context, **kwargs
    )
    await made[0].made
    try:
        yield transport, protocol, made[0]
    finally:
        for end in (protocol, made[0]):
            if not end.lost.done():
                end.transport.abort()
                await end.lost
        listener.close()
        await listener.wait_closed()


@contextlib.asynccontextmanager
async def with_blocking_peer(peer, client_context, client=Recorder, **kwargs):
    """A connection whose other end is a socket of the ssl module's own, in a thread: `peer` gets the plain one."""
    ours, theirs = tcp_pair()
    thread = ServerThread(peer, theirs)
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(
        client, sock=ours, ssl=client_context, server_hostname="localhost", **kwargs
    )
    yield transport, protocol, thread
    if not protocol.lost.done():
        transport.abort()
        await protocol.lost
    thread.result()
