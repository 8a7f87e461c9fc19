"""DuckDB and PostgreSQL as sinks: a batch is there whole or not at all, whatever dies, and never twice."""

import importlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import duckdb
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.databases import (  # noqa: F401
    CHANGES,
    ODD,
    SWALLOWING,
    Clock,
    Duck,
    Elephant,
    Ledger,
    aged,
    as_held,
    batches,
    columns_of,
    database,
    duck,
    elephant,
    files_no_larger_than,
    found,
    noted,
    opened,
    proxy,
    read_only,
    refused,
    replaced,
    repr_of,
    row,
    rows_in,
    simple,
    swallowed,
    unit_from,
    unit_of,
)
from support.paths import TESTS
from support.postgres import USER

from profile_history import ConfigurationError, UsageError
from profile_history.sinks.base import SinkError
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.duckdb import DuckDBSink
from profile_history.sinks.lock import JobHeld
from profile_history.sinks.postgres_session import Session
from profile_history.sinks.postgresql import PostgresSink
from profile_history.sinks.sql_tables import COLUMNS
from profile_history.sinks.unit_rows import Stored, UnitRows

# A job's side


# The databases


# What is written


@pytest.mark.parametrize("shape", ["seed", "newer"])
def test_what_is_written_is_read_back(database, shape):
    """Every row of every history, in batches small and large, comes out as it went in."""
    units = [unit for number in range(120) if len(unit := unit_from(number, shape))]
    units += [unit_of(number, [row(channel=f"long {number}" * 200_000)]) for number in range(200, 205)]
    ledger, sink = Ledger(), database.sink()
    with opened(sink, ledger, new=True) as last:
        assert last == 0
        for number, some in enumerate((units[:1], units[1:10], units[10:]), 1):
            batch = SinkBatch(number, some)
            assert sink.check(batch) == []
            ledger.checksums |= sink.checksums(batch)
            receipt = sink.write(batch)
            assert (receipt.added, receipt.removed) == ((), ())
            ledger.apply(batch)
        assert sink.finish() is None
        sink.publish(receipt)
        sink.drop(receipt)
        assert len(ledger.checksums) == len(units)
        assert list(sink.verify()) == []

    assert found(database) == rows_in(*units)
    with read_only(database.sink(), ledger) as reader:
        assert list(reader.verify()) == []
    # Columns in several pieces, each with a dictionary of its own.
    assert batch.table.column("channel").num_chunks > 1


def test_a_replaced_unit_vanishes_with_the_batch_that_replaces_it(database):
    """Also where the new batch has no rows of it, or no rows at all."""
    ledger, sink = Ledger(), database.sink()
    with opened(sink, ledger, new=True):
        for batch in (
            SinkBatch(1, [simple(1), simple(2), simple(3), simple(4)]),
            SinkBatch(2, [simple(1, 5), simple(5)], replaced(1, 2)),
            SinkBatch(3, [], replaced(3)),
            SinkBatch(4, []),
        ):
            sink.write(batch)
            ledger.apply(batch)
        assert list(sink.verify()) == []
    assert found(database) == rows_in(simple(1, 5), simple(4), simple(5))
    assert noted(database)[0][:2] == ("job-1", 4)


def test_an_error_between_the_rows_and_the_commit_leaves_nothing(database):
    """Here somebody has changed the row that says which batch is the last; when that is mended, the sink goes on."""
    ledger, sink = Ledger(), database.sink()
    with opened(sink, ledger, new=True):
        sink.write(SinkBatch(1, [simple(1)]))
        database.execute(f"UPDATE {database.table}_job SET last_batch = 7")
        with pytest.raises(SinkError, match=r"was changed by somebody else; nothing was written"):
            sink.write(SinkBatch(2, [simple(1, 9), simple(2)], replaced(1)))
        assert (found(database), noted(database)[0][1]) == (rows_in(simple(1)), 7)
        database.execute(f"UPDATE {database.table}_job SET last_batch = 1")
        sink.write(SinkBatch(2, [simple(2)], replaced(1)))
    assert found(database) == rows_in(simple(2))


def test_the_database_tells_which_batch_was_the_last(database):
    """After a new start it gives the number, and the job goes on behind it."""
    ledger = Ledger()
    with opened(database.sink(), ledger, new=True):
        pass
    for batch in batches(count=4):
        sink = database.sink()
        with opened(sink, ledger) as last:
            assert last == batch.number - 1
            sink.write(batch)
    # The ledger may be one behind.
    with opened(database.sink(), Ledger(last_batch=3)) as last:
        assert last == 4


# Whose it is


def test_the_table_of_another_job_is_refused(database):
    """And nothing in it was changed."""
    with opened(sink := database.sink(), Ledger("theirs"), new=True):
        sink.write(SinkBatch(1, [simple(1)]))
    before = found(database), noted(database)
    refused(database, Ledger("mine"), r"belongs to another job \(theirs\), begun on .*, or name another table")
    assert (found(database), noted(database)) == before


def test_a_table_of_nobody_is_refused(database):
    """Even an empty one; it stays as it is, and nothing is made beside it."""
    database.execute(f"CREATE TABLE {database.table} (x integer)")
    refused(database, Ledger(), r"is there already and belongs to no job: name another table")
    assert database.execute(f"SELECT * FROM {database.table}") == []
    with pytest.raises((duckdb.CatalogException, psycopg.errors.UndefinedTable)):
        noted(database)


def test_a_place_that_is_not_as_the_job_left_it_is_refused(database):
    """No owner, two owners, a newer layout, rows or all of it gone: each is told apart from a new place."""
    ledger = Ledger(last_batch=1)
    with opened(sink := database.sink(), Ledger(), new=True):
        sink.write(SinkBatch(1, [simple(1)]))
    jobs = f"{database.table}_job"
    database.execute(f"INSERT INTO {jobs} (job, last_batch, layout) VALUES ('other', 1, 1)")
    refused(database, ledger, "belongs to no job")
    database.execute(f"DELETE FROM {jobs} WHERE job = 'other'")
    database.execute(f"UPDATE {jobs} SET layout = 3")
    refused(database, ledger, "newer version of this program: update this one")
    database.execute(f"UPDATE {jobs} SET layout = 2")
    database.execute(f"DROP TABLE {database.table}")
    refused(database, ledger, r"is gone, and 1 batches with it: bring it back, or begin a new job", new=False)
    database.execute(f"DELETE FROM {jobs}")
    refused(database, ledger, "belongs to no job")
    database.execute(f"DROP TABLE {jobs}")
    refused(database, ledger, "is gone", new=False)
    with opened(database.sink(), Ledger()) as last:
        assert last == 0


# Odd rows


def test_any_row_is_held(database):
    """Nothing that the Arrow lane brings is changed on the way, and no row stops the others."""
    sink = database.sink()
    last = SinkBatch(0, [])

    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.lists(ODD, min_size=1, max_size=4), max_size=3))
    def holds(lists):
        nonlocal last
        units = [
            unit_of(place, [json.dumps(one, ensure_ascii=False).encode() for one in rows])
            for place, rows in enumerate(lists)
        ]
        batch = SinkBatch(last.number + 1, units, replaced(*last.units))
        assert sink.check(batch) == []
        sink.write(batch)
        last = batch
        held = map(as_held if isinstance(database, Elephant) else tuple, rows_in(*batch.units).elements())
        assert found(database) == (Counter(held) if batch.units else Counter())

    with opened(sink, Ledger(), new=True):
        holds()


def test_a_text_that_the_server_lacks_is_null_and_stands_in_extra(elephant):
    """The row stays, and what else is in it; the same for every column of text."""
    rows = [
        row(message_id=1, new=1.50),
        row(email="a\0b", campaign_name="\0", count=2),
        row(channel="\0é", action="\0", new=1.50),
    ]
    sink, batch = elephant.sink(), SinkBatch(1, [unit_of(7, rows)])
    with opened(sink, Ledger(), new=True):
        assert sink.check(batch) == []
        sink.write(batch)
    query = f"SELECT action, message_id, count, email, campaign_name, channel, extra FROM {elephant.table}"
    assert sorted(elephant.execute(query), key=repr) == sorted(
        [
            ("send", 1, None, None, None, None, '{"new":1.5}'),
            ("send", None, 2, None, None, None, r'{"email": "\"a\\u0000b\"", "campaign_name": "\"\\u0000\""}'),
            (r'"\u0000"', None, None, None, None, None, r'{"new":1.5,"channel": "\"\\u0000é\""}'),
        ],
        key=repr,
    )


def test_a_refused_row_is_named_with_its_reason_and_its_columns(elephant):
    """The quarantine needs its unit, its place in there, why, and what was in it."""
    units = [simple(1), UnitRows(9, "c\0d", pieces=unit_of(9, [row(email="a\0b", count=2), row()]).pieces), simple(10)]
    refused = elephant.sink().check(SinkBatch(1, units))
    assert [(one.unit, one.row_offset) for one in refused] == [(9, 0), (9, 1)]
    assert {one.reason for one in refused} == {"the text of profile holds the character 0"}
    assert json.loads(refused[0].raw) == {
        "profile": "c\0d",
        "action": "send",
        "datetime": "2024-03-10T12:00:00",
        "utc_offset": 0,
        "count": 2,
        "email": "a\0b",
    }


@pytest.mark.parametrize("how", SWALLOWING)
def test_rows_that_the_table_swallows_are_not_counted_as_stored(elephant, how):
    """The transaction is rolled back, and when the table takes rows again, the job goes on."""
    sink = elephant.sink()
    with opened(sink, Ledger(), new=True):
        sink.write(SinkBatch(1, [simple(1)]))
        stop = swallowed(elephant, "INSERT", how)
        with pytest.raises(
            SinkError, match=r"took \d of the 6 rows of batch 2: a trigger, a rule or row-level security"
        ):
            sink.write(SinkBatch(2, [simple(2), simple(3)]))
        assert (found(elephant), noted(elephant)[0][1]) == (rows_in(simple(1)), 1)
        stop()
        sink.write(SinkBatch(2, [simple(2), simple(3)]))
    assert found(elephant) == rows_in(simple(1), simple(2), simple(3))


@pytest.mark.parametrize("how", [how for how in SWALLOWING if "elsewhere" not in how])
def test_rows_that_the_table_does_not_let_go_are_noticed(elephant, how):
    """They would stand beside those that replace them."""
    sink = elephant.sink()
    with opened(sink, Ledger(), new=True):
        sink.write(SinkBatch(1, [simple(1)]))
        stop = swallowed(elephant, "DELETE", how)
        with pytest.raises(SinkError, match=r"(keeps \d rows of the units that batch 2 replaces|took 6 of the 3 rows)"):
            sink.write(SinkBatch(2, [simple(1)], replaced(1)))
        assert (found(elephant), noted(elephant)[0][1]) == (rows_in(simple(1)), 1)
        stop()
        sink.write(SinkBatch(2, [simple(1)], replaced(1)))
    assert found(elephant) == rows_in(simple(1))


def test_rows_that_row_level_security_hides_are_noticed(elephant):
    """From a job that is not the table's owner, or where the owner is held to it, too."""
    sink, table = elephant.sink(), elephant.table
    elephant.execute(f"CREATE ROLE {table} LOGIN PASSWORD 'open sesame'")
    with opened(sink, Ledger(), new=True):
        sink.write(SinkBatch(1, [simple(1)]))
    elephant.execute(f"GRANT ALL ON {table}, {table}_job TO {table}")
    elephant.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    elephant.execute(f"CREATE POLICY writes ON {table} FOR INSERT WITH CHECK (true)")
    elephant.execute(f"CREATE POLICY reads ON {table} FOR SELECT USING (unit <> 1)")
    elephant.execute(f"CREATE POLICY deletes ON {table} FOR DELETE USING (unit <> 1)")
    theirs = PostgresSink(elephant.server.dsn.replace(USER, table), table)
    with opened(theirs, Ledger(last_batch=1)):
        with pytest.raises(SinkError, match=r"keeps 3 rows .* batch 2 replaces: a trigger, a rule or row-level"):
            theirs.write(SinkBatch(2, [], replaced(1)))
        with pytest.raises(SinkError, match=r"took 0 of the 3 rows"):
            theirs.write(SinkBatch(2, [simple(1)]))
    assert found(elephant) == rows_in(simple(1))


@pytest.mark.parametrize("change", ["DELETE FROM {0} WHERE message_id = 0", "INSERT INTO {0} SELECT * FROM {0}"])
def test_units_of_which_somebody_has_changed_rows_are_replaced_as_a_whole(database, change):
    """Rows that were deleted by hand, as of a person who asked for it, or added, do not stop the next night."""
    sink = database.sink()
    with opened(sink, Ledger(), new=True):
        sink.write(SinkBatch(1, [simple(1), simple(2)]))
        database.execute(change.format(database.table) + (" WHERE unit = 1" if "INSERT" in change else " AND unit = 1"))
        sink.write(SinkBatch(2, [simple(1)], replaced(1)))
    assert found(database) == rows_in(simple(1), simple(2))


# Reading back


def test_verify_finds_what_differs(database):
    """A row deleted, a row doubled, a unit gone, a unit of nobody; and nothing of what is right."""
    ledger, sink = Ledger(), database.sink()
    with opened(sink, ledger, new=True):
        batch = SinkBatch(1, [simple(number) for number in (1, 2, 3, 4, 12)])
        sink.write(batch)
        ledger.apply(batch)
        assert list(sink.verify()) == []
        table = database.table
        database.execute(f"DELETE FROM {table} WHERE unit = 1 AND message_id = 0")
        database.execute(f"INSERT INTO {table} SELECT * FROM {table} WHERE unit = 2 AND message_id = 0")
        database.execute(f"DELETE FROM {table} WHERE unit IN (3, 12)")
        database.execute(f"INSERT INTO {table} (unit) VALUES (13)")
        assert list(sink.verify()) == [
            "unit 1 has 2 rows here and 3 in the ledger",
            "unit 2 has 4 rows here and 3 in the ledger",
            "unit 3 has no rows here and 3 in the ledger",
            "unit 12 has no rows here and 3 in the ledger",
            "unit 13 has 1 rows here and none in the ledger",
        ]
        database.execute(f"DROP TABLE {table}")
        with pytest.raises(SinkError, match=table):
            list(sink.verify())


@pytest.mark.parametrize("change", CHANGES)
def test_verify_finds_values_that_somebody_has_changed(database, change):
    """Whatever was changed, also where as many rows are there as before; and it is found without writing."""
    ledger, sink = Ledger(), database.sink()
    units = [
        unit_of(number, [row(message_id=at, email=f"{number}@x.com") for at in range(3)]) for number in range(1, 5)
    ]
    with opened(sink, ledger, new=True):
        batch = SinkBatch(1, units)
        ledger.checksums |= sink.checksums(batch)
        sink.write(batch)
        ledger.apply(batch)
    database.execute(CHANGES[change].format(database.table))
    before = found(database), noted(database)
    with read_only(database.sink(), ledger) as reader:
        said = list(reader.verify())
    assert said == [
        f"unit {unit} has other values here than were stored" for unit in (2, 3)[: 1 + ("another" in change)]
    ]
    assert (found(database), noted(database)) == before


def test_where_nothing_may_be_written_a_table_can_be_verified(elephant):
    """By somebody who may only read; whoever opens it so cannot write."""
    ledger = Ledger()
    with opened(sink := elephant.sink(), ledger, new=True):
        batch = SinkBatch(1, [simple(1)])
        sink.write(batch)
        ledger.apply(batch)
        name = f"reader_{elephant.table}"
        elephant.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'open sesame'")
        elephant.execute(f"GRANT SELECT ON {elephant.table}, {elephant.table}_job TO {name}")
        # Also beside one that writes.
        with read_only(PostgresSink(elephant.server.dsn.replace(USER, name), elephant.table), ledger) as reader:
            assert list(reader.verify()) == []
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                reader._session.connection.execute("CREATE TABLE no (x int)")


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


def test_tables_of_an_earlier_version_get_the_columns_that_they_lack(database):
    """When they are first opened for writing; what an old row does not know is null."""
    ledger = Ledger()
    with opened(sink := database.sink(), ledger, new=True):
        batch = SinkBatch(1, [simple(1), simple(2)])
        sink.write(batch)
        ledger.apply(batch)
    aged(database)
    with read_only(database.sink(), ledger) as reader:
        assert list(reader.verify()) == []
    assert len(noted(database)[0]) == 4
    refused(database, Ledger("mine"), r"belongs to another job \(job-1\): resume that one, or name another table")
    for _ in range(2):
        with opened(sink := database.sink(), ledger) as last:
            assert last == 1
    assert noted(database)[0][4:] == (ledger.location, socket.gethostname())
    with opened(sink := database.sink(), ledger):
        batch = SinkBatch(2, [simple(1, 2), simple(3)], replaced(1))
        ledger.checksums |= sink.checksums(batch)
        sink.write(batch)
        ledger.apply(batch)
        assert list(sink.verify()) == []
    order = database.execute(f'SELECT unit, "row" FROM {database.table} ORDER BY unit, "row"')
    assert order == [(1, 0), (1, 1), (2, None), (2, None), (2, None), (3, 0), (3, 1), (3, 2)]
    columns = [column for column, *_ in columns_of(database)]
    assert columns == [*COLUMNS]


def test_the_table_of_another_job_says_where_that_is(database):
    """And what to type to go on with it."""
    with opened(database.sink(), Ledger("theirs", location="/srv/crm.history.ledger"), new=True):
        pass
    match = (
        rf"belongs to another job \(theirs\), begun on {socket.gethostname()}; its ledger is "
        r"/srv/crm\.history\.ledger: to go on with that one pass --ledger /srv/crm\.history\.ledger, or name another"
    )
    refused(database, Ledger("mine"), match)


def test_a_sink_that_is_not_open_says_so(database):
    """Before it is opened, and after it was closed, which may be said twice."""
    sink = database.sink()
    with pytest.raises(UsageError, match="is not open"):
        sink.write(SinkBatch(1, [])) if isinstance(database, Duck) else sink._session.connection
    with opened(sink, Ledger(), new=True):
        pass
    sink.close()


@pytest.mark.parametrize(
    ("library", "extra", "module"), [("duckdb", "duckdb", "duckdb"), ("psycopg", "postgres", "postgresql")]
)
def test_without_its_library_a_sink_says_what_to_install(monkeypatch, library, extra, module):
    """Not a bare message of a module that nobody asked for."""
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"profile_history.sinks.{module}")
    with pytest.raises(ImportError, match=rf"profile-history\[{extra}\]"):
        importlib.import_module(f"profile_history.sinks.{module}")


@pytest.mark.parametrize("sink", [lambda name: DuckDBSink("a.db", name), lambda name: PostgresSink("", name)])
@pytest.mark.parametrize("name", ["", "a\0b"])
def test_a_table_needs_a_name(sink, name):
    """It is refused before anything is opened."""
    with pytest.raises(ConfigurationError, match="the table needs a name"):
        sink(name)


# DuckDB


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


# PostgreSQL


def test_no_message_holds_the_password(postgres):
    """Wrong password, unknown host, unreadable address, refused table; nor does the sink show it."""
    port, wrong = postgres.port, "hunter2"
    messages = []
    for dsn in (
        f"postgresql://{USER}:{wrong}@127.0.0.1:{port}/postgres",
        f"postgresql://{USER}:{wrong}@127.0.0.1:1/postgres",
        f"host=127.0.0.1 port={port} user=nobody password={wrong} dbname=postgres",
        f"postgresql://{USER}:{wrong}@127.0.0.1:{port}/no_such_database",
    ):
        sink = PostgresSink(dsn)
        with pytest.raises(SinkError, match="see to the server") as caught:
            sink.open(Ledger(), new=True)
        messages += [str(caught.value), repr(caught.value), str(caught.value.__cause__), repr(sink), sink.url]
    for dsn in (f"postgresql://{wrong}@[", f"{wrong} {wrong}", f"host=x {wrong}={wrong}"):
        with pytest.raises(ConfigurationError, match=r"write postgresql://user@host") as caught:
            PostgresSink(dsn)
        assert caught.value.__cause__ is None
        messages += [str(caught.value), repr(caught.value)]
    assert wrong not in "".join(messages)


@pytest.mark.parametrize(
    ("dsn", "url"),
    [
        ("postgresql://me:secret@db.example.com:5433/crm", "postgresql://me@db.example.com:5433/crm?table=a.b"),
        ("host=/run/pg dbname='my db' password=secret", "postgresql://%2Frun%2Fpg/my%20db?table=a.b"),
        ("host=::1 user=me", "postgresql://me@[::1]/?table=a.b"),
        ("", "postgresql:///?table=a.b"),
    ],
)
def test_the_address_of_a_server_is_shown_without_the_password(dsn, url):
    """It is part of the plan of a job."""
    assert PostgresSink(dsn, "a.b").url == url


def test_a_schema_and_odd_names_are_quoted(postgres):
    """A name before the point is the schema, and case matters, as in PostgreSQL."""
    postgres.execute('CREATE SCHEMA "My ""schema"""')
    with opened(sink := PostgresSink(postgres.dsn, 'My "schema".The "table" {}'), Ledger(), new=True):
        sink.write(SinkBatch(1, [simple(1)], [Stored(1, 1, 0, 0)]))
        assert list(sink.verify()) == ["unit 1 has 3 rows here and none in the ledger"]
    tables = postgres.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'My \"schema\"' ORDER BY 1")
    assert tables == [('The "table" {}',), ('The "table" {}_job',)]
    with pytest.raises(ConfigurationError, match="a percent sign"):
        PostgresSink(postgres.dsn, "50%")
    with pytest.raises(ConfigurationError, match="too long: 59 bytes are allowed"):
        PostgresSink(postgres.dsn, "é" * 30)
    with pytest.raises(SinkError, match=r'schema "nowhere" does not exist'):
        PostgresSink(postgres.dsn, "nowhere.history").open(Ledger(), new=True)


def test_a_database_that_lacks_characters_is_refused(postgres):
    """One poison row would stop the job."""
    postgres.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(ConfigurationError, match="encoded in LATIN1, which lacks characters: name one in UTF8"):
        PostgresSink(postgres.dsn.replace("/postgres", "/latin")).open(Ledger(), new=True)


def test_a_second_job_is_refused_before_the_tables_are_made(elephant):
    """Then no table says where the ledger of the first is."""
    first = Session(elephant.sink()._session.conninfo, "public", elephant.table)
    first.connect()
    with pytest.raises(JobHeld, match=rf"process {os.getpid()} on [^ ]+\)\); stop it or let it end"):
        elephant.sink(**Clock().options).open(Ledger(), new=True)
    first.close()


def test_a_second_job_on_a_table_is_refused_by_name(elephant):
    """It leaves within two seconds, naming the server process that has the lock; that one goes on."""
    first, clock = elephant.sink(), Clock()
    with opened(first, Ledger(), new=True):
        ((pid,),) = first._session.connection.execute("SELECT pg_backend_pid()").fetchall()
        name = f"public.{elephant.table}"
        match = (
            rf"is writing into {name}: server process {pid} \(profile-history \(process {os.getpid()} on .*\)\) "
            r"\(its ledger is /somewhere/job\.ledger\)"
        )
        for dsn, table in ((elephant.server.dsn, elephant.table), (elephant.server.dsn, name)):
            with pytest.raises(JobHeld, match=match):
                PostgresSink(dsn, table, **clock.options).open(Ledger("other"), new=True)
        assert clock.now < 4
        first.write(SinkBatch(1, [simple(1)]))
    with opened(elephant.sink(), Ledger()) as last:
        assert last == 1


def test_a_lock_that_is_about_to_be_free_is_waited_for(elephant):
    """A job that was killed is resumed at once, while the server still ends its connection."""
    first = elephant.sink()
    first.open(Ledger(), new=True)
    with opened(elephant.sink(**Clock(first.close).options), Ledger()) as last:
        assert last == 0


def test_commits_are_on_disk_whatever_the_server_is_set_to(elephant):
    """A server may be told to confirm commits before they are on disk; not those of this sink."""
    elephant.execute(f"ALTER ROLE {USER} SET synchronous_commit = off")
    try:
        with opened(sink := elephant.sink(), Ledger(), new=True):
            assert sink._session.connection.execute("SHOW synchronous_commit").fetchall() == [("on",)]
            sink.write(SinkBatch(1, [simple(1)]))
    finally:
        elephant.execute(f"ALTER ROLE {USER} RESET synchronous_commit")
    assert found(elephant) == rows_in(simple(1))


def test_an_error_at_the_commit_itself_leaves_nothing(elephant):
    """Here a trigger refuses at the very end; the sink can be used further."""
    ledger, sink = Ledger(), elephant.sink()
    table = elephant.table
    with opened(sink, ledger, new=True):
        elephant.execute(
            f"CREATE FUNCTION {table}_no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$"
        )
        elephant.execute(
            f"CREATE CONSTRAINT TRIGGER no AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED"
            f" FOR EACH ROW EXECUTE FUNCTION {table}_no()"
        )
        with pytest.raises(SinkError, match=r"not today.*then resume the job"):
            sink.write(SinkBatch(1, [simple(1)]))
        assert (found(elephant), noted(elephant)[0][1]) == (Counter(), 0)
        elephant.execute(f"DROP TRIGGER no ON {table}")
        sink.write(SinkBatch(1, [simple(1)]))
    assert found(elephant) == rows_in(simple(1))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
def test_a_server_that_comes_back_between_batches_is_written_on(elephant, how):
    """Every row is there once, and the lock is held again."""
    ledger, clock = Ledger(), Clock()
    sink = elephant.sink(**clock.options)
    with opened(sink, ledger, new=True):
        for batch in batches(count=2):
            sink.write(batch)
            ledger.apply(batch)
            elephant.server.restart(how)
        assert clock.now < 1
        batch = SinkBatch(3, [simple(99)])
        sink.write(batch)
        ledger.apply(batch)
        with pytest.raises(JobHeld, match=f"another job .*process {os.getpid()} on ") as caught:
            elephant.sink(**Clock().options).open(Ledger(), new=False)
        assert caught.value.pid == os.getpid()
        assert list(sink.verify()) == []


def test_a_server_that_stays_away_for_a_while_is_waited_for(elephant):
    """With growing pauses, and no longer than it takes."""
    server = elephant.server
    clock = Clock(*(lambda: None for _ in range(6)), server.start)
    sink = elephant.sink(**clock.options)
    with opened(sink, Ledger(), new=True):
        sink.write(SinkBatch(1, [simple(1)]))
        server.stop()
        sink.write(SinkBatch(2, [simple(2)]))
    assert 3 < clock.now < 20
    assert found(elephant) == rows_in(simple(1), simple(2))


def test_a_server_that_stays_away_for_good_ends_the_run(elephant):
    """After as many seconds as the caller has patience; what was written stays."""
    clock = Clock()
    sink = elephant.sink(patience=30, **clock.options)
    with opened(sink, Ledger(), new=True):
        sink.write(SinkBatch(1, [simple(1)]))
        elephant.server.stop()
        with pytest.raises(SinkError, match=r"refused.*see to the server"):
            sink.write(SinkBatch(2, [simple(2)]))
        assert clock.now == pytest.approx(30)
        elephant.server.start()
    with opened(elephant.sink(), Ledger(last_batch=1)) as last:
        assert last == 1
    assert found(elephant) == rows_in(simple(1))


@pytest.mark.parametrize("tear", ["before", "after", "silently"])
@pytest.mark.parametrize("word", [b"COMMIT\0", b"here it tears", b"BEGIN", b"UPDATE"])
def test_a_connection_torn_anywhere_loses_nothing_and_doubles_nothing(elephant, proxy, word, tear):
    """Before the server hears of the commit, after it has committed, and while rows flow."""
    ledger, sink = Ledger(), PostgresSink(elephant.server.dsn_at(proxy.port), elephant.table)
    units = [unit_from(number) for number in range(12)]
    torn = unit_of(50, [row(email="here it tears", message_id=number) for number in range(2)])
    with opened(sink, ledger, new=True):
        for number, batch in enumerate(
            [
                SinkBatch(1, units[:6]),
                SinkBatch(2, [*units[6:], torn], replaced(*units[:2])),
                SinkBatch(3, [simple(51)]),
            ],
            1,
        ):
            if number == 2:
                proxy.tear_at(word, tear)
            sink.write(batch)
            ledger.apply(batch)
        assert proxy.torn == 1
        assert list(sink.verify()) == []
    assert found(elephant) == rows_in(*units[2:], torn, simple(51))
    assert noted(elephant)[0][1] == 3


def test_a_server_that_crashes_while_rows_flow_is_written_again(elephant):
    """The rows come from a batch that is in the middle of its way."""
    sink = elephant.sink(**Clock().options)

    class Crashing(SinkBatch):
        @property
        def table(self):
            return self

        def to_batches(self, most):
            for number, some in enumerate(SinkBatch(1, self.units).table.to_batches(100)):
                if number == 3 and crashes:
                    crashes.pop()()
                yield some

    units = [unit_from(number) for number in range(20)]
    crashes = [lambda: elephant.server.restart(signal.SIGQUIT), elephant.server.restart]
    with opened(sink, Ledger(), new=True):
        sink.write(SinkBatch(1, [simple(100)]))
        sink.write(Crashing(2, units))
    assert crashes == []
    assert found(elephant) == rows_in(simple(100), *units)


def test_when_the_table_has_changed_hands_meanwhile_nothing_is_written(elephant):
    """Another job has the lock after a restart; the first one gives up when its patience ends."""
    sink, other = elephant.sink(**Clock().options), elephant.sink()
    with opened(sink, Ledger(), new=True):
        elephant.server.restart()
        with opened(other, Ledger()), pytest.raises(JobHeld, match="another job is writing"):
            sink.write(SinkBatch(1, [simple(1)]))
    assert found(elephant) == Counter()


# Death

CHILD = """
    import sys
    sys.path.insert(0, {tests!r})
    from support.databases import *
    sink, ledger = {sink}, Ledger()
    last = sink.open(ledger, new=False)
    print("open", last, flush=True)
    for batch in batches(start=last + 1, count=1000):
        sink.write(batch)
        print("wrote", batch.number, flush=True)
"""


@pytest.mark.parametrize("kills", [2, pytest.param(60, marks=pytest.mark.full)])
def test_a_job_that_is_killed_again_and_again_has_every_row_once(database, kills):
    """What it was told is written is there after kill -9, whole, and at most one batch more."""
    sink = f"DuckDBSink({str(database.path)!r})" if isinstance(database, Duck) else repr_of(database)
    code = textwrap.dedent(CHILD).format(tests=str(TESTS), sink=sink)
    chance, known = random.Random(kills), 0
    for _ in range(kills):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
            assert int(child.stdout.readline().split()[1]) in {known, known + 1}
            known = max(known, *(int(child.stdout.readline().split()[1]) for _ in range(chance.randint(1, 6))))
            child.kill()
            known = max([known, *(int(line.split()[1]) for line in child.stdout if line.endswith("\n"))])
    with opened(database.sink(), Ledger()) as last:
        assert last in {known, known + 1}
    assert found(database) == rows_in(*(unit for batch in batches(count=last) for unit in batch.units))
