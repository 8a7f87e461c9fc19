"""Helpers of the tests of databases."""

import contextlib
import datetime as dt
import itertools
import json
import resource
from collections import Counter

import attrs
import duckdb
import pytest
from hypothesis import strategies as st
from support.postgres_proxy import Proxy

from profile_history import ConfigurationError, Profile, Window
from profile_history._decoding.arrow_decoder import decode_columns
from profile_history._decoding.flat_decoder import FLAT
from profile_history._decoding.response_decoder import ResponseDecoder
from profile_history._protocol.chunking import verify_chunk
from profile_history._protocol.envelope import Rows
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.duckdb import DuckDBSink
from profile_history.sinks.postgresql import PostgresSink
from profile_history.sinks.sql_tables import COLUMNS
from profile_history.sinks.unit_rows import Stored, UnitRows
from profile_history.testing.histories import Histories
from profile_history.windows import Order

HISTORIES = Histories(profiles=500, seed=1, list_id=20, first_day=dt.date(2022, 1, 1), last_day=dt.date(2024, 12, 31))


NAMES = ", ".join(f'"{name}"' for name in COLUMNS)


TABLES = itertools.count(1)


@attrs.define
class Ledger:
    """What a job knows of a sink: enough for what a database asks."""

    job: str = "job-1"
    last_batch: int = 0
    rows: dict[int, int] = attrs.field(factory=dict)
    checksums: dict[int, int] = attrs.field(factory=dict)
    location: str = "/somewhere/job.ledger"

    def parts(self, batches=None):
        return iter(())

    def tombstones(self):
        return iter(())

    def unit_checksums(self):
        for unit, rows in sorted(self.rows.items()):
            yield unit, rows, self.checksums.get(unit)

    def check_stop(self):
        """Do nothing: nobody interrupts it."""

    def apply(self, batch):
        self.last_batch = batch.number
        for stored in batch.replaced:
            self.rows.pop(stored.unit, None)
        self.rows |= {unit.unit: len(unit) for unit in batch.units}


def unit_of(number, texts, profile=None):
    """Return a unit of rows as the server sent them."""
    if not texts:
        return UnitRows(number, str(profile))
    text = verify_chunk(b",".join(texts))
    unpacking = ResponseDecoder(FLAT, Window(), Order.NEWEST, "", False, [].append)
    pieces = [piece for piece in decode_columns(unpacking, Rows([text], len(text))) if len(piece)]
    return UnitRows(number, str(profile or Profile.email(f"{number}@example.com")), column_slices=pieces)


def unit_from(number, shape="newer"):
    """Return a unit that holds the synthetic history of profile `number`, which may be empty."""
    rows = [row.json for row in HISTORIES.rows(number % HISTORIES.profiles, shape)]
    return unit_of(number, rows, HISTORIES.profile(number % HISTORIES.profiles))


def row(**fields):
    return json.dumps({"action": "send", "datetime": "2024-03-10T12:00:00Z"} | fields).encode()


def simple(number, rows=3):
    return unit_of(number, [row(message_id=place) for place in range(rows)])


def replaced(*units):
    """Return what is there of some units, or of units that `simple` has made."""
    return [Stored(unit, 1, 0, 3) if isinstance(unit, int) else Stored(unit.unit, 1, 0, len(unit)) for unit in units]


def rows_in(*units):
    """Return the rows of some units as they should be found."""
    return Counter(tuple(row.values()) for row in SinkBatch(1, list(units)).table.to_pylist())


def batches(*, start=1, count, size=4):
    """Return batches of units that no other batch has."""
    numbers = itertools.count((start - 1) * size)
    return [SinkBatch(number, [simple(next(numbers)) for _ in range(size)]) for number in range(start, start + count)]


class Duck:
    """A table in a file."""

    table = "history"

    def __init__(self, path):
        self.path = path

    def sink(self):
        return DuckDBSink(self.path, self.table)

    def execute(self, query, values=None):
        with duckdb.connect(str(self.path)) as connection:
            return connection.execute(query, values).fetchall()


class Elephant:
    """A table on the server."""

    def __init__(self, server):
        self.server = server
        self.table = f"history_{next(TABLES)}"

    def sink(self, **options):
        return PostgresSink(self.server.dsn, self.table, **options)

    def execute(self, query, values=None):
        return self.server.execute(query, values)


@pytest.fixture(params=[Duck, Elephant], ids=["duckdb", "postgresql"])
def database(request, tmp_path):
    """Return each database in turn."""
    return Duck(tmp_path / "a.db") if request.param is Duck else request.getfixturevalue("elephant")


@pytest.fixture
def elephant(postgres):
    """Return PostgreSQL alone."""
    return Elephant(postgres)


@pytest.fixture
def duck(tmp_path):
    """Return DuckDB alone."""
    return Duck(tmp_path / "a.db")


@contextlib.contextmanager
def opened(sink, ledger, *, new=False):
    """Open a sink, yield the number of its last batch, and close it."""
    last = sink.open(ledger, new=new)
    try:
        yield last
    finally:
        sink.close()


@contextlib.contextmanager
def read_only(sink, ledger):
    """Open a sink for reading alone, and close it."""
    sink.open_to_read(ledger)
    try:
        yield sink
    finally:
        sink.close()


def found(database):
    """Return all rows that are there, counted."""
    return Counter(database.execute(f"SELECT {NAMES} FROM {database.table}"))


def noted(database):
    return database.execute(f"SELECT * FROM {database.table}_job")


def refused(database, ledger, message, *, new=True):
    sink = database.sink()
    with pytest.raises(ConfigurationError, match=message):
        sink.open(ledger, new=new)
    sink.close()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["", "\0", "a\0b", "\\N", "\\.", "\n\\.\n", '"', "'", "\r\n", "\ufeff", "NULL", "{}", "\U0001f600", "\uffff"]
)


NUMBERS = st.sampled_from([2**63 - 1, -(2**63), 0, -1, 2**53 + 1]) | st.integers(-(2**63), 2**63 - 1)


DEEP = st.integers(1, 60).map(lambda depth: json.loads('{"a":[' * depth + "]}" * depth))


MOMENTS = st.sampled_from(
    ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1999-12-31T23:59:59.999999-11:30", "2024-02-29T00:00:00"]
)


ODD = st.fixed_dictionaries(
    {"action": TEXT.filter(bool), "datetime": MOMENTS},
    optional={
        **dict.fromkeys(("email", "xxh", "smid", "channel", "campaign_name", "message_name", "event_id"), TEXT),
        **dict.fromkeys(("count", "list_id", "message_id", "campaign_id"), NUMBERS),
        "fields": st.dictionaries(TEXT, TEXT | DEEP, max_size=2),
        "subscriptions": st.lists(DEEP, max_size=2),
        "unheard_of": TEXT | DEEP,
    },
)


def as_held(values):
    """Return a row as a server without the character 0 can hold it."""
    columns = dict(zip(COLUMNS, values, strict=True))
    if "\0" in columns["action"]:
        columns["action"] = json.dumps(columns["action"], ensure_ascii=False)
    moved = {name: json.dumps(text, ensure_ascii=False) for name, text in columns.items() if "\0" in str(text)}
    if moved:
        extra = json.loads(columns["extra"] or "{}") | moved
        kept = columns["extra"][:-1] + "," if columns["extra"] else "{"
        columns |= dict.fromkeys(moved) | {"extra": kept + json.dumps(moved, ensure_ascii=False)[1:]}
        assert json.loads(columns["extra"]) == extra
    return tuple(columns.values())


SWALLOWING = {
    "a trigger that returns NULL": """
        CREATE FUNCTION {0}_no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER no BEFORE {1} ON {0} FOR EACH ROW EXECUTE FUNCTION {0}_no()
    """,
    "a trigger that lets some pass": """
        CREATE FUNCTION {0}_no() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN IF coalesce(NEW.message_id, OLD.message_id) = 1 THEN RETURN NULL; END IF;
            RETURN coalesce(NEW, OLD); END';
        CREATE TRIGGER no BEFORE {1} ON {0} FOR EACH ROW EXECUTE FUNCTION {0}_no()
    """,
    "a trigger that undoes": """
        CREATE FUNCTION {0}_no() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN IF TG_OP = ''INSERT'' THEN DELETE FROM {0} WHERE unit = NEW.unit;
            ELSE INSERT INTO {0} SELECT OLD.*; END IF; RETURN NULL; END';
        CREATE TRIGGER no AFTER {1} ON {0} FOR EACH ROW EXECUTE FUNCTION {0}_no()
    """,
    "a rule that does nothing": "CREATE RULE no AS ON {1} TO {0} DO INSTEAD NOTHING",
    "a rule that puts them elsewhere": """
        CREATE TABLE {0}_elsewhere (LIKE {0});
        CREATE RULE no AS ON {1} TO {0} DO INSTEAD INSERT INTO {0}_elsewhere SELECT NEW.*
    """,
}


def swallowed(database, action, how):
    """Have the table swallow rows, and return how to end that."""
    table = database.table
    database.execute(SWALLOWING[how].format(table, action))
    kind = "RULE" if "rule" in how else "TRIGGER"
    return lambda: database.execute(f"DROP {kind} no ON {table}")


CHANGES = {
    "a text": "UPDATE {} SET email = 'other@example.com' WHERE unit = 2 AND message_id = 1",
    "a null": "UPDATE {} SET count = 0 WHERE unit = 2 AND message_id = 1",
    "a number": "UPDATE {} SET message_id = 7 WHERE unit = 2 AND message_id = 1",
    "a moment": "UPDATE {} SET datetime = datetime + INTERVAL '1 microsecond' WHERE unit = 2 AND message_id = 1",
    "the order": 'UPDATE {} SET "row" = 2 - "row" WHERE unit = 2',
    "one row for another": "UPDATE {} SET unit = 5 - unit WHERE unit IN (2, 3) AND message_id = 1",
}


def aged(database):
    """Make the tables look as version 0.4.0 has made them."""
    table = database.table
    database.execute(f'ALTER TABLE {table} DROP COLUMN "row"')
    for column in ("ledger", "host"):
        database.execute(f"ALTER TABLE {table}_job DROP COLUMN {column}")
    database.execute(f"UPDATE {table}_job SET layout = 1")


def columns_of(database):
    """Return the names of the columns, in order."""
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = '{}' ORDER BY ordinal_position"
    return database.execute(query.format(database.table))


@contextlib.contextmanager
def files_no_larger_than(size):
    """Have the system refuse to let any file grow beyond some bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Clock:
    """Time that passes only while somebody sleeps, and what happens then."""

    def __init__(self, *events):
        self.now = 0.0
        self.events = list(events)

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        if self.events:
            self.events.pop(0)()

    @property
    def options(self):
        return {"sleep": self.sleep, "clock": self}


@pytest.fixture
def proxy(postgres):
    """Yield something between the sink and the server that tears connections."""
    proxy = Proxy(postgres.port)
    yield proxy
    proxy.close()


def connection_of(sink):
    """Return the connection of a sink: what its session is set to cannot be seen from another one."""
    return sink._session.connection


def repr_of(elephant):
    return f"PostgresSink({elephant.server.dsn!r}, {elephant.table!r})"
