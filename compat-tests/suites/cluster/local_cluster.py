"""Dask computes on a local cluster of processes: scheduler, workers and client on the contestant's loop and streams."""

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

    def run_program(self, part: str) -> None:
        """Ends well, without a word of warning, and each of its processes was on the contestant's."""
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
        self.assertEqual(len({process["pid"] for process in processes}), 4)
        self.assertIn(said["here"], [process["pid"] for process in processes])
        for process in processes:
            self.assertEqual(
                (process["io_loop"], process["loop"], process["streams"]), KINDS[ON], process
            )

    def test_computes(self) -> None:
        self.run_program("compute")

    def test_transfers_a_hundred_megabytes(self) -> None:
        self.run_program("transfer")
