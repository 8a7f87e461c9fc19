"""The SQL statements of a ledger that depend on the status of units; each is named by what it finds or does."""

from __future__ import annotations

from profile_history.jobs.records import Status

_PENDING, _DONE, _EMPTY = int(Status.PENDING), int(Status.DONE), int(Status.EMPTY)
_FAILED, _PROVISIONAL = int(Status.FAILED), int(Status.PROVISIONAL)
_FINAL = f"({_DONE}, {_EMPTY})"
_FETCHED = f"({_DONE}, {_EMPTY}, {_PROVISIONAL})"

# SQLite uses a partial index only for a query that has its condition in the same words.
CREATE_INDEXES = (
    f"CREATE INDEX IF NOT EXISTS pending ON units (number) WHERE status = {_PENDING}",
    f"CREATE INDEX IF NOT EXISTS failed ON units (number) WHERE status = {_FAILED}",
    f"CREATE INDEX IF NOT EXISTS provisional ON units (profile) WHERE status = {_PROVISIONAL}",
)
"""Executed when all units are planned: to keep indexes while units are inserted one at a time costs more."""

_STATUS_NAMES = " ".join(f"WHEN {int(status)} THEN '{status.name.lower()}'" for status in Status)
CREATE_VIEW = f"""
CREATE VIEW unit AS
    SELECT units.number, profiles.profile, date(date_from * 86400, 'unixepoch') AS date_from,
        date(date_to * 86400, 'unixepoch') AS date_to, CASE status {_STATUS_NAMES} END AS status,
        rows, batch, attempts, reason, datetime(fetched_at, 'unixepoch') AS fetched_at
    FROM units JOIN profiles ON profiles.ordinal = units.profile
"""
"""The units for people who look into a ledger with `sqlite3`; it can be dropped and made again."""

SELECT_PENDING = (
    "SELECT units.number, units.profile, date_from, date_to, profiles.profile FROM units "
    "JOIN profiles ON profiles.ordinal = units.profile "
    f"WHERE status = {_PENDING} AND number > ? ORDER BY number LIMIT ?"
)
SELECT_REPLACED = (
    "SELECT number, coalesce(batch, 0), coalesce(place, 0), rows FROM units "
    f"WHERE status = {_PROVISIONAL} AND profile = ? AND date_from <= ? AND date_to >= ?"
)
SELECT_PROBE = (
    "SELECT date_from, date_to, profiles.profile FROM "
    f"(SELECT profile, date_from, date_to FROM units WHERE status IN {_FETCHED} ORDER BY rows LIMIT 1) AS one "
    "JOIN profiles ON profiles.ordinal = one.profile"
)
SELECT_FAILURES = (
    "SELECT profiles.profile, date_from, date_to, reason FROM units JOIN profiles "
    f"ON profiles.ordinal = units.profile WHERE status = {_FAILED} ORDER BY number"
)
# Final units that were fetched later than now, or whose last day is not over.
SELECT_TOO_EARLY = (
    f"SELECT min(date_to) FROM units WHERE status IN {_FINAL} AND (date_to >= ? OR coalesce(fetched_at, 0) > ?)"
)

_SETTLED = ("date_from", "date_to", "status", "rows", "batch", "place", "attempts", "reason", "checksum", "fetched_at")
SETTLE_UNIT = (
    f"INSERT INTO units (number, profile, {', '.join(_SETTLED)}) VALUES (?, ?{', ?' * len(_SETTLED)}) "
    f"ON CONFLICT (number) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _SETTLED)}"
)

# The rows behind those that are gone have moved up: by how many were gone before them, in one pass over each batch.
FORGET_TOMBSTONES = (
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

RETRY_FAILED = f"UPDATE units SET status = {_PENDING}, reason = NULL WHERE status = {_FAILED}"
PLAN_ALL_DAYS = (
    "INSERT INTO units (number, profile, date_from, date_to, status) "
    f"SELECT ordinal, ordinal, ?, ?, {_PENDING} FROM profiles ORDER BY ordinal"
)

# Newer days. A unit that is fetched again was provisional, or counts as such: the new unit takes its place.
REFETCH_FINAL = f"UPDATE units SET status = {_PROVISIONAL} WHERE status IN {_FINAL} AND date_to >= ?"
CREATE_FIRST_PROVISIONAL = "CREATE TEMP TABLE reached (profile INTEGER PRIMARY KEY, first INTEGER)"
FIND_FIRST_PROVISIONAL = (
    f"INSERT INTO reached SELECT profile, min(date_from) FROM units WHERE status = {_PROVISIONAL} GROUP BY profile"
)
DROP_FIRST_PROVISIONAL = "DROP TABLE reached"
_BEHIND = "date_from >= (SELECT first FROM reached WHERE reached.profile = units.profile)"
DROP_FAILED_BEHIND = f"DELETE FROM units WHERE status = {_FAILED} AND {_BEHIND}"
REFETCH_FINAL_BEHIND = f"UPDATE units SET status = {_PROVISIONAL} WHERE status IN {_FINAL} AND {_BEHIND}"
LENGTHEN_FAILED = (
    f"UPDATE units SET date_to = ? WHERE status = {_FAILED} AND date_to = ? "
    "AND profile NOT IN (SELECT profile FROM reached)"
)
# Profiles that the job has had from its start go on; new ones have all days before them.
PLAN_NEWER_DAYS = (
    "INSERT INTO units (profile, date_from, date_to, status) "
    f"SELECT ordinal, CASE WHEN first IS NOT NULL THEN first WHEN ordinal <= ? THEN ? ELSE ? END, ?, {_PENDING} "
    "FROM profiles LEFT JOIN reached ON reached.profile = ordinal "
    f"WHERE ordinal NOT IN (SELECT profile FROM units WHERE status = {_PENDING} AND date_to = ?) ORDER BY ordinal"
)
DROP_WITHOUT_DAYS = f"DELETE FROM units WHERE status = {_PENDING} AND date_from > date_to"
