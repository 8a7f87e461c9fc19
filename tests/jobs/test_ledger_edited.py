"""Edited or damaged ledgers: whatever stands in one, each command ends with a sentence and the right code."""

import asyncio
import contextlib
import datetime as dt
import io
import json
import os
import random
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path

import msgspec
import pytest
from support.commands import TOKEN, lead_to

from profile_history import RetryPolicy
from profile_history.cli import main
from profile_history.jobs import HistoryJob, LedgerError, source_of
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.plan import fingerprint
from profile_history.jobs.records import LedgerWrite, Status, UnitRecord
from profile_history.sinks import Part, Receipt, Stored
from profile_history.testing import Fault, FaultPlan, HistoryServer
from profile_history.windows import Window

SINKS = ("history.ndjson", "history.csv", "history.parquet", "history.duckdb")
# A result of some sort, or: wrong usage, a ledger that cannot be used, try later, not authorised.
CODES = {0, 1, 2, 74, 75, 77}
ODD = (
    *(None, 0, 1, -1, 2, 9, 10**6, 2**31, 2**63 - 1, -(2**63), 1.5, -0.5, 1e300, float("inf"), "", "0", "x", "é"),
    *("2024-01-01", "2024-02-30", "9999-12-31", "nobody", "email:a@b.c", "email:", '{"matching":1}', "{", "[]", "{}"),
    *("../canary", "/etc/hostname", ".", "a\x00b", "x" * 70_000, b"", b"\xff\xfe", b"x" * 20, "[1]", '"x"', "null"),
)
LEAVES = (
    *(None, True, 0, -1, 1.5, 10**30, "", "x", "9999-12-31", "0001-01-01", "../canary", "\ud800"),
    *([], {}, [[]], {"a": 1}),
)
INTENT = LedgerWrite(
    1,
    [UnitRecord(1, 1, Window(dt.date(2024, 1, 1), dt.date(2024, 1, 1)), Status.DONE, rows=2, planned=True)],
    [(2, Window(dt.date(2024, 1, 2), dt.date(2024, 1, 2)))],
    [Stored(3, 1, 0, 1)],
)
PUBLISHING = Receipt(
    [Part("history.ndjson", 1, 1, 0, 10, 1, "0" * 64)], [Part("history.ndjson.partial", 1, 1, 0, 1, 1, "")]
)


@pytest.fixture(scope="module")
def server():
    """A server in a thread, of which one profile always fails."""
    faults = FaultPlan.always(Fault.API_ERROR, profiles=[2])
    with HistoryServer(profiles=8, token=TOKEN, faults=faults) as running:
        yield running


@pytest.fixture(scope="module")
def jobs(server, tmp_path_factory):
    """For each kind of sink, a directory with a job that has units of every status, rejects, and replaced rows."""
    directory = tmp_path_factory.mktemp("jobs")
    for sink in SINKS:
        (directory / sink[8:]).mkdir()
        asyncio.run(filled(server, directory / sink[8:], sink))
    # From now on it gives everybody what they ask for, so that nothing takes time.
    server.faults = FaultPlan()
    return directory


async def filled(server, directory, sink):
    """Run a job three nights, the last of which is broken off."""
    people = directory / "people.txt"
    people.write_text("".join(f"user{number}@example.com\n" for number in range(1, 7)) + "nobody\n")
    retry = RetryPolicy(attempts=1, passes=1, base=0.001)
    async with server.client(window=30, retry=retry) as client:
        for last, more in (("2024-02-29", {}), ("2024-03-31", {"until": "2024-03-31"})):
            job = HistoryJob(
                client,
                source_of(str(people), matching="email"),
                str(directory / sink),
                ledger=directory / f"{sink}.ledger",
                date_from="2024-01-01",
                date_to=last,
                lookback=800,
            )
            async for _ in job.run(**more):
                pass
    with sqlite3.connect(directory / f"{sink}.ledger") as connection:
        connection.execute("INSERT INTO quarantine SELECT number, 'odd', x'7b7d' FROM units LIMIT 1")
        connection.execute(
            "UPDATE units SET status = 0 WHERE number = (SELECT max(number) FROM units WHERE status = 2)"
        )
    connection.close()


class Editor:
    """Edits ledgers, each in another way.

    Args:
        seed: Of the choices.
    """

    def __init__(self, seed):
        self._chance = random.Random(seed)

    def edit(self, path):
        """Edit one, and say how."""
        ways = (
            self._bits,
            self._cut,
            self._cell,
            self._cell,
            self._cell,
            self._key,
            self._json,
            self._json,
            self._gone,
        )
        return self._chance.choice(ways)(path)

    def _bits(self, path):
        data = bytearray(path.read_bytes())
        places = [self._chance.randrange(len(data)) for _ in range(self._chance.choice((1, 1, 2, 8, 100)))]
        for place in places:
            data[place] ^= 1 << self._chance.randrange(8)
        path.write_bytes(data)
        return f"bits at {places}"

    def _cut(self, path):
        size = self._chance.choice((0, 1, 16, 100, 4096, self._chance.randrange(path.stat().st_size)))
        os.truncate(path, size)
        if self._chance.random() < 0.3:
            path.with_name(f"{path.name}-wal").write_bytes(b"junk" * self._chance.choice((1, 8, 9000)))
        return f"cut to {size}"

    def _cell(self, path):
        with self._connected(path) as connection:
            table = self._chance.choice(
                ("units", "units", "units", "parts", "dead", "profiles", "rejects", "quarantine")
            )
            if table == "dead":
                connection.execute(
                    "INSERT INTO dead SELECT number, batch, place, rows FROM units WHERE rows > 0 LIMIT 3"
                )
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            column, value = self._chance.choice(columns), self._chance.choice(ODD)
            some = self._chance.choice(("", "", f" WHERE abs(random()) % 3 = {self._chance.randrange(3)}"))
            with contextlib.suppress(sqlite3.IntegrityError):
                connection.execute(f'UPDATE OR REPLACE {table} SET "{column}" = ?{some}', (value,))
        return f"{table}.{column} = {value!r}{some}"

    def _key(self, path):
        with self._connected(path) as connection:
            keys = [key for (key,) in connection.execute("SELECT key FROM job")]
            keys += ["intent", "publishing", "refetch_from", "doubtful_from", "sink_parameters", "home", "lookback"]
            key, value = self._chance.choice(keys), self._chance.choice(ODD)
            if self._chance.random() < 0.3:
                connection.execute("DELETE FROM job WHERE key = ?", (key,))
                return f"{key} is gone"
            connection.execute("INSERT OR REPLACE INTO job VALUES (?, ?)", (key, value))
        return f"{key} = {value!r}"

    def _json(self, path):
        with self._connected(path) as connection:
            key = self._chance.choice(("plan", "plan", "totals", "intent", "publishing", "original", "sink_parameters"))
            made = {"intent": INTENT, "publishing": PUBLISHING, "sink_parameters": {"sslmode": "require"}}
            found = connection.execute("SELECT value FROM job WHERE key = ?", (key,)).fetchone()
            text = msgspec.json.encode(made[key]) if key in made else found[0]
            value = json.loads(text)
            if key == "intent" and self._chance.random() < 0.8:
                # So that it counts.
                (last,) = connection.execute("SELECT value FROM job WHERE key = 'last_batch'").fetchone()
                value["batch"] = last
                connection.execute("UPDATE job SET value = ? WHERE key = 'last_batch'", (last - 1,))
            value = self._mutated(value)
            text = json.dumps(value)
            connection.execute("INSERT OR REPLACE INTO job VALUES (?, ?)", (key, text))
            if key == "plan":
                with contextlib.suppress(LookupError, TypeError, ValueError, AttributeError):
                    connection.execute("UPDATE job SET value = ? WHERE key = 'plan_hash'", (fingerprint(text),))
        return f"{key} = {text}"

    def _mutated(self, value):
        """The value with another leaf somewhere. Short windows of a long time would keep a run busy for ever."""
        if isinstance(value, dict) and value and self._chance.random() < 0.95:
            key = self._chance.choice([key for key in value if key != "window"])
            if self._chance.random() < 0.1:
                return {name: item for name, item in value.items() if name != key}
            return {**value, key: self._mutated(value[key])}
        if isinstance(value, list) and value and self._chance.random() < 0.9:
            place = self._chance.randrange(len(value))
            return [*value[:place], self._mutated(value[place]), *value[place + 1 :]]
        return self._chance.choice(LEAVES)

    def _gone(self, path):
        with self._connected(path) as connection:
            statement = self._chance.choice(
                (
                    *(f"DROP TABLE {table}" for table in ("job", "profiles", "units", "parts", "dead", "quarantine")),
                    *(f"DELETE FROM {table}" for table in ("job", "profiles", "units", "parts")),
                    *("DROP VIEW unit", "DROP INDEX pending", "DROP TABLE rejects", "ALTER TABLE units RENAME TO x"),
                    *(f"PRAGMA user_version = {version}" for version in (-1, 0, 1, 3, 99)),
                    *("PRAGMA application_id = 1", "ALTER TABLE units RENAME COLUMN rows TO lines"),
                )
            )
            connection.execute(statement)
        return statement

    @contextlib.contextmanager
    def _connected(self, path):
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            yield connection


PART = '{"name":"a","first":1,"last":1,"offset":0,"size":1,"rows":1,"checksum":""}'
RECORD = '{"number":1,"ordinal":1,"window":{"date_from":"2024-01-01","date_to":"2024-01-02"},"status":1}'
UNITS = "UPDATE units SET status = 0, {} WHERE number = 1"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (UNITS.format("date_from = date_to + 1"), "the pending units cannot be read .day .* lies before day"),
        (UNITS.format("date_to = 1000000"), "days 2024-01-01..4707-11-29 are not within those of the job"),
        (UNITS.format("date_to = 10000000"), "the pending units cannot be read .Expected `int` <= "),
        (UNITS.format("date_to = 'x'"), "the pending units cannot be read .Expected `int`, got `str`"),
        ("UPDATE profiles SET profile = 'nobody'", "the pending units cannot be read .a profile is written MATCHING"),
        ("UPDATE parts SET name = '../a'", "the list of files cannot be read .'../a' is no file of a sink"),
        ("UPDATE parts SET last = first - 1", "the list of files cannot be read .batch 0 lies before batch 1"),
        ("UPDATE job SET value = x'00' WHERE key = 'plan'", "its plan cannot be read .Expected `str`"),
        ("DELETE FROM job WHERE key = 'id'", "its id cannot be read .Expected `str`, got `null`"),
        (
            "UPDATE job SET value = '{\"rows\":-1}' WHERE key = 'totals'",
            "its totals cannot be read .Expected `int` >= 0",
        ),
        ("UPDATE job SET value = 5 WHERE key = 'home'", "its home cannot be read .Expected `str`, got `int`"),
        ("PRAGMA user_version = 0", "is damaged: there is no version 0 of ledgers"),
        ("PRAGMA user_version = 99", "is of version 99, and this program knows up to"),
        ("PRAGMA application_id = 1", "is no ledger of a job"),
        ("DROP TABLE units", "is damaged, or was changed by hand .no such table"),
        (
            "INSERT OR REPLACE INTO job VALUES ('publishing', '{\"added\":[{}]}')",
            "the list of final files cannot be read",
        ),
        (
            f"INSERT OR REPLACE INTO job VALUES ('publishing', '{{\"added\":[{PART.replace('1,', '-1,', 1)}]}}')",
            "the list of final files cannot be read",
        ),
    ],
)
def test_what_is_wrong_in_a_ledger_is_named(jobs, tmp_path, edit, said):
    """With what to do about it; nobody has to guess which of its values it is."""
    ledger = Path(shutil.copy(jobs / "ndjson" / "history.ndjson.ledger", tmp_path))
    with contextlib.closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        connection.execute(edit)
    with pytest.raises(LedgerError, match=said), Ledger(ledger) as opened:
        _ = opened.plan, opened.job, opened.whereabouts, opened.publishing
        opened.pending(0, 100)
        list(opened.parts())


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ("{", "the last batch cannot be read"),
        (RECORD.replace('"date_from":"2024-01-01",', ""), "a unit lacks a day"),
        (RECORD.replace('"ordinal":1', '"ordinal":-1'), "Expected `int` >= 0"),
        (RECORD.replace('"ordinal":1', '"ordinal":1,"checksum":1e19'), "the last batch cannot be read"),
    ],
)
def test_what_a_database_was_given_last_is_read_with_care(jobs, tmp_path, record, said):
    """It is written down as it stands, so it has to be what this program has noted."""
    ledger = Path(shutil.copy(jobs / "duckdb" / "history.duckdb.ledger", tmp_path))
    with Ledger(ledger) as opened:
        entry = f'{{"batch":1,"records":[{record}]}}'
        opened.connection.execute("INSERT OR REPLACE INTO job VALUES ('intent', ?)", (entry,))
        with pytest.raises(LedgerError, match=said):
            opened.recover(1)


def test_what_0_5_0_was_about_to_store_when_it_crashed_is_understood(jobs, tmp_path):
    """That version called the offset of rows their place."""
    ledger = Path(shutil.copy(jobs / "duckdb" / "history.duckdb.ledger", tmp_path))
    record = RECORD.replace('"ordinal":1', '"ordinal":1,"rows":2,"place":7')
    with Ledger(ledger) as opened:
        number = opened.last_batch + 1
        write = f'{{"batch":{number},"records":[{record}],"replaced":[{{"unit":9,"batch":1,"place":3,"rows":0}}]}}'
        opened.connection.execute("INSERT OR REPLACE INTO job VALUES ('intent', ?)", (write,))
        opened.recover(number)
        assert {stored.row_offset for stored, _ in opened.stored() if stored.batch == number} == {7}


def test_a_plan_that_ends_before_it_begins_is_none(jobs, tmp_path):
    """Also where its fingerprint is right."""
    ledger = Path(shutil.copy(jobs / "ndjson" / "history.ndjson.ledger", tmp_path))
    with Ledger(ledger) as opened:
        text = opened.connection.execute("SELECT value FROM job WHERE key = 'plan'").fetchone()[0]
        text = json.dumps({**json.loads(text), "date_to": "2023-12-31"})
        for key, value in (("plan", text), ("plan_hash", fingerprint(text))):
            opened.connection.execute("UPDATE job SET value = ? WHERE key = ?", (value, key))
        with pytest.raises(LedgerError, match="its last day 2023-12-31 lies before its first one, 2024-01-01"):
            _ = opened.plan


COMMANDS = (
    ["status", "{ledger}"],
    ["status", "{ledger}", "--json"],
    ["verify", "{ledger}"],
    ["resume", "{ledger}", "--into", "{sink}", "--json"],
    ["retry-failed", "{ledger}", "--into", "{sink}"],
    ["export", "--since-last", "--into", "{sink}", "--to", "2024-04-30"],
)


def run(words):
    """Run a command in this process; return its code and what it has printed."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except BaseException as error:
            code = repr(error)
    return code, "".join(stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "times"),
    [
        (1, 40),
        *(pytest.param(seed, 200, marks=pytest.mark.full) for seed in range(2, 12)),
    ],
)
def test_an_edited_ledger_is_met_with_a_sentence(server, jobs, monkeypatch, seed, times):
    """By every command, with a code that is documented; and nothing outside of the job's directory is touched."""
    lead_to(server, monkeypatch)
    editor, wrong = Editor(seed), []
    with tempfile.TemporaryDirectory() as directory:
        for number in range(times):
            kind = SINKS[number % len(SINKS)]
            place, canary = Path(directory, str(number), "job"), Path(directory, str(number), "canary")
            shutil.copytree(jobs / kind[8:], place)
            canary.write_text("sings")
            ledger = place / f"{kind}.ledger"
            edited = editor.edit(ledger)
            kept = ledger.read_bytes()
            for words in COMMANDS:
                if words[0] not in {"status", "verify"} and words[0] != "export":
                    ledger.write_bytes(kept)
                begun = time.monotonic()
                code, text = run([word.format(ledger=ledger, sink=place / kind) for word in words])
                if code not in CODES or "Traceback" in text or (code in {2, 74} and not text):
                    wrong.append(f"{kind}: {edited[:300]}\n  {words} ended with {code}: {text[-800:]}")
                if time.monotonic() - begun > 30:
                    wrong.append(f"{kind}: {edited[:300]}\n  {words} took {time.monotonic() - begun:.0f} s")
            if canary.read_text() != "sings" or len(list(canary.parent.iterdir())) != 2:
                wrong.append(
                    f"{kind}: {edited[:300]}\n  something outside was touched: {list(canary.parent.iterdir())}"
                )
            shutil.rmtree(place.parent)
    assert not wrong, "\n\n".join(wrong)
