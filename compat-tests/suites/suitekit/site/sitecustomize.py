"""On the path of the programs that a suite starts: Python imports this first. See suitekit.reactors."""

import os
import sys

SUITES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

sys.path.insert(0, SUITES)
from suitekit import reactors  # noqa: E402

sys.path.remove(SUITES)
reactors.place(os.environ[reactors.VARIABLE])
