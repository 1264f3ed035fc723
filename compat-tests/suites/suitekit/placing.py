"""Whether a suite's tests ran on what is the contestant's: what the loops, or connections, that each test made tell."""

from __future__ import annotations

import collections
from dataclasses import dataclass, field

from suitekit.outcomes import SKIPPED, Record

# A problem names this many tests at most.
MOST_NAMED = 5


@dataclass(frozen=True)
class Words:
    """What is counted, and whose its classes are if not the contestant's."""

    thing: str
    classes: str


LOOPS = Words("loop", "asyncio's own classes")
CONNECTIONS = Words("connection", "Twisted's own transports")


@dataclass
class Placing:
    """Where the tests of a suite ran whose loops, or connections, are replaced."""

    # Tests that made only loops of asyncio's own abstract classes, or of their own classes derived from these, by group;
    # likewise connections.
    apart: dict[str, list[str]] = field(default_factory=dict)
    # Why, for the groups that are listed.
    reasons: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def group_of(test: str) -> str:
    """A test's class, or its file where it has no class."""
    # pytest's parameters may have anything in them.
    bare = test.partition("[")[0]
    return bare.rpartition("::" if "::" in bare else ".")[0]


def _named(tests: list[str]) -> str:
    more = f" and {len(tests) - MOST_NAMED} more" if len(tests) > MOST_NAMED else ""
    return ", ".join(tests[:MOST_NAMED]) + more


def judge(
    ours: dict[str, Record],
    base: dict[str, Record],
    listed: dict[str, str],
    whole: bool,
    words: Words = LOOPS,
) -> Placing:
    """``listed``: the groups whose tests name stock's own classes, with reasons. ``whole``: all of the suite ran."""
    apart: dict[str, list[str]] = collections.defaultdict(list)
    missed = []
    without = []
    for test, record in sorted(ours.items()):
        if record.loops.get("missed"):
            missed.append(test)
        if record.loops.get("placed"):
            continue
        if record.loops.get("stock"):
            apart[group_of(test)].append(test)
        elif record.outcome != SKIPPED and test in base and base[test].loops:
            without.append(test)
    found = Placing(dict(apart), {name: listed[name] for name in apart if name in listed})
    if missed:
        found.problems.append(f"made stock's Unix loop beside ours: {_named(missed)}")
    if without:
        found.problems.append(
            f"made a {words.thing} on the base and none on ours: {_named(without)}"
        )
    for name in sorted(set(apart) - set(listed)):
        found.problems.append(
            f"not listed apart, but runs on {words.classes}: {name} ({_named(apart[name])})"
        )
    for name in sorted(set(listed) - set(apart)):
        if whole or any(group_of(test) == name for test in ours):
            found.problems.append(f"listed apart, but does not run on {words.classes}: {name}")
    return found
