"""Files are of one concern each, and those that must agree do."""

from __future__ import annotations

import pathlib
import re
import tomllib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# More than this and a file holds two things.
MOST_LINES = 600


def test_files_are_short():
    folders = [ROOT / name for name in ("src", "python", "compat-tests", "examples", "benches")]
    files = [
        file for folder in folders for file in folder.rglob("*") if file.suffix in (".rs", ".py")
    ]
    assert files
    lengths = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in files}
    long = {file: length for file, length in lengths.items() if length > MOST_LINES}
    assert long == {}


def test_no_package_stands_in_the_way_of_twisted():
    """With an __init__.py, python/twisted would be taken for Twisted itself, or ignored as a place for plugins."""
    here = ROOT / "python" / "twisted"
    assert list(here.rglob("__init__.py*")) == []
    assert [file.name for file in here.rglob("*.py")] == ["interloop_reactor.py"]


def pins(file: pathlib.Path) -> dict[str, str]:
    found = {}
    for line in file.read_text().splitlines():
        requirement = line.partition("#")[0].strip()
        if requirement:
            name, _, version = requirement.partition("==")
            assert version, f"{file.name}: {requirement} is not pinned"
            found[name.partition("[")[0].lower()] = version
    return found


def test_examples_and_tests_run_with_the_same_versions():
    examples, tests = (
        pins(ROOT / "examples/requirements.txt"),
        pins(ROOT / "compat-tests/requirements.txt"),
    )
    shared = examples.keys() & tests.keys()
    assert {"twisted", "tornado"} <= shared
    assert {name: examples[name] for name in shared} == {name: tests[name] for name in shared}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


@pytest.mark.parametrize("extra", ["twisted", "tornado", "trio"])
def test_an_extra_asks_for_no_more_and_no_less_than_is_tested(extra):
    (requirement,) = project()["optional-dependencies"][extra]
    name, least = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", requirement).groups()
    assert numbers(pins(ROOT / "compat-tests/requirements.txt")[name.lower()]) == numbers(least)


def test_supported_versions_are_said_alike_everywhere():
    prefix = "Programming Language :: Python :: 3."
    minors = [
        entry.removeprefix(prefix) for entry in project()["classifiers"] if entry.startswith(prefix)
    ]
    assert project()["requires-python"] == f">=3.{minors[0]}"
    versions = [f"3.{minor}" for minor in minors]
    said = f"CPython {', '.join(versions[:-1])} and {versions[-1]}"
    assert said in " ".join((ROOT / "README.md").read_text().split())
