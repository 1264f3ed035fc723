"""What the tests of Twisted's TLS share: certificates, a peer that is not Twisted's, and ways to a connection."""

from __future__ import annotations

import contextlib
import datetime
import functools
import socket
import ssl
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tw_connections import until
from twisted.internet import endpoints, protocol
from twisted.internet import ssl as tssl
from twisted.protocols import tls


@functools.cache
def pem(name: str) -> bytes:
    """Key and certificate of that name, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(encoding, private, serialization.NoEncryption())
    return secret + certificate.public_bytes(encoding)


@functools.cache
def identity(name: str = "localhost") -> tssl.PrivateCertificate:
    return tssl.PrivateCertificate.loadPEM(pem(name))


def authority(name: str = "localhost") -> tssl.Certificate:
    """The certificate alone."""
    return tssl.Certificate.loadPEM(pem(name))


def client_options(name: str = "localhost", trust: str | None = None, **more):
    """What a client trusts, by default the certificate of the server that it wants."""
    return tssl.optionsForClientTLS(name, trustRoot=authority(trust or name), **more)


@functools.cache
def context(server: bool, name: str = "localhost") -> ssl.SSLContext:
    """The peer's, which trusts the certificate of that name and has it itself."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    with pem_file(name) as file:
        made.load_cert_chain(file)
        made.load_verify_locations(file)
    return made


@contextlib.contextmanager
def pem_file(name: str = "localhost"):
    """The path of a file that has them."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem(name))
        file.flush()
        yield file.name


class Peer:
    """The other end: a socket and the interpreter's own TLS, which do what they can at each `step`."""

    def __init__(self, sock: socket.socket, server: bool, context_=None, name="localhost") -> None:
        sock.setblocking(False)
        self.sock = sock
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.object = (context_ or context(server)).wrap_bio(
            self.incoming, self.outgoing, server, None if server else name
        )
        # What was read, one record each.
        self.records: list[bytes] = []
        self.end: str | None = None
        self.error: ssl.SSLError | None = None
        self.ready = False
        self.unsent = b""

    @property
    def data(self) -> bytes:
        return b"".join(self.records)

    def write(self, data: bytes) -> None:
        self.object.write(data)

    def close(self) -> None:
        """Says close_notify."""
        try:
            self.object.unwrap()
        except ssl.SSLWantReadError:
            pass

    def send(self) -> None:
        """Sends what there is to send, as far as the socket takes it."""
        self.unsent += self.outgoing.read()
        while self.unsent:
            try:
                count = self.sock.send(self.unsent)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                return
            self.unsent = self.unsent[count:]

    def receive(self) -> None:
        while True:
            try:
                data = self.sock.recv(1 << 18)
            except BlockingIOError:
                return
            except ConnectionResetError:
                self.end = self.end or "reset"
                return
            if not data:
                self.incoming.write_eof()
                self.end = self.end or "cut off"
                return
            self.incoming.write(data)

    def step(self) -> None:
        if self.end in (None, "close_notify"):
            self.receive()
        try:
            if not self.ready:
                self.object.do_handshake()
                self.ready = True
            while record := self.object.read(1 << 16):
                self.records.append(record)
            self.end = "close_notify"
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.end = "close_notify"
        except ssl.SSLEOFError:
            pass
        except ssl.SSLError as error:
            self.error = error
        self.send()


class Ways:
    """Ways to a connection with TLS. Each answers the protocol and the peer, whose handshake has begun."""

    def __init__(self, reactor) -> None:
        self.reactor = reactor
        self.closing: list = []
        self.ports: list = []

    def close(self) -> None:
        for one in self.closing:
            one.close()
        for port in self.ports:
            port.stopListening()
        self.reactor.iterate(0)

    def factory(self, made):
        built: list = []

        class Factory(protocol.ClientFactory):
            noisy = False

            def buildProtocol(self, address):
                built.append(made())
                return built[-1]

        return Factory(), built

    def _listen(self, made, start, **peer):
        factory, built = self.factory(made)
        port = start(factory)
        self.ports.append(port)
        sock = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.closing.append(sock)
        other = Peer(sock, False, **peer)
        until(self.reactor, lambda: built and built[0].transport is not None)
        return built[0], other

    def listenSSL(self, made, options=None, **peer):
        options = options or identity().options()
        return self._listen(
            made,
            lambda factory: self.reactor.listenSSL(0, factory, options, interface="127.0.0.1"),
            **peer,
        )

    def startTLS(self, made, options=None, **peer):
        told, other = self._listen(
            made,
            lambda factory: self.reactor.listenTCP(0, factory, interface="127.0.0.1"),
            **peer,
        )
        told.transport.startTLS(options or identity().options())
        return told, other

    def _connect(self, made, start, **peer):
        factory, built = self.factory(made)
        with socket.create_server(("127.0.0.1", 0)) as server:
            start(factory, server.getsockname())
            until(self.reactor, lambda: built and built[0].transport is not None)
            sock = server.accept()[0]
        self.closing.append(sock)
        return built[0], Peer(sock, True, **peer)

    def connectSSL(self, made, options=None, **peer):
        options = options or client_options()
        return self._connect(
            made,
            lambda factory, address: self.reactor.connectSSL(*address, factory, options),
            **peer,
        )

    def wrapClientTLS(self, made, options=None, **peer):
        options = options or client_options()

        def start(factory, address):
            inner = endpoints.TCP4ClientEndpoint(self.reactor, *address)
            endpoints.wrapClientTLS(options, inner).connect(factory)

        return self._connect(made, start, **peer)


WAYS = ("listenSSL", "startTLS", "connectSSL", "wrapClientTLS")


def tls_of(told) -> tls.TLSMemoryBIOProtocol:
    """Twisted's TLS protocol beneath a protocol."""
    transport = told.transport
    if isinstance(transport, tls.TLSMemoryBIOProtocol):
        return transport
    return transport.protocol


def steps(reactor, other, happened):
    """Turns both ends until it has happened."""

    def look():
        other.step()
        return happened()

    until(reactor, look)


def shake(reactor, told, other):
    steps(reactor, other, lambda: other.ready)
    other.write(b"hello")
    steps(reactor, other, lambda: told.data == b"hello")
    told.received.clear()
