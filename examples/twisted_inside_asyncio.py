# ruff: noqa: E402  (install() comes before the imports that need what it installs)
"""A Twisted library in an asyncio program: treq, which needs a running reactor, inside interloop.run().

    python examples/twisted_inside_asyncio.py

treq's functions return Deferreds. `as_future` makes them awaitable, so gather() and timeout() work
with them as with anything else. The server they talk to is twisted.web, started here as well.
"""

import asyncio

import interloop
import interloop.twisted
from interloop.bridge import as_future

interloop.twisted.install()

import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site


class Square(Resource):
    """/square/<number>"""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        try:
            number = int(request.postpath[0])
        except (IndexError, ValueError):
            request.setResponseCode(400)
            return b"a whole number, please\n"
        return f"{number * number}\n".encode()


class Never(Resource):
    """/never is never answered; `left` fires when the client has given up."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.left: Deferred[str] = Deferred()

    def render_GET(self, request: Request) -> int:
        request.notifyFinish().addErrback(lambda why: self.left.callback(why.getErrorMessage()))
        return NOT_DONE_YET


async def get(url: str) -> tuple[int, str]:
    response = await as_future(treq.get(url, persistent=False))
    return response.code, (await as_future(treq.text_content(response))).strip()


async def main() -> None:
    root, never = Resource(), Never()
    root.putChild(b"square", Square())
    root.putChild(b"never", never)
    endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    listening = await as_future(endpoint.listen(Site(root)))
    url = f"http://127.0.0.1:{listening.getHost().port}"

    answers = await asyncio.gather(*(get(f"{url}/square/{number}") for number in range(10)))
    print("ten requests at once:", *(text for _, text in answers))

    print("a bad one:", *await get(f"{url}/square/circle"))

    # The timeout cancels the task's await, that cancels the Deferred, and that closes the connection.
    try:
        async with asyncio.timeout(0.1):
            await get(f"{url}/never")
    except TimeoutError:
        print("no answer, so we gave up; the server noticed:", await as_future(never.left))

    await as_future(maybeDeferred(listening.stopListening))
    try:
        await get(f"{url}/square/3")
    except Exception as error:
        print("and after its end:", type(error).__name__)


if __name__ == "__main__":
    interloop.run(main())
