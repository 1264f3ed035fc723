"""What a run says: a text for people, all results as JSON, and the exit code."""

from __future__ import annotations

import argparse
import collections
import json
import platform
import re
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from suitekit.compare import Comparison, Difference
from suitekit.outcomes import BAD, ERRORED, GOOD, NOT_RUN, ORDER, SKIPPED
from suitekit.placing import LOOPS, Placing, Words
from suitekit.supervisor import Outcome

# More tests that were not run than these are only counted.
MOST_UNRUN = 10

IMPORT_ERROR = re.compile(r"(ModuleNotFoundError|ImportError):")

VERSIONS_OF = ("Twisted", "tornado", "anyio", "aiohttp", "pyOpenSSL", "uvloop", "interloop")


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in VERSIONS_OF:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def counts(outcome: Outcome) -> dict[str, int]:
    counted = collections.Counter(record.outcome for record in outcome.records.values())
    return {name: counted[name] for name in ORDER if counted[name]}


def on_loops(outcome: Outcome, words: Words) -> dict[str, int]:
    """How many tests made a loop (or connection) of the contestant's, only ones of stock's own classes, or none."""
    kinds: collections.Counter[str] = collections.Counter()
    for record in outcome.records.values():
        if record.loops.get("placed"):
            kinds[f"on the contestant's {words.thing}"] += 1
        elif record.loops.get("stock"):
            kinds[f"only on {words.classes}"] += 1
        else:
            kinds[f"without a {words.thing}"] += 1
    return dict(kinds)


@dataclass
class Summary:
    """All that is known at a run's end."""

    run: Any
    how: str
    outcomes: dict[str, Outcome]
    found: Comparison
    placed: Placing
    # Processes that outlived their workers, by id; they were ended.
    orphans: dict[int, str]
    seconds: float

    def problems(self) -> list[str]:
        """Why the run is not good whatever the comparison says."""
        found = [*doubts(self.run, self.outcomes), *self.placed.problems]
        for name, outcome in self.outcomes.items():
            if outcome.troubles:
                found.append(f"{name}: {len(outcome.troubles)} workers failed outside of any test")
        return found

    def as_json(self) -> dict[str, Any]:
        problems = self.problems()
        return {
            "suite": self.run.plan.NAME,
            "good": self.found.good and not problems,
            "problems": problems,
            "seconds": round(self.seconds, 1),
            "versions": versions(),
            "user": self.how,
            "modules": self.run.modules,
            "ours": self.run.ours,
            "base": self.run.base,
            "comparison": asdict(self.found),
            "apart": self.placed.apart,
            "left_running": self.orphans,
            "contestants": {
                name: {
                    "seconds": round(outcome.seconds, 1),
                    "counts": counts(outcome),
                    "loops": on_loops(outcome, self.run.plan.PLACED or LOOPS),
                    "info": outcome.infos,
                    "exit_codes": outcome.codes,
                    "troubles": outcome.troubles,
                    "tests": {
                        test: record.as_json() for test, record in sorted(outcome.records.items())
                    },
                }
                for name, outcome in self.outcomes.items()
            },
        }


def doubts(run: Any, outcomes: dict[str, Outcome]) -> list[str]:
    """Reasons not to believe the comparison."""
    found = []
    for name, outcome in outcomes.items():
        if not any(record.outcome in GOOD for record in outcome.records.values()):
            found.append(f"no test passed on {name}")
        if not outcome.infos:
            found.append(f"nothing says what {name}'s workers ran on")
        found += [f"not to be imported on {name}: {line}" for line in not_loaded(outcome)]
        for info in outcome.infos:
            found += [f"{name}: {doubt}" for doubt in run.plan.doubts(name, info)]
    ours, base = outcomes[run.ours], outcomes[run.base]
    # A suite's own entry also judges what no single test does (Tornado's: anything logged, or written to stderr).
    if any(ours.codes) and not any(base.codes):
        if not any(record.outcome in BAD for record in ours.records.values()):
            found.append(
                f"no test fails, but the suite's own entry ended with {ours.codes} on {run.ours}"
            )
    return found


def not_loaded(outcome: Outcome) -> list[str]:
    """What could not even be imported: missing tools make both contestants fail alike, and prove nothing."""
    return sorted(
        f"{test}: {record.headline}"
        for test, record in outcome.records.items()
        if record.outcome == ERRORED and IMPORT_ERROR.match(record.headline)
    )


def skip_reasons(outcome: Outcome) -> list[tuple[str, int]]:
    reasons = collections.Counter(
        " ".join(record.detail.split())
        for record in outcome.records.values()
        if record.outcome == SKIPPED
    )
    return reasons.most_common()


class Printer:
    def __init__(self, out: TextIO, tracebacks: bool) -> None:
        self._out = out
        self.tracebacks = tracebacks

    def line(self, text: str = "") -> None:
        print(text, file=self._out)

    def differences(self, title: str, differences: list[Difference]) -> None:
        if not differences:
            return
        self.line(f"\n{title}: {len(differences)}")
        unrun = [each for each in differences if NOT_RUN in (each.ours, each.base)]
        if len(unrun) > MOST_UNRUN:
            self.line(f"  {len(unrun)} that were not run (see the JSON)")
            differences = [each for each in differences if each not in unrun]
        for each in differences:
            self.line(f"  {each.test}\n      {each.ours} / {each.base}: {each.headline}")
            if self.tracebacks:
                for line in each.detail.splitlines():
                    self.line(f"      | {line}")

    def trouble(self, contestant: str, told: str) -> None:
        first, *more = told.strip().splitlines()
        self.line(f"  {contestant}, OUTSIDE OF ANY TEST: {first}")
        for line in more if self.tracebacks else more[-3:]:
            self.line(f"      | {line}")

    def names(self, title: str, names: list[str]) -> None:
        if not names:
            return
        self.line(f"\n{title}: {len(names)}")
        for name in names:
            self.line(f"  {name}")


def text(summary: Summary, printer: Printer) -> None:
    run, found = summary.run, summary.found
    words = run.plan.PLACED or LOOPS
    shown = ", ".join(f"{name} {version}" for name, version in versions().items())
    printer.line(f"{run.plan.NAME}: {run.ours} against {run.base} ({shown}; as {summary.how})")
    for name, outcome in summary.outcomes.items():
        told = ", ".join(f"{count} {kind}" for kind, count in counts(outcome).items())
        printer.line(f"  {name}: {told}; {outcome.seconds:.0f} s")
        if any(record.loops for record in outcome.records.values()):
            told = ", ".join(f"{count} {kind}" for kind, count in on_loops(outcome, words).items())
            printer.line(f"      {told}")
        for trouble in outcome.troubles:
            printer.trouble(name, trouble)
    ours, base = run.ours, run.base
    printer.differences(f"FAIL on {ours}, pass on {base}", found.regressions)
    printer.differences(f"FAIL on {ours}, do not run on {base}", found.failing_alone)
    printer.differences(f"SKIPPED on {ours}, ran on {base}", found.skipped)
    printer.differences(
        f"UNSTEADY: failed on {ours}, passed each time when run again", found.unsteady
    )
    printer.differences("fail on both", found.both)
    printer.differences(f"fail on {base} only", found.base_only)
    reasons = skip_reasons(summary.outcomes[base])
    printer.names(f"skipped on {base}", [f"{count} x {text[:150]}" for text, count in reasons])
    printer.names(
        f"run on {words.classes} on both, listed apart",
        [
            f"{name}, {len(tests)}: {summary.placed.reasons.get(name, 'NOT LISTED')}"
            for name, tests in summary.placed.apart.items()
        ],
    )
    printer.names(
        f"expected to fail on {ours}", [f"{test}: {why}" for test, why in found.expected.items()]
    )
    printer.names("LISTED as expected to fail, but does not", found.needless)
    printer.names("LISTED as expected to fail, but is no test of this run", found.unknown)
    printer.names(
        "left running by the suite, ended now",
        [f"{pid}: {command}" for pid, command in summary.orphans.items()],
    )
    printer.names("DOUBTS", summary.problems())
    printer.line(f"\n{summary.seconds:.0f} s in all")


def tell(options: argparse.Namespace, summary: Summary) -> dict[str, Any]:
    """Print the text for people; returns the results as they go into the JSON."""
    printer = Printer(sys.stderr if options.json == "-" else sys.stdout, options.tracebacks)
    text(summary, printer)
    whole = summary.as_json()
    printer.line("good\n" if whole["good"] else "NOT GOOD\n")
    return whole


def save(options: argparse.Namespace, results: dict[str, dict[str, Any]]) -> None:
    """Write the JSON where it was asked for: one suite's results, or those of several by name."""
    if not options.json:
        return
    single = list(results.values())
    written = json.dumps(single[0] if len(single) == 1 else results, indent=1)
    if options.json == "-":
        print(written)
    else:
        Path(options.json).write_text(written + "\n")
