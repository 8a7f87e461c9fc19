"""The ledger of a job into PostgreSQL: where it is, what it is called, and which one is found first."""

import itertools
import json
import stat
from pathlib import Path

import pytest
from support.commands import TOKEN, lead_to, run  # noqa: F401 (a fixture)
from support.postgres import PASSWORD, USER

from profile_history import ConfigurationError
from profile_history.jobs.server_ledgers import ledger_of_server, make_directory, name_of_ledger
from profile_history.testing import HistoryServer

HOME = {"HOME": "/home/me"}
SAME = [
    ["postgresql://h/d", "postgres://u@H:5432/d?table=history&sslmode=require", "postgresql://h/%64"],
    ["postgresql://[::1]/d", "postgresql://u@[::1]:5432/d"],
    ["postgresql://h1,h2/d", "postgresql://h1:5432,h2:5432/d"],
    ["postgresql:///d?host=/run/pg", "postgresql://%2Frun%2Fpg/d"],
]
OTHERS = [
    "postgresql://h/d",
    "postgresql://h/d?table=other",
    "postgresql://h:5433/d",
    "postgresql://h2/d",
    "postgresql://h/a.b?table=c",
    "postgresql://h/a?table=b.c",
    "postgresql://h.a/b?table=c",
    "postgresql://h/a%2Fb?table=c",
    "postgresql://h/a-b?table=c",
    "postgresql://h/A-b?table=c",
    "postgresql://h1,h2/d",
    "postgresql://h1:1,h2:2/d",
    "postgresql://h1:2,h2:1/d",
    "postgresql:///d",
    "postgresql:///d?host=/run/pg",
    "postgresql:///d?host=/run/Pg",
    "postgresql:///d?service=crm",
    "postgresql://[::1]/d",
    "postgresql://[::2]/d",
    "postgresql://h/d?table=%D1%82",
    "postgresql://h/d?table=%D1%84",
    "postgresql://h/" + "d" * 63 + "?table=" + "t" * 59,
    "postgresql://" + "h" * 250 + "/d",
]


@pytest.mark.parametrize("texts", SAME)
def test_one_table_has_one_ledger(texts):
    """However its address is written, and whoever asks."""
    assert len({name_of_ledger(text, {}) for text in texts}) == 1


def test_no_two_tables_have_the_same_ledger():
    """Names are fit for any file system, and readable."""
    names = [name_of_ledger(text, {}) for text in OTHERS]
    for one, other in itertools.combinations(names, 2):
        assert one.lower() != other.lower()
    for name in names:
        assert len(name) < 200
        assert not set(name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
        assert not name.startswith((".", "-"))
    assert name_of_ledger("postgresql://db.example.com/crm?table=events", {}).startswith("db-example-com.crm.events.")


def test_what_the_address_leaves_out_comes_from_the_environment():
    """As it does for libpq."""
    whole = name_of_ledger("postgresql://h:7/d", {})
    assert name_of_ledger("postgresql://", {"PGHOST": "h", "PGPORT": "7", "PGDATABASE": "d"}) == whole
    assert name_of_ledger("postgresql://h:7", {"PGUSER": "d"}) == whole
    assert name_of_ledger("postgresql://d@h:7", {}) == whole
    assert name_of_ledger("postgresql://h:7/d", {"PGHOST": "x", "PGPORT": "8", "PGDATABASE": "y"}) == whole


def test_it_is_in_the_directory_for_what_programs_keep(tmp_path):
    """That of the environment, else that of the home; without either it has to be named."""
    url = "postgresql://h/d"
    name = name_of_ledger(url, {})
    assert ledger_of_server(url, HOME, tmp_path) == Path("/home/me/.local/state/profile-history", name)
    found = ledger_of_server(url, {**HOME, "XDG_STATE_HOME": "/state"}, tmp_path)
    assert found == Path("/state/profile-history", name)
    relative = ledger_of_server(url, {**HOME, "XDG_STATE_HOME": "state"}, tmp_path)
    assert relative == Path("/home/me/.local/state/profile-history", name)
    for environment in ({}, {"HOME": ""}, {"XDG_STATE_HOME": "state"}):
        with pytest.raises(ConfigurationError, match="pass --ledger"):
            ledger_of_server(url, environment, tmp_path)


def test_its_directory_is_for_its_user_alone(tmp_path):
    """It is made where it is not there; a file in its way is said."""
    ledger = tmp_path / "a" / "b" / "profile-history" / "x.ledger"
    make_directory(ledger)
    make_directory(ledger)
    assert stat.S_IMODE(ledger.parent.stat().st_mode) == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"cannot be made \(.*; pass --ledger"):
        make_directory(tmp_path / "file" / "profile-history" / "x.ledger")


@pytest.fixture
def words(monkeypatch, tmp_path, postgres):
    """The line that exports three profiles into a table, which goes with the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    Path("who.txt").write_text("".join(f"user{number}@example.com\n" for number in range(3)))
    address = f"postgresql://{USER}@127.0.0.1:{postgres.port}/postgres?table=placed"
    with HistoryServer(profiles=10, token=TOKEN) as server:
        lead_to(server, monkeypatch)
        yield ["export", "who.txt", "--matching=email", "--from=2023-01-01", "--to=2024-12-31", f"--into={address}"]
    postgres.execute("DROP TABLE IF EXISTS placed, placed_job")


def test_a_job_is_found_from_any_directory_by_its_table(words, run, tmp_path, monkeypatch):
    """By all commands; nothing is left in the working directory."""
    address = words[-1].removeprefix("--into=")
    assert run(*words)[0] == 0
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["home", "who.txt"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for command in ("status", "verify", "resume", "retry-failed"):
        code, _, err = run(command, address)
        assert code == 0, err
    assert run("export", "--since-last", words[-1])[0] == 0
    assert run("export", "../who.txt", *words[2:], "--restart", "--yes", "--window=30")[0] == 0
    assert run("verify", address)[0] == 0
    ledger = Path(json.loads(run("status", address, "--json")[1])["ledger"])
    assert ledger.parent == tmp_path / "home" / ".local" / "state" / "profile-history"
    assert run("resume", str(ledger))[0] == 0


def test_a_ledger_in_the_working_directory_is_found_first_if_it_is_this_tables(words, run, postgres):
    """As version 0.4.0 left it; one of another server's table of that name is not."""
    address = words[-1].removeprefix("--into=")
    assert run(*words, "--ledger=postgres.placed.ledger")[0] == 0
    assert json.loads(run("status", address, "--json")[1])["ledger"] == "postgres.placed.ledger"
    assert run(*words)[0] == 0
    other = address.replace(str(postgres.port), "1")
    assert "postgres.placed.ledger" not in run("status", other)[2]
    Path("postgres.placed.ledger").write_bytes(b"no ledger")
    code, _, err = run("status", other)
    assert (code, "postgres.placed.ledger is no ledger" in err) == (74, True)


def test_without_a_home_the_ledger_has_to_be_named(words, run, monkeypatch):
    """Before anything is sent."""
    monkeypatch.delenv("HOME")
    code, _, err = run(*words)
    assert (code, "pass --ledger" in err) == (2, True)
    code, _, err = run("status", words[-1].removeprefix("--into="))
    assert (code, "pass --ledger" in err) == (2, True)
    assert run(*words, "--ledger=x.ledger")[0] == 0


def test_a_copied_ledger_of_a_table_is_refused_where_it_is_found(words, run, tmp_path):
    """With --into it goes on, and then the other one is of another time."""
    address = words[-1].removeprefix("--into=")
    assert run(*words, "--ledger=first.ledger")[0] == 0
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "first.ledger").write_bytes(Path("first.ledger").read_bytes())
    code, _, err = run("resume", "copy/first.ledger")
    assert (code, "--into" in err, "sslmode" in err) == (2, True, True)
    night = ["export", "who.txt", "--matching=email", "--since-last", f"--into={address}"]
    Path("who.txt").write_text("".join(f"user{number}@example.com\n" for number in range(6)))
    assert run(*night, "--ledger=copy/first.ledger")[0] == 0
    code, _, err = run("resume", "first.ledger")
    assert (code, "restored from a backup without the other" in err) == (74, True)
