"""Every point of compat-tests/behaviour/POINTS.md has tests, and every test it names is there."""

from __future__ import annotations

import ast
import pathlib
import re

BEHAVIOUR = pathlib.Path(__file__).resolve().parents[1] / "behaviour"
ROW = re.compile(r"^\| (\d+) \| .+ \| (.+) \|$", re.MULTILINE)


def functions_in(path: pathlib.Path) -> set[str]:
    """The test functions of a file."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        node.name.removeprefix("test_")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, functions) and node.name.startswith("test_")
    }


def missing(named: str) -> str | None:
    """What is wrong with a name such as `run:close`, or `run` for a whole file."""
    file, _, test = named.partition(":")
    path = BEHAVIOUR / "asyncio" / f"test_aio_{file}.py"
    if not path.exists():
        return f"{named}: no file {path.name}"
    found = functions_in(path)
    if not found or (test and test not in found):
        return f"{named}: no such test"
    return None


def points() -> dict[int, list[str]]:
    text = (BEHAVIOUR / "POINTS.md").read_text()
    return {int(number): tests.split(", ") for number, tests in ROW.findall(text)}


def test_all_points_have_tests():
    assert sorted(points()) == list(range(1, 40))


def test_the_tests_are_there():
    wrong = [missing(named) for tests in points().values() for named in tests]
    assert [each for each in wrong if each is not None] == []


def test_the_check_sees_what_is_not_there():
    assert missing("run:close") is None
    assert missing("run:no_such_test") == "run:no_such_test: no such test"
    assert missing("no_such_file") == "no_such_file: no file test_aio_no_such_file.py"
