"""Every point of compat-tests/behaviour/POINTS.md has tests, and every test it names is there."""

from __future__ import annotations

import ast
import pathlib
import re

import pytest

BEHAVIOUR = pathlib.Path(__file__).resolve().parents[1] / "behaviour"
ROW = re.compile(r"^\| (\d+|[A-Z]) \| .+ \| (.+) \|$", re.MULTILINE)
# A part's heading, where its tests are, and its points.
PARTS = {
    "Asyncio": ("asyncio/test_aio_", [str(number) for number in range(1, 40)]),
    "Twisted": ("twisted/test_twisted_", ["18", "19", "20", "37", "40", "41", "42", "43"]),
}


def functions_in(path: pathlib.Path) -> set[str]:
    """The test functions of a file."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        node.name.removeprefix("test_")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, functions) and node.name.startswith("test_")
    }


def missing(named: str, where: str = "asyncio/test_aio_") -> str | None:
    """What is wrong with a name such as `run:close`, or `run` for a whole file."""
    file, _, test = named.partition(":")
    path = BEHAVIOUR / f"{where}{file}.py"
    if not path.exists():
        return f"{named}: no file {path.name}"
    found = functions_in(path)
    if not found or (test and test not in found):
        return f"{named}: no such test"
    return None


def points(part: str) -> dict[str, list[str]]:
    text = (BEHAVIOUR / "POINTS.md").read_text()
    (text,) = re.findall(rf"^# {part}$(.*?)(?=^# |\Z)", text, re.MULTILINE | re.DOTALL)
    rows = ROW.findall(text)
    found = {name: tests.split(", ") for name, tests in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("part", PARTS)
def test_all_points_have_tests(part):
    _, wanted = PARTS[part]
    found = points(part)
    assert [name for name in found if name.isdecimal()] == wanted
    letters = [name for name in found if not name.isdecimal()]
    assert letters == [chr(ord("A") + index) for index in range(len(letters))]


@pytest.mark.parametrize("part", PARTS)
def test_the_tests_are_there(part):
    where, _ = PARTS[part]
    wrong = [missing(named, where) for tests in points(part).values() for named in tests]
    assert [each for each in wrong if each is not None] == []


def test_the_check_sees_what_is_not_there():
    assert missing("run:close") is None
    assert missing("run:no_such_test") == "run:no_such_test: no such test"
    assert missing("no_such_file") == "no_such_file: no file test_aio_no_such_file.py"
