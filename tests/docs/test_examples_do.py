"""What the examples on the pages do, beyond running to their end; `test_pages` runs the others."""

import asyncio
import datetime as dt
import json
import sys
import threading
import types

import attrs
import duckdb
import pytest
from pyarrow.parquet import read_table
from support.commands import POLL, answering, row
from support.pages import documented_server, example  # noqa: F401 (one is a fixture)

from profile_history import Profile
from profile_history.jobs import HistoryJob

ADDRESSES = [Profile.email(f"user{number}@example.com") for number in range(5)]


def number_of_events(server, profiles=ADDRESSES, *days):
    return sum(len(server.truth(profile, *days)) for profile in profiles)


def test_one_profile_prints_its_events(documented_server, capsys):
    """The first example, at the server's own port."""
    first = example("README.md", "Ten lines")
    attrs.evolve(first, code=first.code.replace("http://127.0.0.1:8080", documented_server.url)).run()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == number_of_events(documented_server, [ADDRESSES[1]], "2024-01-01", "2024-12-31") > 0


def test_many_profiles_are_printed_with_their_statistics(documented_server, capsys):
    """With a file of addresses."""
    example("docs/streams.md", "Many profiles").run()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == number_of_events(documented_server) + 1
    assert "profiles=5" in lines[-1]


@pytest.mark.parametrize("indent", [None, 2])
def test_rows_are_written_line_by_line(documented_server, tmp_path, monkeypatch, indent):
    """The example of rows as bytes, also where the server indents its JSON."""
    rows = [json.dumps(json.loads(row(action)), indent=indent).encode() for action in ("open", "click")]
    with answering(*rows) as server:
        thread = threading.Thread(target=server.serve_forever, args=(POLL,))
        thread.start()
        monkeypatch.setenv("PROFILE_HISTORY_URL", f"http://127.0.0.1:{server.server_port}")
        try:
            example("docs/streams.md", "Rows as bytes").run()
        finally:
            server.shutdown()
            thread.join()
    lines = [json.loads(line) for line in (tmp_path / "rows.ndjson").read_bytes().splitlines()]
    assert sorted(line["profile"] for line in lines) == sorted(2 * list(map(str, ADDRESSES)))
    assert {line["event"]["action"] for line in lines} == {"open", "click"}


def test_batches_are_written_to_a_file(documented_server, tmp_path):
    """The example of record batches."""
    example("docs/dataframes.md", "Batches into a file").run()
    table = read_table(tmp_path / "events.parquet")
    assert table.num_rows == number_of_events(documented_server)
    assert set(table["profile"].to_pylist()) <= set(map(str, ADDRESSES))


def test_watching_prints_every_window(documented_server, capsys):
    """The example of the hook."""
    example("docs/observability.md", "Hook and log").run()
    rows = number_of_events(documented_server, [ADDRESSES[1]])
    assert capsys.readouterr().out == f"email:user1@example.com .. {rows} rows\n"


async def test_fastapi_answers_from_one_client_per_app(documented_server):
    """The application's life span and one request, over ASGI."""
    app, sent = example("docs/client.md", "Inside FastAPI").run()["app"], []
    busy = max(range(30), key=lambda number: len(documented_server.truth(documented_server.profile(number))))
    path = f"/opens/user{busy}@example.com"
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "app": app}

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    truth = documented_server.truth(documented_server.profile(busy))
    assert sent[0]["status"] == 200
    assert json.loads(sent[1]["body"]) == sum(event.action == "open" for event in truth) > 0


async def test_a_queue_worker_counts_events(documented_server, monkeypatch):
    """A task goes through the broker and comes back."""
    module = types.ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", module)
    names = example("docs/client.md", "Inside a queue worker").run(module.__dict__)
    await names["broker"].startup()
    try:
        task = await names["count_events"].kiq("user1@example.com")
        result = await asyncio.wait_for(task.wait_result(), 20)
        assert result.return_value == len(documented_server.truth(ADDRESSES[1]))
    finally:
        await names["broker"].shutdown()


def test_the_test_of_an_outage_passes(history_server):
    """The example for users' own tests, with the packaged fixture."""
    example("docs/testing.md", "In pytest").run()["test_my_job_survives_an_outage"](history_server)
    assert history_server.injected.total() == 2


def test_a_program_runs_a_job(documented_server, capsys, tmp_path):
    """As the page on jobs shows."""
    example("docs/jobs.md", "In your own program").run()
    assert capsys.readouterr().out.splitlines()[-1].startswith("complete")
    expected = number_of_events(documented_server, ADDRESSES[1:3], "2024-01-01", "2024-12-31")
    assert len((tmp_path / "history.ndjson").read_text().splitlines()) == expected


@pytest.mark.slow
def test_a_dlt_pipeline_is_filled(documented_server, capsys, monkeypatch, tmp_path):
    """By the program that the page on jobs shows."""
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    example("docs/jobs.md", "dlt destinations").run()
    assert capsys.readouterr().out.splitlines()[-1] == "[]"
    expected = number_of_events(documented_server, ADDRESSES[1:3], "2024-01-01", "2024-12-31")
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        assert connection.execute("SELECT count(*) FROM crm.history").fetchall() == [(expected,)]


async def test_a_sink_of_ones_own_is_filled_and_its_units_replaced(documented_server, tmp_path):
    """As the page on jobs promises of any sink, also when batches of a dead process are left in it."""
    names = example("docs/jobs.md", "A sink of your own").run()
    directory = tmp_path / "own"
    day = dt.date(2024, 12, 31)
    async with documented_server.client(window=61) as client:
        for options in ({"date_from": "2023-01-01", "date_to": "2024-06-30"}, {}):
            job = HistoryJob(
                client,
                documented_server.profiles() if options else None,
                names["OneFilePerBatch"](directory),
                ledger=tmp_path / "job.ledger",
                today=lambda options=options: dt.date(2024, 6, 30) if options else day,
                commit_seconds=0.05,
                **options,
            )
            async for _ in job.run(until=None if options else day):
                pass
            (directory / "99999.json").write_text("{}")
    (directory / "99999.json").unlink()
    units = [unit for file in directory.glob("*.json") for unit in json.loads(file.read_text()).values()]
    expected = number_of_events(documented_server, documented_server.profiles())
    assert sum(len(rows) for _, rows in units) == expected
