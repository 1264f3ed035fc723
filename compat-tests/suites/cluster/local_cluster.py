"""Dask computes on a local cluster of processes: scheduler, workers and client on the contestant's loop and streams. The scheduler is
in the client's process, as `LocalCluster` has it, or in one of its own."""

# unittest runs it, whose assertions say what differed.
# ruff: noqa: PT009

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROGRAM = Path(__file__).parent / "program.py"

# The contestant's name.
ON = os.environ.get("CLUSTER_ON", "")
# Of the IOLoop, of its loop, of each connection that is open.
KINDS = {
    "interloop": (
        "interloop.tornado.ioloop.MainIOLoop",
        "interloop.loop.Loop",
        ["interloop.tornado.streams.IOStream"],
    ),
    "stock": (
        "tornado.platform.asyncio.AsyncIOMainLoop",
        "asyncio.unix_events._UnixSelectorEventLoop",
        ["tornado.iostream.IOStream"],
    ),
}


class LocalCluster(unittest.TestCase):
    maxDiff = None

    def run_program(self, part: str, number: int) -> Path:
        """Ends well, without a word of warning, and each of its processes, so many, was on the contestant's. Answers the folder that
        it ran in."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        done = subprocess.run(
            [sys.executable, str(PROGRAM), part],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=folder.name,
            # The workers' processes get it as well.
            env={**os.environ, "PYTHONWARNINGS": "error::ResourceWarning"},
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        said = json.loads(done.stdout)
        processes = said["processes"]
        self.assertEqual(len({process["pid"] for process in processes}), number)
        self.assertIn(said["here"], [process["pid"] for process in processes])
        for process in processes:
            self.assertEqual(
                (process["io_loop"], process["loop"], process["streams"]), KINDS[ON], process
            )
        return Path(folder.name)

    def test_computes(self) -> None:
        self.run_program("compute", 4)

    def test_transfers_a_hundred_megabytes(self) -> None:
        self.run_program("transfer", 4)

    def test_the_scheduler_is_a_program_of_its_own(self) -> None:
        """As are the workers, whose nannies are in one: Dask's own command lines."""
        folder = self.run_program("programs", 6)
        for name in ("scheduler", "worker"):
            said = (folder / f"{name}.log").read_text()
            self.assertIn("distributed", said)
            # Not each warning: Dask's own slowness, and what it leaves to be collected, is no matter of ours.
            self.assertNotIn(" - ERROR - ", said)
