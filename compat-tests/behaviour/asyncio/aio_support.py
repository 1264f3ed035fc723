"""What the asyncio behaviour tests share: protocols that record, connected sockets, and waiting without sleeping."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import select
import socket
import subprocess
import sys
import threading
import warnings

# More than any send buffer the kernel gives a loopback connection, so that a write of it cannot leave at once.
MORE_THAN_KERNEL_TAKES = 16 * 1024 * 1024


# A signal that comes between Python's last look at them and the poll waits there with stock's loop, which has no wakeup
# descriptor under KeyboardInterrupt: so it comes when the process is asleep, as far as the system tells.
_INTERRUPT = """
import os, signal, sys
pid = int(sys.argv[1])
def is_asleep():
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "S"
    except OSError:
        return True
for line in sys.stdin.buffer:
    while not is_asleep():
        os.sched_yield()
    os.kill(pid, signal.SIGINT)
"""


@contextlib.contextmanager
def interrupter():
    """Another process that sends us SIGINT once we sleep, as often as it is called, so that no thread of ours is awake for it."""
    command = [sys.executable, "-c", _INTERRUPT, str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:

        def interrupt():
            process.stdin.write(b"\n")
            process.stdin.flush()

        interrupt.pid = process.pid
        # After this it ends, when it has done as told.
        interrupt.no_more = process.stdin.close
        yield interrupt


async def turns(count: int = 5) -> None:
    """Lets the loop turn `count` times: enough for anything that is already due, and its consequences, to happen."""
    for _ in range(count):
        await asyncio.sleep(0)


async def polls(count: int = 3) -> None:
    """Makes the loop look at the kernel `count` times: what was ready before has been reported, and called, after it.

    Each time it waits for an event of a socket pair of its own, which the kernel reports no earlier than those before it.
    """
    loop = asyncio.get_running_loop()
    one, other = unix_pair()
    with one, other:
        for _ in range(count):
            reported = loop.create_future()
            loop.add_reader(one, lambda future=reported: future.done() or future.set_result(None))
            other.send(b"x")
            await reported
            loop.remove_reader(one)
            one.recv(1)
            await asyncio.sleep(0)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection on loopback, both non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    one.setblocking(False)
    other.setblocking(False)
    return one, other


def unix_pair() -> tuple[socket.socket, socket.socket]:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    one.setblocking(False)
    other.setblocking(False)
    return one, other


PAIRS = {"tcp": tcp_pair, "unix": unix_pair}


def reset(sock: socket.socket) -> None:
    """Closes a TCP socket so that the peer sees ECONNRESET instead of the end of the stream."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    sock.close()


def is_readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def fill(sock: socket.socket) -> int:
    """Writes to a non-blocking socket until the kernel takes no more; the number of bytes it took."""
    total = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            total += sock.send(bytes(65536))
    return total


async def recv_exactly(sock: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = bytearray()
    while len(data) < count:
        chunk = await loop.sock_recv(sock, count - len(data))
        if not chunk:
            raise EOFError(f"end of stream after {len(data)} of {count} bytes")
        data += chunk
    return bytes(data)


async def recv_to_eof(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    data = bytearray()
    while chunk := await loop.sock_recv(sock, 1 << 20):
        data += chunk
    return bytes(data)


@contextlib.contextmanager
def resource_warnings():
    """The texts of the ResourceWarnings given within, complete when it ends with a garbage collection.

    Unlike pytest.warns it lets none through: a socket's own warning, beside that of its transport, is one more.
    """
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        yield texts
        gc.collect()
    texts += [str(warning.message) for warning in caught if warning.category is ResourceWarning]


class Contexts(list):
    """The contexts a loop's exception handler was given."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        loop.set_exception_handler(lambda _loop, context: self.append(context))


class Recorder(asyncio.Protocol):
    """Records every callback in `events`, the bytes in `data`; `made`, `ended` and `lost` are Futures to wait for.

    `hooks` gives a function to call (with the recorder) in the callback of that name, after it is recorded; what it returns
    is what the callback returns, what it raises is what the callback raises.
    """

    def __init__(self, **hooks) -> None:
        unknown = [name for name in hooks if not callable(getattr(type(self), name, None))]
        assert not unknown, unknown
        loop = asyncio.get_running_loop()
        self.transport = None
        self.events: list[str] = []
        self.data = bytearray()
        self.lost_with: list[BaseException | None] = []
        self.made = loop.create_future()
        self.ended = loop.create_future()
        self.lost = loop.create_future()
        self.hooks = hooks
        self._wanted: list[tuple[int, asyncio.Future]] = []

    def _hook(self, name):
        hook = self.hooks.get(name)
        return hook(self) if hook is not None else None

    def connection_made(self, transport):
        self.transport = transport
        self.events.append("made")
        if not self.made.done():
            self.made.set_result(None)
        self._hook("connection_made")

    def data_received(self, data):
        if not self.events or self.events[-1] != "data":
            self.events.append("data")
        self.data += data
        self._wake()
        self._hook("data_received")

    def eof_received(self):
        self.events.append("eof")
        if not self.ended.done():
            self.ended.set_result(None)
        return self._hook("eof_received")

    def connection_lost(self, exc):
        self.events.append("lost")
        self.lost_with.append(exc)
        if not self.lost.done():
            self.lost.set_result(exc)
        self._hook("connection_lost")

    def pause_writing(self):
        self.events.append("pause")
        self._hook("pause_writing")

    def resume_writing(self):
        self.events.append("resume")
        self._hook("resume_writing")

    def _wake(self):
        for count, future in self._wanted:
            if len(self.data) >= count and not future.done():
                future.set_result(None)

    async def received(self, count: int) -> bytes:
        """Waits until `count` bytes have come in all; answers all that have come."""
        if len(self.data) < count:
            future = asyncio.get_running_loop().create_future()
            self._wanted.append((count, future))
            await future
        return bytes(self.data)


class BufferedRecorder(Recorder, asyncio.BufferedProtocol):
    """Recorder that takes its bytes through get_buffer() and buffer_updated(); `size` is that of the buffer it offers."""

    def __init__(self, size: int = 65536, **hooks) -> None:
        super().__init__(**hooks)
        self.buffer = bytearray(size)
        self.hints: list[int] = []

    def get_buffer(self, sizehint):
        self.hints.append(sizehint)
        answer = self._hook("get_buffer")
        return self.buffer if answer is None else answer

    def buffer_updated(self, nbytes):
        if not self.events or self.events[-1] != "data":
            self.events.append("data")
        self.data += self.buffer[:nbytes]
        self._wake()
        self._hook("buffer_updated")


@contextlib.asynccontextmanager
async def connected(pair=tcp_pair, factory=Recorder, **hooks):
    """A transport of the running loop over one end of a connection: yields (transport, protocol, the other end's socket).

    At the end both are closed, and the transport's connection_lost has been called.
    """
    loop = asyncio.get_running_loop()
    ours, peer = pair()
    with peer:
        transport, protocol = await loop.create_connection(lambda: factory(**hooks), sock=ours)
        try:
            yield transport, protocol, peer
        finally:
            if not protocol.lost.done():
                transport.abort()
                await protocol.lost


async def connect_and_close(*args, **kwargs):
    """Whom create_connection() with these arguments reaches; the connection is closed again."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(Recorder, *args, **kwargs)
    peername = transport.get_extra_info("peername")
    transport.close()
    await protocol.lost
    return peername


class ServerThread:
    """A blocking peer in a thread of its own, for what a loop must not be trusted with while it is under test.

    `target(socket)` runs with the accepted connection; its result, or exception, comes out of `result()`.
    """

    def __init__(self, target, sock: socket.socket) -> None:
        self._sock = sock
        self._target = target
        self._outcome: list = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._sock:
                self._sock.setblocking(True)
                self._outcome.append((self._target(self._sock), None))
        except BaseException as exc:  # handed to the test by result()
            self._outcome.append((None, exc))

    def result(self):
        self._thread.join()
        ((value, exc),) = self._outcome
        if exc is not None:
            raise exc
        return value
