"""Tornado as the application sees it: stock, and after `interloop.tornado.install()`.

The tests use Tornado's own names only (`tornado.ioloop.IOLoop`), so that they state Tornado's contract; what is ours alone
is in test_tornado_install.py. Nothing may pass that warned or logged an error in silence.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import pathlib
import socket
import sys

import pytest
from tornado.ioloop import IOLoop

HERE = pathlib.Path(__file__).resolve().parent
if str(HERE) not in sys.path:  # for to_streams, whatever import mode pytest runs in
    sys.path.insert(0, str(HERE))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("error"), append=False)


@pytest.fixture
def ours():
    """`interloop.tornado` installed for the length of the test: the module."""
    import interloop.tornado

    interloop.tornado.install()
    yield interloop.tornado
    interloop.tornado.uninstall()


@pytest.fixture
def new_io_loop(request: pytest.FixtureRequest, loop_kind: str, loop_factory, pair):
    """Makes IOLoops of the implementation under test, not current; those still open are closed when the test is over.

    Before the sockets of `pair` are: stock cannot remove a handler from a closed one that was watched for both events.
    """
    made: list[IOLoop] = []
    if loop_kind == "interloop":
        request.getfixturevalue("ours")

    def new_io_loop(**kwargs) -> IOLoop:
        kwargs.setdefault("make_current", False)
        if loop_kind != "interloop" and "asyncio_loop" not in kwargs:
            kwargs["asyncio_loop"] = loop_factory()
        made.append(IOLoop(**kwargs))
        return made[-1]

    yield new_io_loop
    for io_loop in made:
        if not io_loop.asyncio_loop.is_closed():
            io_loop.close()
    # run_sync() and start() leave no current loop behind; a test that makes one current has to clear it.
    asyncio.set_event_loop(None)


@pytest.fixture
def io_loop(new_io_loop) -> IOLoop:
    return new_io_loop()


@pytest.fixture
def pair():
    """Two ends of a connection, non-blocking; closed when the test is over."""
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    yield one, other
    one.close()
    other.close()


class Log(logging.Handler):
    """The warnings and errors of one logger in this test. Those a test does not `take` fail it."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.WARNING)
        self.logger_name = name
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def take(self, text: str) -> logging.LogRecord:
        """Removes and returns the first record whose message contains `text`."""
        for record in self.records:
            if text in record.getMessage():
                self.records.remove(record)
                return record
        raise AssertionError(f"{self.logger_name} logged nothing with {text!r}, but {self.texts()}")

    def texts(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture(autouse=True)
def logs():
    """Logger name to its Log, for the two loggers a Tornado application's errors go to."""
    handlers = {name: Log(name) for name in ("tornado.application", "asyncio")}
    for name, handler in handlers.items():
        logging.getLogger(name).addHandler(handler)
    yield handlers
    gc.collect()  # what only cycles hold must complain now, and here
    for name, handler in handlers.items():
        logging.getLogger(name).removeHandler(handler)
    assert {name: handler.texts() for name, handler in handlers.items() if handler.records} == {}


@pytest.fixture
def app_log(logs):
    """What `tornado.application` logged."""
    return logs["tornado.application"]


@pytest.fixture
def asyncio_log(logs):
    """What `asyncio` logged."""
    return logs["asyncio"]
