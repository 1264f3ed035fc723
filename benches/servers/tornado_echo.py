"""Echo server of Tornado's IOStream, on one of the event loops that compete."""

from __future__ import annotations

import argparse
import asyncio

import _control
import _loops

BACKLOG = 4096

# Only counted on connect and disconnect: the runner waits by it until all connections are in.
open_connections = 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=_loops.NAMES, required=True)
    parser.add_argument(
        "--bytes", type=int, help="read so many at a time, instead of up to a newline"
    )
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()

    _control.raise_descriptor_limit()
    if options.loop == "interloop":
        import interloop.tornado

        interloop.tornado.install()
    from tornado.ioloop import IOLoop
    from tornado.iostream import StreamClosedError
    from tornado.tcpserver import TCPServer

    async def echo_lines(stream):
        while True:
            await stream.write(await stream.read_until(b"\n"))

    async def echo_bytes(stream):
        while True:
            await stream.write(await stream.read_bytes(options.bytes))

    echo = echo_lines if options.bytes is None else echo_bytes
    kinds = set()

    class Server(TCPServer):
        async def handle_stream(self, stream, address):
            global open_connections
            open_connections += 1
            kinds.add(f"{type(stream).__module__}.{type(stream).__qualname__}")
            stream.set_nodelay(True)
            try:
                await echo(stream)
            except StreamClosedError:
                pass  # the client's choice to leave
            finally:
                open_connections -= 1

    context = None
    if options.tls:
        import tls_echo

        context = tls_echo.context()
    loop = _loops.new_event_loop(options.loop)
    asyncio.set_event_loop(loop)

    async def serve():
        server = Server(ssl_options=context)
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
