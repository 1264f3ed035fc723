"""Suites that pytest runs: its reports, told to the recorder. Runs in a worker."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suitekit.jobs import Job
from suitekit.journal import Journal, Recorder
from suitekit.outcomes import ERRORED, EXPECTED_FAILURE, FAILED, PASSED, SKIPPED

# pytest loads every plugin that is installed. These change tests that know nothing of them: pytest-twisted installs a
# reactor, pytest-asyncio runs coroutines, rerunfailures runs what failed again.
FOR_SOME = ("asyncio", "twisted", "rerunfailures")


class Named:
    """A test as the recorder knows them."""

    def __init__(self, nodeid: str) -> None:
        self._nodeid = nodeid
        self.suite_module = nodeid.partition("::")[0]

    def id(self) -> str:
        return self._nodeid


class Reports:
    """A plugin of the outer pytest alone: those that tests start do not have it."""

    def __init__(self, job: Job, recorder: Recorder, wanted: Callable[[pytest.Item], bool]) -> None:
        self._job = job
        self._recorder = recorder
        self._wanted = wanted

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        kept = [item for item in items if self._job.wanted(item.nodeid) and self._wanted(item)]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._recorder.plan([Named(item.nodeid) for item in session.items])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._recorder.note(Named(report.nodeid), ERRORED, report.longreprtext)
        elif report.skipped:
            self._recorder.note(Named(report.nodeid), SKIPPED, reason(report))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._recorder.start(Named(nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = Named(report.nodeid)
        if report.failed:
            outcome = FAILED if report.when == "call" else ERRORED
            self._recorder.note(test, outcome, report.longreprtext)
        elif report.skipped:
            if hasattr(report, "wasxfail"):
                self._recorder.note(test, EXPECTED_FAILURE, str(report.wasxfail))
            else:
                self._recorder.note(test, SKIPPED, reason(report))
        elif report.when == "call":
            self._recorder.note(test, PASSED)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._recorder.stop(Named(nodeid))


def reason(report: Any) -> str:
    """Why something was skipped."""
    return str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)


def run(
    job: Job,
    journal: Journal,
    folder: Path,
    loops: dict[str, int],
    options: list[str],
    *plugins: object,
    wanted: Callable[[pytest.Item], bool] = lambda item: True,
    needs: tuple[str, ...] = (),
) -> None:
    """Run the job's files, which are below ``folder``, with pytest. Ends by SystemExit, as it does.

    ``needs``: which of ``FOR_SOME`` the suite is written for.
    """
    # The folder is shared, and may not be ours to write to.
    sys.dont_write_bytecode = True
    recorder = Recorder(journal, job.modules, loops)
    reports = Reports(job, recorder, wanted)
    # Short: paths of Unix sockets have 107 bytes.
    base = Path(job.journal).parent / "tmp" / "t"
    arguments = [f"--rootdir={folder}", f"--basetemp={base}", "-p", "no:cacheprovider", *options]
    for name in FOR_SOME:
        if name not in needs:
            arguments += ["-p", f"no:{name}"]
    files = [str(folder / module) for module in job.modules]
    sys.exit(int(pytest.main([*arguments, *files], plugins=[reports, *plugins])))
