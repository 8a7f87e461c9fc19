"""Addresses and names that are no path of this machine, and a directory without its slash."""

import json
from pathlib import Path

import pytest
from support.commands import TOKEN, lead_to, run  # noqa: F401 (a fixture)

from profile_history import ConfigurationError
from profile_history.jobs import HistoryJob, source_of
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.status import status_of
from profile_history.sinks import sink_of
from profile_history.sinks.schemes import check_path
from profile_history.sinks.urls import ledger_beside
from profile_history.testing import HistoryServer

DAYS = ["--from=2023-01-01", "--to=2024-12-31"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "s3://bucket/x.parquet",
            "s3:// is not supported; export to a directory and copy it, or use a sink of your own",
        ),
        ("S3://bucket/x.ndjson", "s3:// is not supported"),
        ("s3:/bucket/x.parquet", "s3:// is not supported"),
        ("gs://bucket/lake/", "gs:// is not supported"),
        ("hdfs://host/lake/", "hdfs:// is not supported"),
        ("abfss://c@a/lake/", "abfss:// is not supported"),
        ("file:///x.ndjson", "file:// is not supported; write the path alone"),
        ("http://host/x.csv", "http:// is not supported; export to a file and send that"),
        ("mysql://root:hunter2@host/d", "mysql:// is not supported; databases are FILE.duckdb and postgresql://"),
        ("sqlite:///x.db", "sqlite:// is not supported"),
        ("duckdb:x.duckdb", "duckdb:// is not supported; write FILE.duckdb"),
        ("lake+thing://x.ndjson", "lake+thing:// is not known; write a path"),
        ("C:\\data\\x.ndjson", "C: is a drive of Windows"),
        ("d:/data/x.ndjson", "d: is a drive of Windows"),
    ],
)
def test_an_address_is_no_output(text, words, run):
    """It is refused by the name of its scheme, with what to do, and nothing is made."""
    for read in (sink_of, ledger_beside):
        with pytest.raises(ConfigurationError) as caught:
            read(text)
        assert str(caught.value).startswith(words)
        assert "hunter2" not in str(caught.value)
    if "hunter2" not in text:
        code, _, err = run("export", "x.txt", "--matching=email", *DAYS, f"--into={text}")
        assert (code, words in err) == (2, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s3://bucket/x.csv", "s3:// is not supported; copy the file here"),
        ("https://host/x.csv", "https:// is not supported; download the file"),
        ("mysql://host/d", "mysql:// is not supported; databases are"),
        ("file:///x.csv", "file:// is not supported; write the path alone"),
        ("crm://x", "crm:// is not known; pass the path of a file"),
        ("C:\\x.csv", "C: is a drive of Windows"),
    ],
)
def test_an_address_is_no_source(text, words):
    """But that of PostgreSQL, and duckdb:PATH."""
    with pytest.raises(ConfigurationError) as caught:
        source_of(text, matching="email", query="SELECT 1")
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize("text", ["s3://bucket/x.ledger", "file:/x.ledger", "postgresql+x://h/d", "C:/x.ledger"])
def test_an_address_is_no_ledger(text, run, server, tmp_path):
    """On the command line and in programs."""
    code, _, err = run("export", "x.txt", "--matching=email", *DAYS, "--into=x.ndjson", f"--ledger={text}")
    assert code == 2
    with pytest.raises(ConfigurationError, match=r"not supported|not known|drive"):
        status_of(text)
    code, _, err = run("status", text)
    assert (code, "not supported" in err or "not known" in err or "drive" in err) == (2, True)


def test_a_name_with_a_colon_is_a_path():
    """As of a time of day."""
    for text in ("2024-01-01T00:00.ndjson", "who:x.csv", "./s3:x", "a/b:/c", "x"):
        check_path(text, "sink")


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server in a thread, to which the environment leads."""
    monkeypatch.chdir(tmp_path)
    Path("who.txt").write_text("".join(f"user{number}@example.com\n" for number in range(3)))
    with HistoryServer(profiles=10, token=TOKEN) as running:
        lead_to(running, monkeypatch)
        yield running


def test_a_dataset_needs_no_slash_once_it_is_there(server, run):
    """For all commands; before, its name says nothing."""
    line = ["export", "who.txt", "--matching=email", *DAYS]
    code, _, err = run(*line, "--into=sinks/lake")
    assert (code, "names no sink" in err) == (2, True)
    Path("sinks").mkdir()
    assert run(*line, "--into=sinks/lake/")[0] == 0
    asked = len(server.log)
    assert run(*line, "--into=sinks/lake")[0] == 0
    for command in ("status", "verify", "resume", "retry-failed"):
        for text in ("sinks/lake", "sinks/lake/", "./sinks//lake", "sinks/../sinks/lake/"):
            code, _, err = run(command, text)
            assert code == 0, err
    assert len(server.log) == asked
    assert run("resume", "sinks/lake", "--into=sinks/lake")[0] == 0
    Path("empty").mkdir()
    assert run(*line, "--into=empty")[0] == 0
    assert Path("empty.ledger").exists()
    assert sink_of("empty").url == sink_of("empty/").url == f"{Path.cwd()}/empty/"


def test_the_file_that_is_named_is_the_one_that_is_there(server, run):
    """While a job is unfinished it has another name; where there is none, none is named."""
    line = ["export", "who.txt", "--matching=email", *DAYS, "--into=big.ndjson"]
    Path("token").write_text("wrong")
    Path("token").chmod(0o600)
    code, out, err = run(*line, "--token-file=token", "--json")
    assert (code, " in " in err.partition(";")[0], json.loads(out)["output"]) == (77, False, None)
    assert run(*line)[0] == 0
    whole = str(Path("big.ndjson").absolute())
    code, out, err = run(*line, "--json")
    assert (f"events in {whole};" in err, json.loads(out)["output"]) == (True, whole)
    # As if the last unit were missing yet.
    Path("big.ndjson").rename("big.ndjson.partial")
    with Ledger(Path("big.ndjson.ledger")) as ledger, ledger.transaction() as connection:
        connection.execute("UPDATE parts SET name = 'big.ndjson.partial'")
    assert f"events in {whole}.partial;" in run("status", "big.ndjson")[1]
    assert json.loads(run("status", "big.ndjson", "--json")[1])["output"] == f"{whole}.partial"
    with Ledger(Path("big.ndjson.ledger")) as ledger, ledger.transaction() as connection:
        others = '"offset", first, last, size, rows, checksum'
        connection.execute(f"INSERT INTO parts SELECT 'big.ndjson', {others} FROM parts")
    Path("big.ndjson").touch()
    assert f"events in {whole} and {whole}.partial;" in run("status", "big.ndjson")[1]


async def test_a_job_is_told_where_it_is_by_a_program_too(server, tmp_path):
    """A ledger that is an address is refused when the job is made."""
    with pytest.raises(ConfigurationError, match="s3:// is not supported; a ledger is a file"):
        HistoryJob(server.client(), None, None, ledger="s3://bucket/x.ledger")
