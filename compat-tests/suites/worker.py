"""Runs one suite's modules on one contestant and writes what happens into a journal. Started by the supervisor."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from pathlib import Path

# suitekit.children.VARIABLE: what says so to multiprocessing's children, which import this file once more.
IN_CHILDREN = "INTERLOOP_SUITES_LOOP"


def own_modules_first() -> None:
    """Import what is needed from beside this file, then take the folder off the path: suites shall not see it."""
    here = str(Path(__file__).resolve().parent)
    if here not in sys.path:
        sys.path.insert(0, here)
    # Once the package is imported, it knows its folder itself.
    import suitekit  # noqa: F401

    sys.path.remove(here)


def main() -> None:
    own_modules_first()
    from suitekit import plans
    from suitekit.jobs import Job
    from suitekit.journal import Journal

    job = Job.load(Path(sys.argv[1]))
    # A bare descriptor, open for the process's life: suites make an error of a file that nobody closes.
    faulthandler.enable(os.open(job.stacks, os.O_WRONLY | os.O_CREAT, 0o600))
    # A shell starts its background jobs with Ctrl-C ignored; suites send it to themselves.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    plan = plans.load(job.suite)
    journal = Journal(job.journal)
    journal.write("worker", pid=os.getpid(), uid=os.geteuid())
    code = 0
    try:
        plan.run(job, journal)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else (0 if end.code is None else 1)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    journal.write("end", code=code)
    sys.exit(code)


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__" and IN_CHILDREN in os.environ:
    own_modules_first()
    from suitekit.contestants import place_everywhere

    place_everywhere(os.environ[IN_CHILDREN])
