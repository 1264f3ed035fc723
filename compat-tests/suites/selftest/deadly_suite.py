"""Tests that do not come to an end on "bad". Run by run.py, not by pytest."""

import os
import signal
import subprocess
import sys
import threading
import unittest

BAD = os.environ["SELFTEST"] == "bad"


class Deadly(unittest.TestCase):
    def test_a_passes(self):
        pass

    def test_b_is_killed_on_bad(self):
        if BAD:
            os.kill(os.getpid(), signal.SIGKILL)

    def test_c_exits_on_bad(self):
        if BAD:
            os._exit(0)

    def test_d_hangs_on_bad(self):
        if BAD:
            # In a session of its own: it is not in the worker's process group.
            sleep = [sys.executable, "-c", "import time; time.sleep(3600)"]
            subprocess.Popen(sleep, start_new_session=True)
            threading.Event().wait()

    def test_e_passes(self):
        pass
