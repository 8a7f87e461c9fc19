"""DuckDB as a sink: what is a file of it, who has it open, and what a commit brings to the disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.databases import (  # noqa: F401 (some are fixtures)
    Ledger,
    database,
    duck,
    elephant,
    files_no_larger_than,
    found,
    opened,
    read_only,
    rows_in,
    simple,
    unit_from,
)

from profile_history import ConfigurationError
from profile_history.sinks.base import SinkError
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.duckdb import DuckDBSink
from profile_history.sinks.lock import JobHeld
from profile_history.sinks.unit_rows import Stored


def test_a_file_that_cannot_be_written_can_be_verified(duck):
    """And one that is gone is no new one."""
    ledger = Ledger()
    with opened(sink := duck.sink(), ledger, new=True):
        batch = SinkBatch(1, [simple(1)])
        sink.write(batch)
        ledger.apply(batch)
    before = duck.path.read_bytes(), sorted(duck.path.parent.iterdir())
    with read_only(duck.sink(), ledger) as reader:
        assert list(reader.verify()) == []
    assert (duck.path.read_bytes(), sorted(duck.path.parent.iterdir())) == before
    duck.path.unlink()
    with pytest.raises(ConfigurationError, match="is gone; bring it back, or begin a new job"):
        duck.sink().open_to_read(ledger)
    assert not duck.path.exists()


def test_any_name_of_a_table_is_quoted(tmp_path):
    """Blanks, quotes and reserved words are names as well, and case makes no other table, as in DuckDB."""
    path = tmp_path / "a.db"
    with opened(sink := DuckDBSink(path, 'My "select" table'), Ledger("theirs"), new=True):
        sink.write(SinkBatch(1, [simple(1)], [Stored(1, 1, 0, 0)]))
        assert list(sink.verify()) == ["unit 1 has 3 rows here and none in the ledger"]
    with pytest.raises(ConfigurationError, match="another job"):
        DuckDBSink(path, 'my "SELECT" table').open(Ledger("mine"), new=True)


def test_the_address_of_a_file_is_the_same_wherever_the_job_is_resumed(tmp_path, monkeypatch):
    """A path is made absolute when the sink is."""
    monkeypatch.chdir(tmp_path)
    assert DuckDBSink("a b.db").url == f"{tmp_path}/a b.db?table=history"


def test_a_file_that_another_process_has_open_is_refused_by_name(duck):
    """The message names the process; when that has gone, the job goes on."""
    code = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(duck.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(JobHeld, match=rf"is open in another process \(PID {other.pid}\): stop it or") as caught:
            duck.sink().open(Ledger(), new=True)
        assert caught.value.pid == other.pid
        other.stdin.close()
    with opened(duck.sink(), Ledger(), new=True) as last:
        assert last == 0


def test_what_is_no_regular_file_is_no_database(tmp_path):
    """A FIFO would be waited for."""
    os.mkfifo(tmp_path / "a.db")
    with pytest.raises(ConfigurationError, match="is no regular file; name another one"):
        DuckDBSink(tmp_path / "a.db").open(Ledger(), new=True)


def test_what_is_no_duckdb_file_is_left_alone(tmp_path):
    """Nor is a directory made."""
    path = tmp_path / "a.txt"
    path.write_text("mine" * 5000)
    with pytest.raises(SinkError, match=r"not a valid DuckDB database file"):
        DuckDBSink(path).open(Ledger(), new=True)
    assert path.read_text() == "mine" * 5000
    with pytest.raises(SinkError, match="No such file or directory"):
        DuckDBSink(tmp_path / "nowhere" / "a.db").open(Ledger(), new=True)


@pytest.mark.parametrize("room", [0, 1000, 20_000, 100_000])
def test_a_full_disk_ends_the_run_and_spoils_nothing(duck, room):
    """The error says what to see to; with space again, the batch is written once."""
    ledger, sink = Ledger(), duck.sink()
    units = [unit_from(number) for number in range(60)]
    log = Path(f"{duck.path}.wal")
    with opened(sink, ledger, new=True):
        sink.write(SinkBatch(1, [simple(1000)]))
        with files_no_larger_than(log.stat().st_size + room), pytest.raises(SinkError, match="see that the disk"):
            sink.write(SinkBatch(2, units))
    with opened(sink, ledger) as last:
        assert last in {1, 2}
        if last == 1:
            sink.write(SinkBatch(2, units))
    assert found(duck) == rows_in(simple(1000), *units)


def test_the_directory_of_the_log_is_synced_before_a_write_returns(duck, monkeypatch):
    """DuckDB syncs the log itself, but a file is found after a loss of power only if its directory was synced."""
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino) or real(handle))
    with opened(sink := duck.sink(), Ledger(), new=True):
        synced.clear()
        sink.write(SinkBatch(1, [simple(1)]))
        assert synced == [duck.path.parent.stat().st_ino]


def test_where_a_directory_cannot_be_synced_it_is_not(duck, monkeypatch):
    """Windows opens none."""

    def denied(*_):
        raise PermissionError

    monkeypatch.setattr(os, "open", denied)
    with opened(sink := duck.sink(), Ledger(), new=True):
        sink.write(SinkBatch(1, [simple(1)]))
    monkeypatch.undo()
    assert found(duck) == rows_in(simple(1))
