"""Two contestants' records, test by test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from suitekit.outcomes import BAD, GOOD, SKIPPED, Record, add

MISSING = "missing"


@dataclass(frozen=True)
class Difference:
    """A test that does not end the same on ours as on the base."""

    test: str
    ours: str
    base: str
    # The name it has on ours (or, if it is missing there, on the base): what --test takes.
    own_name: str
    headline: str
    detail: str


@dataclass
class Comparison:
    # Fails on ours (or is not there), passes on the base.
    regressions: list[Difference] = field(default_factory=list)
    # Fails on ours, is skipped on the base (or is not there): nothing to compare with, and still a failure.
    failing_alone: list[Difference] = field(default_factory=list)
    # Skipped on ours, ran on the base.
    skipped: list[Difference] = field(default_factory=list)
    # Fails on both, or on the base alone.
    both: list[Difference] = field(default_factory=list)
    base_only: list[Difference] = field(default_factory=list)
    # Of the first three: those that the list of expected ones names, with their reasons.
    expected: dict[str, str] = field(default_factory=dict)
    # Listed, but neither failing nor skipped on ours.
    needless: list[str] = field(default_factory=list)
    # Listed, but there is no such test.
    unknown: list[str] = field(default_factory=list)
    # Failed at first and passed whenever it was run again (see run.py); not counted as failing.
    unsteady: list[Difference] = field(default_factory=list)

    def failing(self) -> list[Difference]:
        """What makes the suite fail, but for needless and unknown entries."""
        return [*self.regressions, *self.failing_alone, *self.skipped]

    @property
    def good(self) -> bool:
        return not (self.failing() or self.needless or self.unknown)


def renamed(
    records: dict[str, Record], canonical: Callable[[str], str]
) -> tuple[dict[str, Record], dict[str, str]]:
    """Records by canonical name, and the contestant's own name for each."""
    by_name: dict[str, Record] = {}
    own: dict[str, str] = {}
    for name, record in records.items():
        add(by_name, canonical(name), record)
        own[canonical(name)] = name
    return by_name, own


def compare(
    ours: dict[str, Record],
    base: dict[str, Record],
    own_names: dict[str, str],
    expected: dict[str, str],
    whole: bool,
) -> Comparison:
    """``whole`` says that all of the suite was run, so that an entry without a test is one too many."""
    found = Comparison()
    for test in sorted({*ours, *base}):
        mine, other = ours.get(test), base.get(test)
        my_outcome = MISSING if mine is None else mine.outcome
        base_outcome = MISSING if other is None else other.outcome
        target = _list_for(found, my_outcome, base_outcome)
        if target is None:
            continue
        shown = mine if mine is not None and my_outcome not in GOOD else other
        assert shown is not None
        difference = Difference(
            test,
            my_outcome,
            base_outcome,
            own_names.get(test, test),
            shown.headline,
            shown.detail,
        )
        if test in expected and (target is not found.both and target is not found.base_only):
            found.expected[test] = expected[test]
        else:
            target.append(difference)
    for test in expected:
        if test in found.expected:
            continue
        if test in ours or test in base:
            if not any(difference.test == test for difference in found.both):
                found.needless.append(test)
        elif whole:
            found.unknown.append(test)
    return found


def _list_for(found: Comparison, ours: str, base: str) -> list[Difference] | None:
    if ours in BAD:
        if base in GOOD:
            return found.regressions
        return found.both if base in BAD else found.failing_alone
    if ours == MISSING:
        if base in GOOD:
            return found.regressions
        return None if base == SKIPPED else found.base_only
    if ours == SKIPPED:
        return found.skipped if base in GOOD or base in BAD else None
    return found.base_only if base in BAD else None
