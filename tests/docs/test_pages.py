"""Every page of the documentation: its examples run, its links lead somewhere, and its tables are complete."""

import asyncio
import functools
import re
import sys
import types

import pytest
from pyarrow import table
from pyarrow.parquet import write_table
from support.commands import OPTIONS
from support.pages import PAGES, anchors, documented_server, examples, links, text_of  # noqa: F401 (one is a fixture)
from support.paths import ROOT, TESTS
from support.virtual_clock import run_virtually

import profile_history
from profile_history.cli import main
from profile_history.cli.app import app

# Run by `test_examples_do`, which looks at what comes of them: the page and the beginnings of their headings.
LOOKED_AT = {
    "README.md": ("Ten lines",),
    "docs/client.md": ("Inside ",),
    "docs/dataframes.md": ("Batches into a file",),
    "docs/jobs.md": ("In your own program", "dlt destinations", "A sink of your own"),
    "docs/observability.md": ("Hook and log",),
    "docs/streams.md": ("Many profiles",),
    "docs/testing.md": ("In pytest",),
}

# What a page names, and what stands in for it here.
STAND_INS = {"/srv/histories/": "", "/lake/": "", "/etc/profile-history/": ""}


def looked_at(example):
    return example.heading.startswith(LOOKED_AT.get(example.page, ()) or ("\0",))


def python_examples():
    return [pytest.param(one, id=str(one)) for page in PAGES for one in examples(page, "python") if not looked_at(one)]


@pytest.fixture
def airflow(monkeypatch):
    """As much of Airflow as the example needs: a DAG that can be entered, and an operator that is made."""
    made = []

    class Dag:
        def __init__(self, name, **options): ...
        def __enter__(self): ...
        def __exit__(self, *_): ...

    names = "airflow", "airflow.sdk", "airflow.providers", "airflow.providers.standard"
    names += "airflow.providers.standard.operators", "airflow.providers.standard.operators.bash"
    for name in names:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["airflow.sdk"].DAG = Dag
    sys.modules[names[-1]].BashOperator = lambda **options: made.append(options)
    return made


@pytest.mark.parametrize("example", python_examples())
def test_an_example_in_python_runs(example, documented_server, airflow, monkeypatch):
    """As it stands on the page, against the embedded server."""
    if "async with HistoryServer(" in example.code:
        # It waits for nobody but its own server.
        monkeypatch.setattr(asyncio, "run", run_virtually)
    example.run()
    assert len(airflow) == ("airflow" in example.code)


@pytest.mark.parametrize("page", [page for page in PAGES if next(examples(page, "sh"), None)])
def test_the_commands_of_a_page_run(page, documented_server, monkeypatch, tmp_path):
    """One after another, in one directory; those that need another server, or end only by a signal, are only read.

    So is the demo, whose server makes it wait for seconds; the gate runs it.
    """
    (tmp_path / "clients.txt").write_text("user1@example.com\nuser2@example.com\n")
    ids = [str(documented_server.profile(number, "profile_id").fields[0][1]) for number in range(3)]
    write_table(table({"profile_id": ids}), tmp_path / "clients.parquet")
    for words in commands(page, "sh"):
        if "serve" in words or "demo" in words or any("postgresql:" in word for word in words):
            continue
        with (tmp_path / "addresses.txt").open() as addresses:
            monkeypatch.setattr("sys.stdin", addresses)
            assert main(words) == 0, words


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_have_options_that_exist(page):
    """Also those in crontabs, units of systemd and programs."""
    for words in commands(page, "sh", "ini", "crontab", "python"):
        stdin = ["--", "-"] if "-" in words else []
        app.parse_args([word for word in words if word != "-"] + stdin, exit_on_error=False)


def commands(page, *languages):
    for example in examples(page, *languages):
        for words in example.commands():
            yield [functools.reduce(lambda word, pair: word.replace(*pair), STAND_INS.items(), word) for word in words]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    """To a file of the project and, where they name one, to a heading on it."""
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.resolve().relative_to(ROOT)), target


def test_every_page_is_in_the_list_of_pages():
    """So that it can be found."""
    listed = {target.partition("#")[0] for target in links("docs/README.md")}
    assert listed >= {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")} - {"README.md"}


def test_every_option_of_every_command_is_on_the_page():
    """In the words that the command line knows."""
    shown = set(re.findall(r"`(--[a-z-]+)`", text_of("docs/command-line.md")))
    options = {f"--{name}" for names in OPTIONS.values() for name in names.split()}
    assert options - shown == set()
    assert shown - options <= {"--help", "--traceback"}


def test_every_error_class_has_its_row_and_every_row_its_class():
    """The table of errors is the tree, but for the roots that are never raised as such."""
    table = text_of("docs/errors.md").split("| error |", 1)[1].split("\n\n")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    classes = {
        name
        for name in profile_history.__all__
        if isinstance(value := getattr(profile_history, name), type) and issubclass(value, Exception)
    }
    assert named == classes - {"HistoryError", "TransportError"}


def test_every_test_that_a_page_names_is_there():
    """Under that name, in one of the folders."""
    named = {name for page in PAGES if page != "CHANGELOG.md" for name in re.findall(r"test_\w+\.py", text_of(page))}
    assert named - {path.name for path in TESTS.rglob("test_*.py")} == set()
    assert named
