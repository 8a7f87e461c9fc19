"""A ledger of five pending units, and a session that works on it."""

import datetime as dt
import threading

import pytest

from profile_history import Profile
from profile_history.jobs.plan import Plan
from profile_history.jobs.planner import plan_job
from profile_history.jobs.sources import MemorySource
from profile_history.sinks import sink_of

FIRST, LAST = dt.date(2024, 1, 1), dt.date(2024, 1, 31)
PROFILES = [Profile.email(f"{number}@example.com") for number in range(5)]
TERMS = {"url": "http://127.0.0.1/", "list_id": 1, "window": "auto", "border": "overlap", "order": "newest"}


def plan_for(directory, sink="history.ndjson"):
    """What a job in a directory is to do."""
    return Plan("memory", "", FIRST, LAST, TERMS, sink_of(str(directory / sink)).url)


@pytest.fixture
def path(tmp_path):
    """A ledger of five pending units."""
    path = tmp_path / "job.ledger"
    plan_job(path, plan_for(tmp_path), MemorySource(PROFILES), threading.Event())
    return path
