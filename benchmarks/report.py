"""What comes out: findings with their targets, bars for a chart, and both as JSON and Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import attrs

from benchmarks.rounds import Spread


@attrs.frozen
class Target:
    """What a finding is to be at least, or at most."""

    way: Literal["at least", "at most"]
    value: float

    def met(self, value: float) -> bool:
        """Tell whether a value meets the bound."""
        return value >= self.value if self.way == "at least" else value <= self.value


@attrs.frozen
class Finding:
    """One figure.

    Attributes:
        name: What is compared.
        value: The figure, `None` if it could not be had.
        unit: "x", "%", "ms" or "MiB".
        target: What it is to be, `None` if it is only told.
        detail: What it is made of, or why it could not be had.
    """

    name: str
    value: Spread | None
    unit: str = "x"
    target: Target | None = None
    detail: str = ""

    @property
    def verdict(self) -> str:
        """Tell whether the target is met, by the median."""
        if self.value is None:
            return "not available"
        if self.target is None:
            return ""
        return "met" if self.target.met(self.value.median) else "MISSED"


@attrs.frozen
class Bar:
    """One bar of a chart."""

    name: str
    value: Spread


@attrs.frozen
class Chart:
    """Bars of one unit, each with its spread.

    Attributes:
        name: What its file is called.
        title: What it shows.
        bars: From top to bottom.
        line: Where a line marks something, and what; `None` for none.
    """

    name: str
    title: str
    bars: list[Bar]
    line: tuple[float, str] | None = None


@attrs.frozen
class Report:
    """All that one subcommand found."""

    figure: str
    method: str
    findings: list[Finding] = attrs.field(factory=list)
    charts: list[Chart] = attrs.field(factory=list)


def at_least(value: float) -> Target:
    """Return a lower bound."""
    return Target("at least", value)


def at_most(value: float) -> Target:
    """Return an upper bound."""
    return Target("at most", value)


def markdown(reports: Iterable[Report]) -> str:
    """Return the findings as a table."""
    lines = ["| figure | what | median | least to most | target | | made of |", "|---|---|---:|---:|---:|---|---|"]
    for report in reports:
        for finding in report.findings:
            value, target = finding.value, finding.target
            cells = (
                f"`{report.figure}`",
                finding.name,
                shown(value.median, finding.unit) if value else "",
                f"{shown(value.low, finding.unit)} to {shown(value.high, finding.unit)}" if value else "",
                f"{'≥' if target.way == 'at least' else '≤'} {shown(target.value, finding.unit)}" if target else "",
                finding.verdict,
                finding.detail,
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def text(report: Report) -> str:
    """Return the same for a terminal."""
    lines = [f"{report.figure}: {report.method}"]
    for finding in report.findings:
        value, target = finding.value, finding.target
        numbers = "not available"
        if value is not None:
            low, high = shown(value.low, finding.unit), shown(value.high, finding.unit)
            numbers = f"{shown(value.median, finding.unit)} ({low} to {high})"
        wanted = f"  [{target.way} {shown(target.value, finding.unit)}: {finding.verdict}]" if target else ""
        lines.append(f"  {finding.name:<58} {numbers}{wanted}" + (f"  {finding.detail}" if finding.detail else ""))
    return "\n".join(lines) + "\n"


def plain(reports: Iterable[Report]) -> list[dict[str, Any]]:
    """Return the reports as JSON values."""
    return [attrs.asdict(report) for report in reports]


def shown(value: float, unit: str) -> str:
    """Return a number with its unit."""
    match unit:
        case "%":
            return f"{value:.1%}"
        case "x":
            return f"{value:.2f}x" if value < 100 else f"{value:.0f}x"
        case _:
            return f"{value:.2f} {unit}" if abs(value) < 10 else f"{value:.0f} {unit}"


def rate(spread: Spread, what: str) -> str:
    """Return a rate in words."""
    value = spread.median
    return f"{value / 1e6:.2f} M {what}/s" if value >= 1e6 else f"{value:,.0f} {what}/s"
