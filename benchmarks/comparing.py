"""Comparisons of sides: each round has, for each comparison, all of its sides one right after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from benchmarks.bodies import Body
from benchmarks.nginx import Nginx
from benchmarks.report import Finding, Target
from benchmarks.rounds import Spread, in_rounds
from benchmarks.sides import Sample, Side, Site, Unavailable


@attrs.frozen
class Turn:
    """A peer's part of a comparison: what it reads, and how many requests it makes."""

    peer: str
    body: Body
    in_flight: int
    requests: int


@attrs.frozen
class Comparison:
    """Some turns, and the figure that their samples make.

    Attributes:
        name: What is compared.
        turns: One right after the other.
        figure: From the samples of one round, in that order, to the figure.
        unit: That of the figure.
        target: What it is to be.
        detail: From each turn's median seconds a request and seconds an event to words.
    """

    name: str
    turns: tuple[Turn, ...]
    figure: Callable[[list[Sample]], float]
    unit: str = "x"
    target: Target | None = None
    detail: Callable[[list[list[Sample]]], str] = lambda _: ""


@attrs.frozen
class Compared:
    """What came of it: a finding for each comparison, and each peer's samples."""

    findings: list[Finding]
    samples: Mapping[tuple[str, Body], list[Sample]]


def compare(comparisons: list[Comparison], repeats: int, loop: str) -> Compared:
    """Run all comparisons in each round."""
    bodies = {turn.body for comparison in comparisons for turn in comparison.turns}
    samples: dict[tuple[str, Body], list[Sample]] = {}
    with Nginx(bodies) as nginx, contextlib.ExitStack() as stack:
        sides = _Sides(nginx, loop, stack)
        able = [comparison for comparison in comparisons if sides.why_not(comparison) is None]
        rounds = in_rounds(repeats, [_taking(comparison, sides) for comparison in able])
        findings = []
        for comparison in comparisons:
            reason = sides.why_not(comparison)
            if reason is not None:
                findings.append(
                    Finding(comparison.name, None, comparison.unit, comparison.target, f"not available: {reason}")
                )
                continue
            place = able.index(comparison)
            taken = [a_round[place] for a_round in rounds]
            findings.append(
                Finding(
                    comparison.name,
                    Spread.of(comparison.figure(row) for row in taken),
                    comparison.unit,
                    comparison.target,
                    comparison.detail(taken),
                )
            )
            for number, turn in enumerate(comparison.turns):
                samples.setdefault((turn.peer, turn.body), []).extend(row[number] for row in taken)
    return Compared(findings, samples)


class _Sides:
    """The processes, made once for each peer and body."""

    def __init__(self, nginx: Nginx, loop: str, stack: contextlib.ExitStack) -> None:
        self._nginx = nginx
        self._loop = loop
        self._stack = stack
        self._known: dict[Any, Side | str] = {}

    def why_not(self, comparison: Comparison) -> str | None:
        for turn in comparison.turns:
            side = self.of(turn)
            if isinstance(side, str):
                return side
        return None

    def of(self, turn: Turn) -> Side | str:
        key = (turn.peer, turn.body, turn.in_flight)
        if key not in self._known:
            prepared = self._nginx.prepared[turn.body]
            site = Site.serving(prepared, self._nginx.base_url(turn.body), turn.in_flight, self._loop)
            try:
                self._known[key] = self._stack.enter_context(Side(turn.peer, site))
            except Unavailable as error:
                self._known[key] = str(error)
        return self._known[key]


def _taking(comparison: Comparison, sides: _Sides) -> Callable[[], list[Sample]]:
    def take() -> list[Sample]:
        return list(_samples(comparison, sides))

    return take


def _samples(comparison: Comparison, sides: _Sides) -> Iterator[Sample]:
    for turn in comparison.turns:
        side = sides.of(turn)
        assert isinstance(side, Side)
        yield side.fetch(turn.requests)


def times_faster(unit: str) -> Callable[[list[Sample]], float]:
    """Return the rate of the first over that of the second, by seconds a "request" or an "event"."""
    return lambda row: float(getattr(row[1], unit) / getattr(row[0], unit))


def rates(unit: str) -> Callable[[list[list[Sample]]], str]:
    """Return the median rates of all sides, in words."""

    def words(taken: list[list[Sample]]) -> str:
        columns = list(zip(*taken, strict=True))
        medians = [Spread.of(1 / getattr(sample, unit) for sample in column).median for column in columns]
        return f"{' and '.join(f'{median:,.0f}' for median in medians)} {unit}s/s"

    return words
