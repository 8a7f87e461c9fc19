"""The ledger of a job of many units, half of them done, made directly; and what its client asks for."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import attrs

from benchmarks.peers.base import TOKEN
from profile_history import HistoryClient, Pacing, Profile
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.plan import Plan
from profile_history.jobs.records import Totals, to_number
from profile_history.jobs.statements import CREATE_INDEXES
from profile_history.sinks.urls import sink_of

LEDGER = "job.ledger"
FIRST_DAY, LAST_DAY = dt.date(2023, 1, 1), dt.date(2024, 12, 31)
ROWS = 4
_UNITS_A_BATCH = 20_000
_PART_BYTES = 1024 * 1024

_COUNT = "WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < ?) "


def client_of(base_url: str, in_flight: int) -> HistoryClient:
    """Return the client of all jobs."""
    return HistoryClient(
        base_url,
        token=TOKEN,
        list_id=20,
        pacing=Pacing(concurrency=in_flight, adaptive=False),
        allow_http=True,
    )


def profile_of(number: int) -> Profile:
    """Profile `number`, counted from 0."""
    return Profile.email(f"user{number}@example.com")


def make_ledger(folder: Path, base_url: str, units: int) -> int:
    """Return a job into Parquet of which the first half is done; its files have a size and nothing in them.

    Returns:
        The size of the ledger in bytes.
    """
    path = folder / LEDGER
    sink = sink_of(str(folder / "lake.parquet"))
    plan = Plan("memory", "", FIRST_DAY, LAST_DAY, client_of(base_url, 1).fingerprint, sink.url)
    done = units // 2
    batches = -(-done // _UNITS_A_BATCH)
    totals = Totals(profiles=units, pending=units - done, done=done, rows=done * ROWS)
    with Ledger(path, new=True) as ledger:
        connection = ledger.connection
        connection.execute("PRAGMA synchronous = OFF")
        with ledger.transaction():
            connection.execute(
                f"{_COUNT} INSERT INTO profiles SELECT n, 'email:user' || (n - 1) || '@example.com' FROM counted",
                (units,),
            )
            days = to_number(FIRST_DAY), to_number(LAST_DAY)
            connection.execute(
                f"{_COUNT} INSERT INTO units SELECT n, n, ?, ?, n <= ?, CASE WHEN n <= ? THEN ? ELSE 0 END, "
                "CASE WHEN n <= ? THEN (n - 1) / ? + 1 END, CASE WHEN n <= ? THEN (n - 1) % ? * ? END, n <= ?, NULL "
                "FROM counted",
                (units, *days, done, done, ROWS, done, _UNITS_A_BATCH, done, _UNITS_A_BATCH, ROWS, done),
            )
            for statement in CREATE_INDEXES:
                connection.execute(statement)
            for batch in range(1, batches + 1):
                name = f"part-{batch:08}-{batch}.parquet"
                values = name, 0, batch, batch, _PART_BYTES, _UNITS_A_BATCH * ROWS, ""
                connection.execute("INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?, ?)", values)
                _make_part(folder / "lake.parquet" / name)
            ledger.put_plan(connection, plan)
            ledger.store(
                connection,
                {
                    "id": "bulk",
                    "planned": 1,
                    "begun": 1,
                    "last_batch": batches,
                    "totals": json.dumps(attrs.asdict(totals)),
                },
            )
    return path.stat().st_size


def _make_part(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.truncate(_PART_BYTES)
