"""One operation of an asyncio loop, timed by CPU time, in a process of its own.

Each benchmark is a function `(loop, count) -> operations done`. What belongs to the measuring (a
`for` over `itertools.repeat`, the call of an empty Python function) is part of the figure, for
every contestant alike.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import threading
import time
from itertools import repeat
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "servers"))

import _loops

BATCH = 1000
WAITERS = 100

ran = 0


def nothing():
    pass


def count_one():
    global ran
    ran += 1


def in_batches(loop, count, fill):
    """Call `fill` (which schedules BATCH operations) once per turn, until `count` are done.

    Like the others below it does at least one batch, and says how many operations it did.
    """
    left = max(1, count // BATCH)
    done = left * BATCH

    def turn():
        nonlocal left
        if left == 0:
            loop.stop()
            return
        left -= 1
        fill()
        loop.call_soon(turn)

    loop.call_soon(turn)
    loop.run_forever()
    return done


def call_soon(loop, count):
    """Schedule and run, 1,000 callbacks a turn."""

    def fill():
        schedule = loop.call_soon
        for _ in repeat(None, BATCH):
            schedule(nothing)

    return in_batches(loop, count, fill)


def call_soon_chain(loop, count):
    """Each callback schedules the next: a whole turn, poll included, for each."""
    left = count

    def link():
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(link)
        else:
            loop.stop()

    loop.call_soon(link)
    loop.run_forever()
    return count


def call_later_cancel(loop, count):
    """The timeout that never happens: set, and cancelled at once."""

    def fill():
        schedule = loop.call_later
        for _ in repeat(None, BATCH):
            schedule(60.0, nothing).cancel()

    return in_batches(loop, count, fill)


def call_later_cancel_held(loop, count):
    """1,000 timeouts open at a time, cancelled in the order in which they were set."""

    def fill():
        schedule = loop.call_later
        handles = [schedule(60.0, nothing) for _ in repeat(None, BATCH)]
        for handle in handles:
            handle.cancel()

    return in_batches(loop, count, fill)


def call_later_fire(loop, count):
    """Timers that are due in the next turn."""

    def fill():
        schedule = loop.call_later
        for _ in repeat(None, BATCH):
            schedule(0.0, nothing)

    return in_batches(loop, count, fill)


def threadsafe_own(loop, count):
    """call_soon_threadsafe from the loop's own thread, 1,000 a turn."""

    def fill():
        schedule = loop.call_soon_threadsafe
        for _ in repeat(None, BATCH):
            schedule(nothing)

    return in_batches(loop, count, fill)


def from_thread(loop, body):
    """Run `body` in another thread while the loop runs; what it raises is raised here."""
    failure = []

    def run():
        try:
            body()
        except BaseException as error:
            failure.append(error)
        finally:
            loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=run)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    if failure:
        raise failure[0]


def threadsafe_other(loop, count):
    """From another thread, 1,000 calls at a time, then wait until all of them ran."""
    bursts = max(1, count // BATCH)
    ran_all = threading.Lock()
    ran_all.acquire()

    def body():
        schedule = loop.call_soon_threadsafe
        for _ in repeat(None, bursts):
            for _ in repeat(None, BATCH - 1):
                schedule(nothing)
            schedule(ran_all.release)
            ran_all.acquire()

    from_thread(loop, body)
    return bursts * BATCH


def threadsafe_ping(loop, count):
    """From another thread, one call at a time to a loop that sleeps: wake-up and switch."""
    ran_it = threading.Lock()
    ran_it.acquire()

    def body():
        schedule = loop.call_soon_threadsafe
        for _ in repeat(None, count):
            schedule(ran_it.release)
            ran_it.acquire()

    from_thread(loop, body)
    return count


def task_switch(loop, count):
    """sleep(0) in 100 tasks."""
    each = max(1, count // WAITERS)

    async def switch():
        sleep = asyncio.sleep
        for _ in repeat(None, each):
            await sleep(0)

    async def main():
        await asyncio.gather(*(switch() for _ in range(WAITERS)))

    loop.run_until_complete(main())
    return each * WAITERS


def future_wakeup(loop, count):
    """A task waits for a Future that a callback resolves: two turns of the loop."""

    async def main():
        create_future, schedule = loop.create_future, loop.call_soon
        for _ in repeat(None, count):
            future = create_future()
            schedule(future.set_result, None)
            await future

    loop.run_until_complete(main())
    return count


def future_wakeup_100(loop, count):
    """The same for 100 tasks at a time: the turn's own cost is shared."""
    each = max(1, count // WAITERS)

    async def wait():
        create_future, schedule = loop.create_future, loop.call_soon
        for _ in repeat(None, each):
            future = create_future()
            schedule(future.set_result, None)
            await future

    async def main():
        await asyncio.gather(*(wait() for _ in range(WAITERS)))

    loop.run_until_complete(main())
    return each * WAITERS


def executor(loop, count):
    """A call in the default executor's thread and back, one at a time."""

    async def main():
        run = loop.run_in_executor
        for _ in repeat(None, count):
            await run(None, nothing)

    loop.run_until_complete(main())
    return count


def executor_100(loop, count):
    """The same, 100 at a time."""
    each = max(1, count // WAITERS)

    async def wait():
        run = loop.run_in_executor
        for _ in repeat(None, each):
            await run(None, nothing)

    async def main():
        await asyncio.gather(*(wait() for _ in range(WAITERS)))

    loop.run_until_complete(main())
    return each * WAITERS


for function in (threadsafe_other, threadsafe_ping, executor, executor_100):
    function.in_company = True

BENCHMARKS = {
    function.__name__: function
    for function in (
        call_soon,
        call_soon_chain,
        call_later_cancel,
        call_later_cancel_held,
        call_later_fire,
        threadsafe_own,
        threadsafe_other,
        threadsafe_ping,
        task_switch,
        future_wakeup,
        future_wakeup_100,
        executor,
        executor_100,
    )
}


def run_queue_wait():
    """ns that our threads stood runnable while others had the core."""
    total = 0
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/schedstat") as line:
                total += int(line.read().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            # It has ended since it was listed: join() returns before the kernel is done with a thread.
            continue
    return total


def collections():
    return sum(generation["collections"] for generation in gc.get_stats())


def check_operations(loop):
    """The loop under test does what is timed: callbacks run once each, cancelled timers never."""
    global ran
    ran = 0
    for schedule in (loop.call_soon, loop.call_soon_threadsafe):
        for _ in range(100):
            schedule(count_one)
    for _ in range(100):
        loop.call_later(0.0, count_one)
        loop.call_later(0.0, count_one).cancel()
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    if ran != 300:
        raise SystemExit(f"300 callbacks were due, {ran} ran")


def main(benchmarks=BENCHMARKS, check=check_operations, first_count=100, description=__doc__):
    """Time what was asked for; for other programs with benchmarks of their own, too."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--loop", choices=_loops.NAMES, required=True)
    options = parse(parser, benchmarks)
    loop = _loops.new_event_loop(options.loop)
    asyncio.set_event_loop(loop)
    check(loop)
    serve(loop, _loops.kind(loop), benchmarks[options.bench], options, first_count)
    loop.close()


def parse(parser, benchmarks):
    parser.add_argument("--bench", choices=benchmarks, required=True)
    parser.add_argument("--seconds", type=float, default=0.025, help="of one repetition")
    return parser.parse_args()


def serve(loop, kind, bench, options, first_count=100):
    """Time `bench(loop, count)` for as long as stdin asks for it."""
    # What a benchmark does once, importing its host above all, would pass for the cost of its operations, and so few of them
    # would then be timed that making ready and ending each time showed in the figure.
    bench(loop, first_count)
    # As many operations as take about the wanted time, which also warms everything up.
    count = first_count
    while True:
        start = time.process_time_ns()
        done = bench(loop, count)
        took = time.process_time_ns() - start
        if took >= options.seconds * 2e8:
            break
        count *= 2
    count = max(1, int(done * options.seconds * 1e9 / took))
    print(json.dumps({"bench": options.bench, "loop": kind}), flush=True)

    for request in sys.stdin:
        print(json.dumps(repetition(loop, bench, count, request.strip())), flush=True)


def repetition(loop, bench, count, request):
    gc.collect()
    if request == "gc off":
        gc.disable()
    elif request != "gc on":
        raise SystemExit(f"{request!r} is no request")
    collections_before = collections()
    waited = run_queue_wait()
    wall = time.monotonic_ns()
    start = time.process_time_ns()
    operations = bench(loop, count)
    cpu = time.process_time_ns() - start
    wall = time.monotonic_ns() - wall
    waited = run_queue_wait() - waited
    gc.enable()
    if getattr(bench, "in_company", False):
        # Threads and children of our own wait for the core that they share: that says nothing of strangers.
        waited = 0
    return {
        "operations": operations,
        "cpu_ns": cpu,
        "wall_ns": wall,
        "wait_ns": waited,
        "collections": collections() - collections_before,
    }


if __name__ == "__main__":
    main()
