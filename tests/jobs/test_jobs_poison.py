"""What nobody expects costs the profile it comes with, and never the job."""

import datetime as dt
import logging
import sqlite3
from collections import Counter
from contextlib import closing

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.job_truth import rows_in, truth_of

from profile_history import HistoryClient, Profile
from profile_history._text import escape_surrogates
from profile_history.jobs import HistoryJob
from profile_history.jobs.batch_builder import PendingCommit
from profile_history.jobs.records import PendingUnit, QuarantineRecord, Status, UnitRecord
from profile_history.sinks import sink_of
from profile_history.sinks.ndjson import NdjsonSink
from profile_history.sinks.unit_rows import Refused, Stored, UnitRows
from profile_history.windows import Window

FIRST, LAST = dt.date(2023, 1, 1), dt.date(2024, 12, 31)
SINKS = ["history.ndjson", "history.csv", "lake.parquet", "history.duckdb"]


def job_of(client, directory, profiles, sink, *, today=dt.date(2026, 1, 1)):
    """A job that commits often."""
    return HistoryJob(
        client,
        profiles,
        sink,
        ledger=directory / "job.ledger",
        date_from=FIRST,
        date_to=LAST,
        commit_seconds=0.02,
        today=lambda: today,
    )


async def ran(job, **options):
    """Run a job to its end."""
    async for progress in job.run(**options):
        last = progress
    return last


def failed_in(directory):
    """The profiles that failed, with their reasons."""
    with closing(sqlite3.connect(directory / "job.ledger")) as connection:
        return dict(connection.execute("SELECT profile, reason FROM unit WHERE status = 'failed'").fetchall())


@pytest.fixture
def stumbling(monkeypatch):
    """Make a method of a sink raise what no sink should, for one profile."""

    def make(sink, method, profile, when="before"):
        real = getattr(sink, method)

        def stumble(batch, *more):
            ours = any(unit.profile == str(profile) for unit in batch.units)
            done = real(batch, *more) if when == "after" or not ours else None
            if ours:
                raise UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogates not allowed")
            return done

        monkeypatch.setattr(type(sink), method, lambda self, batch, *more: stumble(batch, *more))
        return sink

    return make


def test_what_is_gathered_is_split_by_profiles_with_all_that_belongs_to_each():
    """Also what is left of a unit, what it replaces, and its quarantined rows."""
    day, whole = Window(dt.date(2024, 1, 2), dt.date(2024, 1, 2)), Window(dt.date(2024, 1, 1), dt.date(2024, 1, 2))
    profiles = [Profile.email(f"{number}@example.com") for number in (1, 2)]
    planned = [
        PendingUnit(profiles[0], whole, 1, 1),
        PendingUnit(profiles[1], whole, 2, 2, replaces=(Stored(3, 1, 0, 4),)),
    ]
    pending = PendingCommit(
        rows=[UnitRows(4, str(profiles[0]), raw=[b"{}"])],
        records=[UnitRecord(4, 1, day, Status.DONE), UnitRecord(2, 2, whole, Status.EMPTY, planned=True)],
        rests={1: Window(dt.date(2024, 1, 1), dt.date(2024, 1, 1))},
        replaced=[Stored(3, 1, 0, 4)],
        quarantined=[QuarantineRecord(4, "odd", b"{"), QuarantineRecord(2, "odd", b"}")],
        planned={unit.number: unit for unit in planned},
    )
    first, second = pending.split()
    assert (first.rows, first.records, first.rests) == (pending.rows, pending.records[:1], pending.rests)
    assert (first.replaced, first.quarantined) == ([], pending.quarantined[:1])
    assert (second.rows, second.records, second.rests) == ([], pending.records[1:], {})
    assert (second.replaced, second.quarantined) == (pending.replaced, pending.quarantined[1:])
    failed = second.failed("no")
    assert (failed.replaced, [record.window for record in failed.records]) == ([], [whole])


def test_a_unit_beside_one_that_replaces_fails_as_well_and_does_not_stay_pending():
    """Both are of one profile: a unit that failed before, and its recent days."""
    profile = Profile.email("john@example.com")
    early, recent = Window(FIRST, dt.date(2023, 6, 30)), Window(dt.date(2024, 12, 29), LAST)
    planned = [PendingUnit(profile, early, 1, 1), PendingUnit(profile, recent, 2, 1, replaces=(Stored(3, 1, 0, 4),))]
    pending = PendingCommit(
        records=[
            UnitRecord(1, 1, early, Status.DONE, planned=True),
            UnitRecord(5, 1, Window(dt.date(2024, 12, 31), LAST), Status.PROVISIONAL),
            UnitRecord(2, 1, Window(dt.date(2024, 12, 29), dt.date(2024, 12, 30)), Status.DONE, planned=True),
        ],
        planned={unit.number: unit for unit in planned},
    )
    failed = pending.failed("no").records
    assert [(record.number, record.window, record.planned) for record in failed] == [
        (2, recent, True),
        (1, early, True),
    ]
    assert {record.status for record in failed} == {Status.FAILED}


async def test_rows_that_a_sink_refuses_are_quarantined_and_the_others_of_their_units_are_stored(
    server, tmp_path, monkeypatch
):
    """A unit of refused rows only is stored without any."""
    refusing = server.profile(next(n for n in range(30) if len(list(server.histories.rows(n, "seed"))) > 3))

    def check(_, batch):
        return [
            Refused(unit.unit, place, "I do not like it", row)
            for unit in batch.units
            for place, row in enumerate(unit.raw)
            if unit.profile == str(refusing)
        ]

    monkeypatch.setattr(NdjsonSink, "check", check)
    async with server.client() as client:
        job = job_of(client, tmp_path, server.profiles(), NdjsonSink(tmp_path / "history.ndjson"))
        progress = await ran(job)
        assert await job.verify() == []
    number = server.histories.find(refusing.body())
    assert progress.quarantined == len(list(server.histories.rows(number, "seed")))
    there = [other for other in range(30) if other != number]
    assert rows_in(str(tmp_path / "history.ndjson")) == truth_of(server.histories, there, FIRST, LAST)


@pytest.mark.parametrize("method", ["check", "write"])
@pytest.mark.parametrize("kind", SINKS)
async def test_a_profile_that_a_sink_stumbles_over_fails_and_the_others_are_stored(
    server, tmp_path, stumbling, kind, method, caplog
):
    """Whatever a library raises; nothing is lost or doubled, and the job ends with its reason."""
    caplog.set_level(logging.CRITICAL)
    dead = next(number for number in range(30) if len(list(server.histories.rows(number, "seed"))) > 3)
    sink = stumbling(sink_of(str(tmp_path / kind)), method, server.profile(dead))
    async with server.client() as client:
        job = job_of(client, tmp_path, server.profiles(), sink)
        progress = await ran(job)
        assert await job.verify() == []
    assert progress.failed == 1
    assert failed_in(tmp_path) == {
        str(server.profile(dead)): "it cannot be stored: UnicodeEncodeError: 'utf-8' codec can't encode character "
        "'\\ud83d' in position 0: surrogates not allowed"
    }
    others = [number for number in range(30) if number != dead]
    assert rows_in(str(tmp_path / kind)) == truth_of(server.histories, others, FIRST, LAST)


@pytest.mark.parametrize("kind", SINKS)
async def test_a_sink_that_stumbles_when_all_is_written_doubles_nothing(server, tmp_path, stumbling, kind, caplog):
    """A file is cut back to what the ledger knows; a database says that it has the batch."""
    caplog.set_level(logging.CRITICAL)
    dead = next(number for number in range(30) if len(list(server.histories.rows(number, "seed"))) > 3)
    sink = stumbling(sink_of(str(tmp_path / kind)), "write", server.profile(dead), when="after")
    async with server.client() as client:
        job = job_of(client, tmp_path, server.profiles(), sink)
        progress = await ran(job)
        assert await job.verify() == []
    assert progress.failed == (0 if sink.transactional else 1)
    there = [number for number in range(30) if sink.transactional or number != dead]
    assert rows_in(str(tmp_path / kind)) == truth_of(server.histories, there, FIRST, LAST)


async def test_rows_that_were_to_be_replaced_stay_if_the_new_ones_cannot_be_stored(
    server, tmp_path, stumbling, monkeypatch, caplog
):
    """The old ones go with the new ones, or not at all; the next night tries again."""
    caplog.set_level(logging.CRITICAL)
    recent = dt.date(2024, 12, 29)
    dead = next(
        number
        for number in range(30)
        if any(row.label.date() >= recent for row in server.histories.rows(number, "seed"))
    )
    path = tmp_path / "history.duckdb"
    async with server.client() as client:
        await ran(job_of(client, tmp_path, server.profiles(), sink_of(str(path)), today=dt.date(2024, 12, 31)))
        before = rows_in(str(path))
        sink = stumbling(sink_of(str(path)), "check", server.profile(dead))
        job = HistoryJob(client, None, sink, ledger=tmp_path / "job.ledger", today=lambda: dt.date(2026, 1, 1))
        progress = await ran(job, until=dt.date(2025, 1, 5))
        assert progress.failed == 1
        assert rows_in(str(path)) == before
    monkeypatch.undo()
    async with server.client() as client:
        job = HistoryJob(client, ledger=tmp_path / "job.ledger", today=lambda: dt.date(2026, 1, 1))
        assert (await ran(job, until=dt.date(2025, 1, 6))).failed == 0
        assert await job.verify() == []
    assert rows_in(str(path)) == before == truth_of(server.histories, range(30), FIRST, dt.date(2025, 1, 6))


@pytest.mark.parametrize("kind", SINKS)
@pytest.mark.parametrize("text", [r"half an emoji \ud83d", r"\udcff", r"nul \u0000", "\u202e\u0085"])
async def test_an_error_text_that_cannot_be_stored_fails_its_profile_only(tmp_path, kind, text):
    """Half a surrogate pair in one response ended the whole job, at every resume."""

    async def answer(request):
        body = await request.json()
        if body["email"] == "dead@example.com":
            return web.Response(body=f'{{"data":[],"error":400,"error_text":"{text}"}}'.encode())
        row = {"action": "open", "datetime": "2024-01-05T10:00:00Z", "email": body["email"]}
        return web.json_response({"data": [row], "error": 0, "error_text": ""})

    app = web.Application()
    app.router.add_post("/api/v1.1/subscribers/history_get", answer)
    profiles = [Profile.email("john@example.com"), Profile.email("dead@example.com"), Profile.email("m@example.com")]
    async with TestServer(app) as server, HistoryClient(str(server.make_url("/")), token="t", list_id=1) as client:
        job = job_of(client, tmp_path, profiles, sink_of(str(tmp_path / kind)))
        progress = await ran(job)
    assert (progress.failed, progress.done) == (1, 2)
    reason = failed_in(tmp_path)["email:dead@example.com"]
    assert reason.encode().isascii() or text.startswith("\u202e")
    found = rows_in(str(tmp_path / kind))
    assert Counter(row[0] for row in found.elements()) == {"email:john@example.com": 1, "email:m@example.com": 1}


async def test_a_window_that_cannot_be_read_for_an_unknown_reason_fails_alone(server, tmp_path, monkeypatch, caplog):
    """A fault of ours in decoding is one failed unit, with the kind of the error as its reason."""
    caplog.set_level(logging.CRITICAL)
    broken = server.profile(3)
    # A fault of ours has no other way in.
    monkeypatch.setattr("profile_history._scheduling.reader.Reader._response_decoder", _broken_for(broken))
    async with server.client() as client:
        job = job_of(client, tmp_path, server.profiles(), sink_of(str(tmp_path / "history.ndjson")))
        progress = await ran(job)
        assert await job.verify() == []
    assert progress.failed == 1
    assert "RuntimeError: a fault of ours" in failed_in(tmp_path)[str(broken)]


def _broken_for(profile):
    from profile_history._scheduling.reader import Reader

    # A fault of ours has no other way in: what decodes is made anew for each response.
    real = Reader._response_decoder

    def decoder(self, outcome, *more):
        if outcome.profile == profile:
            raise RuntimeError("a fault of ours")
        return real(self, outcome, *more)

    return decoder


@pytest.mark.parametrize(
    ("text", "stored"),
    [("plain", "plain"), ("\ud83d", "\\ud83d"), ("Grüße 😀", "Grüße 😀"), ("caf\udce9", "caf\\udce9"), ("", "")],
)
def test_a_text_is_storable_when_it_is_utf_8(text, stored):
    """Only halves of surrogate pairs become escapes."""
    assert escape_surrogates(text) == stored
    assert escape_surrogates(stored).encode().decode() == stored
