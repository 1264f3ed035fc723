# ruff: noqa: E402  (install() comes before the imports that need what it installs)
"""Twisted, Tornado, asyncio and aiohttp in one thread, on one event loop.

    python examples/one_loop.py            runs everything once, shows what happened where, and ends
    python examples/one_loop.py --serve    keeps running, for curl and telnet

Four things run here, each written as its framework's users write it (see one_loop_parts/):

    a key-value store that speaks lines       Twisted     which asks the sum service
    a service that adds up stored numbers     asyncio     which asks the store
    the store and the service over HTTP       Tornado     which asks both
    a client that uses all of it              aiohttp

They meet in two functions: `as_future` lets a coroutine await Twisted's Deferreds, `as_deferred`
lets Twisted wait for a coroutine.
"""

import argparse
import asyncio
import contextlib
import signal
import sys

import interloop
import interloop.tornado
import interloop.twisted
from interloop.bridge import as_future

# Twisted takes the first reactor that is asked for, so ours comes before any other import of it.
# Inside interloop.run() it is simply running: nobody calls reactor.run().
interloop.twisted.install()
# Tornado's IOLoop.current() now stands directly on the loop's own watchers.
interloop.tornado.install()

from one_loop_parts import ledger
from one_loop_parts.kv import KeyValueClient, KeyValueFactory
from one_loop_parts.sums import SumService
from one_loop_parts.visitor import Addresses, visit
from one_loop_parts.web import application
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol

HOST = "127.0.0.1"


async def main(options: argparse.Namespace) -> int:
    # What is started here is stopped in the opposite order at the end, however that comes.
    async with contextlib.AsyncExitStack() as at_the_end:
        # Twisted: the store. Endpoints answer with Deferreds, as everything in Twisted.
        sums = SumService()
        factory = KeyValueFactory(add_up=sums.ask)
        endpoint = TCP4ServerEndpoint(reactor, options.kv_port, interface=HOST)
        listening = await as_future(endpoint.listen(factory))
        at_the_end.push_async_callback(stop_listening, listening)
        kv_address = (HOST, listening.getHost().port)

        # asyncio: the service that adds up. It has a connection to the store of its own, since a SUM
        # holds up the connection it came by until the service has answered.
        store_of_sums = await as_future(connect(kv_address))
        at_the_end.push_async_callback(close, store_of_sums)
        await sums.start(store_of_sums, HOST, options.sum_port)
        at_the_end.push_async_callback(sums.stop)

        # Twisted: a client for the store, for all the others.
        store = await as_future(connect(kv_address))
        at_the_end.push_async_callback(close, store)

        # Tornado: HTTP for all of it.
        web = HTTPServer(application(store, sums.ask))
        (listener,) = bind_sockets(options.http_port, HOST)
        web.add_sockets([listener])
        at_the_end.push_async_callback(web.close_all_connections)
        at_the_end.callback(web.stop)

        where = Addresses(
            web=f"http://{HOST}:{listener.getsockname()[1]}", kv=kv_address, sums=sums.address
        )
        if options.serve:
            await serve(where)
        else:
            await visit(store, where)

    if ledger.happened:
        print(ledger.summary())
    return 0 if ledger.all_in_one_place() else 1


async def serve(where: Addresses) -> None:
    """Stays until Ctrl-C or a SIGTERM."""
    print(f"""Serving. Try
  curl -X PUT -d 3 {where.web}/store/apples
  curl {where.web}/store
  curl '{where.web}/sum?key=apples'
  telnet {where.kv[0]} {where.kv[1]}     and then: SET pears 4, GET pears, KEYS, SUM apples pears
  telnet {where.sums[0]} {where.sums[1]}     and then: apples pears
Ctrl-C ends it.""")
    sys.stdout.flush()
    told_to_stop = asyncio.Event()
    for number in signal.SIGINT, signal.SIGTERM:
        asyncio.get_running_loop().add_signal_handler(number, told_to_stop.set)
    await told_to_stop.wait()
    print("Stopping.")


def connect(address: tuple[str, int]) -> Deferred[KeyValueClient]:
    return connectProtocol(TCP4ClientEndpoint(reactor, *address), KeyValueClient())


async def stop_listening(port) -> None:
    await as_future(maybeDeferred(port.stopListening))


async def close(client: KeyValueClient) -> None:
    await as_future(client.close())


def command_line() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Four frameworks, one thread, one event loop.")
    parser.add_argument("--serve", action="store_true", help="keep running, for curl and telnet")
    for what in "http", "kv", "sum":
        parser.add_argument(
            f"--{what}-port", type=int, default=0, help="default: one that the system picks"
        )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(interloop.run(main(command_line())))
