"""DuckDB and PostgreSQL as sinks: a batch is there whole or not at all, whatever dies, and never twice."""

import importlib
import json
import random
import socket
import subprocess
import sys
import textwrap
from collections import Counter

import duckdb
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.databases import (  # noqa: F401 (some are fixtures)
    CHANGES,
    ODD,
    Duck,
    Elephant,
    Ledger,
    aged,
    as_held,
    batches,
    columns_of,
    connection_of,
    database,
    elephant,
    found,
    noted,
    opened,
    read_only,
    refused,
    replaced,
    repr_of,
    row,
    rows_in,
    simple,
    unit_from,
    unit_of,
)
from support.paths import TESTS

from profile_history import ConfigurationError, UsageError
from profile_history.sinks.base import SinkError
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.duckdb import DuckDBSink
from profile_history.sinks.postgresql import PostgresSink
from profile_history.sinks.sql_tables import COLUMNS


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
    # Columns in several chunks, each with a dictionary of its own.
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


def test_any_row_is_held(database):
    """Nothing that the Arrow format brings is changed on the way, and no row stops the others."""
    sink = database.sink()
    last = SinkBatch(0, [])

    @settings(suppress_health_check=list(HealthCheck))
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


@pytest.mark.parametrize("change", ["DELETE FROM {0} WHERE message_id = 0", "INSERT INTO {0} SELECT * FROM {0}"])
def test_units_of_which_somebody_has_changed_rows_are_replaced_as_a_whole(database, change):
    """Rows that were deleted by hand, as of a person who asked for it, or added, do not stop the next night."""
    sink = database.sink()
    with opened(sink, Ledger(), new=True):
        sink.write(SinkBatch(1, [simple(1), simple(2)]))
        database.execute(change.format(database.table) + (" WHERE unit = 1" if "INSERT" in change else " AND unit = 1"))
        sink.write(SinkBatch(2, [simple(1)], replaced(1)))
    assert found(database) == rows_in(simple(1), simple(2))


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
        sink.write(SinkBatch(1, [])) if isinstance(database, Duck) else connection_of(sink)
    with opened(sink, Ledger(), new=True):
        pass
    sink.close()
    for never_or_no_longer in (database.sink(), sink):
        with pytest.raises(UsageError, match="is not open"):
            list(never_or_no_longer.verify())


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


@pytest.mark.slow
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
