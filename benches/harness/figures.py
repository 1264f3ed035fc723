"""From slices to figures: ratios of neighbouring slices, medians of them, and how sure they are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from harness.model import Sample, Target

Samples = Sequence[Sample | None]


@dataclass(frozen=True)
class Ratio:
    """The base's cost over the contestant's: above 1 is better than the base.

    A round's ratio is the median over its pairs of neighbouring slices; `median` is that over
    rounds. `low` and `high` bound it with about 95 % confidence (order statistics of the rounds:
    no assumption about the noise); with fewer than six rounds they are simply the extremes.
    """

    median: float
    low: float
    high: float
    rounds: tuple[float, ...]


def ratio_of(base: Samples, own: Samples) -> Ratio | None:
    """None if no round has both."""
    rounds = []
    for theirs, ours in zip(base, own, strict=True):
        if theirs is None or ours is None:
            continue
        both = min(len(theirs.slices), len(ours.slices))
        numbers = _undisturbed(range(both), theirs.disturbed | ours.disturbed)
        ratios = [theirs.slices[at] / ours.slices[at] for at in numbers if ours.slices[at]]
        if ratios:
            rounds.append(statistics.median(ratios))
    return _ratio(rounds) if rounds else None


def _ratio(rounds: Sequence[float]) -> Ratio:
    ordered = sorted(rounds)
    cut = _cut(len(ordered))
    return Ratio(statistics.median(ordered), ordered[cut], ordered[-1 - cut], tuple(rounds))


def overall_ratio(cases: Sequence[Ratio]) -> Ratio:
    """The geometric mean over cases, round by round: each case counts the same, whatever a request costs in it."""
    return _ratio(
        [
            statistics.geometric_mean(ratios)
            for ratios in zip(*(case.rounds for case in cases), strict=False)
        ]
    )


def _undisturbed(numbers: Sequence[int], disturbed: frozenset[int]) -> Sequence[int]:
    """Without the disturbed ones; but all of them if there are no others: then the figure is a
    poor one, which a note in the report says, and not none at all."""
    return [number for number in numbers if number not in disturbed] or numbers


def _cut(count: int) -> int:
    """How many of the smallest may be left out so that [x_cut, x_-cut] still covers the median
    with at least 95 %: the binomial tail below it may hold 2.5 %."""
    tail, cut = 0.0, 0
    for below in range(count // 2):
        tail += math.comb(count, below) / 2**count
        if tail > 0.025:
            break
        cut = below
    return cut


def costs_of(samples: Samples) -> list[float]:
    """The slices of all rounds."""
    return [
        sample.slices[number]
        for sample in samples
        if sample is not None
        for number in _undisturbed(range(len(sample.slices)), sample.disturbed)
    ]


def cost_of(samples: Samples) -> float | None:
    costs = costs_of(samples)
    return statistics.median(costs) if costs else None


def spread_of(samples: Samples) -> float:
    """Half the width of the middle half of the slices, as a share of their median."""
    costs = costs_of(samples)
    if len(costs) < 2:
        return 0.0
    lower, _, upper = statistics.quantiles(costs, n=4, method="inclusive")
    return (upper - lower) / 2 / statistics.median(costs)


def column_of(samples: Samples, name: str) -> float:
    return statistics.median(sample.columns[name] for sample in samples if sample is not None)


def verdict_of(target: Target, cost: float | None, ratio: Ratio | None) -> str:
    """`met` or `missed`, with `unsure` added where the confidence interval holds the target."""
    if target.at_most is not None and cost is not None:
        return "met" if cost <= target.at_most else "missed"
    if ratio is None:
        return "no base"
    if target.above is not None and cost is not None:
        # The base's cost is ours times the ratio.
        most, middle, least = (
            cost * (1 - bound) for bound in (ratio.low, ratio.median, ratio.high)
        )
        word = "met" if middle <= target.above else "missed"
        return f"{word}, unsure" if least <= target.above < most else word
    if target.ratio is None:
        return "no base"
    word = "met" if ratio.median >= target.ratio else "missed"
    return f"{word}, unsure" if ratio.low < target.ratio <= ratio.high else word
