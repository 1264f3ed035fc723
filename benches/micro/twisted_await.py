"""What it costs to await the other side's: a Deferred in a task, a Future in a coroutine that Twisted drives.

`own` awaits what the driver's own side has, `other` the other side's; both fire with None in the next turn. The time is that
of the whole round: making it, firing it, awaiting it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import asyncio_micro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "servers"))

import _reactors

AWAITS = ("own", "other")


async def futures(loop, count, results):
    for _ in range(count):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        results.append(await future)


async def deferreds(loop, count, results):
    from twisted.internet.defer import Deferred

    for _ in range(count):
        deferred = Deferred()
        loop.call_soon(deferred.callback, None)
        results.append(await deferred)


def finish(reactor, count, results):
    if results != [None] * count:
        raise SystemExit(f"{count} were awaited, {len(results)} came")
    reactor.crash()


def in_task(coroutine):
    """In a task of asyncio's."""

    def bench(reactor, count):
        loop = reactor._asyncioEventloop
        results = []

        def start():
            task = loop.create_task(coroutine(loop, count, results))
            task.add_done_callback(lambda task: task.result() or finish(reactor, count, results))

        reactor.callWhenRunning(start)
        reactor.run(installSignalHandlers=False)
        return count

    return bench


def in_twisted(coroutine):
    """In a coroutine under `ensureDeferred`."""
    from twisted.internet.defer import ensureDeferred

    def bench(reactor, count):
        loop = reactor._asyncioEventloop
        results = []

        def start():
            done = ensureDeferred(coroutine(loop, count, results))
            done.addCallback(lambda _: finish(reactor, count, results))
            done.addErrback(lambda failure: failure.printTraceback() or reactor.crash())

        reactor.callWhenRunning(start)
        reactor.run(installSignalHandlers=False)
        return count

    return bench


BENCHMARKS = {
    "in_task": (in_task, futures, deferreds),
    "in_twisted": (in_twisted, deferreds, futures),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--awaits", choices=AWAITS, required=True)
    options = asyncio_micro.parse(parser, BENCHMARKS)
    _reactors.install("interloop")
    from twisted.internet import reactor

    driver, *coroutines = BENCHMARKS[options.bench]
    bench = driver(coroutines[AWAITS.index(options.awaits)])
    asyncio_micro.serve(reactor, _reactors.kind(reactor), bench, options)


if __name__ == "__main__":
    main()
