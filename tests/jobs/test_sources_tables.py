"""Parquet files and queries as profiles."""

import io
import uuid
from unittest import mock

import duckdb
import pyarrow as pa
import pytest
from support.source_lines import JANE, TWO, file, outcome, parquet, profiles, refusal  # noqa: F401 (a fixture)
from support.written_profiles import JOHN

from profile_history import ConfigurationError, Profile
from profile_history.jobs.sources import (
    Line,
    PostgresSource,
    SourceError,
    source_of,
)
from profile_history.jobs.sources import parquet as parquet_source

# --- Parquet


def test_a_parquet_file_is_read_by_its_columns(tmp_path):
    """Numbers and dictionaries of texts among them; a whole number in a custom field stays one."""
    emails = pa.array([JOHN, None, JANE]).dictionary_encode()
    path = parquet(tmp_path / "list.parquet", email=emails, phone=[1, None, 3], **{"a.b": [1, 2, 3]})
    assert outcome(source_of(path, matching="email")) == [
        (1, TWO[0]),
        (2, "email is empty; pass a value"),
        (3, TWO[1]),
    ]
    assert outcome(source_of(path, matching="email_phone"))[::2] == [
        (1, Profile.email_phone(JOHN, "1")),
        (3, Profile.email_phone(JANE, "3")),
    ]
    assert profiles(source_of(path, matching="custom:age", column="a.b")) == [
        Profile.custom("age", number) for number in (1, 2, 3)
    ]
    assert [line.text for line in source_of(path, matching="email").lines()] == ["", "[null]", ""]


@pytest.mark.parametrize("error", [pa.ArrowInvalid("invalid UTF8"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")])
def test_a_column_that_is_no_utf8_is_read_as_bytes_whatever_the_library_raises(error):
    """Versions of pyarrow may check texts at other moments."""
    column = mock.Mock(to_pylist=mock.Mock(side_effect=error))
    column.cast.return_value = pa.array([JOHN.encode(), b"\xff"])
    # Stands for other versions of pyarrow.
    assert parquet_source._values_of(column) == [JOHN.encode(), b"\xff"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_a_text_in_parquet_that_is_no_utf8_is_one_bad_row(tmp_path, kind):
    """Its neighbours are read."""
    raw = pa.array([JOHN.encode(), b"\xff", JANE.encode()], pa.large_binary() if kind == pa.large_string() else None)
    path = parquet(tmp_path / "list.parquet", email=raw.view(kind))
    assert outcome(source_of(path, matching="email")) == [
        (1, TWO[0]),
        (2, "email is no UTF-8: b'\\xff'"),
        (3, TWO[1]),
    ]


def test_a_parquet_file_that_is_none_or_has_other_columns_is_refused(tmp_path, file):
    """And Parquet cannot be read from a stream."""
    path = parquet(tmp_path / "list.parquet", a=[1], b=[2])
    assert refusal(path, matching="email") == (
        f"{path}: pass column=, the one that holds the email; the columns are a, b"
    )
    assert "cannot be read" in refusal(file("x.parquet", b"PAR1"), matching="email", error=SourceError)
    message = "Parquet and databases cannot be read from a stream; pass the path of a file"
    assert refusal("-", format="parquet", stdin=io.BytesIO()) == message


# --- queries


@pytest.fixture
def database(tmp_path):
    """A DuckDB file with a table of two profiles."""
    path = tmp_path / "crm.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE people (mail VARCHAR, age BIGINT, id UUID)")
        connection.execute("INSERT INTO people VALUES (?, 1, ?), (?, 2, NULL)", [JOHN, uuid.UUID(int=1), JANE])
    return str(path)


def test_a_query_to_a_duckdb_file_gives_profiles(database):
    """By its path or with duckdb: before it; the file is opened for reading only."""
    query = "SELECT mail AS email, age, id FROM people ORDER BY age"
    for text in (database, f"duckdb:{database}"):
        assert profiles(source_of(text, matching="email", query=query)) == TWO
    source = source_of(database, matching="custom:age", column="age", query=query)
    assert profiles(source) == [Profile.custom("age", 1), Profile.custom("age", 2)]
    assert source.url == f"duckdb:{database} (matching custom:age, column age, query {query})"
    assert source.repeatable
    found = outcome(source_of(database, matching="profile_id", column="id", query=query))
    assert found == [(1, Profile.profile_id(str(uuid.UUID(int=1)))), (2, "profile_id is empty; pass a value")]
    (line,) = source_of(database, matching="email", query="SELECT MAP {DATE '2017-01-01': 1} AS email").lines()
    assert line.reason.startswith("email is a text or a whole number, not {")
    assert line.text == '["{datetime.date(2017, 1, 1): 1}"]'


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("SELECT 1 AS a, 2 AS b", "the columns are a, b"),
        ("SELECT nothing FROM people", "does not take the query: "),
        ("SELEC", "does not take the query: "),
        ("DELETE FROM people", "does not take the query: "),
        ("SELECT * FROM path", "does not take the query: "),
        ("SET threads = 1", "does not take the query: "),
    ],
)
def test_a_wrong_duckdb_query_is_refused(database, query, complaint):
    """The message is the database's own, on one line, or names the columns."""
    message = refusal(database, matching="email", query=query)
    assert complaint in message
    assert "\n" not in message


def test_a_duckdb_file_that_is_none_or_is_taken_cannot_be_read(file, database):
    """The message says which file it is."""
    broken = file("x.duckdb", b"not a database")
    assert f"{broken} cannot be read: " in refusal(broken, matching="email", query="SELECT 1", error=SourceError)
    with duckdb.connect(database):
        assert f"{database} cannot be read: " in refusal(database, query="SELECT 1", error=SourceError)


def test_a_query_to_postgresql_gives_profiles(postgres):
    """Through a cursor on the server; ids of type uuid and whole numbers are what they are."""
    postgres.execute("CREATE TABLE IF NOT EXISTS source_people (mail text, age bigint, id uuid)")
    postgres.execute("TRUNCATE source_people")
    postgres.execute(
        "INSERT INTO source_people SELECT 'p' || n || '@example.com', n, NULL FROM generate_series(1, 20000) n"
    )
    query = "SELECT mail AS email, age, id FROM source_people ORDER BY age"
    source = source_of(postgres.dsn, matching="email", query=query)
    assert profiles(source) == [Profile.email(f"p{n}@example.com") for n in range(1, 20001)]
    assert source.repeatable
    assert source.url == f"postgresql://exporter@127.0.0.1:{postgres.port}/postgres (matching email, query {query})"
    assert "sesame" not in repr(source)
    ages = source_of(postgres.dsn + "?connect_timeout=5", matching="custom:age", column="age", query=query).lines()
    assert next(ages) == Line(1, Profile.custom("age", 1))
    ages.close()
    ids = source_of(postgres.dsn, matching="custom", query="SELECT 'id' AS field_name, '%'::text AS field_value;")
    assert profiles(ids) == [Profile.custom("id", "%")]


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("SELECT 1 AS a, 2 AS b", "the columns are a, b"),
        ("SELECT nothing FROM nowhere", 'relation "nowhere" does not exist'),
        ("SELEC", "does not take the query: "),
        ("DELETE FROM x", "does not take the query: "),
    ],
)
def test_a_wrong_postgresql_query_is_refused(postgres, query, complaint):
    """The message is the database's own, on one line, or names the columns."""
    message = refusal(postgres.dsn, matching="email", query=query)
    assert complaint in message
    assert "\n" not in message


def test_a_postgresql_database_that_does_not_answer_cannot_be_read(postgres):
    """Nor with a wrong password, and the message holds neither the wrong nor the right one."""
    away = f"postgresql://u:hush@127.0.0.1:{postgres.port}/postgres"
    message = refusal(away, matching="email", query="SELECT 1", error=SourceError)
    assert message.startswith(f"postgresql://u@127.0.0.1:{postgres.port}/postgres cannot be read: ")
    assert "hush" not in message
    source = source_of(postgres.dsn, matching="email", query="SELECT n::text AS a FROM generate_series(1, 20000) n")
    lines = source.lines()
    next(lines)
    backends = "FROM pg_stat_activity WHERE query LIKE 'FETCH%profile_history_source%'"
    assert postgres.execute(f"SELECT pg_terminate_backend(pid) {backends}") == [(True,)]
    with pytest.raises(SourceError, match="cannot be read: "):
        list(lines)


@pytest.mark.parametrize(
    "password", ["a%zzhush", "hu\udcffsh", "hu@sh", "hu/sh@", "hu?sh", "hush]", "[hush", "hu#sh", "1/hush"]
)
def test_no_mistake_in_the_address_of_a_database_shows_its_password(password):
    """Nor the part of it that a careless reader takes for the name of the host."""
    dsn = f"postgresql://user:{password}@host.invalid/base"
    try:
        shown = PostgresSource(dsn, "SELECT 1", "email").url
    except ConfigurationError as error:
        shown = str(error)
    assert "sh" not in shown.replace("should", "")


def test_the_settings_of_a_database_are_part_of_its_place_but_for_secrets():
    """Another search path may mean other profiles."""
    dsn = "postgres://h1:1,h2:2/base?options=-csearch_path%3Dcrm&sslpassword=hush"
    place = "postgresql://h1:1,h2:2/base?options=-csearch_path=crm"
    assert PostgresSource(dsn, "SELECT 1").url == f"{place} (query SELECT 1)"
    assert PostgresSource("postgresql://", "SELECT 1").url == "postgresql:/// (query SELECT 1)"
