"""Others' own suites, one test each: nothing fails on ours that passes on the stock implementation.

Each is also a command, for one module or one test: ``python compat-tests/suites/run.py twisted --module ...``. Those of
libraries take too long for every day, and need more to be installed, as does the rest of Twisted's: ``make suites`` runs all.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from suitekit.plans import on_twisted

RUN = Path(__file__).parent / "run.py"

# Seconds for a whole suite on both contestants; far more than it takes (see README.md), for slow machines.
LIMIT = 900


@pytest.mark.timeout(LIMIT + 120)
@pytest.mark.parametrize(
    ("suite", "modules"), [("twisted", on_twisted.EVERY_DAY), ("tornado", ()), ("cpython", ())]
)
def test_suite(suite, modules):
    command = [sys.executable, str(RUN), suite, f"--limit={LIMIT}", "--tracebacks"]
    command += [f"--module={name}" for name in modules]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            said, _ = process.communicate()
        finally:
            # SIGTERM lets it end its workers and take its folder away.
            process.terminate()
    print(said)
    assert process.returncode == 0, f"{suite}: see the report above"
