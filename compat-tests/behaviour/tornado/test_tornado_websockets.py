"""How Tornado's websockets read frames: a peer that sends bytes of its own making."""

from __future__ import annotations

import asyncio
import struct

import pytest
from tornado import httpserver, iostream, netutil, tcpclient, web, websocket

MASK = b"\x37\xfa\x21\x3d"
LIMIT = 100_000


def masked(data: bytes) -> bytes:
    return bytes(byte ^ MASK[place % 4] for place, byte in enumerate(data))


def frame(opcode: int, payload: bytes = b"", *, first: int = 0x80, mask: bool = True, size=None):
    """A frame, by default a final one; `size` is that of the length's field, by default the least."""
    length = len(payload)
    size = size or (1 if length < 126 else 3 if length < 1 << 16 else 9)
    bit = 0x80 if mask else 0
    head = {
        1: lambda: struct.pack("!BB", first | opcode, bit | length),
        3: lambda: struct.pack("!BBH", first | opcode, bit | 126, length),
        9: lambda: struct.pack("!BBQ", first | opcode, bit | 127, length),
    }[size]()
    return head + (MASK + masked(payload) if mask else payload)


TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Socket(websocket.WebSocketHandler):
    """Keeps what it hears of."""

    def initialize(self, sockets, prepare):
        self.heard: asyncio.Queue = asyncio.Queue()
        self.closed = asyncio.Event()
        self.prepared = prepare
        sockets.put_nowait(self)

    def open(self):
        if self.prepared is not None:
            self.prepared(self)

    async def on_message(self, message):
        self.heard.put_nowait(message)

    def on_ping(self, data):
        self.heard.put_nowait(("ping", data))

    def on_close(self):
        self.closed.set()


@pytest.fixture
def opened(new_io_loop):
    """opened(main, ...): runs `main(socket, peer)` with a handler and the stream of who has connected to it. `prepare` is
    called with the handler before it reads its first frame."""
    io_loop = new_io_loop()

    def opened(main, *, prepare=None, **settings):
        async def with_server():
            sockets: asyncio.Queue = asyncio.Queue()
            wanted = {"sockets": sockets, "prepare": prepare}
            settings.setdefault("websocket_max_message_size", LIMIT)
            application = web.Application([("/", Socket, wanted)], **settings)
            server = httpserver.HTTPServer(application)
            (listener,) = netutil.bind_sockets(0, "127.0.0.1")
            server.add_socket(listener)
            client = tcpclient.TCPClient()
            peer = await client.connect(*listener.getsockname())
            await peer.write(
                b"GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            assert (await peer.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            socket = await sockets.get()
            try:
                return await main(socket, peer)
            finally:
                peer.close()
                await socket.closed.wait()
                server.stop()
                await server.close_all_connections()
                client.close()

        return io_loop.run_sync(with_server)

    return opened


async def heard(socket, count):
    return [await socket.heard.get() for _ in range(count)]


async def has_come(socket):
    """Until its stream has received something."""
    protocol = socket.ws_connection
    while protocol.stream._read_buffer_size + protocol._wire_bytes_in == 0:
        await asyncio.sleep(0)


MESSAGES = [
    "",
    "text",
    b"",
    b"bytes",
    "ü" * 62,
    b"x" * 125,
    b"y" * 126,
    b"z" * 65_535,
    b"w" * 65_536,
]


def frames_of(messages, **options):
    for message in messages:
        if isinstance(message, str):
            yield frame(TEXT, message.encode(), **options)
        else:
            yield frame(BINARY, message, **options)


@pytest.mark.parametrize("mask", [True, False])
def test_each_length(opened, mask):
    async def main(socket, peer):
        for message, data in zip(MESSAGES, frames_of(MESSAGES, mask=mask), strict=True):
            await peer.write(data)
            assert await heard(socket, 1) == [message]
        protocol = socket.ws_connection
        assert protocol._wire_bytes_in == sum(map(len, frames_of(MESSAGES, mask=mask)))
        assert protocol._message_bytes_in == sum(
            len(message.encode() if isinstance(message, str) else message) for message in MESSAGES
        )
        assert protocol._frame_mask == (MASK if mask else None)

    opened(main)


def test_many_in_one_piece(opened):
    async def main(socket, peer):
        messages = [b"%d" % number * (number % 50) for number in range(500)]
        await peer.write(b"".join(frames_of(messages)))
        assert await heard(socket, len(messages)) == messages

    opened(main)


def test_a_length_in_more_bytes_than_it_needs(opened):
    async def main(socket, peer):
        await peer.write(frame(BINARY, b"abc", size=3) + frame(BINARY, b"def", size=9))
        assert await heard(socket, 2) == [b"abc", b"def"]

    opened(main)


@pytest.mark.parametrize("message", [b"bytes", b"y" * 300])
def test_byte_by_byte(opened, message):
    async def main(socket, peer):
        peer.set_nodelay(True)
        (data,) = frames_of([message])
        for byte in data:
            await peer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await heard(socket, 1) == [message]

    opened(main)


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 7, 8, 20])
def test_in_two_pieces(opened, cut):
    """The reader waits for the first, and has heard of it, before the second comes."""

    async def main(socket, peer):
        (data,) = frames_of([b"x" * 200])
        await peer.write(data[:cut])
        await has_come(socket)
        await peer.write(data[cut:] + frame(TEXT, b"next"))
        assert await heard(socket, 2) == [b"x" * 200, "next"]

    opened(main)


def test_fragments_and_what_comes_between_them(opened):
    async def main(socket, peer):
        await peer.write(
            frame(TEXT, b"one ", first=0)
            + frame(PING, b"here?")
            + frame(0, b"two ", first=0)
            + frame(PONG)
            + frame(0, b"three")
            + frame(BINARY, b"four")
        )
        assert await heard(socket, 3) == [("ping", b"here?"), "one two three", b"four"]
        assert await peer.read_bytes(7) == frame(PONG, b"here?", mask=False)

    opened(main)


def test_a_message_in_the_middle_of_another(opened):
    async def main(socket, peer):
        await peer.write(frame(TEXT, b"one ", first=0) + frame(TEXT, b"two"))
        await socket.closed.wait()
        assert socket.heard.empty()

    opened(main)


def test_close(opened):
    async def main(socket, peer):
        await peer.write(
            frame(TEXT, b"last")
            + frame(CLOSE, struct.pack("!H", 1001) + b"bye")
            + frame(TEXT, b"x")
        )
        await socket.closed.wait()
        assert await heard(socket, 1) == ["last"]
        assert (socket.close_code, socket.close_reason) == (1001, "bye")
        assert socket.heard.empty()
        assert await peer.read_until_close() == frame(CLOSE, struct.pack("!H", 1001), mask=False)

    opened(main)


@pytest.mark.parametrize("extra", [0, 1])
def test_the_limit(opened, extra):
    async def main(socket, peer):
        message = b"x" * (LIMIT + extra)
        written = peer.write(frame(BINARY, message))
        if not extra:
            await written
            assert await heard(socket, 1) == [message]
            return
        await socket.closed.wait()
        assert socket.heard.empty()
        closing = struct.pack("!H", 1009) + b"message too big"
        assert await peer.read_bytes(4 + 15) == frame(CLOSE, closing, mask=False)
        with pytest.raises(iostream.StreamClosedError):
            await written
            await peer.read_bytes(1)

    opened(main)


@pytest.mark.parametrize("limit", [10.5, float("inf")])
def test_a_limit_of_any_number(opened, limit):
    async def main(socket, peer):
        await peer.write(frame(BINARY, b"x" * 10))
        assert await heard(socket, 1) == [b"x" * 10]

    opened(main, websocket_max_message_size=limit)


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"\xff"),
        frame(TEXT, b"x", first=0xC0),
        frame(BINARY, b"x", first=0x90),
        frame(3, b"x"),
        frame(0, b"x"),
        frame(PING, b"x", first=0),
        frame(PING, b"x" * 126),
    ],
)
def test_what_ends_a_connection(opened, data):
    async def main(socket, peer):
        await peer.write(frame(TEXT, b"before") + data + frame(TEXT, b"after"))
        await socket.closed.wait()
        assert await heard(socket, 1) == ["before"]
        assert socket.heard.empty()

    opened(main)


@pytest.mark.parametrize("sent", [b"", frame(TEXT, b"text")[:1], frame(TEXT, b"text")[:-1]])
def test_an_end_in_the_middle(opened, sent):
    async def main(socket, peer):
        if sent:
            await peer.write(frame(BINARY, b"before") + sent)
            assert await heard(socket, 1) == [b"before"]
        peer.close()
        await socket.closed.wait()
        assert socket.heard.empty()
        assert socket.close_code is None

    opened(main)


def test_what_had_arrived_when_the_peer_went(opened):
    async def main(socket, peer):
        messages = [b"%d" % number for number in range(100)]
        await peer.write(b"".join(frames_of(messages)))
        peer.close()
        assert await heard(socket, len(messages)) == messages
        await socket.closed.wait()

    opened(main)


def test_the_next_message_waits_for_the_handler(opened):
    async def main(socket, peer):
        going, go = asyncio.Event(), asyncio.Event()

        async def on_message(message):
            socket.heard.put_nowait(message)
            going.set()
            await go.wait()
            socket.heard.put_nowait("done")

        socket.on_message = on_message
        await peer.write(frame(TEXT, b"one") + frame(TEXT, b"two"))
        await going.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        assert await heard(socket, 1) == ["one"]
        assert socket.heard.empty()
        go.set()
        assert await heard(socket, 3) == ["done", "two", "done"]

    opened(main)


def test_a_handler_that_raises(opened, app_log):
    async def main(socket, peer):
        async def on_message(message):
            raise ZeroDivisionError(message)

        socket.on_message = on_message
        await peer.write(frame(TEXT, b"one") + frame(TEXT, b"two"))
        await socket.closed.wait()

    opened(main)
    assert app_log.take("Uncaught exception").exc_info[0] is ZeroDivisionError


def reads_of(owner, name):
    """Replaces a method on one object. Answers the list of the arguments that it was called with."""
    own, calls = getattr(owner, name), []

    def replacement(*args):
        calls.append(args)
        return own(*args)

    setattr(owner, name, replacement)
    return calls


@pytest.mark.parametrize("of_stream", [True, False])
def test_a_replaced_read_of_one_connection(opened, of_stream):
    """A frame that is awaited already may still come in the old way; from the next one on it is asked."""
    calls = []

    def prepare(socket):
        protocol = socket.ws_connection
        owner, name = (protocol.stream, "read_bytes") if of_stream else (protocol, "_read_bytes")
        calls.append(reads_of(owner, name))

    async def main(socket, peer):
        await peer.write(frame(TEXT, b"one") + frame(BINARY, b"2" * 200))
        assert await heard(socket, 2) == ["one", b"2" * 200]
        assert calls[0][:7] == [(2,), (4,), (3,), (2,), (2,), (4,), (200,)]

    opened(main, prepare=prepare)


@pytest.mark.parametrize("name", ["_read_bytes", "_receive_frame", "_handle_message"])
def test_a_replaced_method_of_the_class(opened, monkeypatch, name):
    seen = []
    own = getattr(websocket.WebSocketProtocol13, name)

    def replacement(self, *args):
        seen.append(args)
        return own(self, *args)

    monkeypatch.setattr(websocket.WebSocketProtocol13, name, replacement)

    async def main(socket, peer):
        await peer.write(frame(TEXT, b"one"))
        assert await heard(socket, 1) == ["one"]
        assert (
            seen[:1]
            == {
                "_read_bytes": [(2,)],
                "_receive_frame": [()],
                "_handle_message": [(TEXT, b"one")],
            }[name]
        )

    opened(main)


@pytest.mark.parametrize("arrived", [0, 1, 5])
def test_a_stream_that_is_given_another_way_to_receive(opened, arrived):
    """While a frame is awaited."""

    async def main(socket, peer):
        data = frame(TEXT, b"message")
        stream = socket.ws_connection.stream
        if arrived:
            await peer.write(data[:arrived])
            await has_come(socket)
        own, calls = stream.read_from_fd, []

        def read_from_fd(buffer):
            calls.append(len(buffer))
            return own(buffer)

        stream.read_from_fd = read_from_fd
        await peer.write(data[arrived:] + frame(TEXT, b"next"))
        assert await heard(socket, 2) == ["message", "next"]
        assert calls

    opened(main)


def test_compressed_messages(new_io_loop):
    class Echo(websocket.WebSocketHandler):
        def get_compression_options(self):
            return {}

        async def on_message(self, message):
            await self.write_message(message, binary=isinstance(message, bytes))

    async def main():
        server = httpserver.HTTPServer(web.Application([("/", Echo)]))
        (listener,) = netutil.bind_sockets(0, "127.0.0.1")
        server.add_socket(listener)
        url = "ws://{}:{}/".format(*listener.getsockname())
        connection = await websocket.websocket_connect(url, compression_options={})
        for message in ("text", b"bytes" * 1000, ""):
            await connection.write_message(message, binary=isinstance(message, bytes))
            assert await connection.read_message() == message
        assert connection.protocol._wire_bytes_in < 1000
        connection.close()
        assert await connection.read_message() is None
        server.stop()
        await server.close_all_connections()

    new_io_loop().run_sync(main)
