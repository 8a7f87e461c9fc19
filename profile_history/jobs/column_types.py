"""The types of what a ledger holds: SQLite keeps whatever it is given, and a ledger may have been edited. No I/O."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeAlias

import attrs
import msgspec
from msgspec import Meta

from profile_history.jobs.records import LedgerWrite
from profile_history.jobs.schema import LedgerError
from profile_history.sinks.base import Part, Receipt
from profile_history.windows import Window

_EPOCH = dt.date(1970, 1, 1).toordinal()
_MOST = 2**63 - 1

Number: TypeAlias = Annotated[int, Meta(ge=1, le=_MOST)]
"""Of a unit or a profile."""

Count: TypeAlias = Annotated[int, Meta(ge=0, le=_MOST)]
"""Of things, or a place among them."""

Day: TypeAlias = Annotated[int, Meta(ge=dt.date.min.toordinal() - _EPOCH, le=dt.date.max.toordinal() - _EPOCH)]
"""Days since 1970-01-01, within the calendar."""

_Integer: TypeAlias = Annotated[int, Meta(ge=-_MOST - 1, le=_MOST)]

PendingRow: TypeAlias = tuple[Number, Number, Day, Day, str]
ProbeRow: TypeAlias = tuple[Day, Day, str]
PartRow: TypeAlias = tuple[str, Count, Count, Count, Count, Count, str]
StoredRow: TypeAlias = tuple[Number, Count, Count, Count]
StoredChecksumRow: TypeAlias = tuple[Number, Count, Count, Count, int | None]
ChecksumRow: TypeAlias = tuple[Number, Count, int | None]
FailureRow: TypeAlias = tuple[str, Day, Day, str | None]
RejectRow: TypeAlias = tuple[int, str, str]
QuarantineRow: TypeAlias = tuple[str, str, str, str, bytes]
CountRow: TypeAlias = tuple[Annotated[int, Meta(ge=0, le=4)], Count, Count]


# What is raised by code that takes a value for what it is not.
_ODD = (msgspec.MsgspecError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def as_type(value: Any, kind: Any) -> Any:
    """Return a value if it is of a type.

    Args:
        value: What SQLite has given.
        kind: The type, such as one of this module.

    Raises:
        ValueError: It is of another type, or outside of its range.
    """
    return msgspec.convert(value, kind)


@contextlib.contextmanager
def guard_reading(path: Path, what: str) -> Iterator[None]:
    """Surround the reading of values from a ledger, and nothing else.

    Args:
        path: The ledger.
        what: What is read, for the message.

    Raises:
        LedgerError: What is read is not what this program has written.
    """
    try:
        yield
    except LedgerError:
        raise
    except _ODD as error:
        raise LedgerError(
            f"the ledger {path} is damaged, or was changed by hand: {what} cannot be read ({error}); restore it and "
            "its sink from a backup, or begin a new job elsewhere"
        ) from None


def window_of(first: int, last: int) -> Window:
    """Return the days from one to another one.

    Args:
        first: The first day, since 1970-01-01.
        last: The last day, likewise.

    Raises:
        ValueError: The last one lies before the first one.
    """
    if last < first:
        raise ValueError(f"day {last} lies before day {first}")
    return Window(dt.date.fromordinal(first + _EPOCH), dt.date.fromordinal(last + _EPOCH))


def check_within(window: Window, first: dt.date, last: dt.date) -> Window:
    """Return a window if all of its days are days of the job.

    Args:
        window: The window of a unit.
        first: The first day of the job.
        last: Its last day.

    Raises:
        ValueError: It has others.
    """
    if window.date_from is None or window.date_to is None or window.date_from < first or last < window.date_to:
        raise ValueError(f"the days {window} are not within those of the job, {first} to {last}")
    return window


def part_of(row: PartRow) -> Part:
    """Return a part whose file is inside the sink.

    Args:
        row: Its values.

    Raises:
        ValueError: Its name leads elsewhere, or it ends before it begins.
    """
    part = Part(*row)
    _check_parts([part])
    return part


def decode_write(text: str | bytes) -> LedgerWrite:
    """Return the batch that a ledger holds as JSON.

    Args:
        text: The JSON.

    Raises:
        ValueError: It is none, or one of its values is outside of its range.
    """
    found = msgspec.json.decode(text)
    _rename_place([*found.get("records", ()), *found.get("replaced", ())])
    write = msgspec.convert(found, type=LedgerWrite)
    windows = [*(record.window for record in write.records), *(window for _, window in write.rests)]
    if any(window.date_from is None or window.date_to is None for window in windows):
        raise ValueError("a unit lacks a day")
    counts = [write.batch or 0, *(number for number, _ in write.rests), *(row.unit for row in write.quarantined)]
    for record in write.records:
        counts += [record.number, record.ordinal, record.rows, record.attempts, record.row_offset]
        as_type([record.checksum or 0, record.fetched_at or 0], list[_Integer])
    as_type(counts, list[Count])
    as_type([attrs.astuple(stored) for stored in write.replaced], list[StoredRow])
    return write


def decode_receipt(text: str | bytes) -> Receipt:
    """Return the receipt that a ledger holds as JSON.

    Args:
        text: The JSON.

    Raises:
        ValueError: It is none, or one of its files is not inside the sink.
    """
    receipt = msgspec.json.decode(text, type=Receipt)
    _check_parts([*receipt.added, *receipt.removed])
    for part in (*receipt.added, *receipt.removed):
        as_type((part.name, part.first, part.last, part.offset, part.size, part.rows, part.checksum), PartRow)
    return receipt


def _rename_place(stored: Iterable[dict[str, Any]]) -> None:
    """Give the offset of rows its present name; a version up to 0.5.0 that crashed has left it under another one."""
    for values in stored:
        if "place" in values:
            values["row_offset"] = values.pop("place")


def _check_parts(parts: Iterable[Part]) -> None:
    """Return if no part names a file elsewhere, which would be overwritten, or deleted."""
    for part in parts:
        path = PurePosixPath(part.name)
        if not path.name or path.is_absolute() or ".." in path.parts or "\0" in part.name:
            raise ValueError(f"{part.name!r} is no file of a sink")
        if part.last < part.first:
            raise ValueError(f"batch {part.last} lies before batch {part.first}")
