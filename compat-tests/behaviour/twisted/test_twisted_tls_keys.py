"""TLS connections whose keys change, and that change their loop: on Twisted's own records and on ours."""

from __future__ import annotations

import _ssl
import ctypes
import socket

import pytest
from OpenSSL import SSL
from tw_connections import Told
from tw_tls import Peer, Ways, identity, shake, steps, tls_of
from twisted.internet import ssl as tssl
from twisted.internet.error import ConnectionDone

# Twisted's own ways with pyOpenSSL.
pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")

UPDATE_NOT_REQUESTED, UPDATE_REQUESTED = 0, 1


def update_keys(other: Peer, kind: int) -> None:
    """Has the peer change its keys with its next record. The interpreter has OpenSSL's call for it, but shows it to nobody."""
    libssl = ctypes.CDLL(_ssl.__file__)
    # struct PySSLSocket: the object's head, a weak reference, the SSL*.
    place = id(other.object._sslobj) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)
    connection = ctypes.c_void_p.from_address(place)
    libssl.SSL_key_update.argtypes = (ctypes.c_void_p, ctypes.c_int)
    assert libssl.SSL_key_update(connection, kind) == 1


@pytest.mark.parametrize("kind_of_update", [UPDATE_NOT_REQUESTED, UPDATE_REQUESTED])
def test_key_updates(reactor, served, kind_of_update):
    """Each side goes on with new keys, again and again; asked to, ours changes its own, too."""
    told, other = served()
    told.on_data = told.transport.write
    sent = []
    for size in (1, 20_000, 5):
        update_keys(other, kind_of_update)
        other.write(b"x" * size)
        sent.append(b"x" * size)
        steps(reactor, other, lambda: other.data == b"".join(sent))
    assert told.data == other.data and told.reason is None


def test_a_key_update_while_nothing_is_written(reactor, served):
    """The answer to it leaves with what is written next, if not before."""
    told, other = served()
    update_keys(other, UPDATE_REQUESTED)
    other.write(b"updated")
    steps(reactor, other, lambda: told.data == b"updated")
    told.transport.write(b"answer")
    steps(reactor, other, lambda: other.data == b"answer")
    told.transport.loseConnection()
    steps(reactor, other, lambda: other.end)
    assert other.end == "close_notify"


class OldPeer:
    """A client of TLS 1.2 that can ask for another handshake, which the interpreter's own cannot."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        made = SSL.Context(SSL.TLS_CLIENT_METHOD)
        made.set_max_proto_version(SSL.TLS1_2_VERSION)
        self.connection = SSL.Connection(made, None)
        self.connection.set_connect_state()
        self.data = b""
        self.unsent = b""
        self.error: SSL.Error | None = None
        self.ready = False

    def step(self) -> None:
        try:
            self.connection.bio_write(self.sock.recv(1 << 16))
        except (BlockingIOError, SSL.Error):
            pass
        try:
            if not self.ready:
                self.connection.do_handshake()
                self.ready = True
            while True:
                self.data += self.connection.recv(1 << 16)
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self.error = error
        try:
            while self.unsent:
                self.unsent = self.unsent[self.connection.send(self.unsent) :]
        except SSL.Error:
            pass  # not during a handshake
        while True:
            try:
                self.sock.sendall(self.connection.bio_read(1 << 16))
            except (SSL.WantReadError, ConnectionError):
                return

    def write(self, data: bytes) -> None:
        self.unsent += data


def old_pair(reactor, ways, **options):
    served = identity()
    made = tssl.CertificateOptions(
        privateKey=served.privateKey.original, certificate=served.original, **options
    )
    told, first = ways.listenSSL(Told, made)
    other = OldPeer(first.sock)
    steps(reactor, other, lambda: other.ready)
    other.write(b"hello")
    steps(reactor, other, lambda: told.data == b"hello")
    told.received.clear()
    return told, other


def test_the_peer_asks_for_another_handshake(reactor, ways):
    """Refused, as OpenSSL does it by default. The connection goes on."""
    told, other = old_pair(reactor, ways)
    told.on_data = told.transport.write
    other.connection.renegotiate()
    try:
        other.connection.do_handshake()
    except SSL.Error:
        pass
    steps(reactor, other, lambda: other.error or told.reason)
    assert other.error is not None and told.data == b""


def test_we_ask_for_another_handshake(reactor, ways):
    """By pyOpenSSL's own method on the connection that Twisted shows."""
    told, other = old_pair(reactor, ways)
    told.on_data = told.transport.write
    handle = tls_of(told)._tlsConnection
    before = handle.total_renegotiations()
    assert handle.renegotiate()
    told.transport.write(b"first")
    steps(reactor, other, lambda: other.data == b"first")
    for size in (5, 50_000):
        other.data = b""
        other.write(b"x" * size)
        steps(reactor, other, lambda size=size: other.data == b"x" * size)
    assert handle.total_renegotiations() == before + 1
    assert told.reason is None


def test_it_moves_with_what_waits_to_be_sent(ours, seam):
    """A connection whose records the kernel has not taken yet goes on in the loop that the reactor follows."""
    import asyncio

    import interloop

    ways = Ways(seam("interloop", ours))
    told, other = ways.listenSSL(Told)
    shake(ours, told, other)
    data = bytes(range(256)) * 40_000
    # In records already, and more that becomes records at the end of a turn that never comes in this loop.
    told.transport.write(data)
    ours.iterate(0)
    told.transport.write(b"the rest")
    told.transport.loseConnection()
    assert tls_of(told)._engaged
    ours._life.follow()

    async def main():
        loop = asyncio.get_running_loop()
        assert ours._asyncioEventloop is loop
        lost = loop.create_future()
        told.connectionLost = lost.set_result
        while not lost.done():
            other.step()
            if other.end == "close_notify" and not other.closed:
                other.closed = True
                other.close()
            await asyncio.sleep(0)
        return lost.result()

    other.closed = False
    assert interloop.run(main()).check(ConnectionDone)
    assert other.data == data + b"the rest" and other.end == "close_notify"
    for sock in ways.closing:
        sock.close()
