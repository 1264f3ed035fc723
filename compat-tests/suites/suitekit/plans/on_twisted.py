"""Twisted's own suite under trial, with the reactor under test as the global one and in ReactorBuilder's list."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

from suitekit import placing, plans, reactors
from suitekit.jobs import Job
from suitekit.journal import Journal
from suitekit.reactors import CONTESTANTS

NAME = "twisted"
BASE = "epoll"
OURS = "interloop"
PLACED = placing.CONNECTIONS

# ReactorBuilder's clean-up waits for another 60.
STALL = 150.0
MODULE_LIMIT = 400.0

# What is also part of `make test`: the tests of what a reactor itself does. trial's names.
EVERY_DAY = (
    "twisted.internet.test",
    "twisted.test.test_internet",
    "twisted.test.test_tcp",
    "twisted.test.test_udp",
    "twisted.test.test_process",
    "twisted.test.test_ssl",
    "twisted.test.test_protocols",
)

# Packages with a process of their own, the longest first; all others share one.
ALONE = ("twisted.test", "twisted.conch", "twisted.internet", "twisted.web", "twisted.trial")

# getPlugins() makes a plugin's description when it is first asked, and again only when the plugin's file changes: not when
# what the plugin imports is installed later.
REFRESH_PLUGINS = """
import contextlib, os, twisted.plugins
from twisted.plugin import IPlugin, getPlugins
for folder in twisted.plugins.__path__:
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(folder, "dropin.cache"))
list(getPlugins(IPlugin))
"""


def prepare() -> None:
    plans.require("twisted.internet.test", "pip install -r compat-tests/requirements.txt")
    subprocess.run([sys.executable, "-c", REFRESH_PLUGINS], check=True)


def modules() -> list[str]:
    """All packages of tests, as they are installed."""
    spec = importlib.util.find_spec("twisted")
    assert spec is not None and spec.submodule_search_locations
    # Our plugin's folder is another part of the package.
    (top,) = [
        folder
        for path in spec.submodule_search_locations
        if (folder := Path(path) / "test").is_dir()
    ]
    root = top.parent
    return [
        ".".join(("twisted", *folder.relative_to(root).parts))
        for folder in sorted(root.glob("**/test"))
        if any(folder.glob("test_*.py"))
    ]


def batches(selected: list[str]) -> list[list[str]]:
    """Processes of about the same length."""
    found: dict[str, list[str]] = {}
    for module in selected:
        package = ".".join(module.split(".")[:2])
        found.setdefault(package if package in ALONE else "", []).append(module)
    return [found[package] for package in (*ALONE, "") if package in found]


def canonical(test: str, contestant: str) -> str:
    """FooTests_EPollReactorTests.test_bar and FooTests_ReactorTests.test_bar are the same test."""
    reactor = CONTESTANTS[contestant][1].rpartition(".")[2]
    head, dot, method = test.rpartition(".")
    suffix = f"_{reactor}Tests"
    if head.endswith(suffix):
        return f"{head.removesuffix(suffix)}_<reactor>{dot}{method}"
    return test


def own_name(test: str, contestant: str) -> str:
    return test.replace("<reactor>", CONTESTANTS[contestant][1].rpartition(".")[2] + "Tests")


def doubts(contestant: str, info: dict[str, Any]) -> list[str]:
    found = reactors.doubts(contestant, info)
    if CONTESTANTS[contestant][1] not in info["builder"]:
        found.append(f"ReactorBuilder has {info['builder']}")
    return found


def _extend_builder(contestant: str, keep_stock: bool) -> list[str]:
    """ReactorBuilder's list, before any test module makes classes from it: ours alone, or ours too."""
    from suitekit import on_trial

    # Read by reactormixins at import.
    on_trial.shorten_patience()
    from twisted.internet.test.reactormixins import ReactorBuilder

    ours = CONTESTANTS[contestant][1]
    stock = ReactorBuilder._reactors if keep_stock else []
    ReactorBuilder._reactors = [*(name for name in stock if name != ours), ours]
    return ReactorBuilder._reactors


def run(job: Job, journal: Journal) -> None:
    """Install, extend, then trial's own entry. Ends by SystemExit, as trial does."""
    from suitekit import on_trial

    installed = reactors.install(job.contestant)
    builder = _extend_builder(job.contestant, keep_stock=job.options.get("stock_reactors") == "yes")
    journal.write("info", **installed, builder=builder)
    on_trial.run(job, journal, reactors.CONNECTIONS_MADE)
