"""What can become of a test, and the record that is kept of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

PASSED = "passed"
SKIPPED = "skipped"
EXPECTED_FAILURE = "expected-failure"
UNEXPECTED_SUCCESS = "unexpected-success"
FAILED = "failed"
ERRORED = "errored"
HUNG = "hung"
CRASHED = "crashed"
NOT_RUN = "not-run"

# From best to worst. A test may report more than once (a failing test whose clean-up errs, sub-tests, the same test
# loaded by two modules); the worst report is the one that is kept.
ORDER = (
    PASSED,
    SKIPPED,
    EXPECTED_FAILURE,
    UNEXPECTED_SUCCESS,
    FAILED,
    ERRORED,
    HUNG,
    CRASHED,
    NOT_RUN,
)

GOOD = frozenset({PASSED, EXPECTED_FAILURE})
BAD = frozenset({UNEXPECTED_SUCCESS, FAILED, ERRORED, HUNG, CRASHED, NOT_RUN})

HEAD = 1200
TAIL = 2800


def shorten(text: str) -> str:
    """A traceback's head and tail: where it came from, and what it says."""
    if len(text) <= HEAD + TAIL:
        return text
    return f"{text[:HEAD]}\n[... {len(text) - HEAD - TAIL} characters left out ...]\n{text[-TAIL:]}"


@dataclass
class Record:
    """One test's result on one contestant. ``seconds`` is wall-clock time."""

    outcome: str
    detail: str = ""
    seconds: float = 0.0
    module: str = ""
    # How many event loops the test made, by kind (see contestants.LOOPS_MADE).
    loops: dict[str, int] = field(default_factory=dict)

    def merge(self, other: Record) -> Record:
        worse = max(self, other, key=lambda record: ORDER.index(record.outcome))
        loops = {
            kind: self.loops.get(kind, 0) + other.loops.get(kind, 0)
            for kind in {*self.loops, *other.loops}
        }
        return Record(
            worse.outcome, worse.detail, self.seconds + other.seconds, worse.module, loops
        )

    @property
    def headline(self) -> str:
        """The last line that says something: of a traceback, the exception's."""
        lines = [line.strip() for line in self.detail.splitlines() if line.strip()]
        return lines[-1][:200] if lines else ""

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value not in ("", {})}


def add(records: dict[str, Record], test: str, record: Record) -> None:
    known = records.get(test)
    records[test] = record if known is None else known.merge(record)
