"""Make settled units of fetched windows, and gather them until they are worth a commit. No I/O, no clock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import attrs

from profile_history.jobs.clock import JobClock
from profile_history.jobs.records import PendingUnit, QuarantineRecord, Status, UnitRecord, bounds_of
from profile_history.results import UnitResult
from profile_history.sinks.base import RowFormat
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.unit_rows import Refused, Stored, UnitRows
from profile_history.windows import Order, Window

_DAY = dt.timedelta(days=1)


@attrs.define(eq=False)
class PendingCommit:
    """Some settled units to be committed into sink and ledger; the numbers of `UnitRows` and `UnitRecord` are the same.

    Attributes:
        rows: The rows of each unit that has any.
        records: What the ledger is to write down of each.
        rests: What is left of pending units of which a part is settled, by their numbers.
        replaced: Units whose rows have to go.
        quarantined: Rows that cannot be read.
        planned: The pending units that all of this belongs to, by their numbers.
        size: Bytes of the responses.
    """

    rows: list[UnitRows] = attrs.field(factory=list)
    records: list[UnitRecord] = attrs.field(factory=list)
    rests: dict[int, Window] = attrs.field(factory=dict)
    replaced: list[Stored] = attrs.field(factory=list)
    quarantined: list[QuarantineRecord] = attrs.field(factory=list)
    planned: dict[int, PendingUnit] = attrs.field(factory=dict)
    size: int = 0

    def batch(self, number: int) -> SinkBatch | None:
        """Return the rows as a batch for the sink, or `None` if there is nothing to write.

        Args:
            number: The number of the batch.
        """
        replaced = [unit for unit in self.replaced if unit.rows]
        return SinkBatch(number, self.rows, replaced) if self.rows or replaced else None

    def split(self) -> list[PendingCommit]:
        """Return the same in parts that can be committed apart: one per profile."""
        parts: dict[int, PendingCommit] = {}
        owners = {record.number: record.ordinal for record in self.records}
        for unit in self.planned.values():
            parts.setdefault(unit.ordinal, PendingCommit()).planned[unit.number] = unit
            owners[unit.number] = unit.ordinal
            owners |= dict.fromkeys((stored.unit for stored in unit.replaces), unit.ordinal)
        for record in self.records:
            parts[record.ordinal].records.append(record)
        for rows in self.rows:
            parts[owners[rows.unit]].rows.append(rows)
        for number, window in self.rests.items():
            parts[owners[number]].rests[number] = window
        for stored in self.replaced:
            parts[owners[stored.unit]].replaced.append(stored)
        for row in self.quarantined:
            parts[owners[row.unit]].quarantined.append(row)
        return list(parts.values())

    def failed(self, reason: str) -> PendingCommit:
        """Return the same units as failed ones, with nothing to store; what they were to replace stays.

        Args:
            reason: Why they cannot be stored.
        """
        attempts = sum(record.attempts for record in self.records)
        replacing = [unit for unit in self.planned.values() if unit.replaces]
        records = [
            UnitRecord(unit.number, unit.ordinal, unit.window, Status.FAILED, 0, attempts, reason, planned=True)
            for unit in replacing
        ]
        records += [
            attrs.evolve(record, status=Status.FAILED, rows=0, reason=reason)
            for record in self.records
            # The windows of one profile's pending units are disjoint, so the first day tells whose part it is.
            if not any(
                unit.ordinal == record.ordinal and unit.window.holds(bounds_of(record.window)[0]) for unit in replacing
            )
        ]
        return PendingCommit(records=records, rests=self.rests, planned=self.planned)


def place_rows(
    records: Sequence[UnitRecord], batch: SinkBatch | None, checksums: Mapping[int, int]
) -> list[UnitRecord]:
    """Return the records with the rows that a batch holds of them, their places in it, and their checksums.

    Args:
        records: Of the units that are settled.
        batch: What the sink gets of them; `None` if it gets nothing.
        checksums: Of the content of units, by their numbers; empty if the sink has none.
    """
    held: dict[int, tuple[int, int]] = {}
    place = 0
    for unit in batch.units if batch else ():
        held[unit.unit] = place, len(unit)
        place += len(unit)
    return [
        attrs.evolve(
            record,
            row_offset=held[record.number][0],
            rows=held[record.number][1],
            checksum=checksums.get(record.number),
        )
        if record.number in held
        else attrs.evolve(record, rows=0)
        for record in records
    ]


def quarantine_refused(refused: Sequence[Refused]) -> list[QuarantineRecord]:
    """Return the rows that a sink cannot hold, as the ledger lists them."""
    return [QuarantineRecord(row.unit, row.reason, row.raw) for row in refused]


@attrs.define(eq=False)
class UnitCollector:
    """A collector of settled units, which it makes of what was fetched.

    Attributes:
        next_number: The number of the next unit that is not planned: a part of a planned one.
        clock: Says which days of a response are provisional.
        order: Which end of a planned unit comes first.
        row_format: What the rows are.
    """

    next_number: int
    clock: JobClock
    order: Order
    row_format: RowFormat
    pending: PendingCommit = attrs.field(factory=PendingCommit, init=False)
    _held: dict[int, list[tuple[UnitResult[Any], Status, int]]] = attrs.field(factory=dict, init=False)
    _numbers: count[int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._numbers = count(self.next_number)

    def split_window(self, window: Window, served_at: dt.datetime | None) -> list[Window]:
        """Return the parts of a fetched window that become units: what is final, and what is provisional.

        Args:
            window: The window.
            served_at: When the server says that it made the response; `None` if it does not say.
        """
        first, last = bounds_of(window)
        provisional_from = self.clock.provisional_from(served_at)
        if last < provisional_from or provisional_from <= first:
            return [window]
        final = Window(first, provisional_from - _DAY)
        recent = Window(provisional_from, last)
        return [recent, final] if self.order is Order.NEWEST else [final, recent]

    def add(self, contents: Sequence[UnitResult[Any]], size: int) -> None:
        """Take the parts of one window that was fetched.

        Args:
            contents: The parts, as `split_window` has cut them.
            size: Bytes of the response.
        """
        unit = contents[0].unit
        assert isinstance(unit, PendingUnit)
        if unit.replaces:
            self._hold(unit, contents, size)
            return
        for part in contents:
            self._settle(unit, part, self._status(part))
        self.pending.size += size

    def take(self) -> PendingCommit:
        """Return what was gathered so far, and begin anew."""
        pending, self.pending = self.pending, PendingCommit()
        return pending

    def _hold(self, unit: PendingUnit, contents: Sequence[UnitResult[Any]], size: int) -> None:
        """Keep parts until the unit is whole: what it replaces goes as a whole or stays as a whole."""
        held = self._held.setdefault(unit.number, [])
        held += [(part, self._status(part), size if place == 0 else 0) for place, part in enumerate(contents)]
        if not self._ends(unit, contents[-1].window):
            return
        del self._held[unit.number]
        failed = next((part for part, _, _ in held if part.error is not None), None)
        if failed is not None:
            whole = attrs.evolve(failed, window=unit.window)
            self._record(unit.number, unit, whole, Status.FAILED, planned=True)
            return
        for part, status, bytes_ in held:
            self._settle(unit, part, status)
            self.pending.size += bytes_
        self.pending.replaced += unit.replaces

    def _settle(self, unit: PendingUnit, part: UnitResult[Any], status: Status) -> None:
        last = self._ends(unit, part.window)
        date_from, date_to = bounds_of(part.window)
        if last:
            self.pending.rests.pop(unit.number, None)
        elif self.order is Order.NEWEST:
            self.pending.rests[unit.number] = Window(unit.window.date_from, date_from - _DAY)
        else:
            self.pending.rests[unit.number] = Window(date_to + _DAY, unit.window.date_to)
        self._record(unit.number if last else next(self._numbers), unit, part, status, planned=last)

    def _record(self, number: int, unit: PendingUnit, part: UnitResult[Any], status: Status, *, planned: bool) -> None:
        pending = self.pending
        pending.planned[unit.number] = unit
        if part.error is None and part.items:
            text = part.unit.profile.text
            raw, column_slices = (part.items, ()) if self.row_format == "raw" else ((), part.items)
            pending.rows.append(UnitRows(number, text, raw=raw, column_slices=column_slices))
        pending.quarantined += [QuarantineRecord(number, row.reason, row.raw) for row in part.quarantined]
        reason = "" if part.error is None else str(part.error)
        pending.records.append(
            UnitRecord(
                number,
                unit.ordinal,
                part.window,
                status,
                attempts=part.attempts,
                reason=reason,
                planned=planned,
                fetched_at=None if part.error is not None else self.clock.fetched_at(part.served_at),
            )
        )

    def _status(self, part: UnitResult[Any]) -> Status:
        if part.error is not None:
            return Status.FAILED
        if bounds_of(part.window)[1] >= self.clock.provisional_from(part.served_at):
            return Status.PROVISIONAL
        return Status.DONE if part.items else Status.EMPTY

    def _ends(self, unit: PendingUnit, window: Window) -> bool:
        if self.order is Order.NEWEST:
            return window.date_from == unit.window.date_from
        return window.date_to == unit.window.date_to
