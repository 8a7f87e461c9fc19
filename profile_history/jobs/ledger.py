"""The ledger of a job: which units are settled, and what the sink holds of them.

What it counts as done is in the sink; of anything else it says nothing. One thread writes to it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import attrs
import msgspec

from profile_history._deprecated import warn_deprecated
from profile_history.jobs.clock import LONGEST_LOOKBACK
from profile_history.jobs.column_types import (
    ChecksumRow,
    Count,
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
    decode_receipt,
    decode_write,
    guard_reading,
    part_of,
    window_of,
)
from profile_history.jobs.plan import Plan, fingerprint, storable_path
from profile_history.jobs.profile_text import profile_of
from profile_history.jobs.records import LedgerWrite, PendingUnit, Status, Totals, bounds_of, to_number
from profile_history.jobs.schema import (
    LedgerError,
    PlanningStopped,
    check_version,
    connect,
    connect_for_reading,
    ledger_error,
    name_of,
)
from profile_history.jobs.upgrade import hash_of_1, home_of_1, upgrade
from profile_history.jobs.whereabouts import Whereabouts
from profile_history.profiles import Profile
from profile_history.sinks.base import Part, Receipt
from profile_history.sinks.unit_rows import Stored
from profile_history.units import Unit
from profile_history.windows import Window

T = TypeVar("T")
D = TypeVar("D")

_SETTLED = ("date_from", "date_to", "status", "rows", "batch", "place", "attempts", "reason", "checksum", "fetched_at")
_SETTLE = (
    f"INSERT INTO units (number, profile, {', '.join(_SETTLED)}) VALUES (?, ?{', ?' * len(_SETTLED)}) "
    f"ON CONFLICT (number) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _SETTLED)}"
)
_PENDING = (
    "SELECT units.number, units.profile, date_from, date_to, profiles.profile FROM units "
    "JOIN profiles ON profiles.ordinal = units.profile WHERE status = 0 AND number > ? ORDER BY number LIMIT ?"
)
_PROBE = (
    "SELECT date_from, date_to, profiles.profile FROM "
    "(SELECT profile, date_from, date_to FROM units WHERE status IN (1, 2, 4) ORDER BY rows LIMIT 1) AS one "
    "JOIN profiles ON profiles.ordinal = one.profile"
)
_NOBODY = Profile.xxh("0" * 16)
# The rows behind those that are gone have moved up: by how many were gone before them, in one pass over each batch.
_CLOSE_RANKS = (
    "CREATE TEMP TABLE moved (number INTEGER PRIMARY KEY, place INTEGER)",
    """
    INSERT INTO moved SELECT number, place - gone FROM (
        SELECT number, place, sum(dead) OVER (PARTITION BY batch ORDER BY place ROWS UNBOUNDED PRECEDING) AS gone FROM (
            SELECT number, batch, place, 0 AS dead FROM units WHERE batch IN (SELECT batch FROM dead)
            UNION ALL SELECT NULL, batch, place, rows FROM dead
        )
    ) WHERE number IS NOT NULL AND gone > 0
    """,
    """
    UPDATE units SET place = (SELECT moved.place FROM moved WHERE moved.number = units.number)
    WHERE number IN (SELECT number FROM moved)
    """,
    "DROP TABLE moved",
    "DELETE FROM dead",
)
_LOOKBACK = 2
_AT_ONCE = 1000
_STEPS_BETWEEN_LOOKS = 100_000
_INTERRUPTED = "work on the ledger and its sink was interrupted; run the same command again"
_PART = 'name, first, last, "offset", size, rows, checksum'


class Ledger:
    """An open ledger.

    Attributes:
        path: Its file.
        totals: How many units there are of each status, and rows in the sink.
        settled_here: How many units were settled since it was opened.
        brought_here: How many rows came into the sink since then.

    Args:
        path: Its file.
        new: Whether to make it. One that is there and of an earlier version is upgraded.
        stop: Set when the run is to end soon.

    Raises:
        LedgerError: It cannot be opened.
    """

    def __init__(self, path: Path, *, new: bool = False, stop: threading.Event | None = None) -> None:
        self._set_up(path, connect(path, new=new), stop)
        try:
            if not new:
                with self.reads("what an earlier version has written"):
                    upgrade(self.connection, path)
            self.totals = self._read_totals()
        except BaseException:
            self.close()
            raise

    def _set_up(self, path: Path, connection: sqlite3.Connection, stop: threading.Event | None) -> None:
        self.path = path
        self.connection = connection
        self.settled_here = self.brought_here = 0
        self._stop = stop

    @classmethod
    @contextlib.contextmanager
    def reading(cls, path: Path, *, stop: threading.Event | None = None) -> Iterator[Self]:
        """Open a ledger of any version without writing anything.

        Args:
            path: Its file.
            stop: Set when the reading is to end soon.

        Raises:
            LedgerError: It cannot be read.
        """
        with connect_for_reading(path) as connection:
            ledger = cls.__new__(cls)
            ledger._set_up(path, connection, stop)
            ledger.totals = ledger._read_totals()
            yield ledger

    def close(self) -> None:
        """Lets go of the file; again is harmless."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def job(self) -> str:
        """The job's own id."""
        return str(self._get("id", str))

    @property
    def plan(self) -> Plan:
        """What the job is to do.

        Raises:
            LedgerError: It was changed by other hands.
        """
        with self.reads("its plan"):
            text = self._get("plan", str)
            if self._get("plan_hash", str) not in {fingerprint(text), hash_of_1(text)}:
                raise LedgerError(f"the plan in the ledger {self.path} was changed by hand; begin a new job elsewhere")
            return Plan.from_json(text, self.directory)

    @property
    def directory(self) -> Path:
        """Where the ledger is now."""
        return self.path.absolute().parent

    @property
    def whereabouts(self) -> Whereabouts:
        """Where the job was begun, and where it is found.

        Raises:
            LedgerError: The plan was changed by other hands.
        """
        sink = self.plan.sink
        home = self._path("home") if self._version > 1 else home_of_1(self.path, sink)
        return Whereabouts(self.path, home, self._path("home_name"), sink)

    def _path(self, key: str) -> str | None:
        found = self._get_text(key)
        return None if found is None else os.fsdecode(found)

    def settle_here(self, connection: sqlite3.Connection, plan: Plan) -> None:
        """Write the plan, for the place where the ledger is now, within a transaction."""
        text = plan.to_json(self.directory)
        home = {
            "home": storable_path(str(self.directory.resolve())),
            "home_name": storable_path(name_of(self.path)),
        }
        self.store(connection, {"plan": text, "plan_hash": fingerprint(text), **home})

    def settle(self, plan: Plan, parameters: Mapping[str, str] | None) -> None:
        """Write the plan, for the place where the ledger is now.

        Args:
            plan: The plan.
            parameters: With which the sink is reached; None if it has none.
        """
        with self.transaction() as connection:
            self.settle_here(connection, plan)
            if parameters is not None:
                self.store(connection, {"sink_parameters": json.dumps(dict(parameters))})

    @property
    def sink_parameters(self) -> dict[str, str] | None:
        """With which the sink is reached, such as `sslmode`, but for secrets; None if that is not known."""
        return self._get_json("sink_parameters", dict[str, str], None)

    @property
    def location(self) -> str:
        """The path of the ledger, for those who find that a place belongs to this job."""
        return str(self.path.absolute())

    def check_stop(self) -> None:
        """Return if the run goes on.

        Raises:
            PlanningStopped: It is to end soon, so that what takes long breaks off; the next run does it again.
        """
        if self._stop is not None and self._stop.is_set():
            raise PlanningStopped(_INTERRUPTED)

    @property
    def original(self) -> dict[str, str]:
        """The last day and the fingerprint of the profiles with which the job was begun, as far as they are known."""
        return self._get_json("original", dict[str, str], {})

    @property
    def untouched(self) -> bool:
        """Whether nothing has been fetched yet: no unit has a response, and the sink was given nothing."""
        totals = self.totals
        settled = totals.done + totals.empty + totals.provisional
        return not settled and not self.last_batch and self._get("intent", Any) is None

    @property
    def lookback(self) -> int:
        """So many days before today may still grow."""
        found = self._get("lookback", Count | None)
        # Earlier versions stored whatever they were given.
        return _LOOKBACK if found is None else min(found, LONGEST_LOOKBACK)

    @property
    def refetch_from(self) -> dt.date | None:
        """The day from which on the run that planned newer days last fetches all days again; None if it does not."""
        return self._day("refetch_from")

    @property
    def doubtful_from(self) -> dt.date | None:
        """The day from which on units may have been taken as final too early; None if there are none."""
        return self._day("doubtful_from")

    def record_doubt(self, day: dt.date) -> None:
        """Take note that units which reach a day may have been taken as final too early."""
        self._put(doubtful_from=day.isoformat())

    def look_back(self, days: int) -> None:
        """Takes note of how many days before today may still grow."""
        self._put(lookback=days)

    @property
    def has_totals(self) -> bool:
        """Whether the totals stand in the ledger."""
        return self._get("totals", Any) is not None

    @property
    def has_files_of_1(self) -> bool:
        """Whether the files of the sink were begun by version 0.4.0, and go on with the columns of that."""
        with self.failing():
            (filled,) = self.connection.execute("SELECT EXISTS (SELECT 1 FROM parts)").fetchone()
        return bool(filled) and (self._version == 1 or self._get("first_version", Any) is not None)

    @property
    def begun(self) -> bool:
        """Whether the sink was opened before."""
        return bool(self._get("begun", Count | None))

    @property
    def last_batch(self) -> int:
        """The number of the last batch that the ledger knows; 0 before the first."""
        return self._get("last_batch", Count | None) or 0

    @property
    def next_number(self) -> int:
        """A number that no unit has."""
        with self.reads("the units"):
            (highest,) = self.connection.execute("SELECT max(number) FROM units").fetchone()
            return int(as_type((highest or 0) + 1, Number))

    def pending(self, after: int, limit: int) -> list[PendingUnit]:
        """The next units to fetch, by their numbers."""
        rows = list(self._rows("the pending units", PendingRow, _PENDING, (after, limit)))
        older = self._replaced_by(rows) if self.totals.provisional else {}
        plan = self.plan
        with self.reads("the pending units"):
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

        That is the unit with the fewest rows of those that were fetched before; where there is none, a profile that
        does not exist, on the job's last day.
        """
        for first, last, profile in self._rows("the units", ProbeRow, _PROBE):
            with self.reads("the units"):
                return Unit(profile_of(profile), window_of(first, last))
        end = self.plan.date_to
        return Unit(_NOBODY, Window(end, end))

    def parts(self, batches: Iterable[int] | None = None) -> Iterator[Part]:
        """All parts by name and offset, or those that hold rows of certain batches."""
        what, query = "the list of files", f"SELECT {_PART} FROM parts"
        found: Iterable[PartRow] = (
            self._rows(what, PartRow, f'{query} ORDER BY name, "offset"')
            if batches is None
            else sorted(
                {
                    row
                    for batch in batches
                    for row in self._rows(what, PartRow, f"{query} WHERE first <= ? AND last >= ?", (batch, batch))
                }
            )
        )
        with self.reads(what):
            yield from map(part_of, found)

    def file_names(self) -> list[str]:
        """Return the names of the files that hold parts."""
        return list(dict.fromkeys(part.name for part in self.parts()))

    def tombstones(self) -> Iterator[Stored]:
        """Rows that were replaced and still stand in the files of a sink with `compacts_on_finish`."""
        query = "SELECT unit, batch, place, rows FROM dead ORDER BY batch, place"
        for row in self._rows("the replaced rows", StoredRow, query):
            yield Stored(*row)

    def dead(self) -> Iterator[Stored]:
        """Yield the same, for sinks that were written for version 0.5."""
        warn_deprecated("LedgerView.dead", "LedgerView.tombstones")
        return self.tombstones()

    def units(self) -> Iterator[tuple[int, int]]:
        """The number of each unit that has rows, in order, and how many it has."""
        for number, rows, _ in self.unit_checksums():
            yield number, rows

    def unit_checksums(self) -> Iterator[tuple[int, int, int | None]]:
        """Yield the number of each unit that has rows, in order, how many it has, and their checksum if it is known."""
        query = f"SELECT number, rows, {self._checksum} FROM units WHERE rows > 0 ORDER BY number"
        yield from self._rows("the units", ChecksumRow, query)

    def stored(self) -> Iterator[tuple[Stored, int | None]]:
        """Yield what the sink holds of each unit, by batch and place, and its checksum if that is known."""
        query = f"SELECT number, batch, place, rows, {self._checksum} FROM units WHERE rows > 0 ORDER BY batch, place"
        for *place, checksum in self._rows("the units", StoredChecksumRow, query):
            yield Stored(*place), checksum

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
        """The failed units: profile, days, and why."""
        query = (
            "SELECT profiles.profile, date_from, date_to, reason FROM units JOIN profiles "
            "ON profiles.ordinal = units.profile WHERE status = 3 ORDER BY number"
        )
        what = "the failed units"
        for profile, first, last, reason in self._rows(what, FailureRow, query):
            with self.reads(what):
                found = str(profile_of(profile)), window_of(first, last), reason or ""
            yield found

    def rejects(self) -> Iterator[dict[str, Any]]:
        """The lines of the source that name no profile."""
        query = "SELECT line, reason, text FROM rejects ORDER BY line"
        for line, reason, text in self._rows("the rejected lines", RejectRow, query):
            yield {"line": line, "reason": reason, "text": text}

    def quarantine(self) -> Iterator[tuple[str, str, str, str, bytes]]:
        """The rows that are set apart: profile, first and last day, why, and the row."""
        query = (
            "SELECT unit.profile, date_from, date_to, quarantine.reason, raw FROM quarantine "
            "JOIN unit ON unit.number = quarantine.unit ORDER BY quarantine.unit, quarantine.rowid"
        )
        yield from self._rows("the quarantined rows", QuarantineRow, query)

    def begin(self) -> None:
        """Takes note that the sink is open."""
        self._put(begun=1)

    def record_intent(self, write: LedgerWrite) -> None:
        """Takes note of what a sink that keeps books is about to be given."""
        self._put(intent=msgspec.json.encode(write))

    def recover(self, last_batch: int) -> None:
        """Compares with a sink that keeps books: what it was given before a crash is written down now, or forgotten.

        Args:
            last_batch: The number of the last batch in the sink.

        Raises:
            LedgerError: Ledger and sink are not of the same time.
        """
        write = self._intended(last_batch)
        if write is not None:
            self.apply(write)
        self.check_in_step(last_batch)

    def lags_behind(self, last_batch: int) -> bool:
        """Return whether a sink that keeps books has a batch that was not written down before a crash.

        Args:
            last_batch: The number of the last batch in the sink.
        """
        return self._intended(last_batch) is not None

    def check_in_step(self, last_batch: int) -> None:
        """Return if a sink that keeps books holds the batches that the ledger knows.

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

    def _intended(self, last_batch: int) -> LedgerWrite | None:
        with self.reads("the last batch"):
            text = self._get_text("intent")
            write = None if text is None else decode_write(text)
        return write if write is not None and write.batch == last_batch == self.last_batch + 1 else None

    def apply(self, write: LedgerWrite, receipt: Receipt = Receipt(), *, keep_tombstones: bool = False) -> None:
        """Writes down what the sink holds now, all of it or nothing.

        Args:
            write: What was settled.
            receipt: What has become of the sink's files.
            keep_tombstones: Whether replaced rows still stand in the files.
        """
        totals = attrs.evolve(self.totals)
        with self.transaction() as connection:
            if write.replaced:
                self._forget(connection, write.replaced, totals, keep_tombstones=keep_tombstones)
            connection.executemany(
                "UPDATE units SET date_from = ?, date_to = ? WHERE number = ?",
                [(*_day_numbers(window), number) for number, window in write.rests],
            )
            connection.executemany(_SETTLE, _unit_values(write))
            for record in write.records:
                totals.count(record.status, 1)
                totals.pending -= record.planned
                totals.rows += record.rows
            connection.executemany(
                "INSERT INTO quarantine VALUES (?, ?, ?)", [attrs.astuple(row) for row in write.quarantined]
            )
            totals.quarantined += len(write.quarantined)
            self._move_parts(connection, receipt)
            changes: dict[str, Any] = {"totals": json.dumps(attrs.asdict(totals)), "intent": None}
            if write.batch is not None:
                changes["last_batch"] = write.batch
            self.store(connection, changes)
        self.totals = totals
        self.settled_here += len(write.records)
        self.brought_here += sum(record.rows for record in write.records)

    def intend_to_publish(self, receipt: Receipt) -> None:
        """Takes note of the final files that a sink has prepared."""
        self._put(publishing=msgspec.json.encode(receipt))

    @property
    def publishing(self) -> Receipt | None:
        """The final files that a sink has prepared and that may not be in place yet."""
        with self.reads("the list of final files"):
            text = self._get_text("publishing")
            return None if text is None else decode_receipt(text)

    def record_published(self, receipt: Receipt) -> None:
        """Take note that the final files are in place.

        Raises:
            PlanningStopped: The run is to end soon. Nothing was noted, and the next one publishes again.
        """
        with self.stoppable(self._stop), self.transaction() as connection:
            self._move_parts(connection, receipt)
            for statement in _CLOSE_RANKS:
                connection.execute(statement)
            self.store(connection, {"publishing": None})

    @contextlib.contextmanager
    def stoppable(self, stop: threading.Event | None) -> Iterator[None]:
        """Interrupt long statements within a block when the run is to end soon.

        Args:
            stop: Set then; None if nobody asks for it.

        Raises:
            PlanningStopped: A statement was interrupted.
        """
        if stop is None:
            yield
            return
        self.connection.set_progress_handler(stop.is_set, _STEPS_BETWEEN_LOOKS)
        try:
            yield
        except LedgerError:
            if stop.is_set():
                raise PlanningStopped(_INTERRUPTED) from None
            raise
        finally:
            self.connection.set_progress_handler(None, 0)

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """Turns the errors of SQLite into ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise ledger_error(self.path, error) from None

    @contextlib.contextmanager
    def reads(self, what: str) -> Iterator[None]:
        """Surround the reading of values, and nothing else: what is not as this program has written it is an error.

        Args:
            what: What is read, for the message.

        Raises:
            LedgerError: It cannot be read.
        """
        with self.failing(), guard_reading(self.path, what):
            yield

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All changes of a block, or none of them; they are on the disk when it ends."""
        with self.failing():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def _replaced_by(self, rows: Sequence[Sequence[Any]]) -> dict[int, tuple[Stored, ...]]:
        older: dict[int, tuple[Stored, ...]] = {}
        for number, ordinal, first, last, _ in rows:
            query = (
                "SELECT number, coalesce(batch, 0), coalesce(place, 0), rows FROM units "
                "WHERE status = 4 AND profile = ? AND date_from <= ? AND date_to >= ?"
            )
            found = list(self._rows("the units", StoredRow, query, (ordinal, last, first)))
            if found:
                older[number] = tuple(Stored(*row) for row in found)
        return older

    def _forget(
        self, connection: sqlite3.Connection, replaced: Sequence[Stored], totals: Totals, *, keep_tombstones: bool
    ) -> None:
        numbers = [(unit.unit,) for unit in replaced]
        connection.executemany("DELETE FROM units WHERE number = ?", numbers)
        totals.quarantined -= connection.executemany("DELETE FROM quarantine WHERE unit = ?", numbers).rowcount
        totals.provisional -= len(replaced)
        totals.rows -= sum(unit.rows for unit in replaced)
        if keep_tombstones:
            connection.executemany(
                "INSERT INTO dead VALUES (?, ?, ?, ?)", [attrs.astuple(unit) for unit in replaced if unit.rows]
            )

    def _move_parts(self, connection: sqlite3.Connection, receipt: Receipt) -> None:
        connection.executemany(
            'DELETE FROM parts WHERE name = ? AND "offset" = ?', [(part.name, part.offset) for part in receipt.removed]
        )
        connection.executemany(
            f"INSERT OR REPLACE INTO parts ({_PART}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [attrs.astuple(part) for part in receipt.added],
        )

    @property
    def _version(self) -> int:
        """The version of its tables; one that is only read is not upgraded."""
        with self.failing():
            return check_version(self.connection, self.path)

    @property
    def _checksum(self) -> str:
        """The column of the checksums, which version 1 did not have."""
        return "checksum" if self._version > 1 else "NULL"

    def _read_totals(self) -> Totals:
        counts = self._get_json("totals", dict[str, Count], {})
        with self.reads("its totals"):
            return Totals(**counts)

    def _get(self, key: str, kind: Any) -> Any:
        """Return a value of the job as a whole, None where there is none, if it is of a type."""
        with self.reads(f"its {key}"):
            found = self.connection.execute("SELECT value FROM job WHERE key = ?", (key,)).fetchone()
            return as_type(None if found is None else found[0], kind)

    def _get_text(self, key: str) -> str | bytes | None:
        found = self._get(key, Any)
        with self.reads(f"its {key}"):
            return found if found is None or isinstance(found, bytes) else str(as_type(found, str))

    def _day(self, key: str) -> dt.date | None:
        found: dt.date | None = self._get(key, dt.date | None)
        return found

    def _get_json(self, key: str, kind: type[T], default: D) -> T | D:
        text = self._get(key, str | None)
        with self.reads(f"its {key}"):
            return default if text is None else msgspec.json.decode(text, type=kind)

    def _rows(self, what: str, kind: Any, query: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """Yield the rows of a query if they are of a type.

        Who stops reading may do so after the ledger was closed, when a cursor can no longer be.
        """
        with self.reads(what):
            cursor = self.connection.execute(query, values)
            while rows := cursor.fetchmany(_AT_ONCE):
                yield from as_type(rows, list[kind])

    def _put(self, **values: Any) -> None:
        with self.transaction() as connection:
            self.store(connection, values)

    def store(self, connection: sqlite3.Connection, values: Mapping[str, Any]) -> None:
        """Writes values of the job as a whole, within a transaction."""
        connection.executemany("INSERT OR REPLACE INTO job VALUES (?, ?)", values.items())


def _day_numbers(window: Window) -> tuple[int, int]:
    first, last = bounds_of(window)
    return to_number(first), to_number(last)


def _unit_values(write: LedgerWrite) -> Iterator[tuple[Any, ...]]:
    for record in write.records:
        held = (write.batch, record.row_offset) if record.rows else (None, None)
        yield (
            record.number,
            record.ordinal,
            *_day_numbers(record.window),
            record.status,
            record.rows,
            *held,
            record.attempts,
            record.reason or None,
            record.checksum if record.rows else None,
            record.fetched_at,
        )
