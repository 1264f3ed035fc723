"""A site of PAGES pages over twisted.web, on the reactor that the environment says. Prints its port, ends with its stdin."""

from __future__ import annotations

import os
import sys

from suitekit import reactors

PAGES = 1000

reactors.install(os.environ["CRAWL_ON"])

from twisted.internet import reactor, stdio  # noqa: E402
from twisted.internet.protocol import Protocol  # noqa: E402
from twisted.web.resource import Resource  # noqa: E402
from twisted.web.server import Site  # noqa: E402


class Page(Resource):
    """Page n links to pages 2n and 2n + 1, so that all can be found from page 1, and to some that are known by then."""

    isLeaf = True

    def render_GET(self, request):
        number = int(request.postpath[0])
        near = [2 * number, 2 * number + 1, number // 2, PAGES - number, number]
        links = [n for n in near if 1 <= n <= PAGES]
        body = "".join(f'<li><a href="/page/{n}">page {n}</a></li>' for n in links)
        title = f"<title>Page {number}</title>"
        return (
            f"<html><head>{title}</head><body><ul>{body}</ul>{'.' * number}</body></html>".encode()
        )


class UntilEndOfInput(Protocol):
    def connectionLost(self, reason):
        reactor.stop()


root = Resource()
root.putChild(b"page", Page())
port = reactor.listenTCP(0, Site(root), interface="127.0.0.1")
stdio.StandardIO(UntilEndOfInput())
print(port.getHost().port, flush=True)
reactor.run()
print(reactors.CONNECTIONS_MADE, file=sys.stderr)
