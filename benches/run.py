#!/usr/bin/env python3
"""Run the benchmarks: `python benches/run.py --help`. How to read the figures: README.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import report, suites
from harness.model import BENCHES, LOAD_BINARY, Settings, Suite
from harness.rounds import run_case

VERSIONS = """
import importlib.metadata as m, json
names = ("interloop", "uvloop", "twisted", "tornado")
found = {}
for name in names:
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="SUITE[/CASE]",
        help="run only these; shell patterns; may be repeated",
    )
    parser.add_argument("--all", action="store_true", help="also suites that run only when named")
    parser.add_argument(
        "--contestants", metavar="A,B", help="only these (references are always measured)"
    )
    parser.add_argument("--base", help="whom ratios are shown against (default: the suite's own)")
    parser.add_argument("--rounds", type=int, default=9, help="default: %(default)s")
    parser.add_argument("--slices", type=int, default=60, help="per round; default: %(default)s")
    parser.add_argument(
        "--slice-seconds", type=float, default=0.01, metavar="S", help="default: %(default)s"
    )
    parser.add_argument("--warmup", type=float, default=0.15, metavar="S", help="per server")
    parser.add_argument(
        "--malloc",
        choices=("default", "tuned"),
        default="default",
        help="tuned: glibc keeps freed blocks instead of giving them back to the kernel",
    )
    parser.add_argument("--spin", action="store_true", help="a client that never sleeps")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the contestants")
    parser.add_argument("--no-pin", action="store_true", help="let the kernel choose the cores")
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="server and load go before all ordinary processes (needs the privilege): for a "
        "machine that has other work to do; --rest leaves it time for that",
    )
    parser.add_argument(
        "--rest", type=float, default=0.0, metavar="S", help="pause after all had a slice"
    )
    parser.add_argument("--quick", action="store_true", help="one short round of a few cases")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    parser.add_argument("--list", action="store_true", help="print suites and cases, and end")
    parser.add_argument(
        "--strict", action="store_true", help="end with status 3 if a target is missed"
    )
    return parser.parse_args()


def settings_of(options: argparse.Namespace) -> Settings:
    cores = sorted(os.sched_getaffinity(0))
    pin = len(cores) > 1 and not options.no_pin
    return Settings(
        python=options.python,
        # Interrupts tend to land on the first core: the load takes those.
        server_core=cores[-1] if pin else None,
        load_core=cores[0] if pin else None,
        realtime=options.realtime,
        rest=options.rest,
        slices=2 if options.quick else options.slices,
        slice_seconds=0.01 if options.quick else options.slice_seconds,
        warmup=0.02 if options.quick else options.warmup,
        spin=options.spin,
        malloc=options.malloc,
        quick=options.quick,
    )


def build_load() -> None:
    """Build the load generator; cargo does nothing if it is up to date."""
    cargo = shutil.which("cargo")
    if cargo is None:
        raise SystemExit("run.py: the load generator needs a Rust toolchain (cargo) to be built")
    # Not into the target directory of whoever calls us: the path of the binary must be known.
    target = {"CARGO_TARGET_DIR": str(LOAD_BINARY.parent.parent)}
    command = [cargo, "build", "--release", "--locked", "--quiet"]
    done = subprocess.run(command, cwd=BENCHES / "load", env={**os.environ, **target}, check=False)
    if done.returncode != 0:
        raise SystemExit(f"run.py: {' '.join(command)} failed")


def describe_environment(settings: Settings) -> dict[str, str]:
    version = "import platform; print(platform.python_implementation(), platform.python_version())"
    python = subprocess.check_output([settings.python, "-c", version], text=True).strip()
    found = {"python": python}
    found |= json.loads(subprocess.check_output([settings.python, "-c", VERSIONS], text=True))
    found["kernel"] = platform.release()
    with open("/proc/cpuinfo") as lines:
        models = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    found["cpu"] = f"{os.cpu_count()} × {', '.join(sorted(models)) or platform.machine()}"
    return found


def progress(text: str) -> None:
    """What is being measured, on one line of a terminal that the next one replaces."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def run_suite(
    suite: Suite,
    cases: list[Any],
    options: argparse.Namespace,
    settings: Settings,
    left_out: dict[str, str],
) -> dict[str, Any]:
    named = options.contestants.split(",") if options.contestants else None
    contestants = [
        contestant
        for contestant in suite.contestants
        if contestant.name not in left_out
        and (named is None or contestant.name in named or contestant.reference)
    ]
    base = options.base or suite.base
    rounds = 1 if options.quick else max(1, round(options.rounds * suite.rounds_factor))
    groups = []
    if contestants:
        for case in cases:
            began = time.monotonic()
            outcome = run_case(case, contestants, settings, rounds, progress)
            progress("")
            took = time.monotonic() - began
            print(f"{suite.name}/{case.name}: {took:.0f} s", file=sys.stderr, flush=True)
            groups.append((outcome, report.case_figures(suite, base, outcome)))
    overall = report.overall_figures(suite, base, [outcome for outcome, _ in groups])
    if groups:
        print(f"\n{report.table(suite.title, base, groups, overall)}", flush=True)
    for contestant in report.left_out_of(suite, left_out):
        print(f"LEFT OUT {contestant.name}: {left_out[contestant.name]}", flush=True)
    return {
        "suite": suite.name,
        "base": base,
        "rounds": rounds,
        "contestants": [contestant.name for contestant in contestants],
        "left_out": {c.name: left_out[c.name] for c in report.left_out_of(suite, left_out)},
        "verdicts": report.targets_summary(groups, overall),
        "overall": overall,
        "cases": [
            {
                "case": outcome.case.name,
                "figures": rows,
                "errors": outcome.errors,
                "disturbed_slices": outcome.disturbed,
            }
            for outcome, rows in groups
        ],
    }


def main() -> int:
    options = parse_arguments()
    every = suites.load_all()
    if options.list:
        for suite in every:
            note = "" if suite.by_default else "   (only when named, or with --all)"
            print(f"{suite.name}: {suite.title}{note}")
            for case in suite.cases:
                print(f"    {suite.name}/{case.name}")
        return 0
    if not sys.platform.startswith("linux"):
        raise SystemExit("run.py: the benchmarks need Linux (epoll, /proc, processor affinity)")
    try:
        selected = suites.select(every, options.only, options.quick, options.all)
    except ValueError as error:
        raise SystemExit(f"run.py: {error}") from error

    names = {contestant.name for suite in every for contestant in suite.contestants}
    for name in [*(options.contestants or "").split(","), options.base or ""]:
        if name and name not in names:
            raise SystemExit(f"run.py: no contestant is called {name}; there are {sorted(names)}")

    settings = settings_of(options)
    build_load()
    left_out = {}
    for contestant in {c.name: c for suite, _ in selected for c in suite.contestants}.values():
        if reason := suites.missing(contestant, settings):
            left_out[contestant.name] = reason
    environment = describe_environment(settings)
    print(report.heading(settings, environment, left_out), flush=True)

    began = time.monotonic()
    results = [run_suite(suite, cases, options, settings, left_out) for suite, cases in selected]
    failed = sum(len(case["errors"]) for result in results for case in result["cases"])
    verdicts: dict[str, int] = {}
    for result in results:
        for word, count in result["verdicts"].items():
            verdicts[word] = verdicts.get(word, 0) + count
    told = ", ".join(f"{count} {word}" for word, count in sorted(verdicts.items())) or "none judged"
    print(f"\ntargets: {told}; failures: {failed}; {time.monotonic() - began:.0f} s")
    if options.json is not None:
        document = {
            "environment": environment,
            "settings": {name: getattr(settings, name) for name in settings.__dataclass_fields__},
            "left_out": left_out,
            "suites": results,
        }
        options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    if failed:
        return 1
    return 3 if options.strict and verdicts.get("missed") else 0


if __name__ == "__main__":
    sys.exit(main())
