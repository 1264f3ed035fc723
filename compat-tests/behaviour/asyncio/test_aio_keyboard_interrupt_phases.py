"""Point 38: Ctrl-C under asyncio.Runner, whatever the program waits for: it is cancelled, cleans up, and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import subprocess
import sys
import threading

import pytest
from aio_support import Recorder, interrupter, tcp_pair, unix_pair


@pytest.fixture(autouse=True)
def python_handles_sigint():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def killer():
    with interrupter() as kill:
        yield kill


async def sleeping(stack):
    return asyncio.sleep(10_000)


async def resolving(stack):
    loop = asyncio.get_running_loop()
    loop.getaddrinfo = lambda *args, **kwargs: loop.create_future()
    stack.callback(loop.__dict__.pop, "getaddrinfo")
    return loop.create_connection(Recorder, "name.invalid", 1)


async def connecting(stack):
    """A listener whose queue is full answers nobody."""
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    clients = [stack.enter_context(socket.socket()) for _ in range(4)]
    for client in clients:
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
    return asyncio.get_running_loop().create_connection(Recorder, *listener.getsockname())


async def shaking_hands(stack):
    """A peer that has nothing to say."""
    one, other = tcp_pair()
    stack.enter_context(other)
    stack.enter_context(one)
    return asyncio.get_running_loop().create_connection(
        Recorder, sock=one, ssl=ssl.create_default_context(), server_hostname="localhost"
    )


async def opened(stack):
    one, other = unix_pair()
    stack.enter_context(other)
    reader, writer = await asyncio.open_unix_connection(sock=one)

    async def end():
        writer.transport.abort()
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            await writer.wait_closed()

    stack.push_async_callback(end)
    return reader, writer


async def reading(stack):
    reader, _ = await opened(stack)
    return reader.read()


async def writing(stack):
    _, writer = await opened(stack)
    writer.write(bytes(16 * 1024 * 1024))
    return writer.drain()


async def receiving(stack):
    one, other = unix_pair()
    stack.enter_context(other)
    stack.enter_context(one)
    return asyncio.get_running_loop().sock_recv(one, 1)


async def serving(stack):
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    return server.serve_forever()


async def a_child(stack):
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import sys; sys.stdin.read()", stdin=subprocess.PIPE
    )

    async def end():
        child.kill()
        await child.wait()
        child._transport.close()

    stack.push_async_callback(end)
    return child.wait()


async def a_thread(stack):
    """The thread itself is not interrupted: whoever cancels has to let it go."""
    go = threading.Event()
    stack.callback(go.set)
    return asyncio.to_thread(go.wait)


async def a_lock(stack):
    lock = asyncio.Lock()
    await lock.acquire()
    return lock.acquire()


async def a_group(stack):
    async def group():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(10_000))
            tasks.create_task(asyncio.Event().wait())

    return group()


async def a_signal(stack):
    """Somebody else's signal: a handler of the loop is set, and with it the wakeup descriptor."""
    loop = asyncio.get_running_loop()
    arrived = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, arrived.set_result, None)
    stack.callback(loop.remove_signal_handler, signal.SIGUSR1)
    return asyncio.wait_for(arrived, None)


PHASES = [
    sleeping,
    resolving,
    connecting,
    shaking_hands,
    reading,
    writing,
    receiving,
    serving,
    a_child,
    a_thread,
    a_lock,
    a_group,
    a_signal,
]


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__)
def test_while_waiting_for(loop_factory, killer, phase):
    """The main task is cancelled there, run() raises KeyboardInterrupt, and the loop is as good as before."""
    seen = []

    async def main():
        async with contextlib.AsyncExitStack() as stack:
            waiting = await phase(stack)
            killer()
            try:
                await waiting
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(main())
        assert seen == ["cancelled"]
        assert runner.run(asyncio.sleep(0, "again")) == "again"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_one_ends_the_clean_up(loop_factory, killer, asyncio_log):
    """The first cancels; a second, while the program still cleans up, leaves run() at once."""
    seen = []

    async def main():
        loop = asyncio.get_running_loop()
        killer()
        try:
            await loop.create_future()
        except asyncio.CancelledError:
            seen.append("cleaning up")
            killer()
            await loop.create_future()
        except BaseException as error:
            seen.append(type(error))
            raise

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(main())
        assert seen == ["cleaning up"]
        assert runner.run(asyncio.sleep(0, "again")) == "again"


def test_main_may_take_it_for_done(loop_factory, killer):
    """A main that swallows its cancellation returns its result: no KeyboardInterrupt then."""

    async def main():
        killer()
        try:
            await asyncio.sleep(10_000)
        except asyncio.CancelledError:
            return "stopped by the user"

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(main()) == "stopped by the user"


def test_while_the_rest_is_cancelled(loop_factory, killer, asyncio_log):
    """In Runner.close(), with a task that does not end: the loop is closed all the same."""
    runner = asyncio.Runner(loop_factory=loop_factory)
    loop = runner.get_loop()

    async def stubborn():
        try:
            await asyncio.sleep(10_000)
        finally:
            killer()
            await loop.create_future()

    async def main():
        tasks.append(asyncio.create_task(stubborn()))
        await asyncio.sleep(0)

    tasks = []
    runner.run(main())
    with pytest.raises(KeyboardInterrupt):
        runner.close()
    assert loop.is_closed()
    # Nobody is left to end it.
    tasks[0]._log_destroy_pending = False
    tasks.clear()


def test_while_asynchronous_generators_end(loop_factory, killer):
    """In shutdown_asyncgens(): the rest of the end still happens."""
    runner = asyncio.Runner(loop_factory=loop_factory)
    loop = runner.get_loop()
    seen = []

    async def numbers():
        try:
            yield 1
        finally:
            killer()
            try:
                await loop.create_future()
            except GeneratorExit:
                seen.append("left")
                raise

    async def main():
        generator = numbers()
        assert await anext(generator) == 1
        return generator

    generator = runner.run(main())
    with pytest.raises(KeyboardInterrupt):
        runner.close()
    assert loop.is_closed()
    del generator


def test_while_the_executor_ends(loop_factory, killer):
    """In shutdown_default_executor(), while a thread is still at work."""
    runner = asyncio.Runner(loop_factory=loop_factory)
    loop = runner.get_loop()
    started, go = threading.Event(), threading.Event()

    def work():
        started.set()
        killer()
        go.wait()

    async def main():
        loop.run_in_executor(None, work)

    runner.run(main())
    executor = loop._default_executor
    started.wait()
    try:
        with pytest.raises(KeyboardInterrupt):
            runner.close()
        assert loop.is_closed()
    finally:
        go.set()
        executor.shutdown()
