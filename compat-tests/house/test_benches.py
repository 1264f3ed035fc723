"""The benchmarks run, each contestant is who it says it is, and answers correctly. No timings: a machine that runs
tests is no place to judge them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

BENCHES = Path(__file__).resolve().parents[2] / "benches"

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="epoll, /proc"),
    # The first of these builds the load generator.
    pytest.mark.timeout(300),
]

# What a server or program of that name says that its loop is.
LOOP_MODULES = {
    "stock": "asyncio.",
    "uvloop": "uvloop.",
    "interloop": "interloop.",
    "asyncio": "asyncio.",
    "epoll": "twisted.internet.epollreactor.",
}
# Each suite has one of these, but for those that compare ours with itself.
STOCK = {"stock", "epoll"}
OURS_ALONE = {"twisted-await"}


def bench(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ}
    if path is not None:
        environment["PYTHONPATH"] = os.fspath(path)
    command = [sys.executable, os.fspath(BENCHES / "run.py"), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=280, check=False
    )


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All suites, each case that belongs to a quick run."""
    file = tmp_path_factory.mktemp("bench") / "found.json"
    done = bench("--quick", "--all", "--json", os.fspath(file))
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_every_contestant_answers_correctly_in_every_case(everything: dict[str, Any]) -> None:
    assert everything["suites"]
    for suite in everything["suites"]:
        names = set(suite["contestants"])
        compared = "interloop" in names and names & STOCK
        assert compared or suite["suite"] in {"noise", *OURS_ALONE}
        assert suite["cases"]
        for case in suite["cases"]:
            assert case["errors"] == {}
            figures = {figure["contestant"]: figure for figure in case["figures"]}
            assert sorted(figures) == sorted(suite["contestants"]), case["case"]


def test_only_what_is_not_installed_is_left_out(everything: dict[str, Any]) -> None:
    installed = {"interloop", "stock", "floor"} | {
        name for name in ("uvloop",) if everything["environment"].get(name)
    }
    assert not installed & set(everything["left_out"])


def test_the_loop_under_test_is_the_one_that_is_named(everything: dict[str, Any]) -> None:
    seen = set()
    for suite in everything["suites"]:
        for case in suite["cases"]:
            for figure in case["figures"]:
                if figure["contestant"] not in LOOP_MODULES:
                    continue
                for sample in figure["samples"]:
                    facts = sample["raw"].get("server", sample["raw"])
                    assert facts["loop"].startswith(LOOP_MODULES[figure["contestant"]])
                    seen.add((suite["suite"], figure["contestant"]))
    assert {("tcp", "interloop"), ("micro", "interloop"), ("memory", "interloop")} <= seen


def test_requests_were_made_and_counted(everything: dict[str, Any]) -> None:
    suites = {suite["suite"]: suite for suite in everything["suites"]}
    for case in suites["tcp"]["cases"]:
        for figure in case["figures"]:
            for sample in figure["samples"]:
                raw = sample["raw"]
                assert raw["requests"] == sum(raw["slices"]["requests"]) > 0
                assert all(cpu > 0 for cpu in raw["slices"]["server_cpu_ns"])
                assert raw["errors"] == 0


def test_a_contestant_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text("raise ImportError('none on this machine')\n")
    file = tmp_path / "found.json"
    done = bench("--quick", "--only", "micro/call_soon", "--json", os.fspath(file), path=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "LEFT OUT uvloop: ImportError: none on this machine" in done.stdout
    assert json.loads(file.read_text())["left_out"] == {
        "uvloop": "ImportError: none on this machine"
    }


# Each passes the probe, which has no arguments, and breaks when it is measured.
BROKEN = {
    "broken at once": "    if len(sys.argv) > 1: raise RuntimeError('broken at once')\n",
    "broken at the end": "    if len(sys.argv) > 1: atexit.register(sys.stderr.write, 'broken at the end')\n",
    "is not JSON": "    if len(sys.argv) > 1: print('hello\\nhello')\n",
}


@pytest.mark.parametrize(
    ("case_name", "reason"),
    [
        *(
            (name, "broken at once")
            for name in ("tcp/1KiB-10", "micro/call_soon", "memory/idle-1000")
        ),
        *(
            (name, "broken at the end")
            for name in ("tcp/1KiB-10", "micro/call_soon", "memory/idle-1000")
        ),
        # A server's first line is its address: only the others speak JSON from the start.
        ("micro/call_soon", "is not JSON"),
    ],
)
def test_a_contestant_that_fails_is_named_and_disturbs_no_other(
    tmp_path: Path, case_name: str, reason: str
) -> None:
    (tmp_path / "uvloop.py").write_text(
        "import asyncio, atexit, sys\n"
        "def new_event_loop():\n" + BROKEN[reason] + "    return asyncio.SelectorEventLoop()\n"
    )
    file = tmp_path / "found.json"
    done = bench("--quick", "--only", case_name, "--json", os.fspath(file), path=tmp_path)
    assert done.returncode == 1, done.stderr
    assert reason in done.stdout
    (suite,) = json.loads(file.read_text())["suites"]
    (case,) = suite["cases"]
    assert list(case["errors"]) == ["uvloop"]
    others = [name for name in suite["contestants"] if name != "uvloop"]
    assert others[:2] == ["interloop", "stock"]
    assert [figure["contestant"] for figure in case["figures"]] == others


@pytest.mark.parametrize("arguments", [("--only", "no-such-suite"), ("--contestants", "nobody")])
def test_a_misspelt_name_is_an_error(arguments: tuple[str, ...]) -> None:
    done = bench("--quick", *arguments)
    assert done.returncode == 1
    assert arguments[-1] in done.stderr


def corrupting_server(listener: socket.socket, change: int) -> None:
    """Echoes one connection, with one byte of the stream, number `change`, altered."""
    connection, _ = listener.accept()
    seen = 0
    # The client leaves at the wrong byte: that it resets the connection is what is wanted.
    with connection, contextlib.suppress(ConnectionError):
        while data := bytearray(connection.recv(65536)):
            if seen <= change < seen + len(data):
                data[change - seen] ^= 1
            seen += len(data)
            connection.sendall(data)


@pytest.mark.parametrize("change", [0, 1023, 5000])
def test_the_load_generator_notices_a_single_wrong_byte(
    everything: dict[str, Any], change: int
) -> None:
    # `everything` has built it.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=corrupting_server, args=(listener, change), daemon=True)
        server.start()
        address = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
        load = BENCHES / "load" / "target" / "release" / "interloop-load"
        command = [load, "echo", "--connect", address, "--warmup", "0", "--requests", "10"]
        done = subprocess.run(
            [*command, "--seconds", "0.01"], capture_output=True, text=True, timeout=60, check=True
        )
        server.join(60)
    (found,) = json.loads(done.stdout)["servers"]
    assert found["errors"] == 1
    assert f"request {change // 1024 + 1}:" in found["first_error"]
    assert found["requests"] == change // 1024
