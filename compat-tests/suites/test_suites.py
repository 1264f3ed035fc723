"""Others' own suites, one test each: nothing fails on ours that passes on the stock implementation.

Each is also a command, for one module or one test: ``python compat-tests/suites/run.py twisted --module ...``. Those of
anyio and aiohttp take too long for every day, and need more to be installed: ``make suites`` runs all.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parent / "run.py"

# Seconds for a whole suite on both contestants; far more than it takes (see README.md), for slow machines.
LIMIT = 900


@pytest.mark.timeout(LIMIT + 120)
@pytest.mark.parametrize("suite", ["twisted", "tornado", "cpython"])
def test_suite(suite):
    command = [sys.executable, str(RUN), suite, f"--limit={LIMIT}", "--tracebacks"]
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
