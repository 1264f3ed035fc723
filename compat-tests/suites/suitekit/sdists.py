"""Suites that are not installed with their package: unpacked from its source distribution, kept for the next run.

Runs before any worker, as whoever started the run; workers only read what it unpacked.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent.parent
LIST = HERE / "sdists.txt"
REQUIREMENTS = HERE / "requirements.txt"
CACHE = HERE.parent.parent / "target" / "suites"

PIN = re.compile(r"(?P<name>[\w.-]+)==(?P<version>\S+) --hash=sha256:(?P<digest>[0-9a-f]{64})")


def pin(name: str) -> tuple[str, str]:
    """The version of ``name`` in the list, and its whole line."""
    for line in LIST.read_text().splitlines():
        match = PIN.fullmatch(line.strip())
        if match is not None and match["name"] == name:
            return match["version"], line.strip()
    raise SystemExit(f"{LIST} has no line for {name}")


def required(name: str) -> str:
    """The version of ``name`` that the requirements say."""
    for path in (REQUIREMENTS, REQUIREMENTS.parent.parent / REQUIREMENTS.name):
        for line in path.read_text().splitlines():
            found, equal, version = line.partition(";")[0].strip().partition("==")
            if equal and found.lower() == name.lower():
                return version
    raise SystemExit(f"{REQUIREMENTS} has no line for {name}")


def installed(name: str, version: str) -> None:
    """Ends the run unless what is tested is there, and is what the tests belong to."""
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        found = "not installed"
    if found != version:
        raise SystemExit(
            f"{name}'s tests are those of {version}, and it is {found}: "
            f"{sys.executable} -m pip install -r {REQUIREMENTS}"
        )


def unpacked(name: str) -> Path:
    """The folder with the pinned source distribution of ``name``: fetched by pip, once."""
    version, line = pin(name)
    installed(name, version)
    folder = CACHE / f"{name}-{version}"
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="new-") as temporary:
        new = Path(temporary)
        (new / "wanted.txt").write_text(line + "\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", name, "--dest", str(new), "-r", str(new / "wanted.txt")]
        if subprocess.run(command).returncode:
            raise SystemExit(f"pip could not fetch the source distribution of {name} {version}")
        (archive,) = new.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(new / "all", filter="data")
        (top,) = (new / "all").iterdir()
        # The package itself is the installed one, with its extension: no second copy beside the tests.
        shutil.rmtree(top / name, ignore_errors=True)
        shutil.rmtree(top / "src", ignore_errors=True)
        try:
            os.rename(top, folder)
        except OSError:
            # Somebody else was faster.
            if not folder.exists():
                raise
    return folder


def test_files(name: str) -> list[str]:
    """The test files of ``name``, as its folder has them."""
    folder = unpacked(name)
    return sorted(str(path.relative_to(folder)) for path in folder.glob("tests/**/test_*.py"))
