"""Rounds: fresh processes for all contestants, each round begun by another of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from harness.model import Case, Contestant, MeasureError, Sample, Settings


@dataclass
class Outcome:
    """All rounds of one case. A contestant's samples are None in rounds that gave no figure."""

    case: Case
    samples: dict[str, list[Sample | None]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def disturbed(self) -> float:
        """Share of all slices in which others held the core."""
        found = [sample for samples in self.samples.values() for sample in samples if sample]
        slices = sum(len(sample.slices) for sample in found)
        return sum(len(sample.disturbed) for sample in found) / slices if slices else 0.0


def run_case(
    case: Case,
    contestants: Sequence[Contestant],
    settings: Settings,
    rounds: int,
    progress: Callable[[str], None],
) -> Outcome:
    """Measure `case` for all contestants, `rounds` times.

    Layout, hash seeds and the like differ from process to process by some percent: only fresh
    ones in each round let the median see through that. A contestant that fails is reported once,
    with its reason, and left out of later rounds.
    """
    outcome = Outcome(case, {contestant.name: [] for contestant in contestants})
    for number in range(rounds):
        progress(f"{case.name}: round {number + 1}/{rounds}")
        able = [one for one in contestants if one.name not in outcome.errors]
        if not able:
            break
        shift = number % len(able)
        measured = case.measure([*able[shift:], *able[:shift]], settings)
        for contestant in contestants:
            found = measured.get(contestant.name)
            if isinstance(found, MeasureError):
                outcome.errors[contestant.name] = str(found)
            outcome.samples[contestant.name].append(found if isinstance(found, Sample) else None)
    return outcome
