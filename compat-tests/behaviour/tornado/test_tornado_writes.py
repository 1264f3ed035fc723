"""IOStream's `write()`, connecting, closing, and the Python path."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref

import pytest
from to_streams import connected, received, tcp_pair
from tornado import iostream

# More than the kernel buffers on both ends hold.
LARGE = bytes(range(256)) * 40_000


@pytest.fixture
def run(io_loop):
    """run(main): the result of `main()` in an IOLoop of the kind under test."""
    return io_loop.run_sync


def in_thread(function, *args):
    return asyncio.get_running_loop().run_in_executor(None, function, *args)


def test_a_write_that_the_kernel_takes_is_over_at_once(run):
    async def main():
        with connected() as (stream, peer):
            written = stream.write(b"hello")
            assert written.done()
            assert written.result() is None
            assert peer.recv(100) == b"hello"
            assert stream.write(b"").done()
            assert not stream.writing()
            for data in (memoryview(b"view"), bytearray(b"array"), memoryview(b"x").cast("c")):
                await stream.write(data)
            assert received(peer, 10) == b"viewarrayx"

    run(main)


def test_writes_that_wait_are_over_in_order(run):
    async def main():
        with connected() as (stream, peer):
            over = []
            futures = []
            for name in range(4):
                future = stream.write(LARGE if name == 0 else b"%d" % name)
                future.add_done_callback(lambda _, name=name: over.append(name))
                futures.append(future)
            assert not any(future.done() for future in futures)
            assert stream.writing()
            last = stream.write(b"")
            assert not last.done()
            assert await in_thread(received, peer, len(LARGE) + 3) == LARGE + b"123"
            await last
            assert over == [0, 1, 2, 3]
            assert not stream.writing()

    run(main)


def test_mutable_data_may_change_once_it_has_left(run):
    async def main():
        with connected() as (stream, peer):
            data = bytearray(LARGE)
            written = stream.write(data)
            assert await in_thread(received, peer, len(LARGE)) == LARGE
            await written
            data.clear()

    run(main)


@pytest.mark.parametrize("appended", [False, True])
def test_large_data_is_not_copied(run, appended):
    """Distributed puts hundreds of megabytes into the write buffer itself."""

    async def main():
        with connected() as (stream, peer):
            data = bytearray(LARGE)
            if appended:
                stream._write_buffer.append(memoryview(data))
                stream._total_write_index += len(data)
            written = stream.write(b"" if appended else data)
            small = bytearray(b"small")
            stream.write(small)
            small.clear()
            with pytest.raises(BufferError):
                data.clear()
            # The end has not left.
            data[-1] ^= 255
            expected = bytes(data) + b"small"
            assert await in_thread(received, peer, len(expected)) == expected
            await written
            data.clear()

    run(main)


def test_large_data_is_let_go_at_the_end(run):
    async def main():
        with connected() as (stream, _):
            data = bytearray(LARGE)
            written = stream.write(data)
            with pytest.raises(BufferError):
                data.clear()
            stream.close()
            with pytest.raises(iostream.StreamClosedError):
                await written
            data.clear()

    run(main)


@pytest.mark.parametrize("kind", [int, float])
def test_the_write_buffer_has_a_limit(run, kind):
    async def main():
        with connected(max_write_buffer_size=kind(len(LARGE))) as (stream, _):
            written = stream.write(LARGE)
            assert not written.done()
            with pytest.raises(iostream.StreamBufferFullError):
                stream.write(LARGE)
            stream.close()
            with pytest.raises(iostream.StreamClosedError):
                await written

    run(main)


def test_write_after_close(run):
    async def main():
        with connected() as (stream, _):
            error = ZeroDivisionError()
            stream.close(exc_info=error)
            with pytest.raises(iostream.StreamClosedError) as raised:
                stream.write(b"late")
            assert raised.value.real_error is error

    run(main)


def test_a_write_to_who_is_gone(run):
    async def main():
        with connected() as (stream, peer):
            stream.write(LARGE)
            closed = asyncio.Event()
            stream.set_close_callback(closed.set)
            waiting = stream.write(b"more")
            # Unread bytes make the close a reset.
            peer.close()
            with pytest.raises(iostream.StreamClosedError) as raised:
                await waiting
            assert isinstance(raised.value.real_error, ConnectionError)
            await closed.wait()

    run(main)


def test_text_is_refused(run):
    async def main():
        with connected() as (stream, peer):
            with pytest.raises(TypeError):
                stream.write("text")
            await stream.write(b"bytes")
            assert peer.recv(100) == b"bytes"

    run(main)


@pytest.mark.parametrize("waited", [False, True])
def test_bytes_put_into_the_write_buffer(run, waited):
    """As Distributed does, to have one Future for many frames."""

    async def main():
        with connected() as (stream, peer):
            if waited:
                stream.read_bytes(1)
            frames = [memoryview(b"one,"), memoryview(LARGE), b"two"]
            for frame in frames:
                stream._write_buffer.append(frame)
                stream._total_write_index += len(frame)
            assert len(stream._write_buffer) == len(LARGE) + 7
            written = stream.write(b"")
            assert not written.done()
            expected = b"".join(frames)
            assert await in_thread(received, peer, len(expected)) == expected
            await written
            stream._write_buffer.append(b"small")
            stream._total_write_index += 5
            assert stream.write(b"").done()
            assert peer.recv(100) == b"small"
            stream.close()
            assert stream._write_buffer is None

    run(main)


def test_connect(run):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            stream = iostream.IOStream(socket.socket())
            closed = asyncio.Event()
            stream.set_close_callback(closed.set)
            connecting = stream.connect(listener.getsockname())
            first, second = stream.write(b"one "), stream.write(b"two")
            assert not first.done()
            reading = stream.read_bytes(2)
            assert await connecting is stream
            await asyncio.gather(first, second)
            peer, _ = listener.accept()
            assert received(peer, 7) == b"one two"
            peer.sendall(b"ok")
            assert await reading == b"ok"
            peer.close()
            await closed.wait()
            assert stream.closed()

    run(main)


def test_connection_refused(run):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
        stream = iostream.IOStream(socket.socket())
        written = None
        connecting = stream.connect(address)
        if not stream.closed():
            written = stream.write(b"never")
        with pytest.raises(iostream.StreamClosedError) as raised:
            await connecting
        assert isinstance(raised.value.real_error, ConnectionRefusedError)
        if written is not None:
            with pytest.raises(iostream.StreamClosedError):
                await written

    run(main)


def test_unix_sockets(run):
    async def main():
        ours, peer = socket.socketpair()
        with peer:
            stream = iostream.IOStream(ours)
            read = stream.read_until(b"\n")
            peer.sendall(b"one\ntwo\n")
            assert await read == b"one\n"
            assert await stream.read_until(b"\n") == b"two\n"
            # Not TCP: nothing happens.
            stream.set_nodelay(True)
            await stream.write(b"three")
            assert peer.recv(100) == b"three"
            read = stream.read_bytes(1)
            peer.shutdown(socket.SHUT_WR)
            with pytest.raises(iostream.StreamClosedError):
                await read

    run(main)


def test_nodelay(run):
    async def main():
        with connected() as (stream, _):

            def nodelay():
                return stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

            stream.set_nodelay(False)
            assert not nodelay()
            stream.set_nodelay(True)
            assert nodelay()
            stream.close()
            stream.set_nodelay(False)

    run(main)


def test_start_tls_wants_an_idle_stream(run):
    async def main():
        with connected() as (stream, peer):
            read = stream.read_bytes(1)
            with pytest.raises(ValueError, match="not idle"):
                stream.start_tls(False)
            peer.sendall(b"1")
            # It goes on as before.
            assert await read == b"1"

    run(main)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_stream_that_never_waited_is_collected(run):
    async def main():
        ours, peer = tcp_pair()
        with peer:
            stream = iostream.IOStream(ours)
            peer.sendall(b"there")
            assert await stream.read_bytes(5) == b"there"
            await stream.write(b"answer")
            gone = weakref.ref(stream)
            del stream, ours
            gc.collect()
            assert gone() is None
            assert received(peer, 6) == b"answer"
            assert peer.recv(1) == b""

    run(main)


def test_closing_the_loop_closes_its_streams_if_asked(new_io_loop):
    io_loop = new_io_loop()

    async def main():
        ours, peer = tcp_pair()
        stream = iostream.IOStream(ours)
        stream.read_bytes(1)
        return stream, peer

    stream, peer = io_loop.run_sync(main)
    io_loop.close(all_fds=True)
    with peer:
        assert peer.recv(1) == b""
    assert stream.socket.fileno() == -1


class Counting(iostream.IOStream):
    """Counts what goes through its own methods."""

    taken = sent = 0

    def read_from_fd(self, buf):
        count = super().read_from_fd(buf)
        self.taken += count or 0
        return count

    def write_to_fd(self, data):
        count = super().write_to_fd(data)
        self.sent += count
        return count


def test_a_subclass_with_a_way_of_its_own_to_read_and_write(run):
    async def main():
        with connected(Counting) as (stream, peer):
            read = stream.read_until(b"\n")
            peer.sendall(b"line\n")
            assert await read == b"line\n"
            await stream.write(b"answer")
            assert peer.recv(100) == b"answer"
            assert (stream.taken, stream.sent) == (5, 6)

    run(main)


@pytest.mark.parametrize("waiting", [False, True])
def test_one_stream_with_a_way_of_its_own_to_read(run, waiting):
    """Replaced while bytes are buffered, a read waits and writes wait."""

    async def main():
        with connected() as (stream, peer):
            peer.sendall(b"12\n3")
            assert await stream.read_bytes(1) == b"1"
            written = stream.write(LARGE)
            read = stream.read_until(b"34\n") if waiting else None
            original, seen = stream.read_from_fd, []

            def read_from_fd(buf):
                count = original(buf)
                if count:
                    seen.append(bytes(buf[:count]))
                return count

            stream.read_from_fd = read_from_fd
            assert stream.reading() is waiting
            assert stream.writing()
            peer.sendall(b"4\n")
            if read is None:
                read = stream.read_until(b"34\n")
            assert await read == b"2\n34\n"
            assert seen == [b"4\n"]
            assert await in_thread(received, peer, len(LARGE)) == LARGE
            await written
            closed = asyncio.Event()
            stream.set_close_callback(closed.set)
            peer.close()
            await closed.wait()

    run(main)


def test_methods_taken_before_a_way_was_replaced(run):
    async def main():
        with connected() as (stream, peer):
            write, read_until, read_bytes = stream.write, stream.read_until, stream.read_bytes
            original, sent = stream.write_to_fd, []

            def write_to_fd(data):
                sent.append(bytes(data))
                return original(data)

            stream.write_to_fd = write_to_fd
            await write(b"answer")
            assert sent == [b"answer"]
            assert peer.recv(100) == b"answer"
            line = read_until(b"\n", 100)
            peer.sendall(b"line\nrest")
            assert await line == b"line\n"
            assert await read_bytes(4) == b"rest"

    run(main)


def test_one_stream_with_a_way_of_its_own_to_write(run):
    async def main():
        with connected() as (stream, peer):
            sent = []

            def write_to_fd(data):
                sent.append(bytes(data))
                return len(data)

            stream.write_to_fd = write_to_fd
            await stream.write(b"nowhere")
            assert sent == [b"nowhere"]
            read = stream.read_bytes(2)
            peer.sendall(b"ok")
            assert await read == b"ok"

    run(main)
