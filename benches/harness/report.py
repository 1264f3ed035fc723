"""The table for people, and the same as JSON for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from harness import figures
from harness.model import Contestant, Sample, Settings, Suite, Target
from harness.rounds import Outcome


def case_figures(suite: Suite, base: str, outcome: Outcome) -> list[dict[str, Any]]:
    """One entry per contestant that has a figure, in the suite's order."""
    rows = []
    for contestant in suite.contestants:
        samples = outcome.samples.get(contestant.name, [])
        cost = figures.cost_of(samples)
        if cost is None:
            continue
        ratio = None
        if contestant.name != base and base in outcome.samples:
            ratio = figures.ratio_of(outcome.samples[base], samples)
        first = next(sample for sample in samples if sample is not None)
        row: dict[str, Any] = {
            "contestant": contestant.name,
            "reference": contestant.reference,
            "cost": cost,
            "unit": outcome.case.unit,
            "spread": figures.spread_of(samples),
            "ratio": _plain_ratio(ratio),
            "columns": {name: figures.column_of(samples, name) for name in first.columns},
            "targets": [],
            "samples": [None if sample is None else _plain(sample) for sample in samples],
        }
        for target in outcome.case.targets:
            if target.contestant == contestant.name:
                # A ratio is demanded against the suite's own base, whichever base is displayed.
                theirs = outcome.samples.get(suite.base)
                against = None if theirs is None else figures.ratio_of(theirs, samples)
                row["targets"].append(_judged(target, suite, cost, against))
        rows.append(row)
    return rows


def overall_figures(suite: Suite, base: str, outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """One entry per contestant that was measured in every case of the suite: all cases together."""
    if not suite.overall or {outcome.case.name for outcome in outcomes} != {
        case.name for case in suite.cases
    }:
        return []

    def against(contestant: str, other: str) -> figures.Ratio | None:
        found = [
            figures.ratio_of(outcome.samples[other], outcome.samples[contestant])
            for outcome in outcomes
            if other in outcome.samples and contestant in outcome.samples
        ]
        cases = [ratio for ratio in found if ratio is not None]
        return figures.overall_ratio(cases) if len(cases) == len(outcomes) else None

    rows = []
    for contestant in suite.contestants:
        ratio = against(contestant.name, base)
        if contestant.name == base or ratio is None:
            continue
        rows.append(
            {
                "contestant": contestant.name,
                "reference": contestant.reference,
                "ratio": _plain_ratio(ratio),
                "targets": [
                    _judged(target, suite, None, against(contestant.name, suite.base))
                    for target in suite.overall
                    if target.contestant == contestant.name
                ],
            }
        )
    return rows


def _judged(
    target: Target, suite: Suite, cost: float | None, against: figures.Ratio | None
) -> dict[str, Any]:
    return {
        "issue": target.issue,
        "ratio": target.ratio,
        "at_most": target.at_most,
        "above": target.above,
        "base": None if target.at_most is not None else suite.base,
        "verdict": figures.verdict_of(target, cost, against),
    }


def _plain_ratio(ratio: figures.Ratio | None) -> dict[str, Any] | None:
    return None if ratio is None else asdict(ratio)


def table(
    title: str,
    base: str,
    groups: list[tuple[Outcome, list[dict[str, Any]]]],
    overall: list[dict[str, Any]],
) -> str:
    """All cases of a suite with the same columns, and last all cases together."""
    names: list[str] = []
    for _, rows in groups:
        for row in rows:
            names += [name for name in row["columns"] if name not in names]
    unit = groups[0][0].case.unit
    header = ["case", "contestant", unit, "± %", f"× {base}", "95 %", *names, "target"]
    lines = [header]
    for outcome, rows in groups:
        for index, row in enumerate(rows):
            ratio = row["ratio"]
            lines.append(
                [
                    outcome.case.name if index == 0 else "",
                    row["contestant"],
                    _number(row["cost"]),
                    f"{row['spread'] * 100:.1f}",
                    "base" if row["contestant"] == base else _ratio(ratio, "median"),
                    "" if ratio is None else f"{ratio['low']:.2f}-{ratio['high']:.2f}",
                    *(_number(row["columns"].get(name)) for name in names),
                    "; ".join(_target(target) for target in row["targets"]),
                ]
            )
    for index, row in enumerate(overall):
        ratio = row["ratio"]
        lines.append(
            [
                "together" if index == 0 else "",
                row["contestant"],
                "",
                "",
                _ratio(ratio, "median"),
                f"{ratio['low']:.2f}-{ratio['high']:.2f}",
                *("" for _ in names),
                "; ".join(_target(target) for target in row["targets"]),
            ]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = [f"== {title}"]
    for line in lines:
        cells = [
            cell.ljust(width) if column in (0, 1, len(header) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  ".join(cells).rstrip())
    for outcome, _ in groups:
        for name, reason in outcome.errors.items():
            text.append(f"FAILED {outcome.case.name}, {name}: {reason}")
        if outcome.disturbed > 0.05:
            text.append(
                f"note: {outcome.case.name}: other processes held the core in "
                f"{outcome.disturbed * 100:.0f} % of the slices, which do not count (unless a "
                f"round had no others)"
            )
    return "\n".join(text)


def targets_summary(
    groups: list[tuple[Outcome, list[dict[str, Any]]]], overall: list[dict[str, Any]]
) -> dict[str, int]:
    counts: dict[str, int] = {}
    for rows in [*(rows for _, rows in groups), overall]:
        for row in rows:
            for target in row["targets"]:
                word = target["verdict"].split(",")[0]
                counts[word] = counts.get(word, 0) + 1
    return counts


def heading(settings: Settings, environment: dict[str, str], left_out: dict[str, str]) -> str:
    pin = "not pinned"
    if settings.server_core is not None:
        pin = f"server on core {settings.server_core}, load on core {settings.load_core}"
    if settings.realtime:
        pin += ", realtime priority"
    lines = [
        ", ".join(f"{name} {version}" for name, version in environment.items()),
        f"{pin}; malloc {settings.malloc}; {'spinning' if settings.spin else 'ordinary'} client",
    ]
    lines += [f"LEFT OUT {name}: {reason}" for name, reason in left_out.items()]
    return "\n".join(lines)


def _plain(sample: Sample) -> dict[str, Any]:
    return asdict(sample) | {"disturbed": sorted(sample.disturbed)}


def left_out_of(suite: Suite, left_out: dict[str, str]) -> list[Contestant]:
    return [contestant for contestant in suite.contestants if contestant.name in left_out]


def _target(target: dict[str, Any]) -> str:
    if target["ratio"] is not None:
        demand = f"≥ {target['ratio']:g}"
    elif target["at_most"] is not None:
        demand = f"≤ {target['at_most']:g}"
    else:
        demand = f"≤ {target['base']} + {target['above']:g}"
    return f"{demand} {target['verdict']} (issue {target['issue']})"


def _ratio(ratio: dict[str, float] | None, key: str) -> str:
    return "-" if ratio is None else f"{ratio[key]:.3f}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"
