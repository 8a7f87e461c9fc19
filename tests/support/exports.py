"""Helpers of the tests of commands that run jobs."""

import csv
import datetime as dt
import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet
import pytest
from support.commands import TOKEN, lead_to, run  # noqa: F401 (a fixture)

from profile_history import ConfigurationError, Profile
from profile_history.jobs import status_of
from profile_history.testing import HistoryServer

FIRST, LAST = "2023-01-01", "2024-12-31"
DAYS = ["--from", FIRST, "--to", LAST]
PROFILES = 600


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server in a thread, to which the environment leads; the working directory is one of our own."""
    monkeypatch.chdir(tmp_path)
    with HistoryServer(profiles=PROFILES, token=TOKEN) as running:
        lead_to(running, monkeypatch)
        yield running


@pytest.fixture
def export(server, run):
    """Export the first profiles; return exit code, stdout and stderr."""

    def exporter(into, *words, profiles=20):
        return run("export", listed(profiles), "--matching", "email", *DAYS, f"--into={into}", *words)

    return exporter


def listed(profiles):
    """A file that names the first profiles."""
    path = Path("who.txt")
    path.write_text("".join(f"user{number}@example.com\n" for number in range(profiles)))
    return str(path)


def truth(server, profiles=20, last=LAST):
    """What has to be in the output: how often each event of each profile."""
    found = Counter()
    for number in range(profiles):
        name = f"email:user{number}@example.com"
        for event in server.truth(Profile.email(f"user{number}@example.com"), FIRST, last):
            found[name, event.datetime.replace(tzinfo=None), str(event.action), event.message_id] += 1
    return found


def stored(path):
    """What is in the output, read by other means than ours."""
    if path.endswith(".parquet"):
        table = pyarrow.parquet.read_table(path)
        names = ("profile", "datetime", "action", "message_id")
        return Counter(zip(*(table[name].to_pylist() for name in names), strict=True))
    if path.endswith(".csv"):
        with Path(path).open(newline="") as file:
            return Counter(moment(row["profile"], row) for row in csv.DictReader(file))
    entries = map(json.loads, Path(path).read_text().splitlines())
    return Counter(moment(entry["profile"], entry["event"]) for entry in entries)


def moment(profile, event):
    when = dt.datetime.fromisoformat(event["datetime"]).replace(tzinfo=None)
    number = event.get("message_id")
    return profile, when, event["action"], int(number) if number not in (None, "") else None


def words_for(into, *more, profiles=20):
    return ["export", listed(profiles), "--matching=email", *DAYS, "--into", into, *more]


def summary(out):
    """The one line on stdout."""
    (line,) = out.splitlines()
    return json.loads(line)


def running(ledger):
    """Tell whether some process has begun to fill a ledger."""
    try:
        return status_of(ledger).holder is not None
    except ConfigurationError:
        return False
