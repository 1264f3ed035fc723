"""How a worker comes to run as an ordinary user.

As root, Twisted's test_cantChangeFileMode makes /dev/null read-only for the whole machine, and many tests of refused
access mean nothing. Nobody else's files or modes are changed to make it possible.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DROP = Path(__file__).with_name("drop.py")

# Starts the interpreter as a worker would, reads its environment and this tree, writes to its own folder.
PROBE = """
import os, sys
assert os.geteuid() != 0
open(sys.argv[1]).read()
for folder in sys.path:
    try:
        os.listdir(folder or ".")
    except (FileNotFoundError, NotADirectoryError):
        pass
with open(sys.argv[2], "w") as mine:
    mine.write("written")
"""


class CannotDrop(Exception):
    """No way was found to run a worker as an ordinary user."""


@dataclass(frozen=True)
class User:
    """``prefix`` is what to put before a worker's command; ``uid`` and ``gid`` own its files."""

    uid: int
    gid: int
    prefix: tuple[str, ...]
    how: str

    def own(self, path: Path) -> None:
        if self.prefix:
            os.chown(path, self.uid, self.gid)


def find(scratch: Path) -> User:
    """The user for workers: who runs this, or for root, nobody, with as few rights as let it read the interpreter."""
    if os.geteuid() != 0:
        return User(os.geteuid(), os.getegid(), (), f"uid {os.geteuid()}, as started")
    nobody = pwd.getpwnam("nobody")
    said: list[str] = []
    ways = [("-", "no capability")]
    if sys.platform == "linux":
        # Interpreters under /root (pyenv, uv) can be read by root alone.
        ways.append(("read", "the capability to read files"))
    for keep, rights in ways:
        prefix = (sys.executable, "-I", str(DROP), str(nobody.pw_uid), str(nobody.pw_gid), keep)
        user = User(nobody.pw_uid, nobody.pw_gid, prefix, f"nobody, with {rights}")
        user.own(scratch)
        probe = scratch / f"probe{len(said)}"
        probe.mkdir()
        user.own(probe)
        command = [*prefix, sys.executable, "-c", PROBE, __file__, str(probe / "mine")]
        tried = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd="/"
        )
        if tried.returncode == 0:
            return user
        last = tried.stderr.strip().splitlines()
        said.append(f"with {rights}: {last[-1] if last else f'exit {tried.returncode}'}")
    raise CannotDrop(
        "suites must run as an ordinary user, and root could not become one: " + "; ".join(said)
    )
