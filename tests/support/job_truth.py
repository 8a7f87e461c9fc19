"""What a sink holds, read by the format's own tool, and what it has to hold by the server's truth."""

import csv
import datetime as dt
import gzip
import io
import json
import threading
from collections import Counter
from pathlib import Path

import duckdb
import psycopg
import pyarrow.parquet as pq

from profile_history.jobs import verify
from profile_history.jobs.clock import JobClock
from profile_history.jobs.session import JobSession
from profile_history.sinks.urls import sink_of
from profile_history.testing.api import list_known_rows

KEYS = ("action", "count", "email", "list_id", "message_id", "xxh", "campaign_id")
_COLUMNS = ", ".join(f'"{name}"' for name in ("profile", "datetime", *KEYS))


def steady(day, lookback=0):
    """The clock of a job that is fetched on one day by a server without a clock."""
    return JobClock(lambda: day, lambda: 0.0, lookback, [].append)


def known_to(server, first, last):
    """The rows that a server knows now of all profiles, from a first day to a last one, counted."""
    rows = Counter()
    for number in range(server.histories.profiles):
        for row in list_known_rows(server.histories, server.behaviour, number):
            if first <= row.label.date() <= last:
                rows[_cells(str(server.profile(number)), row.fields)] += 1
    return rows


def truth_of(histories, numbers, first, last, shape="seed"):
    """The rows of some profiles, from a first day to a last one, counted."""
    rows = Counter()
    for number in numbers:
        profile = str(histories.profile(number))
        for row in histories.rows(number, shape):
            if first <= row.label.date() <= last:
                rows[_cells(profile, row.fields)] += 1
    return rows


def rows_in(url, *, dataset=False):
    """The rows of a sink, counted; none where there is no file, as of a job without rows."""
    if url.startswith("postgresql://"):
        dsn, _, table = url.partition("?table=")
        with psycopg.connect(dsn) as connection:
            return _counted(connection.execute(f'SELECT {_COLUMNS} FROM "{table}"').fetchall())
    place = url.partition("?")[0]
    path = Path(place)
    if dataset or place.endswith(".parquet"):
        # One file at a time: each has to be readable by itself.
        files = [file for file in path.rglob("*.parquet") if not file.name.startswith(".")]
        return Counter(_cells(row["profile"], row) for file in files for row in pq.ParquetFile(file).read().to_pylist())
    if not path.exists():
        return Counter()
    if place.endswith(".duckdb"):
        with duckdb.connect(place, read_only=True) as connection:
            return _counted(connection.execute(f"SELECT {_COLUMNS} FROM history").fetchall())
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    if ".csv" in path.name:
        return Counter(_cells(row["profile"], row) for row in csv.DictReader(io.StringIO(text, newline="")))
    lines = map(json.loads, text.splitlines())
    return Counter(_cells(line["profile"], line["event"]) for line in lines)


LEFT = (
    "the last run ended between the sink and the ledger",
    "the last run ended before the final files were in place",
    "a run that was killed has left it",
)
"""What reading alone may say of a job whose run was killed."""


def differences_after_a_start(ledger, sink):
    """What differs when a run was begun that clears away what the last one has left, and what before that."""
    before = verify(ledger, sink)
    session = JobSession(Path(ledger), threading.Event())
    try:
        session.open(None, None, sink_of(sink) if isinstance(sink, str) else sink)
        return list(session.sink.verify()) + [one for one in before if not any(left in one for left in LEFT)]
    finally:
        session.close()


def files_in(directory):
    """All files below a directory, by name."""
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


def known_files(directory, ledger, names=()):
    """All files that a job which is at rest may leave below a directory; `names` are those of a database."""
    parts = {name for (name,) in ledger.connection.execute("SELECT name FROM parts")}
    beside = "lake.parquet/" if (directory / "lake.parquet").is_dir() else ""
    lock = getattr(sink_of(ledger.plan.sink), "lock_path", None)
    locks = [] if lock is None or not lock.exists() else [lock.relative_to(directory).as_posix()]
    return sorted({*(beside + name for name in parts), *names, *locks, "job.ledger", "job.ledger.lock"})


def _counted(rows):
    return Counter(
        _cells(profile, {"datetime": label, **dict(zip(KEYS, rest, strict=True))}) for profile, label, *rest in rows
    )


def _cells(profile, row):
    label = row["datetime"]
    text = label.isoformat() if isinstance(label, dt.datetime) else str(label).replace(" ", "T")
    return (profile, text[:19], *("" if row.get(key) is None else str(row[key]) for key in KEYS))
