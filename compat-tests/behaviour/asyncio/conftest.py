"""Nothing may pass here that warned, logged an error in silence, or left a file descriptor open."""

from __future__ import annotations

import gc
import logging
import os
import pathlib
import socket
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
if str(HERE) not in sys.path:  # for aio_support, whatever import mode pytest runs in
    sys.path.insert(0, str(HERE))

from aio_tls import certificate, client_context, engine, server_context  # noqa: E402, F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Only ours has two ways to make TLS records.
    items[:] = [item for item in items if not _is_stock_again(item)]
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("error"), append=False)


def _is_stock_again(item: pytest.Item) -> bool:
    params = getattr(getattr(item, "callspec", None), "params", {})
    return params.get("engine") == "object" and params.get("loop_kind") != "interloop"


SLOW = "Executing %s took %.3f seconds"


class AsyncioLog(logging.Handler):
    """The warnings and errors asyncio logged in this test. Those a test does not `take` fail it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def take(self, text: str) -> logging.LogRecord:
        """Removes and returns the first record whose message contains `text`."""
        for record in self.records:
            if text in record.getMessage():
                self.records.remove(record)
                return record
        raise AssertionError(f"asyncio logged nothing with {text!r}, but {self.texts()}")

    def texts(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture(autouse=True)
def asyncio_log():
    handler = AsyncioLog()
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    yield handler
    # What is still referenced by cycles only must complain now, and here.
    gc.collect()
    logger.removeHandler(handler)
    # How long a callback took on a busy machine is nobody's fault; the tests of that log look at it themselves.
    assert [record.getMessage() for record in handler.records if record.msg != SLOW] == []


def open_fds() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the descriptor of the directory just listed
            continue
    return found


@pytest.fixture(autouse=True)
def no_fd_left(asyncio_log):
    """Set up after, so torn down before, asyncio_log; both run after the fixtures a test asks for are torn down."""
    before = open_fds()
    yield
    gc.collect()
    left = {fd: what for fd, what in open_fds().items() if before.get(fd) != what}
    assert left == {}


@pytest.fixture
def pair():
    """Two ends of a Unix connection, non-blocking."""
    from aio_support import unix_pair

    one, other = unix_pair()
    with one, other:
        yield one, other


@pytest.fixture
def listener():
    """A blocking socket that listens on loopback, at a port of the kernel's choice."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def closed_ports():
    """Two addresses nobody listens on: bound, so that nobody else gets them meanwhile."""
    socks = [socket.socket(), socket.socket()]
    for sock in socks:
        sock.bind(("127.0.0.1", 0))
    yield [sock.getsockname() for sock in socks]
    for sock in socks:
        sock.close()
