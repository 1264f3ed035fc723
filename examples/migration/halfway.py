"""Half-way: Tornado's server and the rest of its handlers, and the API as an ASGI application below /api.

python examples/migration/halfway.py [--port=8888]
"""

from __future__ import annotations

import new
import old
import tornado.httpserver
import tornado.web
from board import Board
from serving import listening, main, stopped

import interloop.tornado
from interloop.migrate.asgi_in_tornado import ASGIMount


async def serve(port: int) -> None:
    interloop.tornado.install()
    board = Board()
    api = ASGIMount("/api", new.api(board))
    application = tornado.web.Application([api, *old.rest(board)])
    server = tornado.httpserver.HTTPServer(application)
    async with api.lifespan():
        server.add_socket(listening(port))
        await stopped()
        server.stop()
        await server.close_all_connections()


if __name__ == "__main__":
    main(serve)
