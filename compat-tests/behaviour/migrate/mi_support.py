"""Servers on the loop that runs, each for one application, and clients that see the bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass

import tornado.httpserver
import tornado.web

PREFIX = "/part"


@dataclass
class Site:
    """Where an application is served: `root` is the part of each path that the client has to say before the application's own."""

    address: tuple[str, int]
    root: str

    def url(self, path: str, scheme: str = "http") -> str:
        host, port = self.address
        return f"{scheme}://{host}:{port}{self.root}{path}"

    async def connect(self) -> Wire:
        sock = socket.socket()
        little_buffers(sock)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self.address)
        return Wire(self, *await asyncio.open_connection(sock=sock))

    async def others(self) -> None:
        """Many requests of somebody else, to nobody: what could go on meanwhile has gone on."""
        wire = await self.connect()
        for _ in range(100):
            await wire.ask("GET", "/others", "X-Others: 1")
            _, headers = await wire.head()
            await wire.reader.readexactly(int(headers["content-length"]))
        await wire.close()


class Wire:
    """A connection on which a test says and sees each byte."""

    def __init__(
        self, site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.site, self.reader, self.writer = site, reader, writer

    async def ask(self, method: str, path: str, *headers: str, version: str = "1.1") -> None:
        lines = [f"{method} {self.site.root}{path} HTTP/{version}", "Host: x", *headers, "", ""]
        self.writer.write("\r\n".join(lines).encode())
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of an answer."""
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = text.removesuffix("\r\n\r\n").split("\r\n")
        fields = (header.split(":", 1) for header in lines)
        return int(line.split()[1]), {name.lower(): value.strip() for name, value in fields}

    async def chunk(self) -> bytes:
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def little_buffers(sock: socket.socket) -> None:
    """The kernel keeps less of what nobody reads than a test sends."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)


def listening() -> socket.socket:
    sock = socket.create_server(("127.0.0.1", 0))
    little_buffers(sock)
    sock.setblocking(False)
    return sock


@contextlib.asynccontextmanager
async def tornado_serving(application, root: str = "", **options):
    """Tornado's HTTPServer."""
    server = tornado.httpserver.HTTPServer(application, **options)
    sock = listening()
    server.add_socket(sock)
    try:
        yield Site(sock.getsockname(), root)
    finally:
        server.stop()
        await server.close_all_connections()


@contextlib.asynccontextmanager
async def uvicorn_serving(application, root_path: str = "", **options):
    import uvicorn

    options.setdefault("lifespan", "off")
    config = uvicorn.Config(application, root_path=root_path, log_config=None, **options)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with listening() as sock:
        await server.startup([sock])
        await server.on_tick(0)  # the Date header
        try:
            yield Site(sock.getsockname(), "")
        finally:
            await server.shutdown([sock])


@contextlib.asynccontextmanager
async def hypercorn_serving(application, **options):
    from hypercorn.asyncio import serve
    from hypercorn.config import Config, Sockets

    sock = listening()
    config = Config()
    config.bind = [f"fd://{sock.detach()}"]
    for name, value in options.items():
        setattr(config, name, value)
    over = asyncio.Event()
    sockets: list[Sockets] = []
    create = config.create_sockets

    def create_sockets() -> Sockets:
        sockets.append(create())
        return sockets[0]

    config.create_sockets = create_sockets
    task = asyncio.create_task(serve(application, config, shutdown_trigger=over.wait))
    while not sockets:
        await asyncio.sleep(0)
    address = sockets[0].insecure_sockets[0].getsockname()
    try:
        yield Site(address, "")
    finally:
        over.set()
        await task


class Other(tornado.web.RequestHandler):
    """What the Tornado application serves itself, beside the mount."""

    def get(self) -> None:
        self.write("Tornado's own")


@contextlib.asynccontextmanager
async def mounted(application, **options):
    """The ASGI application under PREFIX of a Tornado application."""
    from interloop.migrate.asgi_in_tornado import ASGIMount

    mount = ASGIMount(PREFIX, application, **options)
    async with tornado_serving(
        tornado.web.Application([mount, (r"/other", Other)]), PREFIX
    ) as site:
        site.mount = mount
        yield site
        await mount.shutdown()


def asgi_serving(kind: str, application):
    """The application in its own host (uvicorn), or mounted."""
    if kind == "uvicorn":
        return uvicorn_serving(application, PREFIX)
    return mounted(application)


@contextlib.asynccontextmanager
async def twisted_serving(resource, root=""):
    """twisted.web's Site on the installed reactor."""
    from twisted.internet import reactor
    from twisted.web.server import Site as TwistedSite

    port = reactor.listenTCP(0, TwistedSite(resource), interface="127.0.0.1")
    address = port.getHost()
    try:
        yield Site((address.host, address.port), root)
    finally:
        await port.stopListening()
        reactor.disconnectAll()
