"""Bring the ledger of an earlier version up to the present one, in place, after a copy of it was made."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

from profile_history.jobs.plan import Plan, fingerprint, storable_path
from profile_history.jobs.schema import SCHEMA_VERSION, LedgerError, check_version
from profile_history.jobs.statements import CREATE_VIEW
from profile_history.jobs.whereabouts import relativize_sink
from profile_history.sinks.disk import DISK


def upgrade(connection: sqlite3.Connection, path: Path) -> None:
    """Upgrade a ledger if it is older than this program, in one transaction.

    The ledger as it was stays beside it as `NAME.v<old>`. What an old ledger cannot know stays null.

    Args:
        connection: To the ledger, with the job's lock held.
        path: The ledger.

    Raises:
        LedgerError: The plan in it was changed by hand.
        SinkError: The copy cannot be written.
        sqlite3.Error: The ledger cannot be written.
    """
    version = check_version(connection, path)
    if version == SCHEMA_VERSION:
        return
    _copy(connection, path, path.with_name(f"{path.name}.v{version}"))
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in range(version, SCHEMA_VERSION):
            _STEPS[step](connection, path)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        # After a commit that failed there may be nothing to roll back.
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _copy(connection: sqlite3.Connection, path: Path, copy: Path) -> None:
    """Copy a ledger whole, with what still stands in its log."""
    if DISK.size(copy) is not None:
        # Of an upgrade that was cut short behind the copy; the ledger is as it was then.
        return
    temporary = copy.with_name(f".{copy.name}.tmp")
    DISK.remove(temporary)
    with DISK.create(temporary, mode=0o600) as file:
        target = sqlite3.connect(temporary)
        try:
            connection.backup(target)
        finally:
            target.close()
        file.sync()
    DISK.replace(temporary, copy)
    DISK.sync_directory(path.parent)


def _from_1(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("ALTER TABLE units ADD COLUMN checksum INTEGER")
    connection.execute("ALTER TABLE units ADD COLUMN fetched_at INTEGER")
    connection.execute("DROP VIEW IF EXISTS unit")
    connection.execute(CREATE_VIEW)
    _check_plan_of_1(connection, path)
    found = connection.execute("SELECT value FROM job WHERE key = 'plan'").fetchone()
    home = path.absolute().parent
    plan = Plan.from_json(found[0], home)
    text = plan.to_json(home)
    values: dict[str, str | bytes] = {"plan": text, "plan_hash": fingerprint(text)}
    if begun_at := home_of_1(path, plan.sink):
        values |= {"home": storable_path(begun_at), "home_name": storable_path(path.name)}
    if connection.execute("SELECT 1 FROM parts LIMIT 1").fetchone():
        values["first_version"] = "1"
    connection.executemany("INSERT OR REPLACE INTO job VALUES (?, ?)", values.items())


def home_of_1(path: Path, sink: str) -> str | None:
    """Return where the job of a ledger of version 1 was begun, as far as its place tells; `None` if it may be a copy.

    Args:
        path: The ledger.
        sink: The sink of its plan. Beside a ledger, it is in all likelihood its own.
    """
    kept = relativize_sink(sink, path.absolute().parent)
    usual = f"{Path(kept.partition('?')[0]).name}.ledger"
    if not kept.startswith("./") or (path.name != usual and path.with_name(usual).exists()):
        return None
    return str(path.absolute().parent.resolve())


def _check_plan_of_1(connection: sqlite3.Connection, path: Path) -> None:
    """Compare the fingerprint of the plan, which was made in another way."""
    values = dict(connection.execute("SELECT key, value FROM job WHERE key IN ('plan', 'plan_hash')"))
    if "plan" not in values or hash_of_1(values["plan"]) != values.get("plan_hash"):
        raise LedgerError(f"the plan in the ledger {path} was changed by hand; begin a new job elsewhere")


def hash_of_1(text: str) -> str:
    """Return the fingerprint of a plan as version 1 of the ledger kept it.

    Args:
        text: The plan as it stands in the ledger.
    """
    plan = json.loads(text)
    fixed = {
        "profiles": plan["profiles"],
        "date_from": plan["date_from"],
        "date_to": plan["date_to"],
        **{name: value for name, value in plan["terms"].items() if name != "url"},
        "sink": plan["sink"],
        "schema": 1,
    }
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()


_STEPS: Mapping[int, Callable[[sqlite3.Connection, Path], None]] = {1: _from_1}
