"""The bridge on stock asyncio and on ours. Nothing may pass here that warned, or that logged an error in silence.

`asyncio_log` and `twisted_log` collect what either host reports. What a test does not `take` fails it: that is how a false
"exception was never retrieved" or "Unhandled error in Deferred" is caught, and how a true one is shown to be still there.
"""

from __future__ import annotations

import gc
import logging
import pathlib
import sys

import pytest
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure

HERE = pathlib.Path(__file__).resolve().parent
if str(HERE) not in sys.path:  # for bridge_support, whatever import mode pytest runs in
    sys.path.insert(0, str(HERE))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("error"), append=False)


class AsyncioLog(logging.Handler):
    """The warnings and errors asyncio logged in this test."""

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


class TwistedLog:
    """The failures Twisted logged in this test."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def __call__(self, event) -> None:
        if event["log_level"] >= LogLevel.error and "log_failure" in event:
            self.failures.append(event["log_failure"])

    def take(self, kind: type[BaseException]) -> Failure:
        """Removes and returns the first failure of the kind."""
        for failure in self.failures:
            if isinstance(failure.value, kind):
                self.failures.remove(failure)
                return failure
        raise AssertionError(f"Twisted logged no {kind.__name__}, but {self.failures}")


@pytest.fixture(autouse=True)
def asyncio_log():
    handler = AsyncioLog()
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    yield handler
    gc.collect()  # what only cycles hold must complain now, and here
    logger.removeHandler(handler)
    assert handler.texts() == []


@pytest.fixture(autouse=True)
def twisted_log():
    observer = TwistedLog()
    globalLogPublisher.addObserver(observer)
    yield observer
    gc.collect()
    globalLogPublisher.removeObserver(observer)
    assert observer.failures == []


@pytest.fixture
def no_gc():
    """Without the cycle collector: what is gone in such a test was held by no cycle."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def awaiting():
    """Each side awaits the other's without a wrapper, as after `interloop.twisted.install()`."""
    from interloop.twisted import awaiting

    awaiting.enable()
    yield
    awaiting.disable()
