"""A Tornado stream under test and a plain socket as its peer."""

from __future__ import annotations

import contextlib
import socket

from tornado import iostream


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """A connection over loopback: ours, and the peer's end, which blocks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    # What a test sends is there when it looks, and not when an acknowledgement comes.
    for end in (ours, peer):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, peer


@contextlib.contextmanager
def connected(kind=None, **options):
    """`(stream, peer)`; both are closed at the end."""
    ours, peer = tcp_pair()
    stream = (kind or iostream.IOStream)(ours, **options)
    try:
        yield stream, peer
    finally:
        stream.close()
        peer.close()


def received(peer: socket.socket, count: int) -> bytes:
    """That many bytes from the peer's end."""
    data = b""
    while len(data) < count:
        piece = peer.recv(count - len(data))
        assert piece, "the stream was closed"
        data += piece
    return data
