"""The planning of units: all of them at the start, failed ones again, or newer days. It streams; nothing is held."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import secrets
import sqlite3
import threading
from itertools import islice
from pathlib import Path

import attrs

from profile_history.errors import ConfigurationError
from profile_history.jobs import statements
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.plan import Plan
from profile_history.jobs.profile_text import text_of
from profile_history.jobs.records import to_number
from profile_history.jobs.schema import PlanningStopped
from profile_history.jobs.sources import Source
from profile_history.profiles import Profile

_LINES_A_COMMIT = 20_000


def digest_of(source: Source, stop: threading.Event) -> str:
    """Return a fingerprint of all profiles of a source, in their order.

    Args:
        source: The source, which is read to its end.
        stop: Set to interrupt it.

    Raises:
        PlanningStopped: `stop` was set.
    """
    digest = hashlib.sha256()
    lines = source.lines()
    while chunk := list(islice(lines, _LINES_A_COMMIT)):
        _check(stop)
        for line in chunk:
            if line.profile is not None:
                _add_to_digest(digest, line.profile)
    return digest.hexdigest()


def plan_job(path: Path, plan: Plan, source: Source, stop: threading.Event, *, job: str | None = None) -> None:
    """Make a ledger, and in it a pending unit for each profile.

    Args:
        path: Its file.
        plan: The plan; its fingerprint of the profiles is put in here.
        source: The profiles. Those that are named twice count once; lines that cannot be read are listed.
        stop: Set to interrupt it.
        job: The id of a job of which nothing was fetched and whose place this one takes; `None` for a new id.

    Raises:
        ConfigurationError: There is not one profile.
        PlanningStopped: `stop` was set.
    """
    with Ledger(path, new=True) as ledger, ledger.stoppable(stop):
        with ledger.transaction() as connection:
            ledger.store(connection, {"id": job or secrets.token_hex(8)})
            ledger.put_plan(connection, plan)
        digest = _add_profiles(ledger, source, stop)
        complete = attrs.evolve(plan, profiles=digest)
        with ledger.transaction() as connection:
            _drop_repeated(connection)
            first, last = to_number(plan.date_from), to_number(plan.date_to)
            connection.execute(statements.PLAN_ALL_DAYS, (first, last))
            for statement in statements.CREATE_INDEXES:
                connection.execute(statement)
            totals = ledger.count()
            if not totals.profiles:
                raise ConfigurationError(
                    f"there is not one profile in {source.url}" + _first_reject(connection) + "; check the file, "
                    "--matching, --column and --delimiter"
                )
            ledger.put_plan(connection, complete)
            original = {"date_to": plan.date_to.isoformat(), "profiles": digest}
            ledger.store(connection, {"totals": json.dumps(attrs.asdict(totals)), "original": json.dumps(original)})
        ledger.totals = totals


def compare_plans(ledger: Ledger, asked: Plan) -> tuple[list[str], list[str]]:
    """Compare what somebody asks for with the plan of a job that is there.

    The line that has begun a job may be run again when the job has been extended since.

    Args:
        ledger: Of the job.
        asked: What is asked for.

    Returns:
        In what the plans differ, and what a person should know if they do not.
    """
    kept, original = ledger.plan, ledger.original
    notes: list[str] = []
    # A ledger of version 1 does not say with which day the job was begun.
    if kept.date_from <= asked.date_to < kept.date_to and original.get("date_to") in {None, asked.date_to.isoformat()}:
        notes.append(f"the job by now reaches {kept.date_to}, beyond {asked.date_to}; all of that is kept up")
        asked = attrs.evolve(asked, date_to=kept.date_to)
    if asked.profiles == original.get("profiles"):
        asked = attrs.evolve(asked, profiles=kept.profiles)
    return kept.differences(asked), notes


def retry_failed(ledger: Ledger) -> int:
    """Make failed units pending again, and return how many there were."""
    totals = attrs.evolve(ledger.totals)
    with ledger.transaction() as connection:
        changed = connection.execute(statements.RETRY_FAILED).rowcount
        totals.failed -= changed
        totals.pending += changed
        ledger.store(connection, {"totals": json.dumps(attrs.asdict(totals))})
    ledger.totals = totals
    return changed


def later_of(plan: Plan, date_to: dt.date, today: dt.date) -> dt.date:
    """Return the last day of a job that is to go on up to a day.

    A job that reaches into the future, since a clock was wrong or somebody asked for that, keeps its last day.

    Args:
        plan: The plan of the job.
        date_to: The day that was asked for, inclusive.
        today: The day it is.

    Raises:
        ConfigurationError: That day lies before the job's last one, which is no day of the future.
    """
    if plan.date_to > today:
        return max(date_to, plan.date_to)
    if date_to < plan.date_to:
        raise ConfigurationError(
            f"date_to {date_to} lies before the last day of this job, {plan.date_to}; name that day or a later one"
        )
    return date_to


def check_refetch(plan: Plan, refetch_from: dt.date, date_to: dt.date) -> None:
    """Check a day from which on days are to be fetched again.

    Args:
        plan: The plan of the job.
        refetch_from: The day.
        date_to: The last day of the job from now on.

    Raises:
        ConfigurationError: It is not one of the job's days.
    """
    if not plan.date_from <= refetch_from <= date_to:
        raise ConfigurationError(
            f"refetch_from {refetch_from} is none of the days of this job, {plan.date_from} to {date_to}; name one "
            "of them"
        )


def extend_job(
    ledger: Ledger,
    date_to: dt.date,
    source: Source | None,
    stop: threading.Event,
    *,
    refetch_from: dt.date | None = None,
) -> None:
    """Plan the days since the job's last one, provisional units again, failed ones too, and profiles that are new.

    Args:
        ledger: The ledger of a job of which nothing is pending.
        date_to: The new last day, inclusive.
        source: All profiles, with new ones among them; `None` for those of the ledger.
        stop: Set to interrupt it. The profiles that were read until then stay, and their units are planned next time.
        refetch_from: Units that reach this day or a later one are fetched again whole, final ones too; `None` for those
            that are provisional.

    Raises:
        PlanningStopped: `stop` was set.
    """
    plan = ledger.plan
    digest = plan.profiles
    with ledger.stoppable(stop):
        if source is not None:
            digest = _add_profiles(ledger, source, stop)
        longer = attrs.evolve(plan, date_to=date_to, profiles=digest)
        with ledger.transaction() as connection:
            if source is not None:
                _drop_repeated(connection)
            if refetch_from is not None:
                # As if they had been provisional all along: the new unit covers them, and takes their place.
                connection.execute(statements.REFETCH_FINAL, (to_number(refetch_from),))
            _plan_newer_days(connection, plan, date_to)
            totals = ledger.count()
            ledger.put_plan(connection, longer)
            values = {"totals": json.dumps(attrs.asdict(totals)), "refetch_from": None}
            if refetch_from is not None:
                values["refetch_from"] = refetch_from.isoformat()
                if refetch_from <= (ledger.doubtful_from or refetch_from):
                    values["doubtful_from"] = None
            ledger.store(connection, values)
        ledger.totals = totals


def _plan_newer_days(connection: sqlite3.Connection, plan: Plan, date_to: dt.date) -> None:
    """Plan one unit per profile, from its first provisional day or from the day after the old last one.

    What stands behind the first provisional day is fetched again as well, whatever became of it: the new unit covers
    it, so it counts as provisional, too, and is replaced.
    """
    start, old, new = to_number(plan.date_from), to_number(plan.date_to), to_number(date_to)
    (known,) = connection.execute("SELECT max(profile) FROM units").fetchone()
    connection.execute(statements.CREATE_FIRST_PROVISIONAL)
    try:
        connection.execute(statements.FIND_FIRST_PROVISIONAL)
        connection.execute(statements.DROP_FAILED_BEHIND)
        connection.execute(statements.REFETCH_FINAL_BEHIND)
        connection.execute(statements.LENGTHEN_FAILED, (new, old))
        connection.execute(statements.RETRY_FAILED)
        connection.execute(statements.PLAN_NEWER_DAYS, (known, old + 1, start, new, new))
        connection.execute(statements.DROP_WITHOUT_DAYS)
    finally:
        connection.execute(statements.DROP_FIRST_PROVISIONAL)


def _add_profiles(ledger: Ledger, source: Source, stop: threading.Event) -> str:
    digest = hashlib.sha256()
    lines = source.lines()
    with ledger.transaction() as connection:
        connection.execute("DELETE FROM rejects")
    while chunk := list(islice(lines, _LINES_A_COMMIT)):
        _check(stop)
        texts = [(_add_to_digest(digest, line.profile),) for line in chunk if line.profile is not None]
        rejects = [(line.number, line.reason, line.text) for line in chunk if line.profile is None]
        with ledger.transaction() as connection:
            connection.executemany("INSERT INTO profiles (profile) VALUES (?)", texts)
            connection.executemany("INSERT INTO rejects VALUES (?, ?, ?)", rejects)
    return digest.hexdigest()


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise PlanningStopped("planning was interrupted; run the same command again")


def _add_to_digest(digest: hashlib._Hash, profile: Profile) -> str:
    text = text_of(profile)
    digest.update(f"{text}\n".encode("utf-8", "surrogatepass"))
    return text


def _drop_repeated(connection: sqlite3.Connection) -> None:
    # Version 0.4.0 kept hashes as they were written, and one in upper case is the same profile.
    same = "CASE WHEN {0}.profile GLOB 'xxh:*' THEN lower({0}.profile) ELSE {0}.profile END"
    connection.execute(f"CREATE INDEX by_text ON profiles ({same.replace('{0}.', '')})")
    connection.execute(
        "DELETE FROM profiles WHERE ordinal > (SELECT coalesce(max(profile), 0) FROM units) AND EXISTS "
        f"(SELECT 1 FROM profiles AS other WHERE {same.format('other')} = {same.format('profiles')} "
        "AND other.ordinal < profiles.ordinal)"
    )
    connection.execute("DROP INDEX by_text")


def _first_reject(connection: sqlite3.Connection) -> str:
    found = connection.execute("SELECT line, reason FROM rejects ORDER BY line LIMIT 1").fetchone()
    return "" if found is None else f" that can be read (line {found[0]}: {found[1]})"
