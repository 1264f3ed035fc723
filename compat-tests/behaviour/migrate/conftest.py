"""The migration kit: an application in its own host, which is the contract, and in the other host by way of the kit.

Nothing may pass here that warned, or that logged an error in silence: what a test does not `take` from `logs` fails it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import pathlib
import sys

import pytest
from twisted.logger import LogLevel, globalLogPublisher

import interloop
import interloop.tornado
import interloop.twisted

HERE = pathlib.Path(__file__).resolve().parent
if str(HERE) not in sys.path:  # for mi_support and mi_apps, whatever import mode pytest runs in
    sys.path.insert(0, str(HERE))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("error"), append=False)


class Logs(logging.Handler):
    """The warnings and errors of this test."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        # 4xx and 5xx answers are warnings and errors of tornado.access: the test has the answer itself.
        if record.name != "tornado.access":
            self.records.append(record)

    def take(self, text: str) -> logging.LogRecord:
        """Removes and returns the first record whose message contains `text`."""
        for record in self.records:
            if text in record.getMessage():
                self.records.remove(record)
                return record
        raise AssertionError(f"nothing logged with {text!r}, but {self.texts()}")

    def texts(self) -> list[str]:
        return [f"{record.name}: {record.getMessage()}" for record in self.records]


@pytest.fixture(autouse=True)
def logs():
    handler = Logs()
    root = logging.getLogger()
    root.addHandler(handler)
    yield handler
    gc.collect()
    root.removeHandler(handler)
    assert handler.texts() == []


@pytest.fixture(params=["stock", "interloop"])
def on_loop(request):
    """on_loop(main): a coroutine function on stock asyncio with Tornado as it is, and on ours with ours installed."""
    factory = asyncio.SelectorEventLoop if request.param == "stock" else interloop.new_event_loop

    def on_loop(main):
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main())

    if request.param == "interloop":
        interloop.tornado.install()
    yield on_loop
    interloop.tornado.uninstall()


@pytest.fixture
def on_reactor():
    """on_reactor(main): runs a coroutine function in a loop that Twisted's reactor has joined."""
    interloop.twisted.install()
    interloop.tornado.install()
    yield lambda main: interloop.run(main())
    interloop.tornado.uninstall()
    interloop.twisted.uninstall()


@pytest.fixture(autouse=True)
def twisted_log():
    """The failures that Twisted logs; a test has to take them."""
    failures = []

    def observe(event):
        if event["log_level"] >= LogLevel.error and "log_failure" in event:
            failures.append(event["log_failure"])

    globalLogPublisher.addObserver(observe)
    yield failures
    globalLogPublisher.removeObserver(observe)
    assert failures == []
