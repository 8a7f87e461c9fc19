"""PostgreSQL where a role has settings of its own: rows and profiles are the same, or a sentence says why."""

import datetime as dt
from collections import Counter

import pytest
from support.postgres import PASSWORD, USER

from profile_history import ConfigurationError
from profile_history.jobs import HistoryJob, SinkError, source_of
from profile_history.sinks import postgres_settings
from profile_history.sinks.postgresql import PostgresSink

FIRST, LAST = dt.date(2023, 1, 1), dt.date(2024, 12, 31)

# What other programs may want of their sessions. All of it together is harder than each alone.
ODD = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "client_encoding": "LATIN1",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "lock_timeout": "1ms",
    # Less would end what sets it back, too, now and then.
    "statement_timeout": "200ms",
    "idle_in_transaction_session_timeout": "1ms",
    "standard_conforming_strings": "off",
    "row_security": "off",
    "synchronous_commit": "off",
    "array_nulls": "off",
    "quote_all_identifiers": "on",
    "search_path": '"$user", public, pg_temp, pg_catalog',
}


@pytest.fixture
def odd(postgres):
    """The address of the server for a role with settings of its own, and the schema of that role."""
    postgres.execute("CREATE ROLE odd LOGIN PASSWORD 'odd'")
    postgres.execute("CREATE SCHEMA odd AUTHORIZATION odd")
    # A table of the name that passes for the job's own, where a session looks for it first.
    postgres.execute("CREATE TABLE odd.profile_history_staging (x integer)")
    for name, value in ODD.items():
        path = name == "search_path"
        postgres.execute(f"ALTER ROLE odd SET {name} = {value}" if path else f"ALTER ROLE odd SET {name} = '{value}'")
    yield postgres.dsn.replace(f"{USER}:{PASSWORD.replace(' ', '%20')}", "odd:odd")
    postgres.execute("DROP SCHEMA odd CASCADE")
    postgres.execute("DROP OWNED BY odd")
    postgres.execute("DROP ROLE odd")


async def test_a_job_fills_its_table_whatever_its_role_has_set(server, postgres, odd, tmp_path):
    """Row by row, over two nights; and the table is what the ledger says."""
    async with server.client(window=61) as client:

        def job(**more):
            return HistoryJob(client, None if not more else server.profiles(), ledger=tmp_path / "job.ledger", **more)

        first = job(sink=f"{odd}?table=night", date_from=FIRST, date_to=dt.date(2024, 6, 30), lookback=400)
        async for _ in first.run():
            pass
        again = HistoryJob(client, ledger=tmp_path / "job.ledger", sink=f"{odd}?table=night")
        async for _ in again.run(until=LAST):
            pass
        assert await again.verify() == []
    found = postgres.execute("SELECT profile, action, datetime, message_id FROM odd.night")
    expected = [
        (str(profile), str(event.action), event.datetime.replace(tzinfo=None), event.message_id)
        for profile in server.profiles()
        for event in server.truth(profile, FIRST, LAST)
    ]
    assert Counter(found) == Counter(expected)


def test_profiles_of_a_query_are_the_same_whatever_its_role_has_set(postgres, odd):
    """Numbers keep their digits, text its letters; days are text, as they are in a file."""
    query = (
        "SELECT 'age' AS field_name, v AS field_value, now(), 'infinity'::date, '1 day'::interval "
        "FROM unnest(ARRAY['письмо', 79000000001::float8::text, '2024-02-01'::date::text]) AS v, pg_sleep(0.3)"
    )
    found = [line.profile.fields[-1][1] for line in source_of(odd, matching="custom", query=query).lines()]
    assert found == ["письмо", "79000000001", "2024-02-01"]
    (line,) = source_of(odd, matching="custom:born", query="SELECT '2024-02-01'::date AS born", column="born").lines()
    assert line.profile.fields[-1] == ("field_value", "2024-02-01")
    (line,) = source_of(odd, matching="custom:n", query="SELECT 79000000001::float8 AS n", column="n").lines()
    assert "79000000001" in str(line.profile or line.text)


def test_a_server_that_cannot_be_written_is_said(postgres, odd, monkeypatch):
    """As a standby cannot: there the setting does not help."""
    writing = {
        name: value for name, value in postgres_settings.WRITING.items() if name != "default_transaction_read_only"
    }
    monkeypatch.setattr("profile_history.sinks.postgres_session.WRITING", writing)

    class LedgerView:
        """A job that has just begun."""

        job, last_batch, location = "j", 0, "job.ledger"

    with pytest.raises(SinkError, match="read-only transaction; the server is a standby, or read only: name one that"):
        PostgresSink(odd, "night").open(LedgerView(), new=True)


def test_a_query_that_writes_is_refused_still(odd):
    """What a role may do is not what a source may."""
    with pytest.raises(ConfigurationError, match="must not contain data-modifying statements"):
        source_of(
            odd, matching="email", query="WITH x AS (DELETE FROM pg_class RETURNING 1) SELECT 'a' AS email"
        ).check()
