"""Rounds: every side works once in each, one right after the other, and ratios are taken within a round."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import attrs

T = TypeVar("T")


@attrs.frozen
class Spread:
    """A median over rounds, with the least and the most."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Return the spread of some values."""
        values = list(values)
        return cls(statistics.median(values), min(values), max(values))


def in_rounds(repeats: int, turns: Sequence[Callable[[], T]]) -> list[list[T]]:
    """Take all turns once a round, A B A B; a first round warms up and is dropped.

    Returns:
        For each round, what each turn gave.
    """
    return [[turn() for turn in turns] for _ in range(repeats + 1)][1:]


def percentile(values: Iterable[float], share: float) -> float:
    """Return the least of the values that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
