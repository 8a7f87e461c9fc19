"""One verified answer becomes pieces of columns: quickly where its rows are as documented and sorted. No I/O."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Self, TypeAlias, cast

import attrs

from profile_history._decoding.flat_decoder import Columns, FlatRow, ShortRow, decode_rows, transpose
from profile_history._decoding.ordering import (
    KeyedRows,
    Span,
    is_sorted,
    is_sorted_reversed,
    sort_chunk,
)
from profile_history._decoding.record_batches import ColumnSlice, build_column_slice
from profile_history._decoding.response_decoder import OwnershipCheck, ResponseDecoder
from profile_history._decoding.timestamps import has_nanoseconds
from profile_history._protocol.chunking import Chunk
from profile_history._protocol.envelope import Rows
from profile_history.windows import Order, Window

# So many rows, or what has come of so many chunks, make a piece. Fewer cost more a row; more hold the loop for longer.
_ROWS, _CHUNKS = 1000, 16

# An empty one stands where the caller can pause.
ColumnSlices: TypeAlias = Generator[ColumnSlice | tuple[()], None, None]


def decode_columns(decoder: ResponseDecoder[FlatRow], rows: Rows) -> ColumnSlices:
    """The rows of a window in order; what is empty stands where the caller can pause.

    Nothing that is not empty is given before all of the answer was checked.

    Args:
        decoder: What to make of the answer, row by row.
        rows: The answer.

    Raises:
        DecodeError: A row cannot be read, and `decoder.strict` says so.
        ResponseError: Every row is of another profile than the one asked for.
    """
    pieces = yield from _straight(decoder, rows)
    if pieces is not None:
        yield from pieces
        return
    for batch in decoder.decode(rows):
        columns = transpose(batch) if batch else None
        yield (yield from build_column_slice([columns])) if columns else ()


def _straight(decoder: ResponseDecoder[FlatRow], rows: Rows) -> Generator[tuple[()], None, list[ColumnSlice] | None]:
    """The pieces of an answer whose chunks are as documented and follow one another; None for any other answer."""
    order = decoder.order
    first = _Table.of(rows.chunks[0]) if rows.chunks else None
    if first is None:
        return None
    others = rows.chunks[1:]
    turned = bool(others) and first.runs_against(order)
    chunks: Iterable[Chunk | None] = (*reversed(others), None) if turned else (None, *others)
    ownership = OwnershipCheck(decoder.owner)
    spans: list[Span] = []
    tables: list[Columns] = []
    pieces: list[ColumnSlice] = []
    for chunk in chunks:
        table = first if chunk is None else _Table.of(chunk)
        if table is None or table.columns.zones != first.columns.zones:
            return None
        ownership.observe(table.keys)
        columns = table.sort_chunks(decoder.window, order)
        if columns.rows:
            spans.append(_span(columns))
            tables.append(columns)
        if len(tables) == _CHUNKS or sum(columns.rows for columns in tables) >= _ROWS:
            pieces.append((yield from build_column_slice(tables)))
            tables = []
        if others:
            yield ()
    ownership.check()
    if tables:
        pieces.append((yield from build_column_slice(tables)))
    straight = is_sorted_reversed(reversed(spans), order) if turned else is_sorted(spans, order)
    return pieces if straight else None


def _span(columns: Columns) -> Span:
    labels = columns.values["datetime"]
    return Span(labels[0], labels[-1])


@attrs.frozen
class _Table:
    """The rows of one chunk, all labelled in one zone."""

    keys: Sequence[FlatRow]
    columns: Columns

    @classmethod
    def of(cls, chunk: Chunk) -> Self | None:
        rows = decode_rows(chunk.text) if chunk.short_timestamps or not has_nanoseconds(chunk.text) else None
        columns = transpose(rows) if rows else None
        if not rows or not columns or len(columns.zones) > 1:
            return None
        # Short rows say not whose they are.
        keys = () if type(rows[0]) is ShortRow else cast("Sequence[FlatRow]", rows)
        return cls(keys, columns)

    def runs_against(self, order: Order) -> bool:
        first, last = _span(self.columns)
        return first < last if order is Order.NEWEST else first > last

    def sort_chunks(self, window: Window, order: Order) -> Columns:
        rows, values, zones = self.columns
        everything = list(range(rows))
        places = sort_chunk(KeyedRows(list(values["datetime"]), everything), window, order).rows
        if places is everything:
            return self.columns
        kept = {name: [column[place] for place in places] for name, column in values.items()}
        return Columns(len(places), kept, zones)
