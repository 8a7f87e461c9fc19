"""One verified response becomes slices of columns: quickly if its rows are as documented and sorted. No I/O."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Self, TypeAlias, cast

import attrs

from profile_history._decoding.flat_decoder import Columns, FlatRow, ShortRow, decode_rows, transpose
from profile_history._decoding.ordering import (
    ChunkOrder,
    KeyedRows,
    Span,
    find_chunk_order,
    guess_chunk_order,
    sort_chunk,
)
from profile_history._decoding.record_batches import ColumnSlice, build_column_slice
from profile_history._decoding.response_decoder import OwnershipCheck, ResponseDecoder
from profile_history._decoding.timestamps import has_nanoseconds
from profile_history._protocol.chunking import Chunk
from profile_history._protocol.envelope import Rows
from profile_history.windows import Order, Window

# So many rows, or the rows of so many chunks, make a slice. Fewer cost more per row; more hold the loop for longer.
ROWS_PER_SLICE, CHUNKS_PER_SLICE = 1000, 16

# An empty tuple stands where the caller can pause.
ColumnSlices: TypeAlias = Generator[ColumnSlice | tuple[()], None, None]


def decode_columns(decoder: ResponseDecoder[FlatRow], rows: Rows) -> ColumnSlices:
    """Yield the rows of a window in order, in columns.

    No row is yielded before the whole response was checked.

    Args:
        decoder: What decodes the response row by row, for its options and for what is not documented or not sorted.
        rows: The rows of the response.

    Yields:
        Slices of columns; or an empty tuple between two steps, so that the caller can pause.

    Raises:
        DecodeError: A row cannot be read, and `decoder.strict` says that this is an error.
        ResponseError: Every row is of another profile than the one asked for.
    """
    slices = yield from _decode_sorted(decoder, rows)
    if slices is not None:
        yield from slices
        return
    for some in decoder.decode(rows):
        columns = transpose(some) if some else None
        yield (yield from build_column_slice([columns])) if columns else ()


def _decode_sorted(
    decoder: ResponseDecoder[FlatRow], rows: Rows
) -> Generator[tuple[()], None, list[ColumnSlice] | None]:
    """Return the slices of a response whose chunks are as documented and sorted, or `None` for any other."""
    order = decoder.order
    first = _ColumnarChunk.decode(rows.chunks[0]) if rows.chunks else None
    if first is None:
        return None
    others = rows.chunks[1:]
    # The slices are built in this order as the chunks are read; whether it was right is known when all were.
    guess = guess_chunk_order(first.span, order) if others else ChunkOrder.SORTED
    chunks: Iterable[Chunk | None] = (*reversed(others), None) if guess is ChunkOrder.REVERSED else (None, *others)
    ownership = OwnershipCheck(decoder.owner)
    spans: list[Span] = []
    tables: list[Columns] = []
    slices: list[ColumnSlice] = []
    for chunk in chunks:
        table = first if chunk is None else _ColumnarChunk.decode(chunk)
        if table is None or table.columns.zones != first.columns.zones:
            return None
        ownership.observe(table.keys)
        columns = table.sort(decoder.window, order)
        if columns.rows:
            spans.append(_span_of(columns))
            tables.append(columns)
        if len(tables) == CHUNKS_PER_SLICE or sum(columns.rows for columns in tables) >= ROWS_PER_SLICE:
            slices.append((yield from build_column_slice(tables)))
            tables = []
        if others:
            yield ()
    ownership.check()
    if tables:
        slices.append((yield from build_column_slice(tables)))
    if guess is ChunkOrder.REVERSED:
        spans.reverse()
    return slices if len(spans) < 2 or find_chunk_order(spans, order) is guess else None


def _span_of(columns: Columns) -> Span:
    timestamps = columns.values["datetime"]
    return Span(timestamps[0], timestamps[-1])


@attrs.frozen
class _ColumnarChunk:
    """The rows of one chunk in columns, all labelled in one zone, and their keys; short rows have none."""

    keys: Sequence[FlatRow]
    columns: Columns

    @classmethod
    def decode(cls, chunk: Chunk) -> Self | None:
        rows = decode_rows(chunk.text) if chunk.short_timestamps or not has_nanoseconds(chunk.text) else None
        columns = transpose(rows) if rows else None
        if not rows or not columns or len(columns.zones) > 1:
            return None
        # Short rows do not say whose they are.
        keys = () if type(rows[0]) is ShortRow else cast("Sequence[FlatRow]", rows)
        return cls(keys, columns)

    @property
    def span(self) -> Span:
        """Return the first and the last timestamp as the server sent them."""
        return _span_of(self.columns)

    def sort(self, window: Window, order: Order) -> Columns:
        """Return the rows of a window's days in order.

        Args:
            window: The days to keep.
            order: Which end comes first.
        """
        rows, values, zones = self.columns
        everything = list(range(rows))
        places = sort_chunk(KeyedRows(list(values["datetime"]), everything), window, order).rows
        if places is everything:
            return self.columns
        kept = {name: [column[place] for place in places] for name, column in values.items()}
        return Columns(len(places), kept, zones)
