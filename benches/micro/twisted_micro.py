"""One operation of a Twisted reactor, timed by CPU time, in a process of its own; see asyncio_micro."""

from __future__ import annotations

import argparse
import sys
import threading
from itertools import repeat
from pathlib import Path

import asyncio_micro
from asyncio_micro import BATCH, nothing

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "servers"))

import _reactors

ran = 0


def count_one():
    global ran
    ran += 1


def run(reactor):
    """Until somebody calls crash(): the one way to stop after which every reactor can be run again."""
    reactor.run(installSignalHandlers=False)


def in_batches(reactor, count, fill):
    """Call `fill` (which schedules BATCH operations) once per turn, until `count` are done."""
    left = max(1, count // BATCH)
    done = left * BATCH

    def turn():
        nonlocal left
        if left == 0:
            reactor.crash()
            return
        left -= 1
        fill()
        reactor.callLater(0, turn)

    reactor.callLater(0, turn)
    run(reactor)
    return done


def callLater_cancel(reactor, count):
    """The timeout that never happens: set, and cancelled at once."""

    def fill():
        schedule = reactor.callLater
        for _ in repeat(None, BATCH):
            schedule(60.0, nothing).cancel()

    return in_batches(reactor, count, fill)


def callLater_cancel_held(reactor, count):
    """1,000 timeouts open at a time, cancelled in the order in which they were set."""

    def fill():
        schedule = reactor.callLater
        calls = [schedule(60.0, nothing) for _ in repeat(None, BATCH)]
        for call in calls:
            call.cancel()

    return in_batches(reactor, count, fill)


def callLater_reset(reactor, count):
    """A timeout put off again and again, as protocols do with each message."""
    call = reactor.callLater(60.0, nothing)

    def fill():
        reset = call.reset
        for _ in repeat(None, BATCH):
            reset(60.0)

    done = in_batches(reactor, count, fill)
    call.cancel()
    return done


def callLater_fire(reactor, count):
    """Calls that are due in the next turn."""

    def fill():
        schedule = reactor.callLater
        for _ in repeat(None, BATCH):
            schedule(0, nothing)

    return in_batches(reactor, count, fill)


def callFromThread_own(reactor, count):
    """From the reactor's own thread, 1,000 a turn."""

    def fill():
        schedule = reactor.callFromThread
        for _ in repeat(None, BATCH):
            schedule(nothing)

    return in_batches(reactor, count, fill)


def callFromThread(reactor, count):
    """From another thread, 1,000 calls at a time, then wait until all of them ran."""
    bursts = max(1, count // BATCH)
    ran_all = threading.Lock()
    ran_all.acquire()
    failure = []

    def body():
        schedule = reactor.callFromThread
        try:
            for _ in repeat(None, bursts):
                for _ in repeat(None, BATCH - 1):
                    schedule(nothing)
                schedule(ran_all.release)
                ran_all.acquire()
        except BaseException as error:
            failure.append(error)
        finally:
            reactor.callFromThread(reactor.crash)

    thread = threading.Thread(target=body)
    reactor.callWhenRunning(thread.start)
    run(reactor)
    thread.join()
    if failure:
        raise failure[0]
    return bursts * BATCH


callFromThread.in_company = True

BENCHMARKS = {
    function.__name__: function
    for function in (
        callLater_cancel,
        callLater_cancel_held,
        callLater_reset,
        callLater_fire,
        callFromThread_own,
        callFromThread,
    )
}


def check(reactor):
    """The reactor does what is timed: calls are made once each, cancelled ones never."""
    for _ in range(100):
        reactor.callFromThread(count_one)
        reactor.callLater(0, count_one)
        reactor.callLater(0, count_one).cancel()
        reactor.callLater(60.0, count_one).reset(0)
    reactor.callLater(0.01, reactor.crash)
    run(reactor)
    if ran != 300:
        raise SystemExit(f"300 calls were due, {ran} were made")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reactor", choices=_reactors.NAMES, required=True)
    options = asyncio_micro.parse(parser, BENCHMARKS)
    _reactors.install(options.reactor)
    from twisted.internet import reactor

    check(reactor)
    asyncio_micro.serve(reactor, _reactors.kind(reactor), BENCHMARKS[options.bench], options)


if __name__ == "__main__":
    main()
