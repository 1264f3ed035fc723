"""Before: all of the application in Tornado.

python examples/migration/before.py [--port=8888]
"""

from __future__ import annotations

import old
import tornado.httpserver
import tornado.web
from board import Board
from serving import listening, main, stopped

import interloop.tornado


async def serve(port: int) -> None:
    interloop.tornado.install()
    board = Board()
    application = tornado.web.Application(old.api(board) + old.rest(board))
    server = tornado.httpserver.HTTPServer(application)
    server.add_socket(listening(port))
    await stopped()
    server.stop()
    await server.close_all_connections()


if __name__ == "__main__":
    main(serve)
