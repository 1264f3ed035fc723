"""After: an ASGI server, an ASGI application, and in it what is left of Tornado's handlers.

python examples/migration/after.py [--port=8888]
"""

from __future__ import annotations

import new
import old
import tornado.web
import uvicorn
from board import Board
from serving import listening, main
from starlette.applications import Starlette
from starlette.routing import Mount

from interloop.migrate.tornado_as_asgi import TornadoASGI


async def serve(port: int) -> None:
    board = Board()
    remainder = tornado.web.Application(old.rest(board))
    application = Starlette(
        routes=[
            Mount("/api", new.api(board)),
            Mount("/", TornadoASGI(remainder)),
        ]
    )
    config = uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=1)
    await uvicorn.Server(config).serve([listening(port)])


if __name__ == "__main__":
    main(serve)
