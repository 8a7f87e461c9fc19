"""One verified answer becomes pieces of columns: quickly where its rows are as documented and sorted. No I/O."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Self, TypeAlias, cast

import attrs

from profile_history._decoding.flat_decoder import Columns, FlatRow, ShortRow, columns_of, decode_rows
from profile_history._decoding.ordering import (
    Labelled,
    Span,
    arranged_alone,
    follow_one_another,
    follow_one_another_backwards,
)
from profile_history._decoding.record_batches import Piece, piece_of
from profile_history._decoding.response_decoder import Owners, Unpacking
from profile_history._decoding.timestamps import has_long_label
from profile_history._protocol.chunking import Chunk
from profile_history._protocol.envelope import Rows
from profile_history.windows import Order, Window

# So many rows, or what has come of so many chunks, make a piece. Fewer cost more a row; more hold the loop for longer.
_ROWS, _CHUNKS = 1000, 16

# An empty one stands where the caller can pause.
Pieces: TypeAlias = Generator[Piece | tuple[()], None, None]


def tabled(unpacking: Unpacking[FlatRow], rows: Rows) -> Pieces:
    """The rows of a window in order; what is empty stands where the caller can pause.

    Nothing that is not empty is given before all of the answer was checked.

    Args:
        unpacking: What to make of the answer, row by row.
        rows: The answer.

    Raises:
        DecodeError: A row cannot be read, and `unpacking.strict` says so.
        ResponseError: Every row is of another profile than the one asked for.
    """
    pieces = yield from _straight(unpacking, rows)
    if pieces is not None:
        yield from pieces
        return
    for batch in unpacking.batches(rows):
        columns = columns_of(batch) if batch else None
        yield (yield from piece_of([columns])) if columns else ()


def _straight(unpacking: Unpacking[FlatRow], rows: Rows) -> Generator[tuple[()], None, list[Piece] | None]:
    """The pieces of an answer whose chunks are as documented and follow one another; None for any other answer."""
    order = unpacking.order
    first = _Table.of(rows.chunks[0]) if rows.chunks else None
    if first is None:
        return None
    others = rows.chunks[1:]
    turned = bool(others) and first.runs_against(order)
    chunks: Iterable[Chunk | None] = (*reversed(others), None) if turned else (None, *others)
    owners = Owners(unpacking.owner)
    spans: list[Span] = []
    tables: list[Columns] = []
    pieces: list[Piece] = []
    for chunk in chunks:
        table = first if chunk is None else _Table.of(chunk)
        if table is None or table.columns.zones != first.columns.zones:
            return None
        owners.note(table.stamps)
        columns = table.arranged(unpacking.window, order)
        if columns.rows:
            spans.append(_span(columns))
            tables.append(columns)
        if len(tables) == _CHUNKS or sum(columns.rows for columns in tables) >= _ROWS:
            pieces.append((yield from piece_of(tables)))
            tables = []
        if others:
            yield ()
    owners.check()
    if tables:
        pieces.append((yield from piece_of(tables)))
    straight = follow_one_another_backwards(reversed(spans), order) if turned else follow_one_another(spans, order)
    return pieces if straight else None


def _span(columns: Columns) -> Span:
    labels = columns.values["datetime"]
    return Span(labels[0], labels[-1])


@attrs.frozen
class _Table:
    """The rows of one chunk, all labelled in one zone."""

    stamps: Sequence[FlatRow]
    columns: Columns

    @classmethod
    def of(cls, chunk: Chunk) -> Self | None:
        rows = decode_rows(chunk.text) if chunk.usual or not has_long_label(chunk.text) else None
        columns = columns_of(rows) if rows else None
        if not rows or not columns or len(columns.zones) > 1:
            return None
        # Short rows say not whose they are.
        stamps = () if type(rows[0]) is ShortRow else cast("Sequence[FlatRow]", rows)
        return cls(stamps, columns)

    def runs_against(self, order: Order) -> bool:
        first, last = _span(self.columns)
        return first < last if order is Order.NEWEST else first > last

    def arranged(self, window: Window, order: Order) -> Columns:
        rows, values, zones = self.columns
        everything = list(range(rows))
        places = arranged_alone(Labelled(list(values["datetime"]), everything), window, order).items
        if places is everything:
            return self.columns
        kept = {name: [column[place] for place in places] for name, column in values.items()}
        return Columns(len(places), kept, zones)
