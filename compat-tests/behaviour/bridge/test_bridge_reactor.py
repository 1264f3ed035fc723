"""With a reactor: its timers, threads and connections awaited, its run() the one that turns the loop."""

from __future__ import annotations

import asyncio
import threading

import pytest
from bridge_support import Told, fail, functions_in, turns
from twisted.internet import defer, endpoints, protocol, task, threads
from twisted.internet.defer import Deferred
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from interloop.bridge import as_deferred, as_future


@pytest.fixture
def reactor(loop_kind, new_loop):
    """A reactor on a loop under test, not installed; its own readers are closed when the test is over."""
    if loop_kind == "interloop":
        from interloop.twisted import Reactor
    else:
        from twisted.internet.asyncioreactor import AsyncioSelectorReactor as Reactor
    reactor = Reactor(new_loop())
    yield reactor
    reactor.disconnectAll()
    for reader in list(reactor._internalReaders):
        reactor.removeReader(reader)
        reader.connectionLost(Failure(Exception("the test is over")))


@pytest.fixture
def react(reactor):
    """react(main): reactor.run() around the coroutine `main(reactor)`, like twisted.internet.task.react."""

    def react(main):
        outcome = []

        def start():
            ended = defer.maybeDeferred(lambda: as_deferred(main(reactor)))
            ended.addBoth(outcome.append)
            ended.addBoth(lambda _: reactor.stop())

        # Not callWhenRunning(): stock asyncioreactor calls that before its loop runs.
        reactor.callLater(0, start)
        reactor.run(installSignalHandlers=False)
        (result,) = outcome
        if isinstance(result, Failure):
            result.raiseException()
        return result

    return react


def test_coroutine_under_reactor_run(react):
    async def main(reactor):
        await asyncio.sleep(0)
        return threading.get_ident()

    assert react(main) == threading.get_ident()


def test_call_later(react):
    """A Deferred that a timer of the reactor fires; and cancelling it takes the timer away."""

    async def main(reactor):
        assert await as_future(task.deferLater(reactor, 0, lambda: "in time")) == "in time"

        before = reactor.getDelayedCalls()
        future = as_future(task.deferLater(reactor, 3600, fail, "never"))
        assert len(reactor.getDelayedCalls()) == len(before) + 1
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        assert len(reactor.getDelayedCalls()) == len(before)

        # The reactor's clock on an asyncio task: addTimeout() sees Twisted's CancelledError.
        never = as_deferred(asyncio.get_running_loop().create_future())
        with pytest.raises(defer.TimeoutError):
            await as_future(never.addTimeout(0, reactor))

    react(main)


def test_defer_to_thread(react):
    """Results and failures of the reactor's thread pool, with the traceback into the thread."""

    async def main(reactor):
        pool = reactor.getThreadPool()
        ident = await as_future(threads.deferToThreadPool(reactor, pool, threading.get_ident))
        assert ident != threading.get_ident()
        with pytest.raises(Told, match="in the thread") as caught:
            await as_future(threads.deferToThreadPool(reactor, pool, fail, "in the thread"))
        assert functions_in(caught.value)[-1] == "fail"

    react(main)


def test_call_from_thread(react):
    """A Deferred fired the way Twisted wants it from a thread."""

    async def main(reactor):
        deferred = Deferred()
        thread = threading.Thread(target=reactor.callFromThread, args=(deferred.callback, "called"))
        thread.start()
        assert await as_future(deferred) == "called"
        thread.join()

    react(main)


class Questions(LineReceiver):
    """Answers each line with what a coroutine makes of it."""

    def lineReceived(self, line):
        as_deferred(self.think(line)).addCallback(self.sendLine)

    async def think(self, line):
        await turns()
        return line.upper()


class Answers(LineReceiver):
    def __init__(self):
        self.line, self.lost = Deferred(), Deferred()

    def lineReceived(self, line):
        self.line.callback(line)

    def connectionLost(self, reason):
        self.lost.callback(reason.type)


def test_connection(react):
    """A server that answers through coroutines, and a client that is awaited in one."""

    async def main(reactor):
        server = endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        listening = await as_future(server.listen(protocol.Factory.forProtocol(Questions)))
        client = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", listening.getHost().port)
        answers = await as_future(endpoints.connectProtocol(client, Answers()))
        answers.sendLine(b"what is it?")
        assert await as_future(answers.line) == b"WHAT IS IT?"
        answers.transport.loseConnection()
        await as_future(answers.lost)
        await as_future(defer.maybeDeferred(listening.stopListening))

    react(main)


def test_connection_refused(react):
    """The reactor's own errors arrive as they are."""

    async def main(reactor):
        from twisted.internet.error import ConnectionRefusedError

        server = endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        listening = await as_future(server.listen(protocol.Factory.forProtocol(Questions)))
        port = listening.getHost().port
        await as_future(defer.maybeDeferred(listening.stopListening))
        client = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        with pytest.raises(ConnectionRefusedError):
            await as_future(endpoints.connectProtocol(client, Answers()))

    react(main)


def test_timeout_while_connecting(react):
    """What the endpoint makes of its cancellation is a timeout for who set one."""

    async def main(reactor):
        server = endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        listening = await as_future(server.listen(protocol.Factory.forProtocol(Questions)))
        client = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", listening.getHost().port)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(-1):
                await as_future(endpoints.connectProtocol(client, Answers()))
        await as_future(defer.maybeDeferred(listening.stopListening))

    react(main)


def test_stop_with_a_task_left(reactor, asyncio_log):
    """reactor.stop() ends the run with the task pending; the next run of the loop finds it, alive and cancellable."""
    seen = []

    async def waiting():
        await asyncio.get_running_loop().create_future()

    def start():
        start.deferred = as_deferred(waiting()).addErrback(seen.append)
        reactor.callLater(0, reactor.stop)

    reactor.callLater(0, start)
    reactor.run(installSignalHandlers=False)
    start.deferred.cancel()
    reactor._asyncioEventloop.run_until_complete(turns())
    assert seen[0].check(defer.CancelledError)
