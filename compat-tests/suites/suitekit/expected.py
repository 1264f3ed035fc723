"""The lists of tests that are known to fail on ours, each with its reason.

A line is ``name: reason`` or ``name [3.12, 3.13]: reason`` (only on these versions of Python); ``#`` starts a comment
line. Names are the canonical ones, as the comparison prints them. A list can only shrink in silence's absence: an entry
whose test does not fail, and one that names no test, are errors.
"""

from __future__ import annotations

import re
from pathlib import Path

LINE = re.compile(r"(?P<name>.+?)(?: \[(?P<versions>[\d., ]+)\])?: (?P<reason>\S.*)")


class BadLine(ValueError):
    """A line is not of the form above, or names a test twice."""


def parse(text: str, version: str) -> dict[str, str]:
    """The entries that hold for ``version`` ("3.13"), name to reason."""
    entries: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        if match is None:
            raise BadLine(f"line {number}: not 'name: reason': {line}")
        versions = match["versions"]
        if versions is not None and version not in re.split(r", *", versions.strip()):
            continue
        if match["name"] in entries:
            raise BadLine(f"line {number}: {match['name']} is listed twice")
        entries[match["name"]] = match["reason"]
    return entries


def names(text: str) -> set[str]:
    """All names, of whatever version."""
    lines = (line.strip() for line in text.splitlines())
    matches = (LINE.fullmatch(line) for line in lines if line and not line.startswith("#"))
    return {match["name"] for match in matches if match is not None}


def load(path: Path, version: str) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        return parse(path.read_text(), version)
    except BadLine as error:
        raise BadLine(f"{path}: {error}") from None
