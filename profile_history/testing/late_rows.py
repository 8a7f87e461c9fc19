"""Histories that become known as time goes by: some rows come late, and some are deleted again. No I/O."""

from __future__ import annotations

import datetime as dt
import functools
import random

import attrs

from profile_history.testing.histories import Histories, Row, Shape

_REMEMBERED = 4096


@attrs.frozen(kw_only=True)
class Unfolding:
    """The times at which the server gets to know rows and forgets them, as functions of seed, profile and row.

    A row is known from its own `datetime` on (read as UTC), a late one from up to `days` later on; a deleted one is
    known until up to `days` after its `datetime`.

    Attributes:
        late: How likely a row is to come late, from 0 to 1.
        deleted: How likely a row is to be deleted again, from 0 to 1.
        days: Within how many days after its `datetime` a row comes late or is deleted.
    """

    late: float = 0.3
    deleted: float = 0.1
    days: float = 2.0

    def known(self, histories: Histories, number: int, shape: Shape, moment: dt.datetime) -> list[Row]:
        """Return the rows of a profile that are known at a moment, oldest first.

        Args:
            histories: All rows that there will ever be.
            number: The profile's number.
            shape: How the rows look.
            moment: An aware datetime.
        """
        rows, spans = histories.rows(number, shape), _draw_spans(self, histories, number, shape)
        return [row for row, (first, last) in zip(rows, spans, strict=True) if first <= moment < last]


@functools.lru_cache(maxsize=_REMEMBERED)
def _draw_spans(
    unfolding: Unfolding, histories: Histories, number: int, shape: Shape
) -> tuple[tuple[dt.datetime, dt.datetime], ...]:
    draw = random.Random(f"{histories.seed}/{number}/unfolding")
    spans = []
    for row in histories.rows(number, shape):
        label = row.label.replace(tzinfo=dt.UTC)
        late, deleted = (dt.timedelta(days=unfolding.days * draw.random()) for _ in range(2))
        first = label + late if draw.random() < unfolding.late else label
        last = label + deleted if draw.random() < unfolding.deleted else dt.datetime.max.replace(tzinfo=dt.UTC)
        spans.append((first, last))
    return tuple(spans)
