"""The text that names a sink: which sink it is, what its ledger is called, and what to do about a wrong one."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from profile_history._extras import require
from profile_history.errors import ConfigurationError
from profile_history.sinks.csv_file import CsvSink
from profile_history.sinks.ndjson import NdjsonSink
from profile_history.sinks.parquet import ParquetSink
from profile_history.sinks.urls import ledger_beside, sink_of


@pytest.mark.parametrize(
    ("url", "kind", "canonical"),
    [
        ("history.ndjson", NdjsonSink, "history.ndjson"),
        ("./out//history.jsonl", NdjsonSink, "out/history.jsonl"),
        ("history.ndjson.gz", NdjsonSink, "history.ndjson.gz"),
        ("history.jsonl.zst?", NdjsonSink, "history.jsonl.zst"),
        ("history.csv", CsvSink, "history.csv"),
        ("/data/history.csv.gz?formulas=defuse", CsvSink, "/data/history.csv.gz"),
        ("history.csv.zst?formulas=keep", CsvSink, "history.csv.zst?formulas=keep"),
        ("lake.parquet", ParquetSink, "lake.parquet"),
        ("lake/", ParquetSink, "lake/"),
        ("lake.csv/?partition=none", ParquetSink, "lake.csv/"),
        ("lake.parquet?partition=hash:16", ParquetSink, "lake.parquet?partition=hash:16"),
        ("lake.parquet?partition=hash%3A16", ParquetSink, "lake.parquet?partition=hash:16"),
    ],
)
def test_a_path_names_a_sink_by_its_end(url, kind, canonical):
    """The sink's own text is the same however the path was written, and names the same sink."""
    sink = sink_of(url)
    assert type(sink) is kind
    whole = canonical if canonical.startswith("/") else f"{Path.cwd()}/{canonical}"
    assert sink.url == whole == sink_of(sink.url).url


@pytest.mark.parametrize(
    ("url", "module", "name", "place", "table"),
    [
        ("history.duckdb", "duckdb", "DuckDBSink", "history.duckdb", {}),
        ("a/history.duckdb?table=events", "duckdb", "DuckDBSink", "a/history.duckdb", {"table": "events"}),
        ("postgresql://h/d", "postgresql", "PostgresSink", "postgresql://h/d", {"table": "history"}),
        (
            "postgres://u:p@h:5/d?sslmode=require&table=t&application_name=a+b",
            "postgresql",
            "PostgresSink",
            "postgres://u:p@h:5/d?sslmode=require&application_name=a+b",
            {"table": "t"},
        ),
    ],
)
def test_a_database_gets_its_address_and_its_table(monkeypatch, url, module, name, place, table):
    """What else the address of a server says is the server's."""
    room = SimpleNamespace(**{name: lambda place, **options: (name, place, options)})
    monkeypatch.setitem(sys.modules, f"profile_history.sinks.{module}", room)
    assert sink_of(url) == (name, place, table)


@pytest.mark.parametrize(
    ("url", "ledger"),
    [
        ("history.ndjson.gz", "history.ndjson.gz.ledger"),
        ("out/lake/?partition=month", "out/lake.ledger"),
        ("/data/lake.parquet", "/data/lake.parquet.ledger"),
        ("history.duckdb?table=x", "history.duckdb.ledger"),
    ],
)
def test_the_ledger_stands_beside_the_sink(url, ledger):
    """Whatever options it has."""
    assert ledger_beside(url) == Path(ledger)


@pytest.mark.parametrize(
    "url",
    ["history", "history.txt", "history.parquet.gz", "history.gz", ".csv", "", "/", "..", "a.duckdb.gz"],
)
def test_what_names_no_sink_is_refused(url):
    """The message lists what there is."""
    for read in (sink_of, ledger_beside):
        with pytest.raises(
            ConfigurationError, match=r"\.ndjson, \.jsonl or \.csv.* \.parquet .*\.duckdb.*postgresql://"
        ):
            read(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("history.csv?formula=keep", "unknown option formula; there is formulas"),
        ("history.ndjson?partition=day&x=1", "unknown option partition, x; it has none"),
        ("lake/?partition=year", "none, month, day or hash:N"),
        ("history.csv?formulas=maybe", "formulas is one of defuse, keep"),
        ("lake/?partition", r"options are written as \?name=value"),
    ],
)
def test_an_unknown_option_is_refused(url, message):
    """The message lists those that there are."""
    with pytest.raises(ConfigurationError, match=message):
        sink_of(url)


def test_a_server_with_unreadable_options_is_refused_without_its_password():
    """A message may end up in a log."""
    with pytest.raises(ConfigurationError, match="cannot be read; write postgresql") as error:
        sink_of("postgresql://user:secret@host/crm?table")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "library", "extra", "modules"),
    [
        ("lake/", "pyarrow", "arrow", ["parquet"]),
        ("history.csv", "pyarrow", "arrow", ["csv_file"]),
        ("history.ndjson.zst", "zstandard", "zstd", []),
        ("history.duckdb", "duckdb", "duckdb", ["duckdb"]),
        ("postgresql://h/d", "psycopg", "postgres", ["postgresql"]),
    ],
)
def test_a_missing_library_is_named_with_its_extra(monkeypatch, url, library, extra, modules):
    """Before anything is written."""

    def missing(name, *arguments, real=importlib.import_module):
        if name == library or name.rpartition(".")[2] in modules:
            raise ModuleNotFoundError(name=library)
        return real(name, *arguments)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigurationError, match=rf'pip install "profile-history\[{extra}\]"'):
        sink_of(url)


def test_a_library_without_what_it_stands_on_is_told_as_it_says(monkeypatch):
    """As psycopg does where no libpq is found."""

    def broken(name):
        raise ImportError("no pq wrapper available.\nAttempts made: ...")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(ConfigurationError, match=r"^no pq wrapper available\.; run: .*\[postgres\]"):
        sink_of("postgresql://h/d")


@pytest.mark.parametrize("library", ["duckdb", "pyarrow"])
def test_what_a_module_says_of_its_own_libraries_is_told_as_it_is(monkeypatch, library):
    """Whichever of them is missing."""
    monkeypatch.delitem(sys.modules, "profile_history.sinks.duckdb", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigurationError, match=r"^DuckDB needs duckdb and pyarrow: .*\[duckdb\]\"$"):
        sink_of("history.duckdb")


def test_another_missing_module_is_no_missing_extra():
    """It is a mistake, and stays visible."""
    with pytest.raises(ModuleNotFoundError):
        require("profile_history.sinks.nowhere", "arrow")
