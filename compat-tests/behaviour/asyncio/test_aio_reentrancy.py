"""The first law from outside: any protocol callback may do anything to its transport and its loop.

Every callback in which something happens is crossed with everything one may do there. Whatever the pair:
connection_lost comes once and last, the exception handler hears nothing, the loop goes on and the socket is closed.
"""

from __future__ import annotations

import asyncio
import gc
import socket

import pytest
from aio_support import (
    MORE_THAN_KERNEL_TAKES,
    BufferedRecorder,
    Contexts,
    Recorder,
    polls,
    tcp_pair,
)

BIG = bytes(MORE_THAN_KERNEL_TAKES)


def close_then_abort(protocol):
    protocol.transport.close()
    protocol.transport.abort()


def pause_and_resume(protocol):
    for _ in range(3):
        protocol.transport.pause_reading()
        protocol.transport.resume_reading()


def write_and_close(protocol):
    protocol.transport.write(b"bye")
    protocol.transport.close()


def write_big_and_abort(protocol):
    protocol.transport.write(BIG)
    protocol.transport.abort()


def write_eof(protocol):
    if protocol.transport.can_write_eof():
        protocol.transport.write_eof()


def switch(protocol):
    protocol.transport.set_protocol(protocol)


def collect(protocol):
    gc.collect()


def limits(protocol):
    if not protocol.transport.is_closing():
        protocol.transport.set_write_buffer_limits(high=0)
        protocol.transport.set_write_buffer_limits()


def turn(protocol):
    # As nest_asyncio and reactor.iterate do: a whole turn of the loop inside a callback.
    loop = protocol.transport_loop
    loop.call_soon(lambda: None)  # so that it does not sleep
    loop._run_once()


ACTIONS = {
    "close": lambda protocol: protocol.transport.close(),
    "abort": lambda protocol: protocol.transport.abort(),
    "close, abort": close_then_abort,
    "pause, resume": pause_and_resume,
    "write, close": write_and_close,
    "write much, abort": write_big_and_abort,
    "write_eof": write_eof,
    "set_protocol": switch,
    "gc.collect": collect,
    "limits": limits,
    "stop": lambda protocol: protocol.transport_loop.stop(),
}

CALLBACKS = [
    "connection_made",
    "data_received",
    "get_buffer",
    "buffer_updated",
    "eof_received",
    "pause_writing",
    "resume_writing",
    "connection_lost",
]

STOCK_WRONG = {
    ("resume_writing", action): "a transport that resume_writing() ended is lost twice"
    for action in ("close", "abort", "close, abort", "write, close", "write much, abort")
}


def crossed():
    pairs = []
    for callback in CALLBACKS:
        for action in ACTIONS:
            reason = STOCK_WRONG.get((callback, action))
            marks = [pytest.mark.stock_wrong(reason)] if reason else []
            pairs.append(pytest.param(callback, action, marks=marks, id=f"{callback}-{action}"))
    return pairs


def run_on(loop, future):
    """run_until_complete over runs that a callback stopped."""
    future = asyncio.ensure_future(future, loop=loop)
    while not future.done():
        stopper = future.add_done_callback(lambda _: loop.stop())
        loop.run_forever()
        del stopper
    return future.result()


@pytest.mark.parametrize(("callback", "action"), crossed())
def test_action_in_callback(new_loop, callback, action):
    """One life of a connection that passes through all callbacks, with the action done in one of them, once."""
    live(new_loop(), callback, action)


@pytest.mark.parametrize("callback", CALLBACKS)
def test_turn_in_callback(new_loop, loop_kind, callback):
    """A whole turn inside a callback, as nest_asyncio and reactor.iterate need it."""
    if loop_kind == "stock":
        pytest.skip("stock's _run_once fails when a nested one has emptied its batch")
    live(new_loop(), callback, "a turn", {"a turn": turn})


def live(loop, callback, action, actions=ACTIONS):
    contexts = Contexts(loop)
    done = []

    def act(protocol):
        if not done:
            done.append(callback)
            protocol.transport_loop = loop
            actions[action](protocol)

    kind = BufferedRecorder if callback in ("get_buffer", "buffer_updated") else Recorder

    async def life():
        ours, peer = tcp_pair()
        with peer:
            transport, protocol = await loop.create_connection(
                lambda: kind(**{callback: act}), sock=ours
            )
            for step in (
                lambda: peer.send(b"hello"),
                lambda: None if protocol.ended.done() else transport.write(BIG),
                lambda: drain(peer),
                lambda: peer.shutdown(socket.SHUT_WR),
                lambda: drain(peer),
                transport.close,
            ):
                if protocol.lost.done():
                    break
                try:
                    step()
                except RuntimeError as exc:
                    # write() after a write_eof() that was the action
                    if action != "write_eof" or "after write_eof" not in str(exc):
                        raise
                except OSError:
                    # The peer's end of a connection that the action ended
                    assert transport.is_closing()
                for _ in range(20):
                    await polls(1)
                    drain(peer)
            await protocol.lost
            await polls(2)
            return ours, protocol

    ours, protocol = run_on(loop, life())
    assert done == [callback]
    assert contexts == []
    assert protocol.events.count("lost") == 1 == len(protocol.lost_with)
    assert protocol.events[-1] == "lost" or protocol.events[-2:] == ["lost", "resume"]
    assert protocol.events[0] == "made" and protocol.events.count("made") == 1
    assert protocol.events.count("eof") <= 1
    assert ours.fileno() == -1


def drain(sock):
    """Reads what is there; a reset counts as the end."""
    try:
        while sock.recv(1 << 20):
            pass
    except (BlockingIOError, ConnectionResetError):
        return


@pytest.mark.parametrize("how", ["close", "abort"])
def test_one_callback_ends_all_connections(run, how):
    """A callback that ends fifty transports that are all ready: each is lost once, none gets a byte after it."""

    async def main():
        loop = asyncio.get_running_loop()
        contexts = Contexts(loop)
        protocols = []

        def end_all(protocol):
            for other in protocols:
                getattr(other.transport, how)()

        pairs = [tcp_pair() for _ in range(50)]
        for ours, _ in pairs:
            _, protocol = await loop.create_connection(
                lambda: Recorder(data_received=end_all), sock=ours
            )
            protocols.append(protocol)
        await polls(1)
        for _, peer in pairs:
            peer.send(b"x")
        for protocol in protocols:
            await protocol.lost
        await polls()
        assert sum(len(protocol.data) for protocol in protocols) == 1
        assert all(protocol.lost_with == [None] for protocol in protocols)
        assert contexts == []
        for _, peer in pairs:
            peer.close()

    run(main)


def test_connections_made_and_ended_within_callbacks(run):
    """Each connection's end starts the next one from within connection_lost, its numbers used again at once."""

    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        left = 100
        tasks = []

        class Next(Recorder):
            def data_received(self, data):
                super().data_received(data)
                self.transport.close()

            def connection_lost(self, exc):
                nonlocal left
                super().connection_lost(exc)
                self.peer.close()
                left -= 1
                if left:
                    tasks.append(loop.create_task(start()))
                else:
                    done.set_result(None)

        async def start():
            ours, peer = tcp_pair()
            _, protocol = await loop.create_connection(Next, sock=ours)
            protocol.peer = peer
            peer.send(b"x")

        await start()
        await done
        assert left == 0
        await asyncio.gather(*tasks)

    run(main)


def test_deallocation_in_callbacks(run):
    """Objects whose __del__ uses transport and loop, dropped by the transport itself when it is lost."""

    async def main():
        loop = asyncio.get_running_loop()
        contexts = Contexts(loop)
        seen = []

        class Dropped:
            def __init__(self, transport):
                self.transport = transport

            def __del__(self):
                seen.append(self.transport.is_closing())
                self.transport.write(b"from __del__")
                self.transport.close()
                loop.call_soon(seen.append, "called")

        ours, peer = tcp_pair()
        with peer:
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            protocol.dropped = Dropped(transport)
            loop.call_soon(print, Dropped(transport)).cancel()
            await polls(1)
            transport.abort()
            lost = protocol.lost
            del protocol
            await lost
            del lost
            gc.collect()
            await polls(2)
            assert seen.count("called") == 2
        assert contexts == []

    run(main)
