"""Runs another project's own test suite on ours and on the stock implementation, and compares test by test.

    python compat-tests/suites/run.py [SUITE ...] [--module NAME ...] [--json [FILE]]

Ends with 0 if nothing fails (or is skipped) on ours that passes on the base, but for what suites/expected/ lists, and
with 1 otherwise. Runs as an ordinary user, also if started as root, in a folder of its own that is gone afterwards.
"""

from __future__ import annotations

import argparse
import functools
import signal
import sys
import time
from pathlib import Path
from typing import Any

from suitekit import compare, expected, ordinary_user, placing, plans, report
from suitekit.outcomes import CRASHED, GOOD, Record, add
from suitekit.supervisor import (
    Limits,
    Outcome,
    Supervisor,
    adopt_orphans,
    orphans_ended,
    scratch_folder,
)

EXPECTED = Path(__file__).parent / "expected"

# With more failures than this nothing is run again: it is no matter of chance.
MOST_AGAIN = 40


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run.py", description=__doc__.split("\n")[0], allow_abbrev=False
    )
    parser.add_argument(
        "suite",
        nargs="*",
        default=list(plans.NAMES),
        help=f"of {', '.join(plans.NAMES)} (default: all)",
    )
    parser.add_argument(
        "--module", action="append", default=[], help="a module of the suite (default: all)"
    )
    parser.add_argument(
        "--test", action="append", default=[], help="a test's id, as it is named on ours"
    )
    parser.add_argument("--ours", help="the contestant to judge (default: interloop)")
    parser.add_argument("--base", help="what it is compared with (default: the stock one)")
    parser.add_argument(
        "--json", nargs="?", const="-", help="write all results here (alone: to standard output)"
    )
    parser.add_argument("--jobs", type=int, default=2, help="workers at a time (default: 2)")
    parser.add_argument(
        "--stock-reactors",
        action="store_true",
        help="twisted: keep ReactorBuilder's own reactors beside the one under test (slow)",
    )
    parser.add_argument("--stall", type=float, help="seconds after which a silent test has hung")
    parser.add_argument("--module-limit", type=float, help="seconds for one module")
    parser.add_argument(
        "--limit", type=float, default=3600, help="seconds for a whole suite (default: 3600)"
    )
    parser.add_argument(
        "--expected", type=Path, help="the list of tests expected to fail (default: in expected/)"
    )
    parser.add_argument(
        "--again",
        type=int,
        default=3,
        help="how often to run the modules of failing tests again (default: 3)",
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder the suite ran in")
    parser.add_argument("--tracebacks", action="store_true", help="print them for each failure")
    options = parser.parse_args(arguments)
    for name in options.suite:
        if name not in (*plans.NAMES, "selftest"):
            parser.error(f"no suite is known by the name of {name!r}")
    if len(options.suite) != 1 and (options.module or options.test or options.expected):
        parser.error("--module, --test and --expected are for a single suite")
    return options


def merged(outcomes: list[Outcome]) -> Outcome:
    whole = Outcome()
    for outcome in outcomes:
        for test, record in outcome.records.items():
            add(whole.records, test, record)
        whole.infos += outcome.infos
        whole.seconds += outcome.seconds
        whole.codes += outcome.codes
        whole.troubles += outcome.troubles
    return whole


class Run:
    """One suite on two contestants."""

    def __init__(self, plan: Any, options: argparse.Namespace, supervisor: Supervisor) -> None:
        self.plan = plan
        self.options = options
        self.supervisor = supervisor
        self.ours = options.ours or self.plan.OURS
        self.base = options.base or self.plan.BASE
        self.modules = options.module or self.plan.modules()
        self.version = f"{sys.version_info.major}.{sys.version_info.minor}"

    def on(
        self, contestants: tuple[str, ...], modules: list[str], only: dict[str, list[str]]
    ) -> dict[str, Outcome]:
        """``only``: own names by contestant; an empty list stands for all tests."""
        work = [
            (contestant, batch)
            for batch in plans.batches(self.plan, modules)
            for contestant in contestants
        ]
        done = self.supervisor.in_parallel(
            self.options.jobs,
            [
                functools.partial(
                    self.supervisor.run, self.plan.NAME, contestant, batch, only[contestant]
                )
                for contestant, batch in work
            ],
        )
        return {
            name: merged(
                [outcome for (whose, _), outcome in zip(work, done, strict=True) if whose == name]
            )
            for name in contestants
        }

    def named(
        self, contestant: str, records: dict[str, Record]
    ) -> tuple[dict[str, Record], dict[str, str]]:
        return compare.renamed(records, lambda test: plans.canonical(self.plan, test, contestant))

    def compared(self, outcomes: dict[str, Outcome], entries: dict[str, str]) -> compare.Comparison:
        ours, own = self.named(self.ours, outcomes[self.ours].records)
        base, base_own = self.named(self.base, outcomes[self.base].records)
        whole = not self.options.module and not self.options.test
        return compare.compare(ours, base, {**base_own, **own}, entries, whole)

    def placed(self, outcomes: dict[str, Outcome], listed: dict[str, str]) -> placing.Placing:
        """Whether ours were the loops, or the connections, that ours ran on."""
        if self.plan.PLACED is None or self.ours == self.base:
            return placing.Placing()
        whole = not self.options.module and not self.options.test
        ours, _ = self.named(self.ours, outcomes[self.ours].records)
        base, _ = self.named(self.base, outcomes[self.base].records)
        return placing.judge(ours, base, listed, whole, self.plan.PLACED)

    def again(self, outcomes: dict[str, Outcome], found: compare.Comparison) -> None:
        """Run the modules of what failed on ours alone once more: chance (a loaded machine) is told from cause.

        Only a test that then passes every time is moved to the unsteady ones, which are reported too. First its whole
        module, then all that one process ran the first time: a test may fail by what an earlier one left behind. A
        process that died did not die by chance.
        """
        suspects = {
            difference.test: difference
            for difference in found.regressions
            if difference.ours != CRASHED
        }
        records, _ = self.named(self.ours, outcomes[self.ours].records)
        modules = sorted({records[test].module for test in suspects if test in records})
        if not modules or not self.options.again or len(suspects) > MOST_AGAIN:
            return
        steady = set(suspects)
        for selected in [modules] * self.options.again + [self.company(modules)]:
            more = self.on((self.ours,), selected, {self.ours: []})
            records, _ = self.named(self.ours, more[self.ours].records)
            steady = {test for test in steady if test in records and records[test].outcome in GOOD}
            if not steady:
                return
        found.unsteady = [suspects[test] for test in sorted(steady)]
        found.regressions = [each for each in found.regressions if each.test not in steady]

    def company(self, modules: list[str]) -> list[str]:
        """Everything that ran in the same processes as ``modules``."""
        return [
            name
            for batch in plans.batches(self.plan, self.modules)
            if any(
                each == name or each.startswith(f"{name}.") for name in batch for each in modules
            )
            for name in batch
        ]


def run_suite(name: str, options: argparse.Namespace) -> report.Summary:
    plan = plans.load(name)
    plan.prepare()
    began = time.monotonic()
    limits = Limits(
        options.stall or plan.STALL,
        options.module_limit or plan.MODULE_LIMIT,
        began + options.limit,
    )
    with scratch_folder(options.keep) as scratch, orphans_ended() as orphans:
        user = ordinary_user.find(scratch)
        supervisor = Supervisor(
            scratch, user, limits, {"stock_reactors": "yes"} if options.stock_reactors else {}
        )
        run = Run(plan, options, supervisor)
        where = options.expected or EXPECTED / f"{name}.txt"
        entries = (
            expected.load(where, run.version) if run.ours == plan.OURS or options.expected else {}
        )
        only = {
            each: [
                plans.own_name(plan, plans.canonical(plan, test, run.ours), each)
                for test in options.test
            ]
            for each in (run.ours, run.base)
        }
        outcomes = run.on((run.ours, run.base), run.modules, only)
        found = run.compared(outcomes, entries)
        run.again(outcomes, found)
        placed = run.placed(outcomes, expected.load(EXPECTED / f"{name}-apart.txt", run.version))
    return report.Summary(run, user.how, outcomes, found, placed, orphans, time.monotonic() - began)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(f"ended by signal {number}"))
    results = {}
    for name in options.suite:
        summary = run_suite(name, options)
        results[name] = report.tell(options, summary)
    report.save(options, results)
    return 0 if all(result["good"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
