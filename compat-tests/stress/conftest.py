"""The loop under load and in the situations in which others' loops were seen to fail.

Nothing here sleeps or asserts how long a thing took. A test that loses a wake-up, an event or a call hangs, and its time
limit ends it. What stock asyncio promises too runs on both loops; what only interloop promises says so.
"""

from __future__ import annotations

import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
if str(HERE) not in sys.path:  # for stress_support, whatever import mode pytest runs in
    sys.path.insert(0, str(HERE))

# Seconds, in place of the usual limit: a million calls take a while on a slow machine with one busy core.
STRESS_TIMEOUT = 240


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.filterwarnings("error"), append=False)
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(STRESS_TIMEOUT))


@pytest.fixture
def loop(new_loop):
    """A loop of the implementation under test, closed when the test is over."""
    return new_loop()


@pytest.fixture
def our_loop():
    """A loop of ours, for what only interloop promises."""
    import interloop

    loop = interloop.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def pair():
    """Two connected non-blocking sockets, closed when the test is over."""
    from stress_support import socket_pair

    one, other = socket_pair()
    yield one, other
    one.close()
    other.close()
