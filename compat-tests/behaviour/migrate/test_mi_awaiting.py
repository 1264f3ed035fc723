"""Tornado handlers and coroutines that wait for Twisted's and asyncio's things, once `interloop.twisted.install()` was called."""

from __future__ import annotations

import asyncio
import datetime

import httpx
import pytest
import tornado.gen
import tornado.web
from mi_support import tornado_serving
from tornado.web import RequestHandler
from twisted.internet import defer
from twisted.internet.defer import Deferred


def later(result):
    from twisted.internet import reactor

    deferred = Deferred()
    act = deferred.errback if isinstance(result, Exception) else deferred.callback
    reactor.callLater(0, act, result)
    return deferred


async def asyncios(result):
    await asyncio.sleep(0)
    return result


def asked(on_reactor, *handlers):
    """What these handlers answer."""

    async def main():
        rules = [(f"/{number}", handler) for number, handler in enumerate(handlers)]
        async with (
            tornado_serving(tornado.web.Application(rules)) as site,
            httpx.AsyncClient() as client,
        ):
            return [
                (answer.status_code, answer.text if answer.status_code == 200 else "")
                for number in range(len(handlers))
                for answer in [await client.get(site.url(f"/{number}"))]
            ]

    return on_reactor(main)


def test_handlers(on_reactor):
    class Awaits(RequestHandler):
        async def get(self):
            self.write(await later("a Deferred"))

    class Prepares(RequestHandler):
        async def prepare(self):
            self.word = await later("prepared")

        def get(self):
            self.write(self.word)

    class Yields(RequestHandler):
        @tornado.gen.coroutine
        def get(self):
            self.write((yield later("yielded ")))
            self.write((yield asyncios("and asyncio's ")))
            both = yield [later("both "), asyncios("at once")]
            self.write("".join(both))

    class Inline(RequestHandler):
        @defer.inlineCallbacks
        def get(self):
            self.write((yield later("inline ")))
            self.write((yield asyncios("callbacks")))

    class Returns(RequestHandler):
        def get(self):
            return later("returned").addCallback(self.write)

    assert asked(on_reactor, Awaits, Prepares, Yields, Inline, Returns) == [
        (200, "a Deferred"),
        (200, "prepared"),
        (200, "yielded and asyncio's both at once"),
        (200, "inline callbacks"),
        (200, "returned"),
    ]


def test_failures(on_reactor):
    class Awaits(RequestHandler):
        async def get(self):
            await later(tornado.web.HTTPError(418))

    class Yields(RequestHandler):
        @tornado.gen.coroutine
        def get(self):
            try:
                yield later(KeyError("caught"))
            except KeyError:
                raise tornado.web.HTTPError(410) from None

    assert asked(on_reactor, Awaits, Yields) == [(418, ""), (410, "")]


def test_with_timeout(on_reactor):
    """Tornado's own way to give up: it stops to wait, and the Deferred goes on."""

    async def main():
        deferred = Deferred()
        with pytest.raises(tornado.gen.TimeoutError):
            await tornado.gen.with_timeout(datetime.timedelta(0), deferred)
        deferred.callback("late")
        assert (
            await tornado.gen.with_timeout(datetime.timedelta(days=1), later("in time"))
            == "in time"
        )

    on_reactor(main)


def test_cancelled(on_reactor):
    """The task of a handler: the Deferred that it waits for is cancelled, too."""
    cancelled = []

    async def main():
        deferred = Deferred(cancelled.append)
        task = asyncio.ensure_future(tornado.gen.convert_yielded(deferred))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cancelled == [deferred]

    on_reactor(main)
