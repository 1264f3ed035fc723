"""What a suite, a contestant, a case and a target are. Plain data, but for a case's `measure`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

BENCHES = Path(__file__).resolve().parent.parent

LOAD_BINARY = BENCHES / "load" / "target" / "release" / "interloop-load"


class MeasureError(Exception):
    """A contestant gave no figure, or a wrong answer: the message says which and why."""


@dataclass(frozen=True)
class Contestant:
    """One who is measured.

    `command` may hold `{python}`, `{load}` and `{benches}`. `probe` is a Python statement that
    succeeds if what the contestant needs is installed. A `reference` is printed for orientation
    (the floor) and never gets a verdict.
    """

    name: str
    command: tuple[str, ...]
    probe: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    reference: bool = False


@dataclass(frozen=True)
class Target:
    """What the issue demands of one contestant in some cases.

    One of `ratio` (the base's cost divided by ours must reach it), `at_most` (our cost itself) and `above` (how much more
    than the base's our cost may be).
    """

    contestant: str
    issue: int
    ratio: float | None = None
    at_most: float | None = None
    above: float | None = None

    def __post_init__(self) -> None:
        if (self.ratio, self.at_most, self.above).count(None) != 2:
            raise ValueError("a target is a ratio, a cost or a difference of costs")


@dataclass(frozen=True)
class Settings:
    """How a run is made; what a case's `measure` may use."""

    python: str
    server_core: int | None
    load_core: int | None
    realtime: bool
    rest: float
    slices: int
    slice_seconds: float
    warmup: float
    spin: bool
    malloc: str
    quick: bool


@dataclass(frozen=True)
class Sample:
    """One round's measurement of one contestant, in processes of its own.

    `slices` are costs in the case's unit (lower is better). The contestants of a round took turns
    slice by slice, so that the n-th slices of two of them are neighbours in time. `disturbed` are
    the numbers of those in which other processes held the core.
    """

    slices: tuple[float, ...]
    disturbed: frozenset[int]
    columns: dict[str, float]
    raw: dict[str, Any]


class Case(Protocol):
    """A thing to measure: one row group of the table."""

    @property
    def name(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def quick(self) -> bool:
        """Whether it is part of a `--quick` run."""

    @property
    def targets(self) -> tuple[Target, ...]: ...

    def measure(
        self, contestants: Sequence[Contestant], settings: Settings
    ) -> dict[str, Sample | MeasureError]:
        """One round: all contestants in fresh processes, taking turns slice by slice.

        One that gives no valid figure has a MeasureError for its answer, and disturbs no other.
        """


@dataclass(frozen=True)
class Suite:
    """Cases that the same contestants run, compared with the contestant called `base`."""

    name: str
    title: str
    contestants: tuple[Contestant, ...]
    cases: tuple[Case, ...]
    base: str = "uvloop"
    # Suites that belong to a later issue, or take long, run only when named.
    by_default: bool = True
    # A multiple of the run's rounds: noisy and cheap cases can afford more.
    rounds_factor: float = 1.0
    # Demands on the geometric mean of the ratios of all cases together.
    overall: tuple[Target, ...] = ()
