"""Helpers of the tests of jobs."""

import asyncio
import datetime as dt
import json
import sqlite3
from collections import Counter
from contextlib import closing

from profile_history.jobs import HistoryJob

FIRST, LAST = "2023-01-01", "2024-12-31"


LONG_AFTER = dt.date(2026, 1, 1)


def job_of(client, directory, profiles=None, *, sink="history.ndjson", today=LONG_AFTER, **options):
    """A job in a directory; new with profiles, else the one that is there."""
    days = {"date_from": FIRST, "date_to": LAST} if profiles is not None else {}
    return HistoryJob(
        client,
        profiles,
        str(directory / sink) if profiles is not None else None,
        ledger=directory / "job.ledger",
        today=lambda: today,
        **{"commit_seconds": 0.05, **days, **options},
    )


async def ran(job, **options):
    """Run a job to its end."""
    async for progress in job.run(**options):
        last = progress
    return last


def lines(directory, name="history.ndjson"):
    """What is in the NDJSON file, as often as it is there."""
    path = directory / name
    if not path.exists():
        return Counter()
    found = Counter()
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        found[entry["profile"], json.dumps(entry["event"], sort_keys=True)] += 1
    return found


def truth(server, first=FIRST, last=LAST, profiles=None):
    """What has to be in it."""
    expected = Counter()
    for number in range(server.histories.profiles):
        profile = server.profile(number)
        if profiles is not None and profile not in profiles:
            continue
        for row in server.histories.rows(number, server.behaviour.rows):
            if dt.date.fromisoformat(first) <= row.label.date() <= dt.date.fromisoformat(last):
                expected[str(profile), json.dumps(json.loads(row.json), sort_keys=True)] += 1
    return expected


def units(directory):
    """All units of the ledger, as the view for people shows them."""
    with closing(sqlite3.connect(directory / "job.ledger", isolation_level=None)) as connection:
        return connection.execute(
            "SELECT profile, date_from, date_to, status, rows FROM unit ORDER BY number"
        ).fetchall()


def working():
    """The tasks of the package, but for those of its test server."""
    codes = [task.get_coro().cr_code.co_filename for task in asyncio.all_tasks() if hasattr(task.get_coro(), "cr_code")]
    return [code for code in codes if "/profile_history/" in code and "/testing/" not in code]
