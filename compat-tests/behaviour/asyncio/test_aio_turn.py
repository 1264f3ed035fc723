"""The fourth law: one order of the turn, that of asyncio's own. Poll, I/O, due timers, one batch."""

from __future__ import annotations

import asyncio

from aio_support import tcp_pair


def test_every_turn_polls(run, pair):
    """What the kernel has to report is called in the next turn, however many callbacks are ready all the time.

    Everything that gives others a chance by sleep(0) counts on it.
    """
    one, other = pair

    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(50):
            seen = []
            loop.add_reader(one, seen.append, "called")
            other.send(b"x")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            loop.remove_reader(one)
            one.recv(1)
            assert seen

    run(main)


def test_ready_then_io_then_timers(run, pair):
    """Callbacks ready before the poll come first, then what the poll found, then the due timers, all in one batch."""
    one, other = pair

    async def main():
        loop = asyncio.get_running_loop()
        seen = []

        def set_up():
            loop.call_later(-1, seen.append, "timer")
            loop.add_reader(one, lambda: (seen.append("io"), loop.remove_reader(one)))
            other.send(b"x")
            loop.call_soon(seen.append, "ready")
            loop.call_soon(loop.call_soon, seen.append, "next turn")

        loop.call_soon(set_up)
        while "next turn" not in seen:
            await asyncio.sleep(0)
        assert seen == ["ready", "io", "timer", "next turn"]

    run(main)


def test_callbacks_of_one_batch_do_not_see_what_they_add(run):
    """The batch has its length when it begins: a chain of n call_soons takes n turns."""

    async def main():
        loop = asyncio.get_running_loop()
        order = []

        def chain(name, n):
            order.append((name, n))
            if n < 3:
                loop.call_soon(chain, name, n + 1)

        loop.call_soon(chain, "a", 1)
        loop.call_soon(chain, "b", 1)
        while len(order) < 6:
            await asyncio.sleep(0)
        assert order == [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3), ("b", 3)]

    run(main)


def test_no_connection_starves_another(run):
    """One peer that never stops sending leaves another connection, timers and callbacks their share."""
    from aio_support import Recorder

    async def main():
        loop = asyncio.get_running_loop()
        busy_end, busy_peer = tcp_pair()
        quiet_end, quiet_peer = tcp_pair()
        with busy_peer, quiet_peer:
            chunk = bytes(256 * 1024)

            def refill(protocol):
                # Called in data_received: there is always more to read.
                try:
                    busy_peer.send(chunk)
                except BlockingIOError:
                    pass

            busy, busy_protocol = await loop.create_connection(
                lambda: Recorder(data_received=refill), sock=busy_end
            )
            quiet, quiet_protocol = await loop.create_connection(Recorder, sock=quiet_end)
            busy_peer.send(chunk)
            for n in range(1, 20):
                await asyncio.sleep(0)
                quiet_peer.send(b"x")
                await quiet_protocol.received(n)
                await asyncio.sleep(0.0001)
                busy_protocol.data.clear()
            for transport, protocol in ((busy, busy_protocol), (quiet, quiet_protocol)):
                transport.abort()
                await protocol.lost

    run(main)
