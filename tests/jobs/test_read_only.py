"""A job on a file system that is mounted for reading only: it can be looked at, and nothing else."""

import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import TOKEN

from profile_history.jobs import HistoryJob, LedgerError, status_of
from profile_history.testing import HistoryServer

SINKS = ("history.ndjson", "history.csv", "history.parquet", "history.duckdb")
MOUNT = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'

mounts = pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode,
    reason="this user may not mount anything",
)


@pytest.fixture(params=SINKS)
def sink(request, tmp_path):
    """What a job has filled."""

    async def fill(server, path):
        async with server.client(window=30) as client:
            job = HistoryJob(
                client,
                server.profiles(),
                str(path),
                ledger=f"{path}.ledger",
                date_from="2024-01-01",
                date_to="2024-02-29",
            )
            async for _ in job.run():
                pass

    path = tmp_path / "mount" / request.param
    path.parent.mkdir()
    with HistoryServer(profiles=4) as server:
        asyncio.run(fill(server, path))
    return path


def leave_log(ledger):
    """Leave the ledger as a process does that was killed behind a commit."""
    connection = sqlite3.connect(ledger)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("UPDATE units SET attempts = 9")
    connection.commit()
    for suffix in ("", "-wal"):
        shutil.copy(f"{ledger}{suffix}", f"{ledger}{suffix}.kept")
    connection.close()
    for suffix in ("", "-wal"):
        Path(f"{ledger}{suffix}.kept").replace(f"{ledger}{suffix}")


def done(path, *words, **more):
    """Run a command where the directory of the sink is mounted for reading only."""
    words = [
        "unshare",
        "-m",
        "sh",
        "-c",
        MOUNT,
        "sh",
        str(path.parent),
        sys.executable,
        "-m",
        "profile_history",
        *words,
    ]
    process = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, **more)
    return process.returncode, process.stdout, process.stderr


full = pytest.mark.full


@pytest.mark.slow
@mounts
@pytest.mark.parametrize(
    ("sink", "log"),
    [
        pytest.param("history.ndjson", False, id="ndjson-closed"),
        pytest.param("history.parquet", False, id="parquet-closed"),
        pytest.param("history.csv", True, id="csv-with a log"),
        pytest.param("history.duckdb", True, id="duckdb-with a log"),
        pytest.param("history.csv", False, id="csv-closed", marks=full),
        pytest.param("history.duckdb", False, id="duckdb-closed", marks=full),
        pytest.param("history.ndjson", True, id="ndjson-with a log", marks=full),
        pytest.param("history.parquet", True, id="parquet-with a log", marks=full),
    ],
    indirect=["sink"],
)
def test_status_and_verify_need_to_write_nothing(sink, log):
    """Also where the job was killed, and SQLite's log still stands beside the ledger."""
    if log:
        leave_log(f"{sink}.ledger")
    code, out, err = done(sink, "status", str(sink))
    assert (code, err) == (0, "")
    assert "done" in out
    code, out, err = done(sink, "verify", str(sink))
    assert (code, out, "all is well" in err) == (0, "", True)
    # Where nothing is left open, not even a place for a copy is needed.
    if not log:
        assert done(sink, "status", str(sink), env={**os.environ, "TMPDIR": "/nonexistent"})[0] == 0


@pytest.mark.slow
@mounts
@pytest.mark.parametrize(
    "sink",
    ["history.ndjson", "history.duckdb", *(pytest.param(f"history.{kind}", marks=full) for kind in ("csv", "parquet"))],
    indirect=True,
)
def test_to_go_on_is_refused_in_a_sentence(sink):
    """With the code of an output that cannot be written."""
    env = {**os.environ, "PROFILE_HISTORY_TOKEN": TOKEN}
    code, out, err = done(sink, "resume", str(sink), env=env)
    assert (code, out, "Traceback" in err) == (74, "", False)
    assert re.search("^profile-history: .* cannot be written .Read-only file system", err, re.MULTILINE)


def test_a_log_that_cannot_be_read_is_said(sink, monkeypatch):
    """Where there is no place for a copy of it."""
    leave_log(f"{sink}.ledger")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert status_of(f"{sink}.ledger").plan is not None

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(LedgerError, match=r"cannot be read .No space left on device"):
        status_of(f"{sink}.ledger")
