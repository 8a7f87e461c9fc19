"""The open file of a ledger, and what it says of the job as a whole, such as the plan; nothing here writes."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from profile_history.jobs.clock import LONGEST_LOOKBACK
from profile_history.jobs.column_types import Count, as_type, decode_receipt, guard_reading
from profile_history.jobs.plan import Plan, fingerprint
from profile_history.jobs.records import Totals
from profile_history.jobs.schema import LedgerError, PlanningStopped, check_version, ledger_error
from profile_history.jobs.upgrade import hash_of_1, home_of_1
from profile_history.jobs.whereabouts import Whereabouts
from profile_history.sinks.base import Receipt

T = TypeVar("T")
D = TypeVar("D")

INTERRUPTED = "work on the ledger and its sink was interrupted; run the same command again"

# Days, for a job that names none.
_LOOKBACK = 2
# Rows that are read at once; a cursor that stays open would keep SQLite from shortening its log.
_AT_ONCE = 1000


class LedgerValues:
    """The values of a job that stand in its ledger once, and not once per unit.

    Attributes:
        path: Its file.
        connection: To that file.

    Args:
        path: Its file.
        connection: To that file; it is closed with the ledger.
        stop: Set when the run is to end soon.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, stop: threading.Event | None = None) -> None:
        self.path = path
        self.connection = connection
        self._stop = stop
        self._parsed: tuple[str, str, Plan] | None = None

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self.connection.close()

    @property
    def job(self) -> str:
        """Return the id of the job, which no other job has."""
        return str(self._get("id", str))

    @property
    def location(self) -> str:
        """Return the path of the ledger, for those who find that a place belongs to this job."""
        return str(self.path.absolute())

    @property
    def directory(self) -> Path:
        """Return the directory in which the ledger is now."""
        return self.path.absolute().parent

    @property
    def plan(self) -> Plan:
        """Return what the job is to do.

        Raises:
            LedgerError: It was changed by other hands.
        """
        with self.reads("its plan"):
            text, mark = self._get("plan", str), self._get("plan_hash", str)
            # Each page of pending units asks for it: it is parsed again only if it is another one.
            if self._parsed is not None and self._parsed[:2] == (text, mark):
                return self._parsed[2]
            if mark not in {fingerprint(text), hash_of_1(text)}:
                raise LedgerError(f"the plan in the ledger {self.path} was changed by hand; begin a new job elsewhere")
            plan = Plan.from_json(text, self.directory)
        self._parsed = text, mark, plan
        return plan

    @property
    def whereabouts(self) -> Whereabouts:
        """Return where the job was begun, and where it is found.

        Raises:
            LedgerError: The plan was changed by other hands.
        """
        sink = self.plan.sink
        home = self._get_path("home") if self._version > 1 else home_of_1(self.path, sink)
        return Whereabouts(self.path, home, self._get_path("home_name"), sink)

    @property
    def sink_parameters(self) -> dict[str, str] | None:
        """Return with what the sink is reached, such as `sslmode`, but for secrets; `None` if that is not known."""
        return self._get_json("sink_parameters", dict[str, str], None)

    @property
    def earlier_urls(self) -> list[str]:
        """Return the addresses that earlier runs have asked, and the last one has not, in the order of last use."""
        return self._get_json("earlier_urls", list[str], [])

    @property
    def original(self) -> dict[str, str]:
        """Return the last day and the fingerprint of the profiles with which the job was begun, if they are known."""
        return self._get_json("original", dict[str, str], {})

    @property
    def lookback(self) -> int:
        """Return how many days before today may still grow."""
        found = self._get("lookback", Count | None)
        # Earlier versions stored whatever they were given.
        return _LOOKBACK if found is None else min(found, LONGEST_LOOKBACK)

    @property
    def refetch_from(self) -> dt.date | None:
        """Return the day from which on the last run with newer days fetches all days again; `None` if it does not."""
        return self._get_day("refetch_from")

    @property
    def doubtful_from(self) -> dt.date | None:
        """Return the day from which on units may have been taken as final too early; `None` if there are none."""
        return self._get_day("doubtful_from")

    @property
    def begun(self) -> bool:
        """Return whether the sink was opened before."""
        return bool(self._get("begun", Count | None))

    @property
    def last_batch(self) -> int:
        """Return the number of the last batch that the ledger knows; 0 before the first."""
        return self._get("last_batch", Count | None) or 0

    @property
    def publishing(self) -> Receipt | None:
        """Return the final files that a sink has prepared and that may not be in place yet."""
        with self.reads("the list of final files"):
            text = self._get_text("publishing")
            return None if text is None else decode_receipt(text)

    @property
    def has_totals(self) -> bool:
        """Return whether the totals stand in the ledger."""
        return self._get("totals", Any) is not None

    def check_stop(self) -> None:
        """Return if the run goes on.

        Raises:
            PlanningStopped: It is to end soon, so that what takes long breaks off; the next run does it again.
        """
        if self._stop is not None and self._stop.is_set():
            raise PlanningStopped(INTERRUPTED)

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """Turn the errors of SQLite within a block into ours."""
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

    @property
    def _version(self) -> int:
        """Return the version of its tables; one that is only read is not upgraded."""
        with self.failing():
            return check_version(self.connection, self.path)

    def _read_totals(self) -> Totals:
        counts = self._get_json("totals", dict[str, Count], {})
        with self.reads("its totals"):
            return Totals(**counts)

    def _get(self, key: str, kind: Any) -> Any:
        """Return a value of the job, `None` if there is none, if it is of a type."""
        with self.reads(f"its {key}"):
            found = self.connection.execute("SELECT value FROM job WHERE key = ?", (key,)).fetchone()
            return as_type(None if found is None else found[0], kind)

    def _get_text(self, key: str) -> str | bytes | None:
        found = self._get(key, Any)
        with self.reads(f"its {key}"):
            return found if found is None or isinstance(found, bytes) else str(as_type(found, str))

    def _get_path(self, key: str) -> str | None:
        found = self._get_text(key)
        return None if found is None else os.fsdecode(found)

    def _get_day(self, key: str) -> dt.date | None:
        found: dt.date | None = self._get(key, dt.date | None)
        return found

    def _get_json(self, key: str, kind: type[T], default: D) -> T | D:
        text = self._get(key, str | None)
        with self.reads(f"its {key}"):
            return default if text is None else msgspec.json.decode(text, type=kind)

    def _select(self, what: str, kind: Any, query: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """Yield the rows of a query if they are of a type.

        Who stops reading may do so after the ledger was closed, when a cursor can no longer be.
        """
        with self.reads(what):
            cursor = self.connection.execute(query, values)
            while rows := cursor.fetchmany(_AT_ONCE):
                yield from as_type(rows, list[kind])
