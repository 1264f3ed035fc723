"""TLS as Twisted's programs know it: how it begins."""

from __future__ import annotations

import socket
import ssl

import pytest
from OpenSSL import SSL
from tw_connections import Told, until
from tw_tls import (
    Peer,
    authority,
    client_options,
    context,
    identity,
    pem_file,
    shake,
    steps,
    tls_of,
)
from twisted.internet import ssl as tssl
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener
from zope.interface import implementer

# Twisted's own ways with pyOpenSSL.
pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")


def test_the_handshake_is_told(reactor, ways):
    @implementer(IHandshakeListener)
    class Listening(Told):
        completed = 0

        def handshakeCompleted(self):
            self.completed += 1
            self.transport.write(b"first")

    told, other = ways.listenSSL(Listening)
    steps(reactor, other, lambda: other.data == b"first")
    shake(reactor, told, other)
    assert told.completed == 1


def test_what_was_written_before_the_handshake(reactor, ways):
    class Eager(Told):
        def connectionMade(self):
            self.transport.write(b"at ")
            self.transport.write(b"once")

    _, other = ways.connectSSL(Eager)
    steps(reactor, other, lambda: other.data == b"at once")


@pytest.mark.parametrize("asked", [[b"h2", b"http/1.1"], [b"http/1.1"], None])
def test_alpn(reactor, ways, asked):
    """The protocol of HTTP/2, on both sides."""
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pem_file() as file:
        own.load_cert_chain(file)
    own.set_alpn_protocols(["h2", "http/1.1"])
    options = client_options(acceptableProtocols=asked)
    told, other = ways.connectSSL(Told, options, context_=own)
    shake(reactor, told, other)
    expected = asked[0] if asked else None
    assert told.transport.negotiatedProtocol == expected
    chosen = other.object.selected_alpn_protocol()
    assert chosen == (expected.decode() if expected else None)


def test_alpn_of_a_server(reactor, ways):
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pem_file() as file:
        own.load_verify_locations(file)
    own.set_alpn_protocols(["h2", "http/1.1"])
    told, other = ways.listenSSL(
        Told,
        tssl.CertificateOptions(
            privateKey=identity().privateKey.original,
            certificate=identity().original,
            acceptableProtocols=[b"h2", b"http/1.1"],
        ),
        context_=own,
    )
    shake(reactor, told, other)
    assert told.transport.negotiatedProtocol == b"h2"
    assert other.object.selected_alpn_protocol() == "h2"


def test_the_name_asked_for(reactor, ways):
    """A server that has two certificates."""
    options = identity().options()
    other_context = identity("example.org").options().getContext()
    names = []

    def choose(connection):
        names.append(connection.get_servername())
        connection.set_context(other_context)

    options.getContext().set_tlsext_servername_callback(choose)
    told, other = ways.listenSSL(
        Told, options, name="example.org", context_=context(False, "example.org")
    )
    shake(reactor, told, other)
    assert names == [b"example.org"]


def test_client_certificates(reactor, ways):
    options = identity().options(authority())
    told, other = ways.listenSSL(Told, options)
    shake(reactor, told, other)
    seen = tssl.Certificate.peerFromTransport(tls_of(told))
    assert seen.digest() == authority().digest()
    assert tls_of(told).getPeerCertificate() is not None


def test_a_client_without_certificate(reactor, ways):
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pem_file() as file:
        bare.load_verify_locations(file)
    told, other = ways.listenSSL(Told, identity().options(authority()), context_=bare)
    steps(reactor, other, lambda: told.reason)
    assert told.reason.type is SSL.Error
    assert told.reason.value.args[0][-1][2] == "peer did not return a certificate"


def test_a_certificate_that_nobody_vouches_for(reactor, ways):
    told, other = ways.connectSSL(Told, client_options(trust="example.org"))
    steps(reactor, other, lambda: told.reason)
    assert told.reason.type is SSL.Error
    assert told.reason.value.args[0][-1][2] == "certificate verify failed"


def test_a_certificate_of_somebody_else(reactor, ways):
    from service_identity import VerificationError

    told, other = ways.connectSSL(Told, client_options("example.org", trust="localhost"))
    steps(reactor, other, lambda: told.reason)
    assert told.reason.check(VerificationError)


@pytest.mark.parametrize("way", ["listenSSL", "connectSSL"])
def test_the_peer_is_gone_in_the_handshake(reactor, ways, way):
    told, other = getattr(ways, way)(Told)
    other.sock.close()
    until(reactor, lambda: told.reason)
    assert told.reason.check(ConnectionLost)


def test_losing_the_connection_in_the_handshake(reactor, ways):
    told, other = ways.connectSSL(Told)
    told.transport.loseConnection()
    steps(reactor, other, lambda: told.reason)
    assert told.reason.check(ConnectionLost)
    assert not other.ready


def test_info_callbacks_go_on(reactor, served):
    """They are called from within the reading of records, and may do anything."""
    options = identity().options()
    seen = []

    def info(connection, where, value):
        seen.append(where)
        if where == SSL.SSL_CB_READ_ALERT:
            told.transport.write(b"never")

    options.getContext().set_info_callback(info)
    told, other = served(Told, options)
    assert SSL.SSL_CB_HANDSHAKE_DONE in seen
    seen.clear()
    other.close()
    steps(reactor, other, lambda: told.reason)
    assert SSL.SSL_CB_READ_ALERT in seen


# startTLS


def test_start_tls_in_mid_stream(reactor, ways):
    """What was written before leaves plain, what the peer had sent is read when it is asked for."""
    factory, built = ways.factory(Told)
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    ways.ports.append(port)
    sock = socket.create_connection(("127.0.0.1", port.getHost().port))
    ways.closing.append(sock)
    sock.settimeout(10)
    sock.send(b"STARTTLS")
    until(reactor, lambda: built and built[0].data == b"STARTTLS")
    told = built[0]
    told.received.clear()
    told.transport.pauseProducing()
    other = Peer(sock, False)
    # Its first flight lies in the kernel before TLS begins here.
    other.step()
    reactor.iterate(0)
    told.transport.write(b"go ahead")
    told.transport.startTLS(identity().options())
    told.transport.write(b"secret")
    told.transport.resumeProducing()
    sock.setblocking(True)
    until(reactor, lambda: True)
    reactor.iterate(0)
    assert sock.recv(8) == b"go ahead"
    sock.setblocking(False)
    steps(reactor, other, lambda: other.data == b"secret")
    other.write(b"heard")
    steps(reactor, other, lambda: told.data == b"heard")
    assert told.transport.getPeerCertificate() is None
    assert isinstance(told.transport.getHandle(), SSL.Connection)
    told.transport.loseConnection()
    steps(reactor, other, lambda: other.end == "close_notify")
    other.close()
    steps(reactor, other, lambda: told.reason)
    assert told.reason.check(ConnectionDone)
