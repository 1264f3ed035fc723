"""Imports point down, and no host is imported before it is asked for: in the Python sources."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest
from house_python import HOSTS, floor_violations, imports

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "python" / "interloop"


def sources() -> dict[str, str]:
    files = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")]
    found = {file.relative_to(PACKAGE).as_posix(): file.read_text() for file in files}
    assert "__init__.py" in found
    return found


def test_imports_point_down():
    found = floor_violations(sources())
    assert not found, "\n".join(found)


LOADED = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
print(json.dumps(sorted(name for name in sys.modules if name.startswith("interloop"))))
"""


def loaded_by(*names: str) -> tuple[set[str], set[str]]:
    """Top-level packages, and modules of ours, in a process that imported these."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOADED, *names],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    tops, ours = map(json.loads, done.stdout.splitlines())
    return set(tops), set(ours)


def test_interloop_imports_no_host():
    tops, ours = loaded_by("interloop")
    assert tops.isdisjoint(HOSTS)
    assert ours.isdisjoint(
        {
            "interloop.bridge",
            "interloop.twisted",
            "interloop.tornado",
            "interloop.trio",
            "interloop.migrate",
        }
    )


@pytest.mark.parametrize(
    ("name", "host"), [("interloop.twisted", "twisted"), ("interloop.tornado", "tornado")]
)
def test_a_host_does_not_bring_the_others(name, host):
    others = {"twisted", "tornado", "trio", "uvloop"} - {host}
    tops, ours = loaded_by(name)
    assert host in tops
    assert tops.isdisjoint(others)
    assert ours.isdisjoint({f"interloop.{other}" for other in others})


MIGRATE = {
    "": set(),
    ".asgi_in_tornado": {"tornado"},
    ".tornado_as_asgi": {"tornado"},
    ".twisted_in_tornado": {"tornado", "twisted", "zope"},
    ".tornado_in_twisted": {"tornado", "twisted", "zope"},
}


@pytest.mark.parametrize("module", MIGRATE)
def test_the_migration_kit_brings_what_it_joins(module):
    """And not even our own faces of the hosts: it works without them."""
    tops, ours = loaded_by(f"interloop.migrate{module}")
    assert tops & {*HOSTS} == MIGRATE[module]
    assert ours.isdisjoint({"interloop.twisted", "interloop.tornado", "interloop.bridge"})


# The checker itself: what it must catch, and what it must let pass.


@pytest.mark.parametrize(
    ("file", "source", "wrong"),
    [
        ("_loop/dns.py", "from interloop.loop import Loop", "_loop (floor 1) imports interloop.loop.Loop (floor 2)"),
        ("_loop/dns.py", "from ..loop import Loop", "_loop (floor 1) imports interloop.loop.Loop (floor 2)"),
        ("_loop/__init__.py", "from .. import loop", "_loop (floor 1) imports interloop.loop (floor 2)"),
        ("_loop/dns.py", "from interloop import Loop", "_loop (floor 1) imports interloop.Loop (floor 4)"),
        ("loop.py", "import interloop", "loop (floor 2) imports interloop (floor 4)"),
        ("loop.py", "def f():\n from .bridge import x", "loop (floor 2) imports interloop.bridge.x (floor 5)"),
        ("loop.py", "import_module('interloop.twisted')", "loop (floor 2) imports interloop.twisted (floor 6)"),
        ("__init__.py", "from . import bridge", "__init__ (floor 4) imports interloop.bridge (floor 5)"),
        ("bridge.py", "from .stats import x", "bridge (floor 5) imports interloop.stats.x (floor 5)"),
        ("bridge.py", "from .twisted import Reactor", "bridge (floor 5) imports interloop.twisted.Reactor (floor 6)"),
        ("tornado/ioloop.py", "from ..twisted import x", "tornado (floor 6) imports interloop.twisted.x (floor 6)"),
        ("_core.pyi", "from interloop.loop import Loop", "_core (floor 0) imports interloop.loop.Loop (floor 2)"),
        ("__init__.py", "import twisted.internet", "__init__ imports twisted.internet, and must not know twisted"),
        ("tornado/ioloop.py", "from twisted import x", "tornado imports twisted.x, and must not know twisted"),
        ("twisted/reactor.py", "__import__('tornado.web')", "twisted imports tornado.web, and must not know tornado"),
        ("loop.py", "try:\n import uvloop\nexcept ImportError: pass", "loop imports uvloop, and must not know uvloop"),
    ],
)  # fmt: skip
def test_a_violation_is_found(file, source, wrong):
    (found,) = floor_violations({file: source})
    where, _, rest = found.partition(": ")
    assert where.rpartition(":")[0] == f"interloop/{file}"
    assert rest == wrong


def test_a_module_without_a_floor_is_found():
    (found,) = floor_violations({"attic.py": ""})
    assert found.startswith("interloop/attic.py: attic has no floor")


@pytest.mark.parametrize(
    ("file", "source"),
    [
        (
            "__init__.py",
            "from interloop._core import Handle\nfrom .loop import Loop\nfrom interloop import loop",
        ),
        ("loop.py", "import asyncio\nfrom interloop._loop.dns import x\nfrom . import _core"),
        (
            "_loop/dns.py",
            "from interloop._loop import other\nfrom . import other\nfrom .other import x",
        ),
        (
            "bridge.py",
            "from twisted.internet.defer import Deferred\nimport interloop\nfrom interloop import Loop",
        ),
        (
            "twisted/reactor.py",
            "from zope.interface import x\nfrom ..bridge import y\nfrom . import timers",
        ),
        (
            "tornado/__init__.py",
            "import tornado.ioloop\nfrom interloop.tornado.ioloop import IOLoop",
        ),
        ("trio.py", "import trio"),
    ],
)
def test_what_points_down_passes(file, source):
    assert floor_violations({file: source}) == []


def test_imports_are_told_absolutely_and_with_their_line():
    source = "import a.b as c, d\nfrom . import e\nfrom ..f import g\nfrom .h import *\n"
    assert list(imports(source, "twisted/reactor.py")) == [
        ("a.b", 1),
        ("d", 1),
        ("interloop.twisted.e", 2),
        ("interloop.f.g", 3),
        ("interloop.twisted.h.*", 4),
    ]
