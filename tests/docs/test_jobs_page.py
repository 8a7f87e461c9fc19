"""What the page on jobs shows is run as it stands there."""

import datetime as dt
import json
import re

import duckdb
import pytest
from support.paths import ROOT

from profile_history import _config
from profile_history.jobs import HistoryJob
from profile_history.testing import HistoryServer

PAGE = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")


def example(heading):
    """The first Python example under a heading."""
    section = PAGE.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """A server in a thread of its own, the environment that points to it, and an empty working directory."""
    with HistoryServer(profiles=20) as server:
        monkeypatch.setenv(_config.URL, server.url)
        monkeypatch.setenv(_config.TOKEN, server.token)
        monkeypatch.setenv(_config.LIST_ID, str(server.list_id))
        monkeypatch.chdir(tmp_path)
        yield server


def test_a_program_runs_a_job(environment, capsys, tmp_path):
    """With the addresses of the server's profiles."""
    code = example("In your own program").replace("john@", "user1@").replace("mary@", "user2@")
    exec(compile(code, "jobs.md", "exec"), {"__name__": "page"})
    assert capsys.readouterr().out.splitlines()[-1].startswith("complete")
    expected = sum(
        len(environment.truth(environment.profile(number, "email"), "2024-01-01", "2024-12-31")) for number in (1, 2)
    )
    assert len((tmp_path / "history.ndjson").read_text().splitlines()) == expected


def test_a_dlt_pipeline_is_filled(environment, capsys, monkeypatch, tmp_path):
    """By the program that the page shows."""
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    code = example("dlt destinations").replace("john@", "user1@").replace("mary@", "user2@")
    exec(compile(code, "jobs.md", "exec"), {"__name__": "page"})
    assert capsys.readouterr().out.splitlines()[-1] == "[]"
    expected = sum(
        len(environment.truth(environment.profile(number, "email"), "2024-01-01", "2024-12-31")) for number in (1, 2)
    )
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        assert connection.execute("SELECT count(*) FROM crm.history").fetchall() == [(expected,)]


async def test_a_sink_of_ones_own_is_filled_and_its_units_replaced(environment, tmp_path):
    """As the page promises of any sink, also when batches of a dead process are left in it."""
    names = {}
    exec(compile(example("A sink of your own"), "jobs.md", "exec"), names)
    directory = tmp_path / "own"
    day = dt.date(2024, 12, 31)
    async with environment.client(window=61) as client:
        for options in ({"date_from": "2023-01-01", "date_to": "2024-06-30"}, {}):
            job = HistoryJob(
                client,
                environment.profiles() if options else None,
                names["OneFileABatch"](directory),
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
    expected = sum(len(environment.truth(profile)) for profile in environment.profiles())
    assert sum(len(rows) for _, rows in units) == expected
