"""dlt as a sink: a batch is a load package, and is there whole or not at all, whatever dies, and never twice."""

import datetime as dt
import importlib
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter

import dlt
import duckdb
import pytest
from dlt.destinations.exceptions import DatabaseTransientException
from dlt.destinations.impl.duckdb.duck import DuckDbCopyJob
from support.dlt_crash import HELD, HISTORIES, MOMENTS, first, pipeline_in, postgres_pipeline_in, second
from support.paths import SUPPORT, TESTS
from support.postgres import Postgres
from support.sink_ledger import FakeLedger, fill, finish, pieces_of, real_units, unit_of

from profile_history import ConfigurationError, Profile, UsageError
from profile_history.jobs import HistoryJob
from profile_history.sinks import Receipt, SinkError
from profile_history.sinks.arrow_table import FULL_SCHEMA, table_of
from profile_history.sinks.base import checksums_of
from profile_history.sinks.dlt import DltSink
from profile_history.sinks.unit_rows import UnitRows
from profile_history.testing import HistoryServer

NAMES = FULL_SCHEMA.names
COLUMNS = ", ".join(f'"{name}"' for name in NAMES)
QUIET = {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "CRITICAL"}
SOON = {"merged"}
CRASH = SUPPORT / "dlt_crash.py"
CHILD_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TESTS)}


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No word to anybody on the network, and none on stderr but errors."""
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A database with one batch in it."""
    directory = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        sink = DltSink(pipeline_in(directory))
        assert sink.open(FakeLedger(), new=True) == 0
        sink.write(first(FakeLedger()))
    return directory / "history.duckdb"


@pytest.fixture
def begun(tmp_path, template):
    """A sink with one batch in it, as another machine has left it, and the ledger."""
    shutil.copy(template, tmp_path)
    ledger, sink = FakeLedger(), DltSink(pipeline_in(tmp_path))
    ledger.apply(Receipt(), first(ledger))
    assert sink.open(ledger, new=False) == 1
    return sink, ledger


def asked(directory, query):
    """What DuckDB returns."""
    with duckdb.connect(str(directory / "history.duckdb")) as connection:
        return connection.execute(query).fetchall()


def change(directory, statement):
    """Somebody else at work."""
    with duckdb.connect(str(directory / "history.duckdb")) as connection:
        connection.execute(statement)


def found(directory):
    """The rows, each as often as it is there."""
    return Counter(asked(directory, f"SELECT {COLUMNS} FROM crm.history"))


def rows_of(units):
    """The same of units that were written."""
    return Counter(tuple(row[name] for name in NAMES) for row in table_of(units).to_pylist())


def live(ledger, units):
    """Those of some units that the ledger knows."""
    return [unit for unit in units if unit.unit in ledger.live]


ALL = real_units(HISTORIES, "arrow", 0, 60)


# Content


@pytest.mark.slow
def test_rows_are_in_the_table_as_they_are_in_arrow(begun, tmp_path):
    """Texts of any characters, moments without a zone, and the number of the batch."""
    sink, ledger = begun
    text = (
        '{"action":"open","datetime":"2024-05-01T10:00:00+03:00","campaign_name":"a\\u0000\\"\'\\\\\\n,;\\t\U0001f600"}'
    )
    odd = unit_of(1000, str(Profile.email("x@example.com")), [text.encode()], "arrow")
    fill(sink, ledger, ledger.batch([odd]))
    assert finish(sink, ledger) is None
    sink.drop(None)
    sink.publish(None)
    sink.close()

    assert found(tmp_path) == rows_of([*live(ledger, ALL), odd])
    assert asked(tmp_path, "SELECT DISTINCT batch, deleted FROM crm.history ORDER BY 1") == [(1, None), (2, None)]
    assert list(sink.verify()) == []


@pytest.mark.slow
def test_a_batch_replaces_units_and_one_without_rows_only_deletes(begun, tmp_path):
    """The last batch is known in both cases."""
    sink, ledger = begun
    fill(sink, ledger, second(ledger))
    assert found(tmp_path) == rows_of(live(ledger, ALL))
    assert DltSink(pipeline_in(tmp_path)).open(ledger, new=False) == 2

    emptied = ledger.batch([], list(ledger.live))
    receipt = sink.write(emptied)
    assert DltSink(pipeline_in(tmp_path)).open(ledger, new=False) == 3
    ledger.apply(receipt, emptied)
    assert list(sink.verify()) == []
    assert not found(tmp_path)


def test_verify_names_what_differs(begun, tmp_path):
    """A unit that lost a row, and one that nobody knows."""
    sink, ledger = begun
    unit, stored = next(iter(sorted(ledger.live.items())))
    change(tmp_path, f"DELETE FROM crm.history WHERE rowid = (SELECT min(rowid) FROM crm.history WHERE unit = {unit})")
    change(tmp_path, "INSERT INTO crm.history (unit, batch) VALUES (999, 1)")
    kept = f"unit {unit} has {stored.rows - 1} rows here and {stored.rows} in the ledger"
    gone = f"unit {unit} has no rows here and {stored.rows} in the ledger"
    assert list(sink.verify()) == [kept if stored.rows > 1 else gone, "unit 999 has 1 rows here and none in the ledger"]


def test_verify_names_a_unit_whose_values_were_changed(begun, tmp_path):
    """Though it has as many rows as before."""
    sink, ledger = begun
    ledger.checksums |= checksums_of(sink, first(FakeLedger()))
    assert list(sink.verify()) == []
    unit = min(ledger.live)
    change(tmp_path, f"UPDATE crm.history SET smid = 'other' WHERE unit = {unit}")
    [said] = sink.verify()
    assert said.startswith(f"unit {unit} ")


def test_a_batch_without_rows_deletes_units_and_is_known_afterwards(begun, tmp_path):
    """It leaves no row with its number, which therefore stands in the table of the job."""
    sink, ledger = begun
    emptied = ledger.batch([], list(ledger.live))
    assert sink.check(emptied) == []
    ledger.apply(sink.write(emptied), emptied)
    assert not found(tmp_path)
    assert sink.open_to_read(ledger) == 2
    assert list(sink.verify()) == []


# Crashes


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment", [moment if moment in SOON else pytest.param(moment, marks=pytest.mark.full) for moment in MOMENTS]
)
def test_killed_while_it_loads_a_batch_is_there_whole_or_not_at_all(tmp_path, moment):
    """And written again, with other units in it, it takes the place of what was there."""
    died = subprocess.run([sys.executable, CRASH, tmp_path, moment], check=False, timeout=60, env=CHILD_ENVIRONMENT)
    assert died.returncode == -signal.SIGKILL
    ledger = FakeLedger()
    ledger.apply(Receipt(), first(ledger))
    sink = DltSink(pipeline_in(tmp_path))
    held = sink.open(ledger, new=False)

    assert held == (2 if moment in HELD else 1)
    if held == 2:
        ledger.apply(Receipt(), second(ledger))
    assert found(tmp_path) == rows_of(live(ledger, ALL))
    fill(sink, ledger, ledger.batch(real_units(HISTORIES, "arrow", 25, 40), sorted(ledger.live)[3:7]))
    assert found(tmp_path) == rows_of(live(ledger, ALL))
    assert list(sink.verify()) == []
    assert not sink.pipeline.has_pending_data


@pytest.mark.slow
def test_a_lost_working_directory_of_dlt_costs_nothing(begun, tmp_path):
    """All that counts is in the destination."""
    sink, ledger = begun
    fill(sink, ledger, second(ledger))
    shutil.rmtree(tmp_path / "pipelines")
    sink = DltSink(pipeline_in(tmp_path))
    assert sink.open(ledger, new=False) == 2
    fill(sink, ledger, ledger.batch(real_units(HISTORIES, "arrow", 30, 40), sorted(ledger.live)[:5]))
    assert found(tmp_path) == rows_of(live(ledger, ALL))


@pytest.mark.slow
def test_a_file_that_dlt_loads_twice_is_in_the_table_once(begun, tmp_path, monkeypatch):
    """As when a server commits, and the connection is lost before it says so."""
    sink, ledger = begun
    lost = iter([True])
    real = DuckDbCopyJob.run

    def run(job):
        real(job)
        if next(lost, False):
            raise DatabaseTransientException(ConnectionError("lost"))

    monkeypatch.setattr(DuckDbCopyJob, "run", run)
    fill(sink, ledger, second(ledger))
    assert found(tmp_path) == rows_of(live(ledger, ALL))


@pytest.mark.slow
def test_what_cannot_be_loaded_once_is_an_error(begun, monkeypatch):
    """If every file is loaded twice, again and again."""
    sink, ledger = begun
    real = DuckDbCopyJob.run

    def run(job):
        real(job)
        if job.job_file_info().retry_count == 0:
            raise DatabaseTransientException(ConnectionError("lost"))

    monkeypatch.setattr(DuckDbCopyJob, "run", run)
    with pytest.raises(SinkError, match="loaded twice, and never whole and once"):
        sink.write(second(ledger))


def test_what_never_arrives_whole_is_an_error_and_leaves_no_row(begun, tmp_path, monkeypatch):
    """As with a trigger that keeps rows off: else the next start would take the batch for stored."""
    sink, ledger = begun
    loads = []

    def run(*_, **__):
        loads.append("one row, of another unit")
        change(tmp_path, "INSERT INTO crm.history (unit, batch) VALUES (999, 2)")

    monkeypatch.setattr(sink.pipeline, "run", run)
    with pytest.raises(SinkError, match="the table has 2 of its"):
        sink.write(second(ledger))
    assert len(loads) == 2
    assert asked(tmp_path, "SELECT DISTINCT batch FROM crm.history") == [(1,)]


def test_a_package_that_a_run_left_behind_is_not_loaded_any_more(begun):
    """The job fetches its rows again, perhaps others, and puts them into a batch of the same number."""
    sink, ledger = begun
    sink.pipeline.extract([{"unit": 999, "batch": 2}], table_name="history")
    assert sink.pipeline.has_pending_data
    assert sink.open(ledger, new=False) == 1
    assert not sink.pipeline.has_pending_data


@pytest.fixture(scope="module")
def server():
    """A PostgreSQL server."""
    server = Postgres()
    server.start()
    try:
        yield server
    finally:
        server.stop()
        server.remove()


@pytest.mark.full
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_same_holds_for_postgresql(tmp_path, server, moment):
    """Where dlt loads by another way."""
    dataset = f"crm_{moment}"
    crash = [sys.executable, CRASH, tmp_path, moment, server.dsn, dataset]
    assert subprocess.run(crash, check=False, timeout=60, env=CHILD_ENVIRONMENT).returncode == -signal.SIGKILL
    ledger = FakeLedger()
    ledger.apply(Receipt(), first(ledger))
    sink = DltSink(postgres_pipeline_in(tmp_path, server.dsn, dataset))
    held = sink.open(ledger, new=False)

    assert held == (2 if moment in HELD else 1)
    if held == 2:
        ledger.apply(Receipt(), second(ledger))
    fill(sink, ledger, ledger.batch(real_units(HISTORIES, "arrow", 25, 40), sorted(ledger.live)[3:7]))
    fill(sink, ledger, ledger.batch([], sorted(ledger.live)[:3]))
    assert sink.open(ledger, new=False) == ledger.last_batch
    assert Counter(server.execute(f"SELECT {COLUMNS} FROM {dataset}.history")) == rows_of(live(ledger, ALL))
    assert list(sink.verify()) == []


# Whole jobs


def expected(server, last):
    """The rows up to a day, without the numbers of their units."""
    rows = Counter()
    for number, profile in enumerate(server.profiles()):
        kept = server.histories.rows(number, server.behaviour.rows)
        texts = [row.json for row in kept if row.label.date() <= dt.date.fromisoformat(last)]
        rows += rows_of([unit_of(0, str(profile), texts, "arrow")])
    return bare(rows)


def bare(rows):
    """Rows without the number of their unit and their own, which come last."""
    counted = Counter()
    for row, times in rows.items():
        counted[row[:-2]] += times
    return counted


class Dying(DltSink):
    """One whose process dies when a batch is in the destination, and not yet in the ledger."""

    def write(self, batch):
        super().write(batch)
        raise SinkError("died")


class DyingBefore(DltSink):
    """One whose process dies when a package is ready to be loaded."""

    def write(self, batch):
        self.pipeline.load = None
        super().write(batch)


async def ran(job, **options):
    """The last step of a run."""
    async for step in job.run(**options):
        last = step
    return last


@pytest.mark.slow
async def test_a_job_that_dies_goes_on_and_replaces_its_provisional_units(tmp_path):
    """Whenever it dies, every row is there once in the end."""
    with HistoryServer(profiles=12) as server:
        async with server.client(window=61) as client:

            def job(today, sink=DltSink, **options):
                return HistoryJob(
                    client,
                    sink=sink(pipeline_in(tmp_path)),
                    ledger=tmp_path / "job.ledger",
                    today=lambda: dt.date.fromisoformat(today),
                    commit_bytes=200_000,
                    **options,
                )

            first_days = {"date_from": "2023-01-01", "date_to": "2024-06-30"}
            for sink, error in ((DyingBefore, TypeError), (Dying, SinkError)):
                with pytest.raises(error):
                    await ran(job("2024-06-30", sink, profiles=server.profiles(), **first_days))
            await ran(job("2024-06-30"))
            assert bare(found(tmp_path)) == expected(server, "2024-06-30")
            for sink, error in ((DyingBefore, TypeError), (Dying, SinkError)):
                with pytest.raises(error):
                    await ran(job("2024-12-31", sink), until="2024-12-31")
            last = await ran(job("2024-12-31"), until="2024-12-31")

            assert last.provisional
            assert bare(found(tmp_path)) == expected(server, "2024-12-31")
            assert await job("2024-12-31").verify() == []
            change(tmp_path, "DELETE FROM crm.history WHERE unit = (SELECT min(unit) FROM crm.history)")
            assert len(await job("2024-12-31").verify()) == 1


def test_jobs_with_one_table_have_one_lock_whatever_pipeline_loads_it(tmp_path):
    """Another table, or another database, has another one."""

    def lock(pipeline, database, table="history"):
        destination = dlt.destinations.duckdb(str(tmp_path / database))
        places = {"dataset_name": "crm", "pipelines_dir": str(tmp_path / "pipelines")}
        return DltSink(dlt.pipeline(pipeline, destination=destination, **places), table).lock_path

    lock_of_one = lock("one", "here.duckdb")
    assert lock_of_one.parent == tmp_path / "pipelines"
    assert lock_of_one == lock("another", "here.duckdb")
    assert len({lock_of_one, lock("one", "here.duckdb", "others"), lock("one", "elsewhere.duckdb")}) == 3


# What is refused


def test_destinations_that_cannot_keep_the_promise_are_refused(tmp_path):
    """Files cannot be merged, and some databases have no transactions; nothing is written."""
    for destination, reason in (
        (dlt.destinations.filesystem(str(tmp_path / "lake")), "cannot delete rows"),
        (dlt.destinations.clickhouse(), "no transactions"),
    ):
        pipeline = dlt.pipeline("refused", destination=destination, pipelines_dir=str(tmp_path / "pipelines"))
        with pytest.raises(ConfigurationError, match=reason):
            DltSink(pipeline).open(FakeLedger(), new=True)
    assert not (tmp_path / "lake").exists()


def test_a_pipeline_needs_a_destination_and_a_table_a_name(tmp_path):
    """Said at once."""
    with pytest.raises(ConfigurationError, match="no destination"):
        DltSink(dlt.pipeline("nowhere", pipelines_dir=str(tmp_path)))
    with pytest.raises(ConfigurationError, match="needs a name"):
        DltSink(pipeline_in(tmp_path), table="")


@pytest.mark.slow
def test_a_table_of_another_job_or_of_nobody_is_refused(begun, tmp_path):
    """As it is by all databases."""
    with pytest.raises(ConfigurationError, match=r"belongs to another job \(job\)"):
        DltSink(pipeline_in(tmp_path)).open(FakeLedger(job="other"), new=True)
    change(tmp_path, "CREATE TABLE crm.theirs (unit BIGINT)")
    with pytest.raises(ConfigurationError, match="belongs to no job"):
        DltSink(pipeline_in(tmp_path), "theirs").open(FakeLedger(), new=True)


@pytest.mark.slow
def test_a_job_that_has_begun_and_written_nothing_is_opened_again(tmp_path):
    """There is no table of rows yet."""
    for _ in range(2):
        sink = DltSink(pipeline_in(tmp_path))
        assert sink.open(FakeLedger(), new=False) == 0
        assert list(sink.verify()) == []


def test_packages_of_others_are_left_alone(begun, tmp_path):
    """The pipeline has something to load that is not the job's."""
    sink, ledger = begun
    sink.pipeline.extract([{"a": 1}], table_name="theirs")
    with pytest.raises(ConfigurationError, match="has yet to load theirs"):
        sink.open(ledger, new=False)
    assert sink.pipeline.has_pending_data


def test_a_destination_that_cannot_be_used_is_a_sink_error(tmp_path):
    """It names the place, and says what to do."""
    (tmp_path / "history.duckdb").write_text("no database" * 1000)
    with pytest.raises(SinkError, match=r"dlt:duckdb/crm\?table=history: ") as caught:
        DltSink(pipeline_in(tmp_path)).open(FakeLedger(), new=True)
    assert "resume" in caught.value.hint


def test_a_sink_that_is_not_open_cannot_be_verified(tmp_path):
    """It does not know the ledger."""
    with pytest.raises(UsageError, match="not open"):
        list(DltSink(pipeline_in(tmp_path)).verify())


@pytest.mark.slow
def test_a_text_that_postgresql_cannot_hold_is_null_and_stands_in_extra(tmp_path, server):
    """DuckDB holds it."""
    text = b'{"action":"open","datetime":"2024-05-01T10:00:00Z","campaign_name":"\\u0000","smid":"s"}'
    duck = tmp_path / "duck"
    duck.mkdir()
    units = [
        unit_of(1, "email:x@example.com", [text], "arrow"),
        UnitRows(2, "c\0d", column_slices=pieces_of([text])[0]),
    ]
    for sink, refused in (
        (DltSink(postgres_pipeline_in(tmp_path, server.dsn, "nul")), [(2, 0)]),
        (DltSink(pipeline_in(duck)), []),
    ):
        ledger = FakeLedger()
        sink.open(ledger, new=True)
        batch = ledger.batch(units)
        assert [(row.unit, row.row_offset) for row in sink.check(batch)] == refused
        fill(sink, ledger, batch)
    assert server.execute("SELECT campaign_name, smid, extra FROM nul.history") == [
        (None, "s", r'{"campaign_name": "\"\\u0000\""}')
    ]
    with duckdb.connect(str(duck / "history.duckdb")) as connection:
        query = "SELECT campaign_name, smid, extra FROM crm.history"
        assert connection.execute(query).fetchall() == [("\0", "s", None)] * 2


def test_without_dlt_it_is_said_how_to_get_it(monkeypatch):
    """And not only that a module is missing."""
    monkeypatch.setitem(sys.modules, "dlt", None)
    monkeypatch.delitem(sys.modules, "profile_history.sinks.dlt")
    with pytest.raises(ImportError, match=r"profile-history\[dlt\]"):
        importlib.import_module("profile_history.sinks.dlt")
