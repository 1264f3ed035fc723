"""What the supervisor asks of a worker, handed over as a JSON file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Job:
    suite: str
    contestant: str
    modules: list[str]
    # Where events go (see journal), and where faulthandler writes the stacks when the worker is aborted.
    journal: str
    stacks: str
    # Ids of tests not to run again: done by an earlier worker that hung or died.
    skip: list[str] = field(default_factory=list)
    # Ids of the only tests to run, if any are given.
    only: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)

    def wanted(self, test: str) -> bool:
        return test not in self.skip and (not self.only or test in self.only)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Job:
        return cls(**json.loads(path.read_text()))
