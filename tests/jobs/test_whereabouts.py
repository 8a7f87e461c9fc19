"""A job that was copied, moved or named in another way: it goes on where somebody points it, and nowhere else."""

import datetime as dt
import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.commands import TOKEN, lead_to, run  # noqa: F401 (a fixture)
from support.jobs import FIRST, LAST, job_of, lines, ran, truth

from profile_history import ConfigurationError, Profile
from profile_history.jobs import HistoryJob, status_of, verify
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.whereabouts import (
    Whereabouts,
    check_fits,
    find_misplaced,
    is_same_place,
    locate_sink,
    relativize_sink,
)
from profile_history.sinks import SinkError, sink_of
from profile_history.testing import HistoryServer


def snapshot(directory):
    """Every file of a directory, with its bytes and the time of its last change."""
    return {
        path.relative_to(directory): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.name.endswith((".lock", "-shm"))
    }


SINKS = ["history.ndjson", "history.csv.gz", "lake.parquet?partition=month", "history.duckdb"]


@pytest.mark.parametrize("sink", SINKS)
async def test_a_copy_never_writes_into_the_original(server, tmp_path, sink):
    """Without a word of where its output is it is refused; with one it goes on there."""
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    async with server.client() as client:
        await ran(job_of(client, original, server.profiles(), sink=sink))
        shutil.copytree(original, copy)
        before = snapshot(original)
        refusal = rf"begun with the ledger {original}/job.ledger, and is found with {copy}/job.ledger.*--into"
        for options in ({"retry_failed": True}, {"until": "2025-06-30"}):
            with pytest.raises(ConfigurationError, match=refusal):
                await ran(HistoryJob(client, ledger=copy / "job.ledger"), **options)
        assert verify(copy / "job.ledger") == []
        assert status_of(copy / "job.ledger").whereabouts.moved
        await ran(HistoryJob(client, None, f"{copy}/{sink}", ledger=copy / "job.ledger"), until="2025-06-30")
        assert snapshot(original) == before
        # It was pointed there once, and that is remembered.
        await ran(HistoryJob(client, ledger=copy / "job.ledger"), until="2025-07-01")
        assert verify(copy / "job.ledger") == []
        assert snapshot(original) == before
    assert not status_of(copy / "job.ledger").whereabouts.moved
    assert verify(original / "job.ledger") == []


@pytest.mark.parametrize("sink", SINKS)
async def test_a_directory_that_was_renamed_goes_on_with_its_output_named(server, tmp_path, sink):
    """Nothing is lost, and nothing is fetched again."""
    (tmp_path / "old").mkdir()
    async with server.client() as client:
        await ran(job_of(client, tmp_path / "old", server.profiles(), sink=sink))
        (tmp_path / "old").rename(tmp_path / "new")
        server.log.clear()
        await ran(HistoryJob(client, None, f"{tmp_path}/new/{sink}", ledger=tmp_path / "new" / "job.ledger"))
        await ran(HistoryJob(client, ledger=tmp_path / "new" / "job.ledger"))
    assert not list(server.log)
    assert verify(tmp_path / "new" / "job.ledger") == []
    assert not (tmp_path / "old").exists()


async def test_a_ledger_that_was_copied_beside_itself_is_another_one(server, tmp_path):
    """The name counts as well as the directory."""
    async with server.client() as client:
        await ran(job_of(client, tmp_path, server.profiles()))
        shutil.copy(tmp_path / "job.ledger", tmp_path / "other.ledger")
        with pytest.raises(ConfigurationError, match=rf"is found with {tmp_path}/other.ledger"):
            await ran(HistoryJob(client, ledger=tmp_path / "other.ledger"))


async def test_a_ledger_alone_that_was_copied_finds_no_output_beside_it(server, tmp_path):
    """Pointed at an empty place it is refused, too, and makes nothing there."""
    (tmp_path / "copy").mkdir()
    async with server.client() as client:
        await ran(job_of(client, tmp_path, server.profiles()))
        shutil.copy(tmp_path / "job.ledger", tmp_path / "copy")
        with pytest.raises(ConfigurationError, match="begun with the ledger"):
            await ran(HistoryJob(client, ledger=tmp_path / "copy" / "job.ledger"))
        place = str(tmp_path / "copy" / "history.ndjson")
        with pytest.raises(ConfigurationError, match=r"has filled: .*history.ndjson is not there"):
            await ran(HistoryJob(client, None, place, ledger=tmp_path / "copy" / "job.ledger"))
    assert not (tmp_path / "copy" / "history.ndjson").exists()


@pytest.mark.parametrize("sink", ["history.ndjson", "lake.parquet"])
async def test_a_place_with_other_content_is_refused_and_stays_as_it_is(server, tmp_path, sink):
    """Also where names and sizes are the same."""
    (tmp_path / "books").mkdir()
    async with server.client() as client:
        job = job_of(client, tmp_path, server.profiles(), sink=sink)
        await ran(job)
        (tmp_path / "other").mkdir()
        source = tmp_path / sink
        target = tmp_path / "other" / source.name
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        changed = next(path for path in (target.rglob("*.parquet") if target.is_dir() else [target]))
        changed.write_bytes(bytes([changed.read_bytes()[0] ^ 1]) + changed.read_bytes()[1:])
        before = snapshot(tmp_path / "other")
        with pytest.raises(ConfigurationError, match="is not what this job wrote"):
            await ran(HistoryJob(client, None, f"{tmp_path}/other/{sink}", ledger=tmp_path / "job.ledger"))
    assert snapshot(tmp_path / "other") == before


async def test_a_job_that_has_no_rows_yet_takes_an_empty_place_only(server, tmp_path):
    """Else it would clear away the files of another job."""
    nobody = [Profile.email("nobody@example.org")]
    for name in ("mine", "theirs", "moved"):
        (tmp_path / name).mkdir()
    async with server.client() as client:
        await ran(job_of(client, tmp_path / "mine", nobody, sink="lake.parquet"))
        await ran(job_of(client, tmp_path / "theirs", server.profiles(), sink="lake.parquet"))
        shutil.copy(tmp_path / "mine" / "job.ledger", tmp_path / "moved")
        before = snapshot(tmp_path / "theirs")
        ledger = tmp_path / "moved" / "job.ledger"
        with pytest.raises(ConfigurationError, match="is not empty"):
            await ran(HistoryJob(client, None, f"{tmp_path}/theirs/lake.parquet", ledger=ledger))
        assert snapshot(tmp_path / "theirs") == before
        await ran(HistoryJob(client, None, f"{tmp_path}/moved/lake.parquet", ledger=ledger))


@pytest.mark.parametrize(
    "other",
    ["history.ndjson.gz", "history.csv", "other.ndjson", "history.ndjson/", "history.duckdb", "postgresql://h/d"],
)
async def test_another_kind_of_sink_cannot_take_the_place(server, tmp_path, monkeypatch, other):
    """A file keeps its name, too: the ledger knows it."""
    monkeypatch.chdir(tmp_path)
    async with server.client() as client:
        await ran(job_of(client, tmp_path, server.profiles()[:2]))
        with pytest.raises(ConfigurationError, match="the job fills"):
            await ran(HistoryJob(client, None, other, ledger=tmp_path / "job.ledger"))


async def test_the_output_may_be_spelled_in_any_way(server, tmp_path, monkeypatch):
    """By a link, with dots, by a relative path, or with percent signs."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    profiles = server.profiles()[:3]
    async with server.client() as client:
        for sink in ("history.ndjson", "lake/?partition=hash:2", "x.duckdb?table=a b"):
            ledger = tmp_path / "real" / f"{sink[:2]}.ledger"
            days = {"date_from": FIRST, "date_to": LAST, "ledger": ledger}
            await ran(HistoryJob(client, profiles, f"link/{sink}", **days))
            with closing(sqlite3.connect(ledger)) as opened:
                (plan,) = opened.execute("SELECT value FROM job WHERE key = 'plan'").fetchone()
                assert json.loads(plan)["sink"].startswith("./")
            for text in (f"real/{sink}", f"./link/../real/{sink}", f"{tmp_path}/real/./{sink}", f"link/{sink}"):
                for spelled in (text, text.replace("hash:2", "hash%3a2").replace("a b", "%61%20b")):
                    await ran(HistoryJob(client, profiles, spelled, **days))
            for path in (ledger, Path("link") / ledger.name, Path("real/../link") / ledger.name):
                await ran(HistoryJob(client, ledger=path))
                assert verify(path) == []


async def test_a_linked_ledger_is_the_one_it_leads_to(server, tmp_path):
    """Its output is sought beside that, and so is its lock."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "l").symlink_to(tmp_path / "jobs" / "job.ledger")
    async with server.client() as client:
        await ran(job_of(client, tmp_path / "jobs", server.profiles()))
        await ran(HistoryJob(client, ledger=tmp_path / "here" / "l"))
    assert verify(tmp_path / "here" / "l") == []
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["l"]
    assert not status_of(tmp_path / "here" / "l").whereabouts.moved


async def test_books_elsewhere_keep_where_the_output_is(server, tmp_path):
    """The place of the output stands in them whole, and lists are written beside the ledger that is found."""
    (tmp_path / "books").mkdir()
    (tmp_path / "moved").mkdir()
    output = str(tmp_path / "history.ndjson")
    days = {"date_from": FIRST, "date_to": LAST}
    async with server.client() as client:
        await ran(HistoryJob(client, server.profiles(), output, ledger=tmp_path / "books" / "mine", **days))
        await ran(HistoryJob(client, ledger=tmp_path / "books" / "mine"))
        shutil.move(tmp_path / "books" / "mine", tmp_path / "moved" / "mine")
        before = snapshot(tmp_path / "books")
        with pytest.raises(ConfigurationError, match=f"--into {output} .*no other ledger fills that"):
            await ran(HistoryJob(client, ledger=tmp_path / "moved" / "mine"))
        with Ledger(tmp_path / "moved" / "mine") as ledger, ledger.transaction() as connection:
            connection.execute("INSERT INTO rejects VALUES (1, 'why', 'what')")
        await ran(HistoryJob(client, None, output, ledger=tmp_path / "moved" / "mine"))
    assert snapshot(tmp_path / "books") == before
    assert (tmp_path / "moved" / "mine.rejects.ndjson").exists()
    assert lines(tmp_path) == truth(server)


async def test_a_ledger_can_be_moved_to_its_output(server, tmp_path):
    """Its plan is not taken for one that was changed by hand."""
    (tmp_path / "books").mkdir()
    days = {"date_from": FIRST, "date_to": LAST}
    output = str(tmp_path / "history.ndjson")
    async with server.client() as client:
        await ran(HistoryJob(client, server.profiles(), output, ledger=tmp_path / "books" / "mine", **days))
        shutil.move(tmp_path / "books" / "mine", tmp_path / "mine")
        await ran(HistoryJob(client, None, output, ledger=tmp_path / "mine"))
    assert verify(tmp_path / "mine") == []


def downgraded(ledger, sink):
    """Make a ledger as 0.4.0 left it: of version 1, with the whole path of its sink."""
    from profile_history.jobs.upgrade import hash_of_1

    with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        (text,) = connection.execute("SELECT value FROM job WHERE key = 'plan'").fetchone()
        text = json.dumps({**json.loads(text), "sink": sink_of(str(sink)).url})
        connection.execute("UPDATE job SET value = ? WHERE key = 'plan'", (text,))
        connection.execute("UPDATE job SET value = ? WHERE key = 'plan_hash'", (hash_of_1(text),))
        connection.execute("DELETE FROM job WHERE key IN ('home', 'home_name', 'sink_parameters')")
        connection.execute("DROP VIEW unit")
        connection.execute("ALTER TABLE units DROP COLUMN checksum")
        connection.execute("ALTER TABLE units DROP COLUMN fetched_at")
        connection.execute("PRAGMA user_version = 1")


async def test_a_ledger_of_version_1_was_begun_where_its_output_is(server, tmp_path):
    """Beside it, it goes on; elsewhere, or beside a namesake's, nobody knows, and it has to be pointed."""
    (tmp_path / "copy").mkdir()
    async with server.client() as client:
        await ran(job_of(client, tmp_path, server.profiles()))
        downgraded(tmp_path / "job.ledger", tmp_path / "history.ndjson")
        shutil.copy(tmp_path / "job.ledger", tmp_path / "copy")
        assert not status_of(tmp_path / "job.ledger").whereabouts.moved
        assert "is not known" in str(status_of(tmp_path / "copy" / "job.ledger").whereabouts)
        with pytest.raises(ConfigurationError, match=r"where the job of .* was begun is not known"):
            await ran(HistoryJob(client, ledger=tmp_path / "copy" / "job.ledger"))
        await ran(HistoryJob(client, ledger=tmp_path / "job.ledger"))
        shutil.copy(tmp_path / "job.ledger.v1", tmp_path / "history.ndjson.ledger")
        shutil.copy(tmp_path / "job.ledger.v1", tmp_path / "twin")
        assert not status_of(tmp_path / "history.ndjson.ledger").whereabouts.moved
        assert status_of(tmp_path / "twin").whereabouts.moved


async def test_an_older_ledger_beside_a_newer_output_loses_nothing(server, tmp_path):
    """As after a restore: what it does not know of is fetched again, or it says that the two are of different times."""
    async with server.client() as client:
        for sink in ("history.ndjson", "lake.parquet"):
            directory = tmp_path / sink.strip("/")
            directory.mkdir()
            job = job_of(
                client, directory, server.profiles(), sink=sink, date_to="2023-12-31", today=dt.date(2024, 1, 1)
            )
            await ran(job)
            shutil.copy(directory / "job.ledger", tmp_path / "backup")
            await ran(HistoryJob(client, ledger=directory / "job.ledger"), until=LAST)
            shutil.copy(tmp_path / "backup", directory / "job.ledger")
            with pytest.raises((ConfigurationError, SinkError)):
                await ran(HistoryJob(client, ledger=directory / "job.ledger"))


class TestCommands:
    """What a person sees."""

    @pytest.fixture
    def export(self, monkeypatch, tmp_path, run):
        """Export three profiles in a directory `old`, and then call it `new`."""
        monkeypatch.chdir(tmp_path)
        Path("old").mkdir()
        Path("who.txt").write_text("".join(f"user{number}@example.com\n" for number in range(3)))
        with HistoryServer(profiles=10, token=TOKEN) as server:
            lead_to(server, monkeypatch)
            words = ["who.txt", "--matching=email", "--from", FIRST, "--to", LAST, "--into"]
            assert run("export", *words, "old/history.ndjson")[0] == 0
            Path("old").rename("new")
            yield words

    @pytest.mark.parametrize("verb", ["resume", "retry-failed"])
    def test_a_moved_job_says_where_it_was_and_what_to_type(self, export, run, tmp_path, verb):
        """With code 2; what it says to type works, and from then on it goes without."""
        code, out, err = run(verb, "new/history.ndjson")
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert f"{tmp_path}/old/history.ndjson.ledger" in err
        assert f"{tmp_path}/new/history.ndjson.ledger" in err
        printed = f"profile-history {verb} new/history.ndjson.ledger --into {tmp_path}/new/history.ndjson"
        assert printed in err
        assert run(*printed.split()[1:])[0] == 0
        assert run(verb, "new/history.ndjson")[0] == 0

    def test_export_counts_as_pointing(self, export, run):
        """Its output is named anyway."""
        assert run("export", *export, "new/history.ndjson")[0] == 0
        assert run("resume", "new/history.ndjson")[0] == 0

    def test_status_and_verify_say_that_it_was_begun_elsewhere(self, export, run):
        """And change nothing."""
        before = snapshot(Path("new"))
        code, out, _ = run("status", "new/history.ndjson")
        assert (code, "\nmoved     the job was begun with the ledger" in out) == (0, True)
        assert snapshot(Path("new")) == before
        code, out, err = run("verify", "new/history.ndjson")
        assert (code, out, "the job was begun with the ledger" in err) == (0, "", True)
        for command in ("status", "verify"):
            assert json.loads(run(command, "new/history.ndjson", "--json")[1])["begun_elsewhere"] is True
        with Ledger(Path("new/history.ndjson.ledger")) as ledger, ledger.transaction() as connection:
            connection.execute("UPDATE job SET value = replace(value, '\"pending\": 0', '\"pending\": 1')")
        assert " --into " in run("status", "new/history.ndjson")[1].splitlines()[-1]


@pytest.mark.parametrize(
    ("sink", "home", "kept"),
    [
        ("/a/b/x.ndjson", "/a/b", "./x.ndjson"),
        ("/a/b/lake/?partition=day", "/a/b", "./lake/?partition=day"),
        ("/a/b/c/x.duckdb?table=t", "/a", "./b/c/x.duckdb?table=t"),
        ("/a/b/x.ndjson", "/a/c", "/a/b/x.ndjson"),
        ("/x.ndjson", "/", "./x.ndjson"),
        ("postgresql://h/d?table=t", "/a", "postgresql://h/d?table=t"),
    ],
)
def test_a_place_inside_the_ledgers_directory_is_kept_relative(sink, home, kept):
    """And comes back as it was."""
    assert relativize_sink(sink, Path(home)) == kept
    assert locate_sink(kept, Path(home)) == sink


def test_sinks_that_this_program_does_not_know_are_compared_as_text():
    """One of them is never taken for another."""
    assert is_same_place("mine:a", "mine:a")
    assert not is_same_place("mine:a", "mine:b")
    assert not is_same_place("postgresql://h/d?table=a", "postgresql://h/d?table=b")
    assert is_same_place("postgresql://h/d?table=a%2Eb", "postgresql://h/d?table=a.b")
    assert list(find_misplaced("mine:a", [], lambda: None)) == []
    check_fits("mine:a", "mine:a")
    with pytest.raises(ConfigurationError, match="the job fills mine:a, not mine:b"):
        check_fits("mine:a", "mine:b")


def test_what_to_type_is_likely_to_be_meant(tmp_path):
    """Something of that name beside the ledger, else what the ledger says."""
    (tmp_path / "-x.ledger").touch()
    found = Whereabouts(tmp_path / "x.ledger", "/old", "x.ledger", "/old/lake/?partition=day")
    assert found.command("resume").endswith(" --into '/old/lake/?partition=day'")
    (tmp_path / "lake").mkdir()
    assert found.command("resume").endswith(f" --into '{tmp_path}/lake/?partition=day'")
    assert Whereabouts(Path("-x.ledger"), None, None, "postgresql://h/d?table=t").command("resume") == (
        "profile-history resume ./-x.ledger --into 'postgresql://h/d?table=t'"
    )


@pytest.mark.parametrize("name", ["directory", "fifo", "x" * 300, "."])
def test_what_is_no_file_can_be_no_ledger(tmp_path, monkeypatch, name):
    """It is said before anything is made beside it, and nothing is waited for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(
        ConfigurationError, match=r"and no ledger; name the file of one|can be no ledger \(File name too"
    ):
        status_of(name)
    assert {path.name for path in tmp_path.iterdir()} == {"directory", "fifo"}
