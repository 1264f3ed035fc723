"""Importing interloop must change nothing: a library may import it without its user noticing."""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import pytest

# What the process looks like, before and after the import of the module named in argv[1].
PROBE = r"""
import asyncio, asyncio.base_events, asyncio.selector_events, asyncio.sslproto, asyncio.unix_events, asyncio.streams
import importlib, json, os, selectors, signal, socket, sys, threading, warnings

warnings.simplefilter("error")

# Imported here by hand so that what the import machinery does lazily on the first import of any package does not count.
import contextlib, functools, typing  # noqa

MODULES = [module for name, module in sorted(sys.modules.items()) if name.partition(".")[0] in
           ("asyncio", "_asyncio", "selectors", "socket", "signal", "threading")]


def look():
    patched = {}
    for module in MODULES:
        for key, value in vars(module).items():
            patched[f"{module.__name__}.{key}"] = id(value)
            if isinstance(value, type) and value.__module__ == module.__name__:
                for attribute, member in vars(value).items():
                    patched[f"{module.__name__}.{key}.{attribute}"] = id(member)
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    return {
        "names": patched,
        "policy": (asyncio.events._event_loop_policy is None, id(asyncio.events._event_loop_policy)),
        "running": id(asyncio._get_running_loop()),
        "handlers": [repr(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "wakeup": wakeup,
        "fds": sorted(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "tasks": len(os.listdir("/proc/self/task")),
        "asyncgen_hooks": repr(sys.get_asyncgen_hooks()),
        "origin_depth": sys.get_coroutine_origin_tracking_depth(),
        "switch_interval": sys.getswitchinterval(),
        "environ": dict(os.environ),
        "excepthook": (id(sys.excepthook), id(sys.unraisablehook), id(threading.excepthook)),
        "filters": repr(warnings.filters),
    }


look()  # what looking itself changes, it changes now
before = look()
module = importlib.import_module(sys.argv[1])
after = look()
print(json.dumps({
    "changed": [key for key in before if before[key] != after[key] and key != "names"],
    "patched": [key for key in before["names"] if before["names"][key] != after["names"].get(key)]
             + [key for key in after["names"] if key not in before["names"]],
    "modules": sorted(sys.modules),
    "name": module.__name__,
}))
"""


@functools.cache
def import_fresh(module):
    done = subprocess.run(
        [sys.executable, "-c", PROBE, module], capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    seen = json.loads(done.stdout)
    assert seen["name"] == module
    return seen


@pytest.fixture
def imported(loop_kind):
    """What the import did in a fresh interpreter; asyncio's own shows that there can be nothing."""
    return import_fresh({"stock": "asyncio"}.get(loop_kind, loop_kind))


def test_the_process_is_as_before(imported):
    """Policy, running loop, signal handlers, wakeup fd, open files, threads, hooks, warning filters: all untouched."""
    assert imported["changed"] == []


def test_asyncio_is_not_patched(imported):
    """No name of asyncio, socket, selectors, signal or threading, and no member of their classes, is another object."""
    assert imported["patched"] == []


def test_the_other_frameworks_are_not_imported(imported):
    """Twisted, Tornado and trio are optional: only interloop's own adapters for them may import them."""
    tops = {name.partition(".")[0] for name in imported["modules"]}
    assert tops.isdisjoint(
        {
            "twisted",
            "tornado",
            "trio",
            "zope",
            "uvloop",
            "aiohttp",
            "OpenSSL",
            "greenlet",
            "sniffio",
        }
    )


def test_the_probe_sees_a_patch():
    """The probe must find what it is there to find: here a module that does all of it."""
    code = PROBE.replace(
        "module = importlib.import_module(sys.argv[1])",
        "module = asyncio; asyncio.SelectorEventLoop.time = lambda self: 0.0; asyncio.Task = object;"
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN); kept = socket.socket();"
        "asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())",
    ).replace('warnings.simplefilter("error")', 'warnings.simplefilter("ignore")')
    done = subprocess.run(
        [sys.executable, "-c", code, "asyncio"],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    seen = json.loads(done.stdout)
    assert {"policy", "handlers", "fds"} <= set(seen["changed"])
    assert "asyncio.Task" in seen["patched"]
    assert "asyncio.unix_events._UnixSelectorEventLoop.time" in seen["patched"]
