"""The ways to hand out rows have in common: they read slice by slice, and set apart what they cannot read. No I/O."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import attrs

from profile_history._decoding.json_members import load_row
from profile_history._decoding.timestamps import Stamp, has_long_label, read_datetime
from profile_history._protocol.chunking import split_rows
from profile_history.errors import DecodeError
from profile_history.results import Quarantined

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@attrs.frozen
class Batch(Generic[T_co]):
    """What one slice holds.

    Attributes:
        items: The others, in the server's order, as events or as they came.
        stamps: What has to be known of each of them; of events, the events.
        quarantined: The rows that cannot be read.
    """

    items: list[T_co]
    stamps: Sequence[Stamp]
    quarantined: list[Quarantined] = attrs.field(factory=list)


@attrs.frozen
class Lane(Generic[T]):
    """A way to hand out rows: as events, or as they came.

    Attributes:
        read_fast: Reads some verified rows with commas between them, unless one is odd.
        read_slowly: The same one by one, whatever they are.
    """

    read_fast: Callable[[bytes], Batch[T] | None]
    read_slowly: Callable[[bytes], Batch[T]]

    def read(self, chunk: bytes, *, usual: bool = False) -> Batch[T]:
        """Reads some verified rows, with commas between them.

        Args:
            chunk: The rows.
            usual: Whether it is known that no `datetime` has more digits than the fast way keeps.

        Raises:
            DecodeError: They are nested too deeply for the caller's stack.
        """
        fast = usual or not has_long_label(chunk)
        return (self.read_fast(chunk) if fast else None) or self.read_slowly(chunk)


def read_rows(chunk: bytes, read: Callable[[bytes, Any], tuple[T, Stamp]]) -> Batch[T]:
    """Reads row by row, and sets unreadable ones apart.

    Args:
        chunk: Some verified rows, with commas between them.
        read: Makes of a row, its bytes and what `load_row` makes of them, an item and its stamp, or raises ValueError.

    Raises:
        DecodeError: They are nested too deeply for the caller's stack.
    """
    items: list[T] = []
    stamps: list[Stamp] = []
    quarantined: list[Quarantined] = []
    try:
        rows = split_rows(chunk)
    except RecursionError:
        raise DecodeError("the rows are nested too deeply", path="$.data") from None
    for place, raw in enumerate(rows):
        row = None
        try:
            row = load_row(raw)
            item, stamp = read(raw, row)
        except (ValueError, RecursionError) as error:
            reason = str(error) or type(error).__name__
            quarantined.append(Quarantined(reason, raw, place, _datetime_of(row)))
        else:
            items.append(item)
            stamps.append(stamp)
    return Batch(items, stamps, quarantined)


def _datetime_of(row: Any) -> dt.datetime | None:
    text = row.get("datetime") if isinstance(row, dict) else None
    try:
        return read_datetime(text) if isinstance(text, str) else None
    except ValueError:
        return None
