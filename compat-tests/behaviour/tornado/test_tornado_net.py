"""Tornado's servers, clients and streams over real connections."""

from __future__ import annotations

import asyncio
import threading

import pytest
from tornado import (
    gen,
    httpclient,
    httpserver,
    iostream,
    locks,
    netutil,
    tcpclient,
    tcpserver,
    web,
    websocket,
)
from tornado.ioloop import IOLoop

# More than the kernel buffers on both ends of a loopback connection hold, and more than one chunk of an IOStream.
LARGE = bytes(range(256)) * 40_000


class Echo(tcpserver.TCPServer):
    """Sends back what comes, line by line; what a line names the size of, as that many bytes."""

    async def handle_stream(self, stream, address):
        try:
            while True:
                line = await stream.read_until(b"\n")
                await stream.write(line)
                if line.startswith(b"bytes "):
                    await stream.write(await stream.read_bytes(int(line[6:])))
        except iostream.StreamClosedError:
            pass


class Hello(web.RequestHandler):
    async def get(self):
        await asyncio.sleep(0)
        self.write(f"hello {self.get_argument('name', 'nobody')}")

    async def post(self):
        self.write(self.request.body)


class Failing(web.RequestHandler):
    def get(self):
        raise ZeroDivisionError("from a request handler")


class Chunks(web.RequestHandler):
    @gen.coroutine
    def get(self):
        for _ in range(100):
            self.write(LARGE[: 1 << 16])
            yield self.flush()


class EchoSocket(websocket.WebSocketHandler):
    async def on_message(self, message):
        await self.write_message(message, binary=isinstance(message, bytes))


@pytest.fixture
def http(new_io_loop):
    """http(main): runs `main(url)` in an IOLoop, with an HTTP server listening at that URL, and closes all."""
    io_loop = new_io_loop()

    def http(main):
        async def with_server():
            application = web.Application(
                [("/", Hello), ("/fail", Failing), ("/chunks", Chunks), ("/socket", EchoSocket)]
            )
            server = httpserver.HTTPServer(application, max_body_size=2 * len(LARGE))
            (sock,) = netutil.bind_sockets(0, "127.0.0.1")
            server.add_socket(sock)
            client = httpclient.AsyncHTTPClient(
                force_instance=True, max_body_size=2 * len(LARGE), max_clients=50
            )
            try:
                return await main(f"127.0.0.1:{sock.getsockname()[1]}", client)
            finally:
                client.close()
                server.stop()
                await server.close_all_connections()

        result = io_loop.run_sync(with_server)
        assert io_loop.handlers == {}
        return result

    return http


def test_http(http):
    async def main(address, client):
        response = await client.fetch(f"http://{address}/?name=tornado")
        assert (response.code, response.body) == (200, b"hello tornado")
        headers = {"Content-Type": "application/octet-stream"}
        response = await client.fetch(
            f"http://{address}/", method="POST", body=LARGE, headers=headers
        )
        assert response.body == LARGE
        response = await client.fetch(f"http://{address}/chunks")
        assert response.body == LARGE[: 1 << 16] * 100

    http(main)


def test_http_many_at_once(http):
    async def main(address, client):
        responses = await asyncio.gather(
            *(client.fetch(f"http://{address}/?name={n}") for n in range(200))
        )
        assert [response.body for response in responses] == [b"hello %d" % n for n in range(200)]

    http(main)


def test_http_error(http, app_log):
    async def main(address, client):
        with pytest.raises(httpclient.HTTPError) as caught:
            await client.fetch(f"http://{address}/fail")
        assert caught.value.code == 500
        with pytest.raises(httpclient.HTTPError, match="404"):
            await client.fetch(f"http://{address}/nowhere")

    http(main)
    assert app_log.take("Uncaught exception GET /fail").exc_info[0] is ZeroDivisionError


def test_websocket(http):
    async def main(address, client):
        connection = await websocket.websocket_connect(f"ws://{address}/socket")
        for message in ("text", b"bytes", "", LARGE[: 1 << 20]):
            await connection.write_message(message, binary=isinstance(message, bytes))
            assert await connection.read_message() == message
        connection.close()
        assert await connection.read_message() is None

    http(main)


def test_streams(io_loop):
    async def main():
        server = Echo()
        (sock,) = netutil.bind_sockets(0, "127.0.0.1")
        server.add_socket(sock)
        client = tcpclient.TCPClient()
        stream = await client.connect("127.0.0.1", sock.getsockname()[1])
        for n in range(100):
            line = b"line %d\n" % n
            await stream.write(line)
            assert await stream.read_until(b"\n") == line
        header = b"bytes %d\n" % len(LARGE)
        written = stream.write(header + LARGE)
        assert await stream.read_bytes(len(header) + len(LARGE)) == header + LARGE
        await written
        server.stop()
        stream.close()
        with pytest.raises(iostream.StreamClosedError):
            await stream.write(b"x")
        client.close()

    io_loop.run_sync(main)
    assert_ended(io_loop)


def assert_ended(io_loop: IOLoop) -> None:
    """The server's side sees the end of its connections, and no handler is left."""

    async def main():
        while io_loop.handlers:
            await asyncio.sleep(0)

    io_loop.run_sync(main)


def test_stream_that_the_peer_closes(io_loop, pair):
    one, other = pair

    async def main():
        stream = iostream.IOStream(one)
        closed = locks.Event()
        stream.set_close_callback(closed.set)
        reading = stream.read_until(b"\n")
        other.send(b"no end of line")
        other.close()
        with pytest.raises(iostream.StreamClosedError):
            await reading
        await closed.wait()

    io_loop.run_sync(main)
    assert io_loop.handlers == {}


def test_stream_slow_reader(io_loop, pair):
    """The writer fills the kernel's buffers, waits for writability, and goes on when the reader takes bytes out."""
    one, other = pair

    async def main():
        writer, reader = (
            iostream.IOStream(one),
            iostream.IOStream(other, max_buffer_size=2 * len(LARGE)),
        )
        done = writer.write(LARGE)
        assert not done.done()
        got = bytearray()
        while len(got) < len(LARGE):
            got += await reader.read_bytes(100_000, partial=True)
        assert got == LARGE
        await done
        writer.close()
        reader.close()

    io_loop.run_sync(main)
    assert io_loop.handlers == {}


def test_two_loops_in_two_threads_talk(new_io_loop):
    server_loop, client_loop = new_io_loop(), new_io_loop()
    (sock,) = netutil.bind_sockets(0, "127.0.0.1")
    server = Echo()
    thread = threading.Thread(target=server_loop.start)
    thread.start()
    server_loop.add_callback(server.add_socket, sock)

    async def main():
        client = tcpclient.TCPClient()
        stream = await client.connect("127.0.0.1", sock.getsockname()[1])
        for n in range(100):
            await stream.write(b"%d\n" % n)
            assert await stream.read_until(b"\n") == b"%d\n" % n
        stream.close()
        client.close()

    client_loop.run_sync(main)
    server_loop.add_callback(server.stop)
    server_loop.add_callback(server_loop.stop)
    thread.join()
    assert_ended(server_loop)
