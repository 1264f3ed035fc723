"""Suites of libraries that have their tests beside their code, for trial: with the reactor under test as the global one."""

from __future__ import annotations

import os
from typing import Any

from suitekit import placing, reactors, sdists
from suitekit.jobs import Job
from suitekit.journal import Journal


class Library:
    """A plan, see ``plans``. The tests are the installed package's, whose version requirements.txt says."""

    BASE = "asyncio"
    OURS = "interloop"
    PLACED = placing.CONNECTIONS
    # trial's own limit for a test is on_trial.TEST_TIMEOUT.
    STALL = 120.0
    MODULE_LIMIT = 300.0

    def __init__(
        self, name: str, *modules: str, environment: dict[str, str] | None = None, recurse: bool
    ) -> None:
        """``recurse``: whether trial shall look for tests in the modules' sub-packages. ``environment``: what is set."""
        self.NAME = name
        self._modules = list(modules)
        self._environment = environment or {}
        self._options = () if recurse else ("--no-recurse",)

    def prepare(self) -> None:
        sdists.installed(self.NAME, sdists.required(self.NAME))

    def modules(self) -> list[str]:
        return self._modules

    def doubts(self, contestant: str, info: dict[str, Any]) -> list[str]:
        return reactors.doubts(contestant, info)

    def run(self, job: Job, journal: Journal) -> None:
        """Install, then trial's own entry. Ends by SystemExit, as trial does."""
        from suitekit import on_trial

        os.environ.update(self._environment)
        journal.write("info", **reactors.install(job.contestant))
        on_trial.run(job, journal, reactors.CONNECTIONS_MADE, *self._options)
