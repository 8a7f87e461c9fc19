"""What the README shows is run as it stands there."""

import asyncio
import json
import re
import sys
import types

import pytest
from pyarrow.parquet import read_table
from support.paths import ROOT

import profile_history
from profile_history import _config
from profile_history.testing import HistoryServer

README = (ROOT / "README.md").read_text(encoding="utf-8")


def example(heading):
    """The first Python example under a heading."""
    section = README.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


@pytest.fixture
def environment(monkeypatch):
    """A server in a thread of its own, and the environment that points to it."""
    with HistoryServer(profiles=30) as server:
        monkeypatch.setenv(_config.URL, server.url)
        monkeypatch.setenv(_config.TOKEN, server.token)
        monkeypatch.setenv(_config.LIST_ID, str(server.list_id))
        yield server


def run(code, **names):
    exec(compile(code, "README.md", "exec"), names | {"__name__": "readme"})


def test_one_profile_prints_its_events(environment, capsys):
    """The first example, with the server's own address, token and profile."""
    profile = environment.profile(1)
    code = example("One profile").replace("https://ru.altkraft.com", environment.url)
    code = code.replace('token="..."', f"token={environment.token!r}").replace("0eb51aefd919f90a", profile.fields[0][1])
    run(code.replace("2017-01-01", "2023-01-01").replace("2017-12-31", "2023-12-31"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(environment.truth(profile, "2023-01-01", "2023-12-31"))


def test_many_profiles_are_printed_with_their_statistics(environment, capsys, tmp_path, monkeypatch):
    """The second example, with a file of addresses."""
    (tmp_path / "addresses.txt").write_text("".join(f"user{number}@example.com\n" for number in range(5)))
    monkeypatch.chdir(tmp_path)
    run(example("Many profiles"))
    lines = capsys.readouterr().out.splitlines()
    expected = sum(len(environment.truth(environment.profile(number, "email"))) for number in range(5))
    assert len(lines) == expected + 1
    assert "profiles=5" in lines[-1]


@pytest.mark.parametrize("indent", [None, 2])
def test_rows_are_written_line_by_line(environment, tmp_path, monkeypatch, indent):
    """The example of rows as bytes, also where the server indents its JSON."""
    answer = HistoryServer._answer

    def laid_out(self, body):
        number, good = answer(self, body)
        good.body = json.dumps(json.loads(good.body), indent=indent).encode()
        return number, good

    monkeypatch.setattr(HistoryServer, "_answer", laid_out)
    (tmp_path / "addresses.txt").write_text("".join(f"user{number}@example.com\n" for number in range(5)))
    monkeypatch.chdir(tmp_path)
    run(example("Rows as bytes"))
    lines = (tmp_path / "history.ndjson").read_bytes().splitlines()
    expected = sum(len(environment.truth(environment.profile(number, "email"))) for number in range(5))
    assert len(lines) == expected
    assert all("action" in json.loads(line)["event"] for line in lines)
    assert {json.loads(line)["profile"] for line in lines} <= {f"email:user{number}@example.com" for number in range(5)}


def test_batches_are_written_to_a_file(environment, tmp_path, monkeypatch):
    """The example of record batches."""
    (tmp_path / "addresses.txt").write_text("".join(f"user{number}@example.com\n" for number in range(5)))
    monkeypatch.chdir(tmp_path)
    run(example("Arrow, polars and pandas"))
    profiles = [environment.profile(number, "email") for number in range(5)]
    table = read_table(tmp_path / "history.parquet")
    assert table.num_rows == sum(len(environment.truth(profile)) for profile in profiles)
    assert set(table["profile"].to_pylist()) <= set(map(str, profiles))


def test_watching_prints_every_window(environment, capsys):
    """The example of the hook."""
    run(example("Watching it work").replace("john@example.com", "user1@example.com"))
    rows = len(environment.truth(environment.profile(1)))
    assert capsys.readouterr().out == f"email:user1@example.com .. {rows} rows\n"


async def test_fastapi_answers_from_one_client_per_app(environment):
    """The application's life span and one request, over ASGI."""
    names = {}
    exec(compile(example("Inside FastAPI"), "README.md", "exec"), names)
    app, sent = names["app"], []
    busy = max(range(30), key=lambda number: len(environment.truth(environment.profile(number))))
    path = f"/opens/user{busy}@example.com"
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "app": app}

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    truth = environment.truth(environment.profile(busy))
    assert sent[0]["status"] == 200
    assert json.loads(sent[1]["body"]) == sum(event.action == "open" for event in truth) > 0


async def test_a_queue_worker_counts_events(environment, monkeypatch):
    """A task goes through the broker and comes back."""
    module = types.ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", module)
    names = module.__dict__
    exec(compile(example("Inside a queue worker"), "README.md", "exec"), names)
    await names["broker"].startup()
    try:
        task = await names["count_events"].kiq("user1@example.com")
        result = await asyncio.wait_for(task.wait_result(), 20)
        assert result.return_value == len(environment.truth(environment.profile(1)))
    finally:
        await names["broker"].shutdown()


def test_the_test_of_an_outage_passes(history_server):
    """The example for users' own tests, with the packaged fixture."""
    names = {}
    exec(compile(example("Testing your own code"), "README.md", "exec"), names)
    names["test_my_job_survives_an_outage"](history_server)
    assert history_server.injected.total() == 2


def test_every_error_class_has_its_row_and_every_row_its_class():
    """The table of errors is the tree, but for the roots that are never raised as such."""
    rows = re.findall(r"^\| (`[^|]+`) \|", README.split("## Errors", 1)[1].split("\n## ")[0], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    classes = {
        name
        for name in profile_history.__all__
        if isinstance(value := getattr(profile_history, name), type) and issubclass(value, Exception)
    }
    assert named == classes - {"HistoryError", "TransportError"}


def test_the_rehearsal_in_the_document_on_reliability_succeeds():
    """Its assertion holds."""
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    code = text.split("## Rehearse it", 1)[1].split("```python\n", 1)[1].split("```", 1)[0]
    exec(compile(code, "reliability.md", "exec"), {})
