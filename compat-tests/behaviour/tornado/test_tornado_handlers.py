"""add_handler, update_handler, remove_handler, and what close() does with what they left."""

from __future__ import annotations

import contextvars
import os
import socket
import tempfile

import pytest
from tornado.ioloop import IOLoop

READ, WRITE, ERROR = IOLoop.READ, IOLoop.WRITE, IOLoop.ERROR


def turn(io_loop: IOLoop) -> None:
    """One turn of the loop, with whatever I/O is ready when it polls: what is ready has been called on return."""
    io_loop.asyncio_loop.call_soon(io_loop.stop)
    io_loop.start()


def nothing(fd, events):
    raise AssertionError(f"called with {events} for {fd}")


def test_handler_gets_the_object_it_was_registered_with(io_loop, pair):
    one, other = pair
    seen = []

    def handler(fd, events):
        seen.append((fd, events, one.recv(10)))
        io_loop.stop()

    io_loop.add_handler(one, handler, READ)
    other.send(b"as an object")
    io_loop.start()
    io_loop.remove_handler(one)
    io_loop.add_handler(one.fileno(), handler, READ)
    io_loop.start()
    io_loop.remove_handler(one.fileno())
    assert seen == [(one, READ, b"as an obje"), (one.fileno(), READ, b"ct")]
    assert seen[0][0] is one


def test_update_by_number_keeps_the_object(io_loop, pair):
    one, _ = pair
    seen = []

    def handler(fd, events):
        seen.append((fd, events))
        io_loop.stop()

    io_loop.add_handler(one, handler, READ)
    io_loop.update_handler(one.fileno(), WRITE)
    io_loop.start()
    assert seen == [(one, WRITE)]


@pytest.mark.parametrize("first", ["object", "number"])
@pytest.mark.parametrize("second", ["object", "number"])
def test_added_twice(io_loop, pair, first, second):
    one, other = pair
    forms = {"object": one, "number": one.fileno()}
    seen = []

    def handler(fd, events):
        seen.append(one.recv(1))
        io_loop.stop()

    io_loop.add_handler(forms[first], handler, READ)
    with pytest.raises(ValueError, match=f"^fd {one.fileno()} added twice$"):
        io_loop.add_handler(forms[second], nothing, READ | WRITE)
    other.send(b"x")
    io_loop.start()
    assert seen == [b"x"]


def test_level_triggered_read(io_loop, pair):
    one, other = pair
    got = bytearray()

    def handler(fd, events):
        got.extend(fd.recv(1))
        if len(got) == 200:
            io_loop.stop()

    io_loop.add_handler(one, handler, READ)
    other.send(bytes(range(200)))
    io_loop.start()
    assert got == bytes(range(200))


def test_level_triggered_write(io_loop, pair):
    one, _ = pair
    calls = []

    def handler(fd, events):
        calls.append(events)
        if len(calls) == 100:
            io_loop.stop()

    io_loop.add_handler(one, handler, WRITE)
    io_loop.start()
    assert calls == [WRITE] * 100


def test_read_and_write_ready_at_once(io_loop, pair):
    one, other = pair
    calls = []
    other.send(b"x")
    io_loop.add_handler(one, lambda fd, events: calls.append(events), READ | WRITE)
    turn(io_loop)
    assert calls == [READ, WRITE]


def test_write_events_do_not_come_unasked(io_loop, pair):
    one, other = pair
    calls = []

    def handler(fd, events):
        calls.append(events)
        fd.recv(10)
        io_loop.stop()

    io_loop.add_handler(one, handler, READ)
    turn(io_loop)
    assert calls == []
    io_loop.add_callback(other.send, b"x")
    io_loop.start()
    assert calls == [READ]


def test_update_switches_events_on_and_off(io_loop, pair):
    one, other = pair
    calls = []
    other.send(b"x")
    io_loop.add_handler(one, lambda fd, events: calls.append(events), READ | WRITE)
    for events, expected in [
        (READ, [READ]),
        (WRITE, [WRITE]),
        (READ | WRITE, [READ, WRITE]),
        (0, []),
        (ERROR, []),
        (READ | ERROR, [READ]),
    ]:
        calls.clear()
        io_loop.update_handler(one, events)
        io_loop.update_handler(one, events)  # again is the same
        turn(io_loop)
        assert calls == expected, events


def test_added_without_events(io_loop, pair):
    one, _ = pair
    calls = []
    io_loop.add_handler(one, lambda fd, events: calls.append(events), 0)
    turn(io_loop)
    assert calls == []
    with pytest.raises(ValueError, match="added twice"):
        io_loop.add_handler(one, nothing, WRITE)
    io_loop.update_handler(one, WRITE)
    turn(io_loop)
    assert calls == [WRITE]


def test_remove_of_unknown_is_silent(io_loop, pair):
    one, _ = pair
    io_loop.remove_handler(one)
    io_loop.remove_handler(one.fileno())
    io_loop.add_handler(one, nothing, READ)
    io_loop.remove_handler(one)
    io_loop.remove_handler(one)
    one.close()
    io_loop.remove_handler(one)  # its fileno() is -1 now


def test_handlers_table(io_loop, pair):
    """Bokeh applications and monitoring read it: fd to (object, handler)."""
    one, other = pair
    io_loop.add_handler(one, nothing, READ)
    io_loop.add_handler(other.fileno(), nothing, READ)
    assert io_loop.handlers == {
        one.fileno(): (one, nothing),
        other.fileno(): (other.fileno(), nothing),
    }
    io_loop.remove_handler(one.fileno())
    assert list(io_loop.handlers) == [other.fileno()]


def test_removed_by_an_earlier_handler_of_the_same_batch(io_loop, pair):
    one, other = pair
    one.send(b"x")
    other.send(b"x")
    called = []

    def handler(fd, events):
        called.append(fd)
        io_loop.remove_handler(other if fd is one else one)

    io_loop.add_handler(one, handler, READ)
    io_loop.add_handler(other, handler, READ)
    turn(io_loop)
    turn(io_loop)
    assert len(set(called)) == 1


def test_handler_that_removes_itself_gets_no_write_event(io_loop, pair):
    one, other = pair
    other.send(b"x")
    calls = []

    def handler(fd, events):
        calls.append(events)
        io_loop.remove_handler(fd)

    io_loop.add_handler(one, handler, READ | WRITE)
    turn(io_loop)
    turn(io_loop)
    assert calls == [READ]


def test_handler_replaced_from_within(io_loop, pair):
    one, other = pair
    other.send(b"ab")
    seen = []

    def first(fd, events):
        seen.append(("first", fd.recv(1)))
        io_loop.remove_handler(fd)
        io_loop.add_handler(fd, second, READ)

    def second(fd, events):
        seen.append(("second", fd.recv(1)))
        io_loop.stop()

    io_loop.add_handler(one, first, READ)
    io_loop.start()
    assert seen == [("first", b"a"), ("second", b"b")]


def test_reused_number_gets_its_own_events_only(io_loop):
    for _ in range(50):
        old, old_peer = socket.socketpair()
        old_peer.send(b"old")
        number = old.fileno()
        io_loop.add_handler(old, nothing, READ)
        io_loop.remove_handler(old)
        old.close()
        new, new_peer = socket.socketpair()
        assert number in (new.fileno(), new_peer.fileno())
        reused, peer = (new, new_peer) if new.fileno() == number else (new_peer, new)
        got = []

        def handler(fd, events, got=got):
            got.append(fd.recv(10))
            io_loop.stop()

        io_loop.add_handler(reused, handler, READ)
        turn(io_loop)
        assert got == []
        peer.send(b"new")
        io_loop.start()
        assert got == [b"new"]
        io_loop.remove_handler(reused)
        for sock in (new, new_peer, old_peer):
            sock.close()


def test_end_of_stream_is_a_read_event(io_loop, pair):
    one, other = pair
    seen = []

    def handler(fd, events):
        seen.append((events, fd.recv(10)))
        io_loop.stop()

    io_loop.add_handler(one, handler, READ)
    io_loop.add_callback(other.close)
    io_loop.start()
    assert seen == [(READ, b"")]


def test_handler_that_raises_is_reported_and_stays(io_loop, pair, asyncio_log):
    one, other = pair
    contexts = []
    io_loop.asyncio_loop.set_exception_handler(lambda loop, context: contexts.append(context))
    error = RuntimeError("raised by a handler")

    def handler(fd, events):
        fd.recv(1)
        raise error

    io_loop.add_handler(one, handler, READ)
    other.send(b"ab")
    turn(io_loop)
    turn(io_loop)
    assert [context["exception"] for context in contexts] == [error, error]
    assert all(context["message"].startswith("Exception in callback ") for context in contexts)
    assert all("handle" in context for context in contexts)

    io_loop.asyncio_loop.set_exception_handler(None)
    other.send(b"c")
    turn(io_loop)
    assert asyncio_log.take("Exception in callback ").exc_info[1] is error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_exit_raised_by_a_handler_leaves_start(io_loop, pair, error):
    one, other = pair

    def handler(fd, events):
        fd.recv(1)
        raise error("from a handler")

    io_loop.add_handler(one, handler, READ)
    other.send(b"a")
    with pytest.raises(error, match="from a handler"):
        io_loop.start()
    seen = []
    io_loop.remove_handler(one)

    def next_handler(fd, events):
        seen.append(fd.recv(1))
        io_loop.stop()

    io_loop.add_handler(one, next_handler, READ)
    other.send(b"b")
    io_loop.start()
    assert seen == [b"b"]


def test_handler_runs_in_the_context_it_was_registered_in(io_loop, pair):
    one, other = pair
    var = contextvars.ContextVar("var", default="nobody's")
    seen = []

    def handler(fd, events):
        seen.append(var.get())
        fd.recv(1)

    def add():
        var.set("the registering one's")
        io_loop.add_handler(one, handler, READ)

    contextvars.copy_context().run(add)
    other.send(b"x")
    turn(io_loop)
    assert seen == ["the registering one's"]


@pytest.mark.parametrize("all_fds", [True, False])
def test_close(io_loop, pair, all_fds):
    one, _other = pair

    class File:
        """An object that knows whether it was closed itself, and not just its number."""

        closed = False

        def fileno(self):
            return one.fileno()

        def close(self):
            self.closed = True

    file = File()
    read_end, write_end = os.pipe()
    io_loop.add_handler(file, nothing, READ)
    io_loop.add_handler(read_end, nothing, READ)
    io_loop.close(all_fds=all_fds)
    assert io_loop.handlers == {}
    assert io_loop.asyncio_loop.is_closed()
    assert file.closed is all_fds
    if all_fds:
        with pytest.raises(OSError):
            os.fstat(read_end)
    else:
        os.close(read_end)
    os.close(write_end)


def test_all_fds_with_one_closed_already(io_loop):
    read_end, write_end = os.pipe()
    io_loop.add_handler(read_end, nothing, READ)
    io_loop.add_handler(write_end, nothing, 0)
    os.close(read_end)
    io_loop.close(all_fds=True)
    with pytest.raises(OSError):
        os.fstat(write_end)


def test_after_close(io_loop, pair):
    one, _ = pair
    io_loop.close()
    io_loop.remove_handler(one)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        io_loop.add_handler(one, nothing, READ)


def test_fd_of_a_transport_is_refused(io_loop, pair):
    import asyncio

    one, _ = pair

    async def main():
        loop = asyncio.get_running_loop()
        transport, _protocol = await loop.create_connection(asyncio.Protocol, sock=one)
        with pytest.raises(RuntimeError, match="is used by transport"):
            io_loop.add_handler(one.fileno(), nothing, READ)
        transport.close()
        await asyncio.sleep(0)

    io_loop.run_sync(main)


@pytest.mark.stock_wrong(
    "the entry stays in `handlers`, and the next file with this number is 'added twice'"
)
def test_plain_file_is_refused_and_leaves_nothing(io_loop):
    with tempfile.TemporaryFile() as file:
        for _ in range(2):
            with pytest.raises(PermissionError):
                io_loop.add_handler(file, nothing, READ)
        assert io_loop.handlers == {}
        io_loop.update_handler(file, 0)
        io_loop.remove_handler(file)
