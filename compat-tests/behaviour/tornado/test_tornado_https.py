"""HTTPServer, the simple client and websockets over TLS."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from to_tls import certificate, client_context, records, server_context  # noqa: F401
from tornado import httpclient, httpserver, netutil, web, websocket

LARGE = bytes(range(256)) * 40_000


class Hello(web.RequestHandler):
    async def get(self):
        await asyncio.sleep(0)
        self.write(f"{self.request.protocol} {self.get_argument('name', 'nobody')}")

    async def post(self):
        self.write(self.request.body)


class Certificate(web.RequestHandler):
    def get(self):
        shown = self.request.get_ssl_certificate()
        self.write(dict(shown["subject"][0]) if shown else {})


class Chunks(web.RequestHandler):
    async def get(self):
        for _ in range(100):
            self.write(LARGE[: 1 << 16])
            await self.flush()


class EchoSocket(websocket.WebSocketHandler):
    async def on_message(self, message):
        await self.write_message(message, binary=isinstance(message, bytes))


@pytest.fixture
def https(io_loop, records, server_context):  # noqa: F811
    """https(main): runs `main(address, client)` in an IOLoop, with an HTTPS server at that address, and closes all."""

    def https(main):
        async def with_server():
            handlers = [("/", Hello), ("/who", Certificate), ("/chunks", Chunks)]
            server = httpserver.HTTPServer(
                web.Application([*handlers, ("/socket", EchoSocket)]),
                ssl_options=server_context,
                max_body_size=2 * len(LARGE),
            )
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

        return io_loop.run_sync(with_server)

    return https


def test_requests(https, certificate):  # noqa: F811
    async def main(address, client):
        response = await client.fetch(f"https://{address}/?name=tornado", ca_certs=certificate)
        assert (response.code, response.body) == (200, b"https tornado")
        headers = {"Content-Type": "application/octet-stream"}
        response = await client.fetch(
            f"https://{address}/", method="POST", body=LARGE, headers=headers, ca_certs=certificate
        )
        assert response.body == LARGE
        response = await client.fetch(f"https://{address}/chunks", ca_certs=certificate)
        assert response.body == LARGE[: 1 << 16] * 100

    https(main)


def test_many_at_once(https, client_context):  # noqa: F811
    async def main(address, client):
        responses = await asyncio.gather(
            *(
                client.fetch(f"https://{address}/?name={n}", ssl_options=client_context)
                for n in range(30)
            )
        )
        assert [response.body for response in responses] == [b"https %d" % n for n in range(30)]

    https(main)


def test_a_server_that_nobody_vouches_for(https):
    async def main(address, client):
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.fetch(f"https://{address}/")
        response = await client.fetch(f"https://{address}/", validate_cert=False)
        assert response.body == b"https nobody"

    https(main)


def test_the_clients_certificate(https, certificate, server_context):  # noqa: F811
    server_context.verify_mode = ssl.CERT_OPTIONAL
    server_context.load_verify_locations(certificate)

    async def main(address, client):
        who = f"https://{address}/who"
        response = await client.fetch(who, ca_certs=certificate)
        assert response.body == b"{}"
        response = await client.fetch(who, ca_certs=certificate, client_cert=certificate)
        assert response.body == b'{"commonName": "localhost"}'

    https(main)


def test_websockets(https, client_context):  # noqa: F811
    async def main(address, client):
        request = httpclient.HTTPRequest(f"wss://{address}/socket", ssl_options=client_context)
        connection = await websocket.websocket_connect(request)
        for message in ("text", b"bytes", "", LARGE[: 1 << 20]):
            await connection.write_message(message, binary=isinstance(message, bytes))
            assert await connection.read_message() == message
        connection.close()
        assert await connection.read_message() is None

    https(main)
