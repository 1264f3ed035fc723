"""A Dask program: the scheduler in this process, beside the client, and workers in processes of their own; or, as `programs`, Dask's
own command lines for the scheduler and the workers, which are told of each other by a file.

The two calls at the top are all that it takes: multiprocessing's "spawn", which Dask's nannies use, imports this module in each
worker's process before the worker makes its loop.
"""

from __future__ import annotations

import collections
import gc
import hashlib
import json
import os
import random
import subprocess
import sys
from typing import Any

if os.environ["CLUSTER_ON"] == "interloop":
    import interloop
    import interloop.tornado

    interloop.install()
    interloop.tornado.install()

from dask import bag
from distributed import Client, LocalCluster, wait, worker_client
from distributed.cli import dask_scheduler, dask_worker
from tornado.ioloop import IOLoop
from tornado.iostream import BaseIOStream

LARGE = 100_000_000
WORDS = 40_000
WORKERS = 3


def qualified(thing: Any) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def on_what() -> dict[str, Any]:
    """What the process that it is called in, on its loop, stands on."""
    io_loop: Any = IOLoop.current()
    streams = [qualified(found) for found in gc.get_objects() if isinstance(found, BaseIOStream)]
    return {
        "pid": os.getpid(),
        "io_loop": qualified(io_loop),
        "loop": qualified(io_loop.asyncio_loop),
        "streams": sorted(set(streams)),
    }


async def on_what_worker(dask_worker: Any) -> dict[str, Any]:
    return on_what()


async def on_what_scheduler(dask_scheduler: Any) -> dict[str, Any]:
    return on_what()


async def on_what_here() -> dict[str, Any]:
    return on_what()


def digest(data: Any) -> tuple[int, str]:
    return len(data), hashlib.sha256(data).hexdigest()


def noise(seed: int) -> bytes:
    return random.Random(seed).randbytes(LARGE)


def words(seed: int) -> list[str]:
    chosen = random.Random(seed)
    return [f"word {int(chosen.paretovariate(0.5)) % 1000}" for _ in range(WORDS)]


def total(first: int, beyond: int) -> int:
    """A task that starts tasks, from a worker."""
    if beyond - first <= 8:
        return sum(range(first, beyond))
    middle = (first + beyond) // 2
    with worker_client() as client:
        halves = [client.submit(total, first, middle), client.submit(total, middle, beyond)]
        return sum(client.gather(halves))


def increment(number: int) -> int:
    return number + 1


def compute(client: Client, workers: list[str]) -> None:
    counted = dict(
        bag.from_sequence(range(12), npartitions=12).map(words).flatten().frequencies().compute()
    )
    expected = collections.Counter(word for seed in range(12) for word in words(seed))
    assert counted == expected

    numbers = client.map(increment, range(2000))
    assert client.submit(sum, numbers).result() == sum(range(1, 2001))
    assert client.submit(total, 0, 100).result() == sum(range(100))


def transfer(client: Client, workers: list[str]) -> None:
    for kind in (bytes, bytearray):
        # From worker to worker, on to another, and to here.
        made = client.submit(noise, 1, workers=workers[:1], pure=False)
        kept = client.submit(kind, made, workers=workers[1:2], pure=False)
        seen = client.submit(digest, kept, workers=workers[2:3], pure=False)
        here = noise(1)
        assert seen.result() == digest(here)
        gathered = kept.result()
        assert type(gathered) is kind
        assert gathered == here
        # From here to each of them.
        (scattered,) = client.scatter([kind(here)], broadcast=True, hash=False)
        for worker in workers:
            seen = client.submit(digest, scattered, workers=[worker], pure=False)
            assert seen.result() == digest(here)
        # Both ways at once.
        made = [client.submit(noise, 2 + n, workers=[w], pure=False) for n, w in enumerate(workers)]
        wait(made)
        crossed = [
            client.submit(digest, made[n - 1], workers=[worker], pure=False)
            for n, worker in enumerate(workers)
        ]
        expected = [digest(noise(2 + n)) for n in range(len(workers))]
        assert client.gather(crossed) == [expected[n - 1] for n in range(len(workers))]


def programs() -> list[dict[str, Any]]:
    """Each with a log here, `NAME.log`. They end by a signal, orderly."""
    everywhere = ["--host=127.0.0.1", "--scheduler-file=scheduler.json", "--no-dashboard"]
    lines = {
        "scheduler": ["--port=0", *everywhere],
        "worker": [f"--nworkers={WORKERS}", "--nthreads=1", "--memory-limit=0", *everywhere],
    }
    running = []
    try:
        for name, options in lines.items():
            with open(f"{name}.log", "w") as log:
                command = [sys.executable, __file__, name, *options]
                running.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
        # Both wait for the file.
        with Client(scheduler_file="scheduler.json") as client:
            client.wait_for_workers(WORKERS)
            compute(client, sorted(client.scheduler_info(n_workers=-1)["workers"]))
            found = [
                client.sync(on_what_here),
                client.run_on_scheduler(on_what_scheduler),
                # They are in one process.
                *list(client.run(on_what_worker, nanny=True).values())[:1],
                *client.run(on_what_worker).values(),
            ]
            # Who needs another ends before it.
            running[1].terminate()
            assert running[1].wait() == 0
        running[0].terminate()
        assert running[0].wait() == 0
        return found
    finally:
        for process in running:
            process.kill()
            process.wait()


def main() -> None:
    if sys.argv[1] == "programs":
        print(json.dumps({"here": os.getpid(), "processes": programs()}))
        return
    if sys.argv[1] in ("scheduler", "worker"):
        command = {"scheduler": dask_scheduler, "worker": dask_worker}[sys.argv[1]].main
        command(sys.argv[2:])
    part = {"compute": compute, "transfer": transfer}[sys.argv[1]]
    with (
        LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
        ) as cluster,
        Client(cluster) as client,
    ):
        workers = sorted(client.scheduler_info(n_workers=-1)["workers"])
        assert len(workers) == WORKERS
        part(client, workers)
        assert client.loop is cluster.loop
        found = [client.run_on_scheduler(on_what_scheduler), *client.run(on_what_worker).values()]
    print(json.dumps({"here": os.getpid(), "processes": found}))


if __name__ == "__main__":
    main()
