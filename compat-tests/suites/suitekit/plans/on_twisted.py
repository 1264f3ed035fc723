"""Twisted's own suite under trial, with the reactor under test as the global one and in ReactorBuilder's list."""

from __future__ import annotations

import sys
from typing import Any

from suitekit import plans
from suitekit.jobs import Job
from suitekit.journal import Journal, Recorder, flatten, keep_only, text_of
from suitekit.outcomes import (
    ERRORED,
    EXPECTED_FAILURE,
    FAILED,
    PASSED,
    SKIPPED,
    UNEXPECTED_SUCCESS,
)

NAME = "twisted"
BASE = "epoll"
OURS = "interloop"
PLACED = False

# Seconds that trial, and ReactorBuilder's runReactor, give a test; Twisted's own default is 120. A loaded machine takes
# over 30 for test_manyProcesses on any reactor.
TEST_TIMEOUT = 60
# ReactorBuilder's clean-up waits for another 60.
STALL = 150.0
MODULE_LIMIT = 400.0

# Per contestant: the module whose install() makes the global reactor, and the reactor's dotted name as ReactorBuilder's
# list has it. asyncioreactor's is Twisted's own alias there: a new asyncio loop for each reactor.
CONTESTANTS = {
    "interloop": ("interloop.twisted", "interloop.twisted.Reactor"),
    "epoll": ("twisted.internet.epollreactor", "twisted.internet.epollreactor.EPollReactor"),
    "asyncio": (
        "twisted.internet.asyncioreactor",
        "twisted.internet.test.reactormixins.AsyncioSelectorReactor",
    ),
    "uvloop": (
        "twisted.internet.asyncioreactor",
        "twisted.internet.test.reactormixins.AsyncioSelectorReactor",
    ),
    "select": ("twisted.internet.selectreactor", "twisted.internet.selectreactor.SelectReactor"),
    "poll": ("twisted.internet.pollreactor", "twisted.internet.pollreactor.PollReactor"),
}

# The global reactor's package must be this; where two contestants share it, the asyncio loop tells them apart.
LOOP_OF = {"interloop": "interloop", "asyncio": "asyncio", "uvloop": "uvloop"}

# trial's names for what issue 2 demands. test_internet to test_protocols are modules of twisted.test.
PACKAGE = "twisted.internet.test"
MODULES = (
    "twisted.test.test_internet",
    "twisted.test.test_tcp",
    "twisted.test.test_udp",
    "twisted.test.test_process",
    "twisted.test.test_ssl",
    "twisted.test.test_protocols",
)


def prepare() -> None:
    plans.require(PACKAGE, "pip install -r compat-tests/requirements.txt")


def modules() -> list[str]:
    return [PACKAGE, *MODULES]


def batches(selected: list[str]) -> list[list[str]]:
    """All in one process, as a trial user runs them."""
    return [selected]


def canonical(test: str, contestant: str) -> str:
    """FooTests_EPollReactorTests.test_bar and FooTests_ReactorTests.test_bar are the same test."""
    reactor = CONTESTANTS[contestant][1].rpartition(".")[2]
    head, dot, method = test.rpartition(".")
    suffix = f"_{reactor}Tests"
    if head.endswith(suffix):
        return f"{head.removesuffix(suffix)}_<reactor>{dot}{method}"
    return test


def own_name(test: str, contestant: str) -> str:
    return test.replace("<reactor>", CONTESTANTS[contestant][1].rpartition(".")[2] + "Tests")


def doubts(contestant: str, info: dict[str, Any]) -> list[str]:
    wanted = CONTESTANTS[contestant][0].partition(".")[0]
    found = []
    if info["reactor"].partition(".")[0] != wanted:
        found.append(f"the global reactor is {info['reactor']}")
    if info["loop"].partition(".")[0] != LOOP_OF.get(contestant, ""):
        found.append(f"its asyncio loop is {info['loop']}")
    if CONTESTANTS[contestant][1] not in info["builder"]:
        found.append(f"ReactorBuilder has {info['builder']}")
    return found


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _install(contestant: str) -> dict[str, Any]:
    """Make the contestant's the global reactor; returns what it is, and what loop it is on."""
    from importlib import import_module

    if contestant == "uvloop":
        from suitekit.contestants import place_in_policy

        place_in_policy("uvloop")
    import_module(CONTESTANTS[contestant][0]).install()
    from twisted.internet import reactor

    loop = getattr(reactor, "_asyncioEventloop", None)
    return {
        "reactor": _qualified(type(reactor)),
        "loop": "" if loop is None else _qualified(type(loop)),
    }


def _extend_builder(contestant: str, keep_stock: bool) -> list[str]:
    """ReactorBuilder's list, before any test module makes classes from it: ours alone, or ours too."""
    from twisted.trial import util

    # Read by reactormixins at import.
    util.DEFAULT_TIMEOUT_DURATION = TEST_TIMEOUT
    from twisted.internet.test.reactormixins import ReactorBuilder

    ours = CONTESTANTS[contestant][1]
    stock = ReactorBuilder._reactors if keep_stock else []
    ReactorBuilder._reactors = [*(name for name in stock if name != ours), ours]
    return ReactorBuilder._reactors


def _reporter(recorder: Recorder) -> Any:
    from twisted.trial import reporter

    class JournalReporter(reporter.Reporter):
        """trial's plain reporter, telling the recorder too."""

        def startTest(self, test: Any) -> None:
            recorder.start(test)
            super().startTest(test)

        def stopTest(self, test: Any) -> None:
            super().stopTest(test)
            recorder.stop(test)

        def addSuccess(self, test: Any) -> None:
            recorder.note(test, PASSED)
            super().addSuccess(test)

        def addError(self, test: Any, error: Any) -> None:
            recorder.note(test, ERRORED, text_of(error))
            super().addError(test, error)

        def addFailure(self, test: Any, error: Any) -> None:
            recorder.note(test, FAILED, text_of(error))
            super().addFailure(test, error)

        def addSkip(self, test: Any, reason: Any) -> None:
            recorder.note(test, SKIPPED, str(reason))
            super().addSkip(test, reason)

        def addExpectedFailure(self, test: Any, error: Any, todo: Any = None) -> None:
            recorder.note(test, EXPECTED_FAILURE, str(getattr(todo, "reason", "")))
            super().addExpectedFailure(test, error, todo)

        def addUnexpectedSuccess(self, test: Any, todo: Any = None) -> None:
            recorder.note(test, UNEXPECTED_SUCCESS, str(getattr(todo, "reason", "")))
            super().addUnexpectedSuccess(test, todo)

    return JournalReporter


def run(job: Job, journal: Journal) -> None:
    """Install, extend, then trial's own entry. Ends by SystemExit, as trial does."""
    installed = _install(job.contestant)
    reactors = _extend_builder(
        job.contestant, keep_stock=job.options.get("stock_reactors") == "yes"
    )
    journal.write("info", **installed, builder=reactors)

    from twisted.scripts import trial

    recorder = Recorder(journal, job.modules, {})
    trial._BasicOptions._loadReporterByName = lambda self, name: _reporter(recorder)  # type: ignore[method-assign]
    original = trial._getSuite

    def filtered(config: Any) -> Any:
        suite = original(config)
        keep_only(suite, job.wanted)
        recorder.plan(flatten(suite))
        return suite

    trial._getSuite = filtered
    sys.argv = ["trial", "--temp-directory", "trial_temp", *job.modules]
    trial.run()
