"""The contestant's loop in the Python programs that a suite starts: scripts and multiprocessing's children.

Runs in a worker, and its ``place`` in those programs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# multiprocessing's spawned and forkserver's children import the worker's file once more, which looks for this.
VARIABLE = "INTERLOOP_SUITES_LOOP"

SUITES = str(Path(__file__).parent.parent)

# Before a script's own lines. One line, so that its tracebacks are off by one and no more.
PRELUDE = (
    "import sys; sys.path.insert(0, {folder!r}); import suitekit.contestants; sys.path.remove({folder!r}); "
    "suitekit.contestants.place_everywhere({contestant!r}); del sys, suitekit\n"
)

WHAT_LOOP = (
    "import asyncio; loop = asyncio.new_event_loop(); loop.close(); "
    "print(f'{type(loop).__module__}.{type(loop).__qualname__}')"
)


def place_in_multiprocessing(contestant: str) -> None:
    os.environ[VARIABLE] = contestant


def place_in_scripts(contestant: str) -> None:
    """In what ``test.support.script_helper`` runs with -c."""
    from test.support import script_helper

    original = script_helper.run_python_until_end
    prelude = PRELUDE.format(folder=SUITES, contestant=contestant)

    def placing(*arguments: str, **variables: Any) -> Any:
        changed = list(arguments)
        if "-c" in changed:
            changed[changed.index("-c") + 1] = prelude + changed[changed.index("-c") + 1]
        return original(*changed, **variables)

    script_helper.run_python_until_end = placing


def loop_in_a_script() -> str:
    """The class of the loop that a script gets."""
    from test.support import script_helper

    return str(script_helper.assert_python_ok("-c", WHAT_LOOP).out, "ascii").strip()


def loop_in_a_child() -> str:
    """The class of the loop that multiprocessing's children get."""
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return str(pool.apply(what_loop))


def what_loop() -> str:
    import asyncio

    from suitekit.contestants import qualified

    loop = asyncio.new_event_loop()
    loop.close()
    return qualified(type(loop))
