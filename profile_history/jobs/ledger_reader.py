"""Read what a ledger says of units, files and profiles. Nothing here writes, so status and verify use it as well."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from profile_history._deprecated import warn_deprecated
from profile_history.jobs import statements
from profile_history.jobs.column_types import (
    ChecksumRow,
    CountRow,
    FailureRow,
    Number,
    PartRow,
    PendingRow,
    ProbeRow,
    QuarantineRow,
    RejectRow,
    StoredChecksumRow,
    StoredRow,
    as_type,
    check_within,
    decode_write,
    part_of,
    window_of,
)
from profile_history.jobs.ledger_values import LedgerValues
from profile_history.jobs.profile_text import profile_of
from profile_history.jobs.records import LedgerWrite, PendingUnit, Status, Totals
from profile_history.jobs.schema import LedgerError, connect_for_reading
from profile_history.profiles import Profile
from profile_history.sinks.base import Part
from profile_history.sinks.unit_rows import Stored
from profile_history.units import Unit
from profile_history.windows import Window

# A hash that no profile has; a server that is up has no events of it.
_NOBODY = Profile.xxh("0" * 16)
_PART = 'name, first, last, "offset", size, rows, checksum'


class LedgerReader(LedgerValues):
    """The tables of a ledger, read with care: each value may have been edited.

    Attributes:
        totals: How many units there are of each status, and rows in the sink.

    Args:
        path: Its file.
        connection: To that file; it is closed with the ledger.
        stop: Set when the run is to end soon.

    Raises:
        LedgerError: Its totals cannot be read.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, stop: threading.Event | None = None) -> None:
        super().__init__(path, connection, stop)
        self.totals: Totals = self._read_totals()

    @property
    def untouched(self) -> bool:
        """Return whether nothing has been fetched yet: no unit has a response, and the sink was given nothing."""
        totals = self.totals
        settled = totals.done + totals.empty + totals.provisional
        return not settled and not self.last_batch and self._get("intent", Any) is None

    @property
    def has_files_of_1(self) -> bool:
        """Return whether the files of the sink were begun by version 0.4.0, and go on with the columns of that."""
        with self.failing():
            (filled,) = self.connection.execute("SELECT EXISTS (SELECT 1 FROM parts)").fetchone()
        return bool(filled) and (self._version == 1 or self._get("first_version", Any) is not None)

    @property
    def next_number(self) -> int:
        """Return a number that no unit has."""
        with self.reads("the units"):
            (highest,) = self.connection.execute("SELECT max(number) FROM units").fetchone()
            return int(as_type((highest or 0) + 1, Number))

    def pending(self, after: int, limit: int) -> list[PendingUnit]:
        """Return the next units to fetch, by their numbers.

        Args:
            after: The number of the last one that is known, exclusive; 0 for the first ones.
            limit: How many at most.
        """
        what = "the pending units"
        rows = list(self._select(what, PendingRow, statements.SELECT_PENDING, (after, limit)))
        older = self._find_replaced(rows) if self.totals.provisional else {}
        plan = self.plan
        with self.reads(what):
            return [
                PendingUnit(
                    profile_of(profile),
                    check_within(window_of(first, last), plan.date_from, plan.date_to),
                    number,
                    ordinal,
                    older.get(number, ()),
                )
                for number, ordinal, first, last, profile in rows
            ]

    def probe(self) -> Unit:
        """Return what to ask a server for that fails for all that is pending, to learn whether it is down.

        That is the unit with the fewest rows of those that were fetched before; if there is none, a profile that does
        not exist, on the job's last day.
        """
        for first, last, profile in self._select("the units", ProbeRow, statements.SELECT_PROBE):
            with self.reads("the units"):
                return Unit(profile_of(profile), window_of(first, last))
        end = self.plan.date_to
        return Unit(_NOBODY, Window(end, end))

    def parts(self, batches: Iterable[int] | None = None) -> Iterator[Part]:
        """Yield all parts by name and offset, or those that hold rows of certain batches.

        Args:
            batches: The numbers of those batches; `None` for all.
        """
        what, query = "the list of files", f"SELECT {_PART} FROM parts"
        found: Iterable[PartRow] = (
            self._select(what, PartRow, f'{query} ORDER BY name, "offset"')
            if batches is None
            else sorted(
                {
                    row
                    for batch in batches
                    for row in self._select(what, PartRow, f"{query} WHERE first <= ? AND last >= ?", (batch, batch))
                }
            )
        )
        with self.reads(what):
            yield from map(part_of, found)

    def file_names(self) -> list[str]:
        """Return the names of the files that hold parts."""
        return list(dict.fromkeys(part.name for part in self.parts()))

    def tombstones(self) -> Iterator[Stored]:
        """Yield the rows that were replaced and still stand in the files of a sink with `compacts_on_finish`."""
        query = "SELECT unit, batch, place, rows FROM dead ORDER BY batch, place"
        for row in self._select("the replaced rows", StoredRow, query):
            yield Stored(*row)

    def dead(self) -> Iterator[Stored]:
        """Yield the same, for sinks that were written for version 0.5."""
        warn_deprecated("LedgerView.dead", "LedgerView.tombstones")
        return self.tombstones()

    def units(self) -> Iterator[tuple[int, int]]:
        """Yield the number of each unit that has rows, in order, and how many it has."""
        for number, rows, _ in self.unit_checksums():
            yield number, rows

    def unit_checksums(self) -> Iterator[tuple[int, int, int | None]]:
        """Yield the number of each unit that has rows, in order, how many it has, and their checksum if it is known."""
        query = f"SELECT number, rows, {self._checksum} FROM units WHERE rows > 0 ORDER BY number"
        yield from self._select("the units", ChecksumRow, query)

    def stored(self) -> Iterator[tuple[Stored, int | None]]:
        """Yield what the sink holds of each unit, by batch and row offset, and its checksum if that is known."""
        query = f"SELECT number, batch, place, rows, {self._checksum} FROM units WHERE rows > 0 ORDER BY batch, place"
        for *stored, checksum in self._select("the units", StoredChecksumRow, query):
            yield Stored(*stored), checksum

    def profiles_with(self, status: Status) -> int:
        """Return how many profiles have a unit of a status.

        Args:
            status: The status.
        """
        query = "SELECT count(DISTINCT profile) FROM units WHERE status = ?"
        with self.failing():
            return int(self.connection.execute(query, [status]).fetchone()[0])

    def counted_only(self) -> int:
        """Return how many units have rows of which no checksum is known."""
        query = f"SELECT count(*) FROM units WHERE rows > 0 AND {self._checksum} IS NULL"
        with self.failing():
            return int(self.connection.execute(query).fetchone()[0])

    def count(self) -> Totals:
        """Return what the totals have to be by the tables of the ledger."""
        totals = Totals()
        with self.reads("the units"):
            for name, table in (("profiles", "profiles"), ("quarantined", "quarantine"), ("rejects", "rejects")):
                (number,) = self.connection.execute(f"SELECT count(*) FROM {table}").fetchone()
                setattr(totals, name, number)
            counted = self.connection.execute(
                "SELECT status, count(*), sum(rows) FROM units GROUP BY status"
            ).fetchall()
            for status, number, rows in as_type(counted, list[CountRow]):
                totals.count(Status(status), number)
                totals.rows += rows
        return totals

    def failures(self) -> Iterator[tuple[str, Window, str]]:
        """Yield the failed units: profile, days, and why."""
        what = "the failed units"
        for profile, first, last, reason in self._select(what, FailureRow, statements.SELECT_FAILURES):
            with self.reads(what):
                found = str(profile_of(profile)), window_of(first, last), reason or ""
            yield found

    def rejects(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of the source that name no profile."""
        query = "SELECT line, reason, text FROM rejects ORDER BY line"
        for line, reason, text in self._select("the rejected lines", RejectRow, query):
            yield {"line": line, "reason": reason, "text": text}

    def quarantine(self) -> Iterator[tuple[str, str, str, str, bytes]]:
        """Yield the rows in quarantine: profile, first and last day, why, and the row."""
        query = (
            "SELECT unit.profile, date_from, date_to, quarantine.reason, raw FROM quarantine "
            "JOIN unit ON unit.number = quarantine.unit ORDER BY quarantine.unit, quarantine.rowid"
        )
        yield from self._select("the quarantined rows", QuarantineRow, query)

    def lags_behind(self, last_batch: int) -> bool:
        """Return whether a transactional sink has a batch that was not written down before a crash.

        Args:
            last_batch: The number of the last batch in the sink.
        """
        return self._intent_for(last_batch) is not None

    def check_in_step(self, last_batch: int) -> None:
        """Return if a transactional sink holds the batches that the ledger knows.

        Args:
            last_batch: The number of the last batch in the sink.

        Raises:
            LedgerError: Ledger and sink are not of the same time.
        """
        if last_batch != self.last_batch:
            raise LedgerError(
                f"the ledger {self.path} knows {self.last_batch} batches and the sink holds {last_batch}: one of them "
                "was restored from a backup without the other; restore both, or begin a new job elsewhere"
            )

    def _intent_for(self, last_batch: int) -> LedgerWrite | None:
        """Return what was to be written down with a batch if the sink has that batch, and the ledger has not."""
        with self.reads("the last batch"):
            text = self._get_text("intent")
            write = None if text is None else decode_write(text)
        return write if write is not None and write.batch == last_batch == self.last_batch + 1 else None

    def _find_replaced(self, rows: Sequence[Sequence[Any]]) -> dict[int, tuple[Stored, ...]]:
        older: dict[int, tuple[Stored, ...]] = {}
        for number, ordinal, first, last, _ in rows:
            found = list(self._select("the units", StoredRow, statements.SELECT_REPLACED, (ordinal, last, first)))
            if found:
                older[number] = tuple(Stored(*row) for row in found)
        return older

    @property
    def _checksum(self) -> str:
        """Return the column of the checksums, which version 1 did not have."""
        return "checksum" if self._version > 1 else "NULL"


@contextlib.contextmanager
def open_read_only(path: Path, *, stop: threading.Event | None = None) -> Iterator[LedgerReader]:
    """Open a ledger of any version for the length of a block, without writing anything.

    Args:
        path: Its file.
        stop: Set when the reading is to end soon.

    Raises:
        LedgerError: It cannot be read.
    """
    with connect_for_reading(path) as connection:
        yield LedgerReader(path, connection, stop)
