"""sock_* operations are coroutines: taken wherever one is, with its context, its cancellation and its warnings."""

from __future__ import annotations

import asyncio
import collections.abc
import contextvars
import inspect
import os
import socket
import warnings

import pytest
from aio_support import polls, tcp_pair, turns, unix_pair

variable = contextvars.ContextVar("variable", default="unset")

OPERATIONS = {
    "sock_recv": lambda loop, sock: loop.sock_recv(sock, 10),
    "sock_recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(10)),
    "sock_recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 10),
    "sock_recvfrom_into": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(10)),
    "sock_sendall": lambda loop, sock: loop.sock_sendall(sock, b"x"),
    "sock_sendto": lambda loop, sock: loop.sock_sendto(sock, b"x", ("127.0.0.1", 1)),
    "sock_connect": lambda loop, sock: loop.sock_connect(sock, ("127.0.0.1", 1)),
    "sock_accept": lambda loop, sock: loop.sock_accept(sock),
}

every_operation = pytest.mark.parametrize("name", OPERATIONS)


@every_operation
def test_is_a_coroutine(run, name):
    """For asyncio, for collections.abc and for inspect; and no Future."""

    async def main():
        one, other = unix_pair()
        with one, other:
            operation = OPERATIONS[name](asyncio.get_running_loop(), one)
            assert asyncio.iscoroutine(operation)
            assert isinstance(operation, collections.abc.Coroutine)
            assert inspect.isawaitable(operation)
            assert not asyncio.isfuture(operation)
            assert name in repr(operation) and "coroutine" in repr(operation)
            assert operation.__qualname__.endswith(f".{name}")
            operation.close()

    run(main)


@every_operation
def test_never_awaited(new_loop, name):
    """One that nobody awaits warns as a coroutine does, by its name; one that was closed does not."""
    loop = new_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        with pytest.warns(RuntimeWarning, match=rf"coroutine '.*\.{name}' was never awaited"):
            OPERATIONS[name](loop, sock)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            OPERATIONS[name](loop, sock).close()


def test_nothing_happens_before_the_first_step(run):
    """Errors of the arguments, too, are the coroutine's and not the call's."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:
            other.send(b"there")
            operation = loop.sock_recv(one, 10)
            assert one.recv(10) == b"there"
            operation.close()
            for make, error in (
                (lambda: loop.sock_recv(one, "ten"), TypeError),
                (lambda: loop.sock_recv(one, -1), ValueError),
                (lambda: loop.sock_recv_into(one, b"read-only"), (TypeError, BufferError)),
                (lambda: loop.sock_sendall(one, "text"), TypeError),
                (lambda: loop.sock_sendto(one, "text", "/"), TypeError),
            ):
                operation = make()
                with pytest.raises(error):
                    await operation
            assert await loop.sock_recv(one, 0) == b""

    run(main)


def test_awaited_twice(run):
    """RuntimeError "cannot reuse already awaited coroutine"."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:
            other.send(b"there")
            operation = loop.sock_recv(one, 10)
            assert await operation == b"there"
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                await operation

    run(main)


def test_ways_to_run_one(run):
    """create_task, ensure_future, gather, shield, wait_for, timeout, TaskGroup, run_coroutine_threadsafe."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = tcp_pair()

        async def after(start):
            waiting = asyncio.ensure_future(start())
            await polls(2)
            assert not waiting.done()
            other.send(b"data")
            return await waiting

        with one, other:

            async def in_a_group():
                async with asyncio.TaskGroup() as group:
                    task = group.create_task(loop.sock_recv(one, 10))
                return task.result()

            async def with_a_timeout():
                async with asyncio.timeout(1000):
                    return await loop.sock_recv(one, 10)

            async def gathered():
                [data, nothing] = await asyncio.gather(
                    loop.sock_recv(one, 10), asyncio.sleep(0, "nothing")
                )
                assert nothing == "nothing"
                return data

            async def threadsafe():
                def other_thread():
                    return asyncio.run_coroutine_threadsafe(loop.sock_recv(one, 10), loop).result()

                return await loop.run_in_executor(None, other_thread)

            for start in (
                lambda: loop.sock_recv(one, 10),
                lambda: loop.create_task(loop.sock_recv(one, 10)),
                lambda: asyncio.create_task(loop.sock_recv(one, 10), name="named"),
                lambda: asyncio.shield(loop.sock_recv(one, 10)),
                lambda: asyncio.wait_for(loop.sock_recv(one, 10), 1000),
                lambda: asyncio.wait_for(loop.sock_recv(one, 10), None),
                in_a_group,
                with_a_timeout,
                gathered,
                threadsafe,
            ):
                assert await after(start) == b"data"

    run(main)


def test_run_until_complete_and_runner(new_loop):
    """What runs a coroutine runs an operation, also one that has to wait."""
    loop = new_loop()
    one, other = unix_pair()
    with one, other:
        loop.call_soon(other.send, b"first")
        assert loop.run_until_complete(loop.sock_recv(one, 10)) == b"first"
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            loop.call_soon(other.send, b"second")
            assert runner.run(loop.sock_recv(one, 10)) == b"second"


def test_a_task_of_the_operation_itself(run):
    """Its repr, its stack and its end are a task's."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:
            task = loop.create_task(loop.sock_recv(one, 10))
            await polls(2)
            assert "sock_recv" in repr(task)
            assert task.get_coro() is not None
            task.get_stack()
            other.send(b"there")
            assert await task == b"there"
            assert "sock_recv" in repr(task)

    run(main)


def test_values_that_stop_iteration_mistakes(run):
    """A result that is a tuple is one value."""

    async def main():
        loop = asyncio.get_running_loop()
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
        ):
            for sock in (one, other):
                sock.setblocking(False)
                sock.bind(("127.0.0.1", 0))
            other.sendto(b"there", one.getsockname())
            assert await loop.sock_recvfrom(one, 10) == (b"there", other.getsockname())

    run(main)


def test_context(run):
    """The task goes on in its own context, whoever made the socket ready."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:

            async def receive():
                variable.set("receiver's")
                data = await loop.sock_recv(one, 10)
                return data, variable.get()

            task = asyncio.create_task(receive())
            await polls(2)
            variable.set("sender's")
            other.send(b"there")
            assert await task == (b"there", "receiver's")
            assert variable.get() == "sender's"

    run(main)


def test_cancelled_with_a_message(run):
    """The CancelledError that arrives has the message; the operation's place is free."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:
            caught = []

            async def receive():
                try:
                    await loop.sock_recv(one, 10)
                except asyncio.CancelledError as error:
                    caught.append(error.args)
                    raise

            task = asyncio.create_task(receive())
            await polls(2)
            task.cancel("enough")
            with pytest.raises(asyncio.CancelledError):
                await task
            assert caught == [("enough",)]
            assert loop.remove_reader(one) is False

    run(main)


def test_cancellation_that_is_ignored(run):
    """A task that swallows its cancellation may wait for the same socket again."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:

            async def stubborn():
                while True:
                    try:
                        return await loop.sock_recv(one, 10)
                    except asyncio.CancelledError:
                        continue

            task = asyncio.create_task(stubborn())
            for _ in range(3):
                await polls(1)
                task.cancel()
            await polls(1)
            other.send(b"there")
            assert await task == b"there"

    run(main)


def test_wait_for_gives_up(run):
    """A timeout of nothing left: the operation is cancelled, and the data is the next one's."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:
            for timeout in (0, -1, 1e-9):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(loop.sock_recv(one, 10), timeout)
            other.send(b"there")
            assert await loop.sock_recv(one, 10) == b"there"

    run(main)


@pytest.mark.stock_wrong("a coroutine that is closed leaves its reader behind")
def test_closing_a_waiting_one(run):
    """close() and throw() by hand: it leaves its place."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:
            operation = loop.sock_recv(one, 10)
            operation.send(None)
            operation.close()
            assert loop.remove_reader(one) is False
            operation = loop.sock_recv(one, 10)
            operation.send(None)
            with pytest.raises(ZeroDivisionError, match="thrown"):
                operation.throw(ZeroDivisionError("thrown"))
            await turns(1)
            assert loop.remove_reader(one) is False
            with pytest.raises(RuntimeError):
                operation.send(None)

    run(main)


def test_a_loop_closed_while_one_waits(new_loop):
    """The task is destroyed pending, as any; nothing is called any more."""
    loop = new_loop()
    one, other = unix_pair()
    with one, other:
        operation = loop.sock_recv(one, 10)

        async def start():
            operation.send(None)

        loop.run_until_complete(start())
        other.send(b"there")
        loop.close()
        operation.close()


def test_readers_of_the_user(run):
    """A reader that is added takes the place of an operation that waits; one that is there gives way to it, as ever."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:
            called = loop.create_future()
            task = asyncio.ensure_future(loop.sock_recv(one, 10))
            await polls(2)
            loop.add_reader(one, lambda: called.done() or called.set_result(None))
            other.send(b"there")
            await called
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            loop.remove_reader(one)
            assert await loop.sock_recv(one, 10) == b"there"

    run(main)


def test_what_is_ready_does_not_keep_the_loop_busy(run):
    """After an operation nothing is watched: data that nobody waits for does not turn the loop."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:
            task = asyncio.ensure_future(loop.sock_recv(one, 10))
            await polls(2)
            other.send(b"first")
            assert await task == b"first"
            other.send(b"second")
            await polls(3)
            assert not loop._selector.get_map() or one.fileno() not in loop._selector.get_map()
            assert await loop.sock_recv(one, 10) == b"second"

    run(main)


def test_a_socket_that_becomes_a_transport(run):
    """sock_connect, sock_recv and sock_sendall, then create_connection(sock=): the transport gets every byte."""
    from aio_support import Recorder

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            sock = socket.socket()
            sock.setblocking(False)
            await loop.sock_connect(sock, listener.getsockname())
            peer, _ = await loop.sock_accept(listener)
            with peer:
                waiting = asyncio.ensure_future(loop.sock_recv(sock, 10))
                await polls(2)
                await loop.sock_sendall(peer, b"first")
                assert await waiting == b"first"
                transport, protocol = await loop.create_connection(Recorder, sock=sock)
                await loop.sock_sendall(peer, b"second")
                assert await protocol.received(6) == b"second"
                transport.close()
                await protocol.lost

    run(main)


def test_many_on_reused_numbers(run):
    """Sockets come and go on the same numbers while operations wait: each gets its own."""

    async def main():
        loop = asyncio.get_running_loop()
        for round_ in range(50):
            one, other = unix_pair()
            with one, other:
                task = asyncio.ensure_future(loop.sock_recv(one, 10))
                await turns(2)
                text = b"round %d" % round_
                await loop.sock_sendall(other, text)
                assert await task == text

    run(main)


def test_socket_like_objects(run):
    """Another class than socket.socket is asked by its own methods."""

    class Shouting(socket.socket):
        def recv(self, *args):
            return super().recv(*args).upper()

        def send(self, data, *args):
            return super().send(bytes(data).upper(), *args)

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with Shouting(fileno=one.detach()) as loud, other:
            loud.setblocking(False)
            task = asyncio.ensure_future(loop.sock_recv(loud, 10))
            await polls(2)
            other.send(b"quiet")
            assert await task == b"QUIET"
            await loop.sock_sendall(loud, b"x" * 100_000)
            assert await loop.sock_recv(other, 10) == b"X" * 10

    run(main)


def test_large_receives(run):
    """More than is there, more than the loop's block holds, and a datagram that must not be cut."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = tcp_pair()
        with one, other:
            data = os.urandom(3_000_000)
            sending = asyncio.ensure_future(loop.sock_sendall(other, data))
            received = bytearray()
            while len(received) < len(data):
                received += await loop.sock_recv(one, 1 << 22)
            assert received == data
            await sending
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with one, other:
            one.setblocking(False)
            other.setblocking(False)
            large = os.urandom(100_000)
            for size in (300_000, 100_000):
                await loop.sock_sendall(other, large)
                assert await loop.sock_recv(one, size) == large

    run(main)
