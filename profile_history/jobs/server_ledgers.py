"""Place the ledger of a job that fills a table of a server: in the user's own directory for what programs keep.

Beside a table there is no place for a file, and the working directory is another one in a crontab than in a shell.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from profile_history.errors import ConfigurationError, HistoryError
from profile_history.jobs.status import status_of
from profile_history.sinks.postgres_address import read_address
from profile_history.sinks.urls import table_on_server

_DIRECTORY = "profile-history"
_PORT = "5432"
_LONGEST_WORD = 40


def ledger_of_server(url: str, environment: Mapping[str, str], directory: Path) -> Path:
    """Return where the ledger of a job is, or is to be, that fills a table of a server.

    Args:
        url: The address, with the table.
        environment: The environment, in which libpq finds what the address leaves out.
        directory: The working directory, where version 0.4.0 put it: one that is there for this table is found first.

    Raises:
        ConfigurationError: The address cannot be read, or there is no home directory.
    """
    old = directory / _name_of_1(url)
    if old.is_file() and _is_of(old, url, environment):
        return old
    return _state(environment) / name_of_ledger(url, environment)


def name_of_ledger(url: str, environment: Mapping[str, str]) -> str:
    """Return a name that no other table has: readable words, and a fingerprint of the whole.

    Args:
        url: The address, with the table.
        environment: The environment.
    """
    key = _key(url, environment)
    hosts, _, database, table = key
    words = [re.sub(r"[^A-Za-z0-9_-]+", "-", word).strip("-")[:_LONGEST_WORD] for word in (hosts, database, table)]
    mark = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]
    return f"{'.'.join(filter(None, words))}.{mark}.ledger"


def make_directory(ledger: Path) -> None:
    """Make the directory of the ledgers of servers, for its user alone.

    Args:
        ledger: Where a ledger is to be.

    Raises:
        ConfigurationError: It cannot be made.
    """
    try:
        ledger.parent.parent.mkdir(parents=True, exist_ok=True)
        ledger.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the directory of the ledger, {ledger.parent}, cannot be made ({error.strerror}); pass --ledger"
        ) from None


def _key(url: str, environment: Mapping[str, str]) -> tuple[str, str, str, str]:
    """Return the hosts, ports, database and table that an address means."""
    dsn, table = table_on_server(url)
    found = read_address(dsn)
    named = {"service": environment.get("PGSERVICE", ""), **found.parameters}
    host = found.host or named.get("hostaddr") or environment.get("PGHOST") or ""
    hosts = ",".join(filter(None, (named["service"], host.lower() if "/" not in host else host))) or "local"
    port = found.port or environment.get("PGPORT") or ""
    given = port.split(",")
    ports = ",".join(each or _PORT for each in (given if len(given) > 1 else given * len(host.split(","))))
    user = found.user or environment.get("PGUSER") or ""
    return hosts, ports, found.dbname or environment.get("PGDATABASE") or user, table


def _name_of_1(url: str) -> str:
    dsn, table = table_on_server(url)
    place = dsn.partition("?")[0].partition("://")[2].partition("/")[2].strip("/")
    return f"{place or 'postgres'}.{table}.ledger"


def _is_of(ledger: Path, url: str, environment: Mapping[str, str]) -> bool:
    try:
        plan = status_of(ledger, failures=0).plan
        return plan is not None and _key(plan.sink, environment) == _key(url, environment)
    except HistoryError:
        # What is wrong with it is said by whoever opens it.
        return True


def _state(environment: Mapping[str, str]) -> Path:
    state, home = environment.get("XDG_STATE_HOME", ""), environment.get("HOME", "")
    # A relative path in the variable is invalid, and is to be ignored (XDG base directory specification).
    if Path(state).is_absolute():
        return Path(state, _DIRECTORY)
    if not home:
        raise ConfigurationError(
            "there is no place for the ledger, since neither HOME nor XDG_STATE_HOME is set; pass --ledger"
        )
    return Path(home, ".local", "state", _DIRECTORY)
