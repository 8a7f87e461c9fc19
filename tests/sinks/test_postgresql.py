"""PostgreSQL as a sink: what its table swallows, refuses and hides, who holds its lock, and what no message shows."""

import json
import os

import psycopg
import pytest
from support.databases import (  # noqa: F401 (some are fixtures)
    SWALLOWING,
    Clock,
    Ledger,
    connection_of,
    elephant,
    found,
    noted,
    opened,
    read_only,
    refused,
    replaced,
    row,
    rows_in,
    simple,
    swallowed,
    unit_of,
)
from support.postgres import USER

from profile_history import ConfigurationError
from profile_history.sinks.base import SinkError
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.lock import JobHeld
from profile_history.sinks.postgres_address import read_address
from profile_history.sinks.postgres_session import Session, conninfo
from profile_history.sinks.postgresql import PostgresSink
from profile_history.sinks.unit_rows import Stored, UnitRows


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
    units = [
        simple(1),
        UnitRows(9, "c\0d", column_slices=unit_of(9, [row(email="a\0b", count=2), row()]).column_slices),
        simple(10),
    ]
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
                connection_of(reader).execute("CREATE TABLE no (x int)")


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
    first = Session(conninfo(read_address(elephant.server.dsn), {}), "public", elephant.table)
    first.connect()
    with pytest.raises(JobHeld, match=rf"process {os.getpid()} on [^ ]+\)\); stop it or let it end"):
        elephant.sink(**Clock().options).open(Ledger(), new=True)
    first.close()


def test_a_second_job_on_a_table_is_refused_by_name(elephant):
    """It leaves within two seconds, naming the server process that has the lock; that one goes on."""
    first, clock = elephant.sink(), Clock()
    with opened(first, Ledger(), new=True):
        ((pid,),) = connection_of(first).execute("SELECT pg_backend_pid()").fetchall()
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
            assert connection_of(sink).execute("SHOW synchronous_commit").fetchall() == [("on",)]
            sink.write(SinkBatch(1, [simple(1)]))
    finally:
        elephant.execute(f"ALTER ROLE {USER} RESET synchronous_commit")
    assert found(elephant) == rows_in(simple(1))
