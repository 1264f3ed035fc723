"""Suites that trial runs: its results, told to the recorder. Runs in a worker."""

from __future__ import annotations

import sys
from typing import Any

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

# Seconds that trial, and ReactorBuilder's runReactor, give a test; Twisted's own default is 120. A loaded machine takes
# over 30 for test_manyProcesses on any reactor.
TEST_TIMEOUT = 60

# trial's own tests load reporters too.
REPORTER = "journal"


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


def shorten_patience() -> None:
    """To be called before a test module is imported: some read the default timeout then."""
    from twisted.trial import util

    util.DEFAULT_TIMEOUT_DURATION = TEST_TIMEOUT


def run(job: Job, journal: Journal, counts: dict[str, int], *options: str) -> None:
    """trial's own entry, on the reactor that is installed. Ends by SystemExit, as trial does."""
    shorten_patience()
    from twisted.scripts import trial

    recorder = Recorder(journal, job.modules, counts)
    load = trial._BasicOptions._loadReporterByName
    suite_of = trial._getSuite

    def loaded(self: Any, name: str) -> Any:
        return _reporter(recorder) if name == REPORTER else load(self, name)

    def filtered(config: Any) -> Any:
        suite = suite_of(config)
        # Only the outer run's: trial's own tests come here too.
        trial._getSuite = suite_of
        keep_only(suite, job.wanted)
        recorder.plan(flatten(suite))
        return suite

    trial._BasicOptions._loadReporterByName = loaded  # type: ignore[method-assign]
    trial._getSuite = filtered
    sys.argv = ["trial", "--temp-directory", "trial_temp", "--reporter", REPORTER]
    sys.argv += [*options, *job.modules]
    trial.run()
