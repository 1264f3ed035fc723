"""Tornado's HTTPServer with a page of `--size` bytes at `/`, or with a websocket that echoes, on one of the event loops
that compete."""

from __future__ import annotations

import argparse
import asyncio
import logging

import _control
import _loops

BACKLOG = 4096

# Only counted on connect and disconnect: the runner waits by it until all connections are in.
open_connections = 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=_loops.NAMES, required=True)
    parser.add_argument("--size", type=int, default=13, help="of the page, in bytes")
    parser.add_argument("--serve", choices=("page", "websocket"), default="page")
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()

    _control.raise_descriptor_limit()
    if options.loop == "interloop":
        import interloop.tornado

        interloop.tornado.install()
    from tornado.httpserver import HTTPServer
    from tornado.ioloop import IOLoop
    from tornado.web import Application, RequestHandler
    from tornado.websocket import WebSocketHandler

    # No access log: it would be measured.
    logging.getLogger("tornado.access").disabled = True
    text = b"x" * options.size
    kinds = set()

    class Page(RequestHandler):
        def get(self):
            self.write(text)

    class Echo(WebSocketHandler):
        async def on_message(self, message):
            await self.write_message(message, binary=isinstance(message, bytes))

    class Server(HTTPServer):
        def handle_stream(self, stream, address):
            global open_connections
            open_connections += 1
            kinds.add(f"{type(stream).__module__}.{type(stream).__qualname__}")
            super().handle_stream(stream, address)

        def on_close(self, server_conn):
            global open_connections
            open_connections -= 1
            super().on_close(server_conn)

    context = None
    if options.tls:
        import tls_echo

        context = tls_echo.context()
    loop = _loops.new_event_loop(options.loop)
    asyncio.set_event_loop(loop)

    async def serve():
        handler = Page if options.serve == "page" else Echo
        server = Server(Application([("/", handler)]), ssl_options=context)
        server.listen(0, "127.0.0.1", backlog=BACKLOG)
        (listener,) = server._sockets.values()
        _control.announce(listener.getsockname()[1])
        return server, IOLoop.current()

    server, io_loop = loop.run_until_complete(serve())
    _control.start(
        stop=lambda: io_loop.add_callback(loop.stop),
        facts=lambda: {
            "loop": _loops.kind(loop),
            "io_loop": _loops.kind(io_loop),
            "streams": sorted(kinds),
            "connections": open_connections,
        },
    )
    loop.run_forever()
    server.stop()


if __name__ == "__main__":
    main()
