"""The address of PostgreSQL: read as libpq reads it, kept without secrets, and never repeated with one in it."""

import json
import logging
import sqlite3
import traceback
import warnings
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from support.commands import run  # noqa: F401 (a fixture)
from support.secrecy import shown

from profile_history import ConfigurationError, HistoryClient, Profile
from profile_history.cli.passwords import check_words
from profile_history.errors import HistoryError
from profile_history.jobs import HistoryJob, source_of, verify
from profile_history.jobs.sources import PostgresSource
from profile_history.sinks import sink_of
from profile_history.sinks.postgres_address import holds_secret, is_server, read_address
from profile_history.sinks.postgres_security import find_weakened, is_weaker, join_parameters
from profile_history.sinks.postgresql import PostgresSink

DAYS = {"date_from": "2024-01-01", "date_to": "2024-12-31"}
COMMANDS = [
    "export who.txt --from 2024-01-01 --to 2024-01-02 --into",
    "resume",
    "verify x --into",
    "status",
    "export",
    "export x --inot",
    "retry-failed x --ledger",
]
PASSWORDS = [
    "zqxwkv@jvkpq@wqzjx",
    "zqxwkv/jvkpq/wqzjx",
    "1234/jvkpq/wqzjx",
    "zqxwkv#jvkpq#wqzjx",
    "zqxwkv?jvkpq?wqzjx",
    "zqxwkv?jvkpq=wqzjx",
    "1234?jvkpq=wqzjx&x",
    "zqxwkv%jvkpq%wqzjx",
    "zqxwkv%41jvkpq%zzwqzjx",
    "zqxwkv:jvkpq:wqzjx",
    "[zqxwkv]jvkpq]wqzjx",
    "zqxwkv jvkpq wqzjx",
    "@zqxwkv/jvkpq?wqzjx#vqjzk",
    "zqxwkv%40jvkpq%2Fwqzjx",
    "zqxw'kvz\"jvkpq\\wqzjx",
    "&zqxwkv=jvkpq&wqzjx=",
]


def pieces(password):
    """All that would give a part of it away."""
    return {password[at : at + 4] for at in range(len(password) - 3)}


def assert_hidden(password, text):
    """Not even four characters in a row show; `1234` is a port as well as a password."""
    assert not [piece for piece in pieces(password) if piece in text and piece != "1234"]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("place", ["{}@127.0.0.1:1/base", "{}@/base", "{}@127.0.0.1:1", "{}@[::1]:1/base?table=t"])
def test_nothing_of_a_password_shows_however_it_is_written(password, place, caplog):
    """In no message, cause, local variable, text or log, whether the address can be read or not."""
    caplog.set_level(logging.DEBUG)
    address = "postgresql://user:" + place.format(password)
    client = HistoryClient("https://example.com", token="t", list_id=1)
    said = [str(check_refused(["export", "x", f"--into={address}"])), str(check_refused(["verify", address]))]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for make in (
            lambda: sink_of(address),
            lambda: PostgresSink(address, patience=0.0),
            lambda: HistoryJob(client, [Profile.email("a@b.c")], address, ledger="x", **DAYS),
            lambda: source_of(address, matching="email", query="SELECT 1"),
            lambda: PostgresSource(address, "SELECT 1", "fax"),
            lambda: verify("none.ledger", address),
        ):
            try:
                made = make()
                said += [repr(made), str(getattr(made, "url", "")), repr(getattr(made, "parameters", ""))]
                if isinstance(made, PostgresSink):
                    made.open(None, new=True)
            except (HistoryError, ConfigurationError) as error:
                said.append(shown(error))
    assert_hidden(password, "\n".join([*said, caplog.text, *map(str, warned)]))


def check_refused(words):
    """What is said of a command line with a password."""
    with pytest.raises(ConfigurationError, match="refused on the command line") as caught:
        check_words(words)
    return caught.value


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u@h/d",
        "postgres://u:p@h:5432/my%20db?sslmode=require&application_name=a%26b",
        "postgresql://%2Fvar%2Frun/d",
        "postgresql://h1:1,h2:2/d?target_session_attrs=read-write",
        "postgresql://h1,h2/d",
        "postgresql://[::1]:5/d",
        "postgresql://[::1],[fe80::1%25eth0]:6/d",
        "postgresql:///d?host=/tmp&port=7",
        "postgresql://u:a:b%40c@h",
        "postgresql://",
        "postgresql://u@h/d?ssl=true",
        "postgresql://h/d?password=x&sslpassword=y",
        "postgresql://h/d?",
    ],
)
def test_an_address_is_read_as_libpq_reads_it(address):
    """And its text without secrets means the same server, user and database."""
    expected = conninfo_to_dict(address)
    found = read_address(address)
    mine = {name: value for name, value in found.settings().items() if value != ","}
    assert mine == {name: value for name, value in expected.items() if value.strip(",")}
    again = read_address(found.url)
    assert (again.user, again.host, again.dbname, again.secrets) == (found.user, found.host, found.dbname, {})
    assert again.port.replace(",", "") == found.port.replace(",", "")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:secret@h/d",
        "postgres://u:secret@h/d",
        "POSTGRESQL://u:secret@h/d",
        "postgresql://:secret@h/d",
        "postgresql://u%3Asecret@h/d",
        "postgresql://h/d?password=secret",
        "postgresql://h/d?x=1&sslpassword=secret",
        "postgresql://h/d?p%61ssword=secret",
        "postgresql+psycopg://u:secret@h/d",
        "postgres:/u:secret@h/d",
        "postgres:u:secret@h/d",
        "mysql://root:secret@h/d",
        "host=h password=secret dbname=d",
        "host=h password = secret",
        "PASSWORD=secret host=h",
        "dbname=d sslpassword='secret'",
        "service=crm password=secret",
        "postgresql://u:se/cret@h/d",
        "postgresql://u:se@cret@h/d",
        "postgresql://u:se?cret@h/d",
        "postgresql://u:se#cret@h/d",
    ],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_an_address_with_a_password_is_refused_on_the_command_line(run, text, command):
    """With code 2 and one line that says where a password belongs; nothing of it is repeated."""
    code, out, err = run(*command.split(), text)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "PGPASSWORD" in err
    assert "secret" not in err
    if command.rpartition(" ")[2].startswith("--"):
        first, _, last = command.rpartition(" ")
        assert run(*first.split(), f"{last}={text}")[0] == 2


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u@h:5432/d?sslmode=verify-full&passfile=/x",
        "postgresql://h:5432/d",
        "postgresql://u%40corp@h/d?application_name=a%40b",
        "who@example.com.txt",
        "lake/?partition=day",
        "SELECT mail FROM people WHERE password = 'x'",
        "https://user:x@example.com",
        "custom:field",
        "email:a@b.c",
        "2024:03@x.ndjson",
    ],
)
def test_what_holds_no_password_passes(text):
    """An address without one, files, queries and values."""
    assert not holds_secret(text)
    check_words([text, f"--into={text}"])


@pytest.mark.parametrize("address", ["postgresql:///d?host=hunter2%40h", "postgresql://h/?dbname=hunter2%40h"])
def test_an_at_sign_is_in_no_name_of_a_host_or_database(address):
    """It is the rest of a password in all likelihood."""
    with pytest.raises(ConfigurationError, match="cannot be read") as caught:
        read_address(address)
    assert "hunter2" not in shown(caught.value)


def test_a_text_is_an_address_by_its_scheme():
    """Whatever its case is; a file of such a name is none."""
    assert is_server("Postgres://h")
    assert not is_server("postgresql")
    assert not is_server("lake://x")


def test_a_parameter_that_libpq_does_not_know_is_said_at_once():
    """Without its value, which may be anything."""
    with pytest.raises(ConfigurationError, match="libpq knows not all parameters") as caught:
        PostgresSink("postgresql://u:hunter2@h/d?colour=red")
    assert "hunter2" not in shown(caught.value)


@pytest.mark.parametrize(
    ("name", "old", "new", "weaker"),
    [
        ("sslmode", "verify-full", "verify-ca", True),
        ("sslmode", "verify-ca", "require", True),
        ("sslmode", "require", "prefer", True),
        ("sslmode", "prefer", "allow", True),
        ("sslmode", "allow", "disable", True),
        ("sslmode", "disable", "verify-full", False),
        ("sslmode", "require", "require", False),
        ("sslmode", "require", "nonsense", False),
        ("gssencmode", "require", "prefer", True),
        ("channel_binding", "require", "disable", True),
        ("sslnegotiation", "direct", "postgres", True),
        ("ssl_min_protocol_version", "TLSv1.3", "TLSv1.2", True),
        ("require_auth", "scram-sha-256", "", True),
        ("require_auth", "scram-sha-256", "scram-sha-256,password", True),
        ("require_auth", "scram-sha-256,md5", "scram-sha-256", False),
        ("require_auth", "!password", "!password,!md5", False),
        ("require_auth", "!password,!md5", "!md5", True),
        ("require_auth", "!password", "md5", True),
        ("require_auth", "", "md5", False),
        ("application_name", "a", "b", False),
    ],
)
def test_what_protects_less_is_known(name, old, new, weaker):
    """Of every parameter that has to do with it."""
    assert is_weaker(name, old, new) is weaker


def test_parameters_that_are_kept_are_used_again_unless_others_are_given():
    """And the environment makes no connection weaker, but safer."""
    kept = {"sslmode": "require", "application_name": "a"}
    assert join_parameters(kept, {}, {}) == kept
    assert join_parameters(kept, {"sslmode": "disable"}, {"PGSSLMODE": "verify-full"}) == {**kept, "sslmode": "disable"}
    assert join_parameters(kept, {}, {"PGSSLMODE": "verify-full"})["sslmode"] == "verify-full"
    assert join_parameters(kept, {}, {"PGSSLMODE": "disable"})["sslmode"] == "require"
    assert join_parameters({}, {}, {"PGSSLROOTCERT": "ca.pem"}) == {"sslrootcert": str(Path("ca.pem").absolute())}
    assert join_parameters({}, {"sslrootcert": "system"}, {}) == {"sslrootcert": "system"}
    assert list(find_weakened({}, {"sslmode": "disable"})) == [
        "the connection to the database is protected less than before: sslmode was prefer, and is disable"
    ]
    assert list(find_weakened({"require_auth": "md5"}, {})) == [
        "the connection to the database is protected less than before: require_auth was md5, and is -"
    ]


async def test_a_job_keeps_all_parameters_but_secrets(server, postgres, tmp_path, monkeypatch):
    """They are used again, those that are given anew take their place, and a weaker one is said."""
    table, secret = "kept_parameters", "open%20sesame"
    address = f"postgresql://exporter@127.0.0.1:{postgres.port}/postgres?table={table}"
    monkeypatch.setenv("PGPASSWORD", "open sesame")
    ledger = tmp_path / "job.ledger"
    used = []
    connect = psycopg.connect

    def noted(conninfo, **options):
        used.append(conninfo_to_dict(conninfo))
        return connect(conninfo, **options)

    monkeypatch.setattr(psycopg, "connect", noted)

    async def ran(sink=None, profiles=None):
        job = HistoryJob(client, profiles, sink, ledger=ledger, **(DAYS if profiles else {}))
        async for _ in job.run():
            pass
        return job.warnings

    async with server.client() as client:
        given = address.replace("exporter@", f"exporter:{secret}@")
        assert (
            await ran(f"{given}&gssencmode=disable&require_auth=scram-sha-256&passfile=/no/file", server.profiles())
            == []
        )
        used.clear()
        assert await ran() == []
        assert verify(ledger) == []
        assert {entry["require_auth"] for entry in used} == {"scram-sha-256"}
        assert {entry["gssencmode"] for entry in used} == {"disable"}
        # The address is named without them: they stay.
        assert await ran(address) == []
        assert used[-1]["require_auth"] == "scram-sha-256"
        (warning,) = await ran(f"{address}&require_auth=scram-sha-256,md5&application_name=me", server.profiles())
        assert "require_auth was scram-sha-256, and is scram-sha-256,md5" in warning
        used.clear()
        assert await ran() == []
        assert (used[-1]["require_auth"], used[-1]["application_name"]) == ("scram-sha-256,md5", "me")
        with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
            (text,) = connection.execute("SELECT value FROM job WHERE key = 'sink_parameters'").fetchone()
            everything = "\n".join(connection.iterdump())
            connection.execute("DELETE FROM job WHERE key = 'sink_parameters'")
        assert json.loads(text)["passfile"] == "/no/file"
        assert "sesame" not in everything
        # Whoever has lost them has to name them.
        for go_on in (ran, lambda: run_verify(ledger)):
            with pytest.raises(ConfigurationError, match=r"does not hold the parameters .* sslmode.*--into"):
                await go_on()
        assert await ran(address) == []
        assert await ran() == []
    postgres.execute(f"DROP TABLE {table}, {table}_job")


async def run_verify(ledger):
    """Verify, as awaited."""
    verify(ledger)


def test_what_a_failed_connection_leaves_behind_holds_no_password(postgres, caplog):
    """Neither the error, nor its causes, nor any frame that a crash reporter prints."""
    caplog.set_level(logging.DEBUG)
    password = "zqxwkv-jvkpq-wqzjx"
    for address in (
        f"postgresql://exporter:{password}@127.0.0.1:{postgres.port}/postgres",
        f"postgresql://exporter:{password}@127.0.0.1:1/postgres?sslpassword={password}",
        f"host=127.0.0.1 port={postgres.port} user=exporter password={password} dbname=postgres",
    ):
        sink = PostgresSink(address, patience=0.0)
        with pytest.raises(HistoryError) as caught:
            sink.open(None, new=True)
        said = shown(caught.value) + "".join(traceback.format_exception(caught.value)) + caplog.text + repr(sink)
        assert_hidden(password, said)
        source = PostgresSource(address, "SELECT 1", "email")
        with pytest.raises(HistoryError) as caught:
            source.check()
        assert_hidden(password, shown(caught.value) + caplog.text + repr(source) + source.url)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u\udcff@h/d",
        "postgresql://u:secret\udcff@h/d",
        "postgresql://h/d\udcff",
        "postgresql://h/d?options=\udcff",
        "host=h dbname=\udcff",
    ],
)
def test_an_address_that_is_no_utf8_cannot_be_read(address):
    """Such as an argument of a command line that was typed in another encoding; the message holds nothing of it."""
    with pytest.raises(ConfigurationError) as refused:
        read_address(address)
    assert "secret" not in str(refused.value)
    assert str(refused.value).startswith("the address of PostgreSQL cannot be read; write postgresql://")


@pytest.mark.parametrize(
    "url",
    ["postgresql://h/d?table=\udcff", "a.duckdb?table=\udcff", "a\udcff.ndjson", "\udcff/", "a.csv?formulas=\udcff"],
)
def test_an_output_whose_name_is_no_utf8_is_refused(url):
    """Before a ledger or a database is given it."""
    with pytest.raises(ConfigurationError, match="is no UTF-8: "):
        sink_of(url)
