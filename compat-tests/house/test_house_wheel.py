"""The wheel, installed as a user would: all that belongs in it, nothing else, and trial finds the reactor."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import sysconfig
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = pathlib.Path(sysconfig.get_path("scripts"))

# A build from nothing, on a slow machine. After `make build` there is nothing left to compile.
pytestmark = [pytest.mark.timeout(900), pytest.mark.once]


def run(*command: str | pathlib.Path, cwd: pathlib.Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("wheel")
    run(
        SCRIPTS / "maturin",
        "build",
        "--release",
        "--locked",
        "-i",
        sys.executable,
        "-o",
        out,
        cwd=ROOT,
    )
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> pathlib.Path:
    """An environment with the wheel in it; Twisted and the rest are those of the environment of this test.

    Taken over by path, without the .pth files there, which would bring the editable install along.
    """
    env = tmp_path_factory.mktemp("env")
    run(sys.executable, "-m", "venv", "--without-pip", env, cwd=env)
    python = env / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        wheel,
        cwd=env,
    )
    site = pathlib.Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=env).strip()
    )
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_what_is_in_it(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    extension = f"interloop/_core{sysconfig.get_config_var('EXT_SUFFIX')}"
    sources = {
        str(file.relative_to(ROOT / "python"))
        for pattern in ("*.py", "*.pyi", "py.typed")
        for file in (ROOT / "python").rglob(pattern)
    }
    assert {"interloop/__init__.py", "interloop/_core.pyi", "interloop/py.typed"} <= sources
    assert "twisted/plugins/interloop_reactor.py" in sources
    assert {name for name in inside if ".dist-info/" not in name} == {extension, *sources}
    licences = {pathlib.PurePath(name).name for name in inside if "/licenses/" in name}
    assert licences == {"LICENSE-APACHE", "LICENSE-MIT"}


def test_the_installed_package_is_the_one_imported(installed, tmp_path):
    said = run(
        installed,
        "-c",
        "import interloop, interloop._core as core; print(interloop.__file__, core.__file__)",
        cwd=tmp_path,
    )
    assert [pathlib.Path(file).is_relative_to(installed.parents[1]) for file in said.split()] == [
        True,
        True,
    ]


@pytest.mark.parametrize("command", ["trial", "twistd"])
def test_twisted_lists_the_reactor(installed, tmp_path, command):
    said = run(installed, SCRIPTS / command, "--help-reactors", cwd=tmp_path)
    assert "interloop" in said.split()


def test_trial_runs_on_it(installed, tmp_path):
    (tmp_path / "test_on_it.py").write_text(
        "from twisted.internet import defer, reactor\n"
        "from twisted.trial import unittest\n"
        "class OnIt(unittest.TestCase):\n"
        "    def test_it(self):\n"
        "        import interloop.twisted\n"
        "        self.assertIsInstance(reactor, interloop.twisted.Reactor)\n"
        "        waiting = defer.Deferred()\n"
        "        reactor.callLater(0, waiting.callback, None)\n"
        "        return waiting\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    said = run(
        installed, SCRIPTS / "trial", "--reactor=interloop", "test_on_it", cwd=tmp_path, env=env
    )
    assert "PASSED (successes=1)" in said
