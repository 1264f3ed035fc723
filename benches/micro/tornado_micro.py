"""One operation of Tornado's IOLoop, timed by CPU time, in a process of its own; see `asyncio_micro`."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import threading
from itertools import repeat

import asyncio_micro
from asyncio_micro import BATCH, _loops, from_thread, nothing


def io_loop_of(loop):
    """The IOLoop on an asyncio loop."""
    from tornado.ioloop import IOLoop

    async def current():
        return IOLoop.current()

    return loop.run_until_complete(current())


def add_callback(loop, count):
    """From the loop's own thread, 1,000 a turn."""
    io_loop = io_loop_of(loop)

    def fill():
        schedule = io_loop.add_callback
        for _ in repeat(None, BATCH):
            schedule(nothing)

    return asyncio_micro.in_batches(loop, count, fill)


def add_callback_other(loop, count):
    """From another thread, 1,000 calls at a time, then wait until all of them ran."""
    io_loop = io_loop_of(loop)
    bursts = max(1, count // BATCH)
    ran_all = threading.Lock()
    ran_all.acquire()

    def body():
        schedule = io_loop.add_callback
        for _ in repeat(None, bursts):
            for _ in repeat(None, BATCH - 1):
                schedule(nothing)
            schedule(ran_all.release)
            ran_all.acquire()

    from_thread(loop, body)
    return bursts * BATCH


def add_handler(loop, count):
    """A handler on a raw descriptor, a pipe's: an event, and the byte read that it tells of."""
    io_loop = io_loop_of(loop)
    bursts = max(1, count // BATCH)
    done = bursts * BATCH
    reader, writer = os.pipe()
    left = 0

    def read(fd, events):
        nonlocal left
        os.read(fd, 1)
        left -= 1
        if not left:
            fill()

    def fill():
        nonlocal bursts, left
        if not bursts:
            return loop.stop()
        bursts -= 1
        left = BATCH
        os.write(writer, bytes(BATCH))

    try:
        io_loop.add_handler(reader, read, io_loop.READ)
        fill()
        loop.run_forever()
        io_loop.remove_handler(reader)
    finally:
        os.close(reader)
        os.close(writer)
    return done


def add_handler_sockets(loop, count):
    """Two sockets that answer each other, a byte at a time: an event of a handler, recv and send. Most of it is these two: a loop
    that costs nothing would be about twice as fast as stock."""
    io_loop = io_loop_of(loop)
    one, other = socket.socketpair()
    left = count

    def answer(sock, events):
        nonlocal left
        left -= 1
        byte = sock.recv(1)
        if left > 0:
            sock.send(byte)
        else:
            loop.stop()

    with one, other:
        for end in (one, other):
            end.setblocking(False)
            io_loop.add_handler(end, answer, io_loop.READ)
        one.send(b"x")
        loop.run_forever()
        for end in (one, other):
            io_loop.remove_handler(end)
    return count


add_callback_other.in_company = True

BENCHMARKS = {
    function.__name__: function
    for function in (add_callback, add_callback_other, add_handler, add_handler_sockets)
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=_loops.NAMES, required=True)
    options = asyncio_micro.parse(parser, tuple(BENCHMARKS))
    if options.loop == "interloop":
        import interloop.tornado

        interloop.tornado.install()
    loop = _loops.new_event_loop(options.loop)
    asyncio.set_event_loop(loop)
    bench = BENCHMARKS[options.bench]
    asyncio_micro.serve(loop, _loops.kind(loop), bench, options)
    loop.close()


if __name__ == "__main__":
    main()
