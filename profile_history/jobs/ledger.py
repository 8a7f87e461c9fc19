"""The ledger of a job: which units are settled, and what the sink holds of them.

What it counts as done is in the sink; of anything else it says nothing. One thread writes to it. What it can be asked
is in `ledger_values` and `ledger_reader`; all that changes it is here.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import attrs
import msgspec

from profile_history.jobs import statements
from profile_history.jobs.column_types import guard_reading
from profile_history.jobs.ledger_reader import LedgerReader
from profile_history.jobs.ledger_values import INTERRUPTED
from profile_history.jobs.plan import Plan, address_of, fingerprint, storable_path
from profile_history.jobs.records import LedgerWrite, Totals, bounds_of, to_number
from profile_history.jobs.schema import LedgerError, PlanningStopped, connect, ledger_error, name_of
from profile_history.jobs.upgrade import upgrade
from profile_history.sinks.base import Receipt
from profile_history.sinks.unit_rows import Stored
from profile_history.windows import Window

# Of SQLite's virtual machine: some milliseconds of work.
_STEPS_BETWEEN_LOOKS = 100_000


class Ledger(LedgerReader):
    """A ledger that is open for writing.

    Attributes:
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
        connection = connect(path, new=new)
        try:
            if not new:
                _upgrade(connection, path)
            super().__init__(path, connection, stop)
        except BaseException:
            connection.close()
            raise
        self.settled_here: int = 0
        self.brought_here: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all changes of a block, or none of them; they are on the disk when it ends.

        Yields:
            The connection.
        """
        with self.failing():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself if the disk was full.
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def stoppable(self, stop: threading.Event | None) -> Iterator[None]:
        """Interrupt long statements within a block when the run is to end soon.

        Args:
            stop: Set then; `None` if nobody asks for it.

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
                raise PlanningStopped(INTERRUPTED) from None
            raise
        finally:
            self.connection.set_progress_handler(None, 0)

    def store(self, connection: sqlite3.Connection, values: Mapping[str, Any]) -> None:
        """Write values of the job as a whole, within a transaction.

        Args:
            connection: Of the transaction.
            values: The values by their keys.
        """
        connection.executemany("INSERT OR REPLACE INTO job VALUES (?, ?)", values.items())

    def put_plan(self, connection: sqlite3.Connection, plan: Plan) -> None:
        """Write the plan, for the place where the ledger is now, within a transaction.

        Args:
            connection: Of the transaction.
            plan: The plan.
        """
        text = plan.to_json(self.directory)
        home = {
            "home": storable_path(str(self.directory.resolve())),
            "home_name": storable_path(name_of(self.path)),
        }
        self.store(connection, {"plan": text, "plan_hash": fingerprint(text), **home})

    def save_plan(self, plan: Plan, parameters: Mapping[str, str] | None) -> None:
        """Write the plan, for the place where the ledger is now.

        Args:
            plan: The plan.
            parameters: With which the sink is reached; `None` if it has none.
        """
        with self.transaction() as connection:
            self.put_plan(connection, plan)
            if parameters is not None:
                self.store(connection, {"sink_parameters": json.dumps(dict(parameters))})

    def record_endpoint(self, endpoint: str) -> None:
        """Record that the job asks another address from now on.

        The one before is kept among the earlier ones, unless nothing has been fetched from it.

        Args:
            endpoint: Where requests go to, as in the terms of the plan.
        """
        plan = self.plan
        with self.transaction() as connection:
            self.put_plan(connection, attrs.evolve(plan, terms={**plan.terms, "url": endpoint}))
            if not self.untouched:
                asked = [url for url in self.earlier_urls if url not in {plan.url, address_of(endpoint)}]
                self.store(connection, {"earlier_urls": json.dumps([*asked, plan.url])})

    def record_doubt(self, day: dt.date) -> None:
        """Record that units which reach a day may have been taken as final too early.

        Args:
            day: The first such day.
        """
        self._put(doubtful_from=day.isoformat())

    def record_lookback(self, days: int) -> None:
        """Record how many days before today may still grow.

        Args:
            days: So many.
        """
        self._put(lookback=days)

    def begin(self) -> None:
        """Record that the sink is open."""
        self._put(begun=1)

    def record_intent(self, write: LedgerWrite) -> None:
        """Record what a transactional sink is about to be given.

        A crash between the commit of the sink and `apply` leaves this, from which `recover` catches up.

        Args:
            write: What is to be written down when the sink has it.
        """
        self._put(intent=msgspec.json.encode(write))

    def recover(self, last_batch: int) -> None:
        """Bring the ledger in step with a transactional sink.

        What the sink was given before a crash is written down now if it got there, and forgotten if it did not.

        Args:
            last_batch: The number of the last batch in the sink.

        Raises:
            LedgerError: Ledger and sink are not of the same time.
        """
        write = self._intent_for(last_batch)
        if write is not None:
            self.apply(write)
        self.check_in_step(last_batch)

    def apply(self, write: LedgerWrite, receipt: Receipt = Receipt(), *, keep_tombstones: bool = False) -> None:
        """Write down what the sink holds now, all of it or nothing.

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
            connection.executemany(statements.SETTLE_UNIT, _unit_values(write))
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
        # Only now: a commit that failed has changed nothing, and the progress of the job must not say otherwise.
        self.totals: Totals = totals
        self.settled_here += len(write.records)
        self.brought_here += sum(record.rows for record in write.records)

    def intend_to_publish(self, receipt: Receipt) -> None:
        """Record the final files that a sink has prepared.

        Args:
            receipt: What the sink returned.
        """
        self._put(publishing=msgspec.json.encode(receipt))

    def record_published(self, receipt: Receipt) -> None:
        """Record that the final files are in place.

        Args:
            receipt: What `intend_to_publish` was given.

        Raises:
            PlanningStopped: The run is to end soon. Nothing was recorded, and the next one publishes again.
        """
        with self.stoppable(self._stop), self.transaction() as connection:
            self._move_parts(connection, receipt)
            for statement in statements.FORGET_TOMBSTONES:
                connection.execute(statement)
            self.store(connection, {"publishing": None})

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
            'INSERT OR REPLACE INTO parts (name, first, last, "offset", size, rows, checksum) '
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [attrs.astuple(part) for part in receipt.added],
        )

    def _put(self, **values: Any) -> None:
        with self.transaction() as connection:
            self.store(connection, values)


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    try:
        with guard_reading(path, "what an earlier version has written"):
            upgrade(connection, path)
    except sqlite3.Error as error:
        raise ledger_error(path, error) from None


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
