"""What the README and its companions tell people to type, open or import is there, and the README's programs run."""

from __future__ import annotations

import importlib
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "ARCHITECTURE.md",
    "examples/README.md",
    "compat-tests/suites/README.md",
    "docs/migrating-from-tornado.md",
)

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def blocks(text: str, language: str) -> list[str]:
    return [body for said, body in FENCE.findall(text) if said == language]


def commands(text: str) -> list[str]:
    """What the text tells to type: the lines of its shell blocks, and what it quotes."""
    lines = [line for body in blocks(text, "sh") for line in body.splitlines()]
    return [line.strip() for line in lines if line.strip()] + SPAN.findall(FENCE.sub("", text))


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", text_of("Makefile"), re.MULTILINE))


def broken_promises(text: str, folder: pathlib.Path = ROOT) -> list[str]:
    """Commands, paths and names in the text that nothing stands behind. Links start at the folder, the rest at the top."""
    found = []
    targets = make_targets()
    for said in commands(text):
        if (made := re.match(r"make ([a-z-]+)", said)) and made[1] not in targets:
            found.append(f"{said}: no such target")
        for word in re.split(r"[\s=]+", said):
            if is_broken_path(word):
                found.append(f"{said}: {word} is not there")
        if re.fullmatch(r"interloop(\.\w+)+(\(.*\))?", said) and not resolves(
            said.partition("(")[0]
        ):
            found.append(f"{said}: cannot be imported")
    return found + [
        f"link to {to}"
        for to in LINK.findall(text)
        if "://" not in to and not (folder / to).exists()
    ]


def is_broken_path(word: str) -> bool:
    """Whether this is written as a path from the top of this tree, and is not there."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", word) or word.startswith("-"):
        return False
    first, _, rest = word.partition("/")
    below = bool(rest) and (ROOT / first).is_dir()
    at_top = re.fullmatch(r"[\w-]+\.(md|toml)", word) is not None
    return (below or at_top) and not (ROOT / word).exists() and not made_by_make(word)


def made_by_make(word: str) -> bool:
    return word.startswith((".venv/", "target/", "dist/"))


def resolves(name: str) -> bool:
    module, found = "interloop", importlib.import_module("interloop")
    for part in name.split(".")[1:]:
        module = f"{module}.{part}"
        if not hasattr(found, part):
            try:
                importlib.import_module(module)
            except ModuleNotFoundError as error:
                if error.name != module:
                    raise
                return False
        found = getattr(found, part)
    return True


@pytest.mark.parametrize("document", DOCUMENTS)
def test_promises_are_kept(document):
    found = broken_promises(text_of(document), (ROOT / document).parent)
    assert not found, "\n".join(found)


def test_the_two_commands_are_told():
    told = "\n".join(blocks(text_of("README.md"), "sh"))
    assert {"make demo", "make test"} <= {line.strip() for line in told.splitlines()}


def test_help_tells_of_every_target():
    said = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    listed = set(re.findall(r"^  make ([a-z-]+) ", said, re.MULTILINE))
    # Parts of `test` and `lint` are for those who read the Makefile.
    parts = {target for target in make_targets() if target.startswith(("test-", "lint-"))}
    assert make_targets() - listed == parts


@pytest.mark.parametrize("number", range(len(blocks(text_of("README.md"), "python"))))
def test_a_program_in_the_readme_runs(number, tmp_path):
    """Each ends by itself, says what the comments behind its prints say, and complains of nothing."""
    program = blocks(text_of("README.md"), "python")[number]
    expected = re.findall(r"# prints: (.*)", program)
    assert expected, "a program that shows nothing proves nothing"
    file = tmp_path / "program.py"
    file.write_text(program)
    # Not -X dev: asyncio's debug mode tells of every step that took a slow machine 100 ms.
    command = [sys.executable, "-W", "default", "-W", "error::ResourceWarning", file]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, expected, "")


# The checker itself.


@pytest.mark.parametrize(
    "promise",
    [
        "`make coffee`",
        "```sh\nmake coffee\n```",
        "`examples/no_such.py`",
        "```sh\npython examples/no_such.py --serve\n```",
        "`NO_SUCH.md`",
        "`interloop.no_such`",
        "`interloop.twisted.no_such()`",
        "[text](no/such.md)",
    ],
)
def test_a_broken_promise_is_found(promise):
    assert len(broken_promises(f"Look:\n{promise}\n")) == 1


@pytest.mark.parametrize(
    "promise",
    ["`make demo`", "`make test PYTHON=3.12`", "`src/lib.rs`", "`compat-tests/`", "`interloop.run()`",
     "`asyncio.run`", "`and/or`", "`.venv/3.12.1`", "[text](README.md#there)", "[text](https://example.com/x.md)"],
)  # fmt: skip
def test_a_kept_promise_passes(promise):
    assert broken_promises(f"Look:\n{promise}\n") == []
