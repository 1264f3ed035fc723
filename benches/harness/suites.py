"""Finding suites: every `suites/*.py` without a leading underscore defines `SUITE`."""

from __future__ import annotations

import fnmatch
import importlib
import subprocess

from harness.model import BENCHES, Case, Contestant, Settings, Suite


def load_all() -> list[Suite]:
    names = sorted(path.stem for path in (BENCHES / "suites").glob("*.py"))
    suites = [
        importlib.import_module(f"suites.{name}").SUITE
        for name in names
        if not name.startswith("_")
    ]
    if len({suite.name for suite in suites}) != len(suites):
        raise ValueError("two suites have the same name")
    return suites


def select(
    suites: list[Suite], only: list[str], quick: bool, everything: bool
) -> list[tuple[Suite, list[Case]]]:
    """Suites with the cases to run. `only` holds patterns of `SUITE` or `SUITE/CASE`.

    ValueError for a pattern that selects nothing: a misspelt name must not look like a good run.
    """
    selected = []
    used = set()
    for suite in suites:
        cases = []
        for case in suite.cases:
            hits = {
                pattern
                for pattern in only
                if fnmatch.fnmatchcase(suite.name, pattern)
                or fnmatch.fnmatchcase(f"{suite.name}/{case.name}", pattern)
            }
            used |= hits
            if (hits if only else suite.by_default or everything) and (case.quick or not quick):
                cases.append(case)
        if cases:
            selected.append((suite, cases))
    if unknown := sorted(set(only) - used):
        raise ValueError(f"no suite and no case is called {', '.join(unknown)}")
    return selected


def missing(contestant: Contestant, settings: Settings) -> str:
    """Why the contestant cannot run here, in one line; empty if it can."""
    if not contestant.probe:
        return ""
    probe = subprocess.run(
        [settings.python, "-c", contestant.probe], capture_output=True, text=True, check=False
    )
    if probe.returncode == 0:
        return ""
    lines = probe.stderr.strip().splitlines()
    return lines[-1] if lines else f"probe ended with status {probe.returncode}"
