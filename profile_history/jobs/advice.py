"""Sentences on what a person should know of a job when a run has ended well."""

from __future__ import annotations

import datetime as dt
import json

from profile_history.jobs.clock import days_before
from profile_history.jobs.column_types import Day, as_type
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.ledger_reader import LedgerReader
from profile_history.jobs.plan import Plan
from profile_history.jobs.profile_text import profile_of
from profile_history.jobs.records import to_day, to_number
from profile_history.jobs.statements import SELECT_TOO_EARLY
from profile_history.matching import Matching
from profile_history.profiles import Profile

_HOUR = 60 * 60
_SAMPLE = " for values like "


def advice_on(ledger: Ledger, moment: tuple[dt.date, float] | None) -> list[str]:
    """Return what a person should know of a job, a sentence each.

    Args:
        ledger: Its ledger; what has to be said until it is mended is written there.
        moment: The day and the time it is, in seconds since 1970; `None` if the server has said nothing in this run.
    """
    plan = ledger.plan
    said = []
    if moment is not None and plan.date_to > moment[0]:
        said.append(
            f"the last day of this job, {plan.date_to}, lies in the future (today is {moment[0]}): what lies ahead is "
            "fetched again by `export --since-last` until it is over"
        )
    day = ledger.doubtful_from if moment is None else _doubtful_from(ledger, plan, *moment)
    if day is not None:
        said.append(
            "days were taken as final before they were over, by a clock that was ahead, so that later events may be "
            f"missing: fetch them again with `export --since-last --refetch-from {day}`, or from an earlier day on if "
            "the clock was wrong for longer"
        )
    empty = explain_emptiness(ledger)
    return said if empty is None else [*said, empty]


def _doubtful_from(ledger: Ledger, plan: Plan, today: dt.date, now: float) -> dt.date | None:
    """Return the first day to fetch again, since units are final, or were, that cannot be by today's clock."""
    known = ledger.doubtful_from
    with ledger.reads("the units"):
        (last,) = ledger.connection.execute(SELECT_TOO_EARLY, (to_number(today), now + _HOUR)).fetchone()
        if last is None:
            return known
        last_day = to_day(as_type(last, Day))
    # Units of a single day that were taken too early may lie before: so many days did not count as recent.
    day = max(plan.date_from, days_before(min(last_day, today), ledger.lookback + 1))
    if known is not None and known <= day:
        return known
    ledger.record_doubt(day)
    return day


def explain_emptiness(ledger: LedgerReader) -> str | None:
    """Return that not one profile has an event, and what may be the reason; `None` if that cannot be said."""
    totals = ledger.totals
    if not totals.all_empty:
        return None
    with ledger.reads("the profiles"):
        (text,) = ledger.connection.execute("SELECT profile FROM profiles ORDER BY ordinal LIMIT 1").fetchone()
        mode, value = _as_asked(profile_of(as_type(text, str)))
    them = f"{totals.profiles - totals.failed:,} profiles" + (" that could be fetched" if totals.failed else "")
    return f"not one of {them} has an event. Is --matching {mode} right{_SAMPLE}{value}?"


def without_sample(sentence: str) -> str:
    """Return a sentence of this module without the value of a profile that it may quote."""
    said, found, _ = sentence.partition(_SAMPLE)
    return f"{said}?" if found else sentence


def _as_asked(profile: Profile) -> tuple[str, str]:
    """Return a profile's matching mode and value as somebody typed them."""
    fields = dict(profile.fields)
    name = fields.pop("field_name") if profile.matching in (Matching.CUSTOM, Matching.CUSTOM_SUB) else ""
    values = " and ".join(json.dumps(value, ensure_ascii=False) for value in fields.values())
    return f"{profile.matching.value}:{name}" if name else profile.matching.value, values
