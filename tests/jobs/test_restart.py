"""A job whose plan was mistaken, or that is begun anew: nothing foreign is deleted, nothing replaced in silence."""

import io
import json
import subprocess
import threading
from pathlib import Path

import duckdb
import pytest
from support.commands import PROGRAM, TOKEN, Terminal, lead_to, run, started  # noqa: F401 (one is a fixture)
from support.jobs import FIRST, LAST, job_of, lines, ran, truth

from profile_history import ConfigurationError, Profile
from profile_history.cli.restart import confirm_restart
from profile_history.jobs import HistoryJob, JobHeld, SinkError, source_of, status_of, verify
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.restart import discard_job
from profile_history.jobs.whereabouts import is_same_output
from profile_history.sinks import sink_of
from profile_history.sinks.base import Part, Receipt
from profile_history.sinks.duckdb import DuckDBSink
from profile_history.sinks.lock import FileLock
from profile_history.sinks.ndjson import NdjsonSink
from profile_history.sinks.parquet import ParquetSink
from profile_history.sinks.postgresql import PostgresSink
from profile_history.testing import HistoryServer

SINKS = ["history.ndjson", "history.csv.gz", "lake.parquet?partition=month", "history.duckdb?table=mine"]


def told(job):
    """What a job says of its plan; that the clock of these tests is behind the server's is another matter."""
    return [warning for warning in job.warnings if "clock" not in warning]


async def stopped_at_once(job, **options):
    """Run a job against a server that takes nobody, so that nothing is fetched."""
    with pytest.raises(Exception, match="token"):
        await ran(job, **options)


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"date_from": "2022-01-01"}, "date_from is '2022-01-01' there and '2023-01-01' here"),
        ({"date_to": "2024-12-30"}, "date_to is"),
        ({"profiles": 3}, "the list of profiles is another one"),
        ({"window": 7}, "window is 7 there and 'auto' here"),
    ],
)
async def test_a_plan_with_which_nothing_was_fetched_gives_way_to_another(server, tmp_path, sink, change, words):
    """And says so; the job is the same one, so that its tables stay its own."""
    days = {name: value for name, value in change.items() if name.startswith("date")}
    profiles = server.profiles()[: change.get("profiles", 30)]
    async with server.client(token="wrong", window=change.get("window", "auto")) as wrong:
        await stopped_at_once(job_of(wrong, tmp_path, profiles, sink=sink, **days))
    with Ledger(tmp_path / "job.ledger") as ledger:
        identity = ledger.job
    async with server.client() as client:
        job = job_of(client, tmp_path, server.profiles(), sink=sink)
        await ran(job)
        (warning,) = told(job)
        assert words in warning
        assert warning.endswith("Nothing has been fetched with the old plan: it is replaced")
        again = job_of(client, tmp_path, server.profiles(), sink=sink)
        await ran(again)
        assert told(again) == []
    assert verify(tmp_path / "job.ledger") == []
    assert status_of(tmp_path / "job.ledger").totals.rows == truth(server).total()
    with Ledger(tmp_path / "job.ledger") as ledger:
        assert ledger.job == identity


async def test_another_output_takes_the_place_of_one_that_got_nothing(server, tmp_path):
    """Of another kind, too."""
    async with server.client(token="wrong") as wrong:
        await stopped_at_once(job_of(wrong, tmp_path, server.profiles(), sink="typo.csv"))
    async with server.client() as client:
        job = job_of(client, tmp_path, server.profiles())
        await ran(job)
    assert "sink is" in told(job)[0]
    assert lines(tmp_path) == truth(server)
    assert not list(tmp_path.glob("typo*"))


async def test_profiles_that_can_be_read_only_once_are_read_once(server, tmp_path):
    """The same ones go on, and others take their place."""

    def piped(count):
        text = "".join(f"user{number}@example.com\n" for number in range(count))
        return source_of("-", matching="email", stdin=io.BytesIO(text.encode()))

    for count in (3, 3, 5):
        async with server.client(token="wrong") as wrong:
            await stopped_at_once(job := job_of(wrong, tmp_path, piped(count)))
        assert len(told(job)) == (count == 5)
        assert status_of(tmp_path / "job.ledger").totals.pending == count
    async with server.client() as client:
        await ran(job := job_of(client, tmp_path, piped(5)))
        assert told(job) == []
        await ran(job_of(client, tmp_path, piped(5)))
    assert not list(tmp_path.glob("*.planning*"))


async def test_a_plan_that_has_brought_something_stays(server, tmp_path):
    """Also where all of it was empty; the refusal names the way out."""
    async with server.client() as client:
        await ran(job_of(client, tmp_path, [Profile.email("nobody@example.org")]))
        assert not status_of(tmp_path / "job.ledger").untouched
        with pytest.raises(ConfigurationError, match="--restart"):
            await ran(job_of(client, tmp_path, server.profiles()))


async def test_the_line_that_began_a_job_goes_on_when_nights_have_extended_it(server, tmp_path):
    """It says how far the job reaches by now; a line with other days than those is refused."""
    profiles = server.profiles()
    async with server.client() as client:
        await ran(job_of(client, tmp_path, profiles[:20], date_to="2023-06-30"))
        ledger, output = tmp_path / "job.ledger", str(tmp_path / "history.ndjson")
        await ran(HistoryJob(client, profiles, output, ledger=ledger, date_from=FIRST, date_to=LAST), until=LAST)
        server.log.clear()
        job = job_of(client, tmp_path, profiles[:20], date_to="2023-06-30")
        await ran(job)
        assert told(job) == ["the job by now reaches 2024-12-31, beyond 2023-06-30; all of that is kept up"]
        assert not list(server.log)
        await ran(job_of(client, tmp_path, profiles))
        for change in ({"date_to": "2023-06-29"}, {"date_from": "2023-01-02", "date_to": "2023-06-30"}):
            with pytest.raises(ConfigurationError, match="date_"):
                await ran(job_of(client, tmp_path, profiles[:20], **change))
        with pytest.raises(ConfigurationError, match="list of profiles"):
            await ran(job_of(client, tmp_path, profiles[:19], date_to="2023-06-30"))
        # A ledger of 0.4.0 does not know with which day it was begun.
        with Ledger(ledger) as opened, opened.transaction() as connection:
            connection.execute("DELETE FROM job WHERE key = 'original'")
        await ran(job_of(client, tmp_path, profiles, date_to="2023-06-29"))
    assert lines(tmp_path) == truth(server)


@pytest.mark.parametrize("sink", SINKS)
async def test_a_job_begins_anew_and_leaves_what_is_not_its_own(server, tmp_path, sink):
    """Of its directory, its file and its database."""
    (tmp_path / "job.ledger.v1").write_text("as 0.4.0 left it")
    (tmp_path / "job.ledger.v1.mine").write_text("mine")
    (tmp_path / "other.ndjson").write_text("mine")
    if "duckdb" in sink:
        with duckdb.connect(str(tmp_path / "history.duckdb")) as database:
            database.execute("CREATE TABLE theirs AS SELECT 1 AS one")
    async with server.client() as client:
        await ran(job_of(client, tmp_path, server.profiles(), sink=sink))
        with Ledger(tmp_path / "job.ledger") as ledger, ledger.transaction() as connection:
            identity = ledger.job
            connection.execute("INSERT INTO rejects VALUES (1, 'why', 'what')")
        await ran(job_of(client, tmp_path, server.profiles(), sink=sink))
        assert (tmp_path / "job.rejects.ndjson").exists()
        with pytest.raises(ConfigurationError, match="window is"):
            async with server.client(window=30) as other:
                await ran(job_of(other, tmp_path, server.profiles(), sink=sink))
        async with server.client(window=30) as other:
            await ran(job_of(other, tmp_path, server.profiles()[:5], sink=sink), restart=True)
    assert verify(tmp_path / "job.ledger") == []
    assert status_of(tmp_path / "job.ledger").totals.rows == truth(server, profiles=server.profiles()[:5]).total()
    with Ledger(tmp_path / "job.ledger") as ledger:
        assert ledger.job != identity
    assert not (tmp_path / "job.rejects.ndjson").exists()
    assert not (tmp_path / "job.ledger.v1").exists()
    assert (tmp_path / "job.ledger.v1.mine").read_text() == (tmp_path / "other.ndjson").read_text() == "mine"
    if "duckdb" in sink:
        with duckdb.connect(str(tmp_path / "history.duckdb")) as database:
            assert database.execute("SELECT one FROM theirs").fetchall() == [(1,)]


async def test_new_options_of_the_same_output_are_taken_when_it_begins_anew(server, tmp_path):
    """The old files go with their directories."""
    async with server.client() as client:
        await ran(job_of(client, tmp_path, server.profiles(), sink="lake.parquet?partition=month"))
        await ran(job_of(client, tmp_path, server.profiles(), sink="lake.parquet"), restart=True)
        assert not list((tmp_path / "lake.parquet").glob("month=*"))
        with pytest.raises(ConfigurationError, match="deletes only the output that is named"):
            await ran(job_of(client, tmp_path, server.profiles(), sink="other.parquet"), restart=True)
        assert verify(tmp_path / "job.ledger") == []


@pytest.mark.parametrize("sink", ["history.ndjson", "lake.parquet"])
async def test_an_output_that_is_not_as_the_job_left_it_is_not_deleted(server, tmp_path, sink):
    """A file that is gone is no hindrance; one of another size may be somebody else's."""
    async with server.client() as client:
        await ran(job_of(client, tmp_path, server.profiles(), sink=sink))
        path = tmp_path / sink
        file = next(path.glob("*.parquet")) if path.is_dir() else path
        file.write_bytes(b"something else")
        with pytest.raises(ConfigurationError, match="move it away, and run the same again"):
            await ran(job_of(client, tmp_path, server.profiles(), sink=sink), restart=True)
        assert file.read_bytes() == b"something else"
        assert status_of(tmp_path / "job.ledger").totals.done
        file.unlink()
        await ran(job_of(client, tmp_path, server.profiles(), sink=sink), restart=True)
    assert verify(tmp_path / "job.ledger") == []


@pytest.mark.parametrize("sink", ["history.ndjson", "lake.parquet"])
async def test_what_a_run_was_writing_when_it_was_killed_goes_too(server, tmp_path, sink):
    """A stray file of a similar name stays, and keeps a dataset from being begun."""
    async with server.client() as client:
        await ran(job_of(client, tmp_path, server.profiles(), sink=sink))
        path = tmp_path / sink
        if path.is_dir():
            with Ledger(tmp_path / "job.ledger") as ledger:
                last = ledger.last_batch
            (path / f"part-{last + 1:08}-{last + 1}.parquet").write_bytes(b"torn")
            (path / f".part-{last + 1:08}-{last + 1}.parquet.tmp").write_bytes(b"torn")
        else:
            (tmp_path / "history.ndjson.partial").write_bytes(b"torn")
            (tmp_path / ".history.ndjson.7.tmp").write_bytes(b"torn")
        await ran(job_of(client, tmp_path, server.profiles(), sink=sink), restart=True)
        assert verify(tmp_path / "job.ledger") == []
        if path.is_dir():
            (path / "part-00000001-0.parquet").write_bytes(b"stray")
            with pytest.raises(ConfigurationError, match=r"it holds part-00000001-0\.parquet"):
                await ran(job_of(client, tmp_path, server.profiles(), sink=sink), restart=True)
            assert (path / "part-00000001-0.parquet").read_bytes() == b"stray"
    assert not [found for found in tmp_path.rglob("*") if found.is_file() and found.read_bytes() == b"torn"]


class LedgerView:
    """What a ledger tells a sink."""

    def __init__(self, *parts, job="mine", last_batch=1):
        self.job, self.last_batch, self._parts = job, last_batch, parts
        self.location = "/a/job.ledger"

    def parts(self, batches=None):
        return iter(self._parts)


@pytest.mark.parametrize("there", ["old", "new size"])
def test_a_file_that_was_being_put_in_place_is_known_by_both_of_its_sizes(tmp_path, there):
    """Whether the run ended before or after."""
    path = tmp_path / "x.ndjson"
    path.write_text(there)
    old, new = (Part("x.ndjson", 1, 1, 0, len(text), 1, "") for text in ("old", "new size"))
    NdjsonSink(path).discard(LedgerView(old), Receipt([new], [old]))
    assert not path.exists()
    lake = tmp_path / "lake"
    lake.mkdir()
    (lake / "part-00000001-1.parquet").write_bytes(b"old")
    (lake / "part-00000001-2.parquet").write_bytes(b"new size")
    parts = [Part("part-00000001-1.parquet", 1, 1, 0, 3, 1, ""), Part("part-00000001-2.parquet", 1, 1, 0, 8, 1, "")]
    ParquetSink(lake).discard(LedgerView(parts[0]), Receipt(parts[1:], parts[:1]))
    assert list(lake.glob("*.parquet")) == []
    ParquetSink(tmp_path / "none").discard(LedgerView(), None)


def test_a_table_of_another_job_is_never_dropped(tmp_path, postgres):
    """Nor one of nobody; where there is none there is nothing to do."""
    duck, server = DuckDBSink(tmp_path / "x.duckdb"), PostgresSink(postgres.dsn, "restarted")
    duck.discard(LedgerView(), None)
    server.discard(LedgerView(), None)
    for sink in (duck, server):
        sink.open(LedgerView(last_batch=0), new=True)
        sink.close()
        with pytest.raises(ConfigurationError, match=r"belongs to another job \(mine\)"):
            sink.discard(LedgerView(job="theirs"), None)
        sink.discard(LedgerView(), None)
        sink.discard(LedgerView(), None)
    postgres.execute("CREATE TABLE restarted ()")
    with pytest.raises(ConfigurationError, match="belongs to no job"):
        server.discard(LedgerView(), None)
    postgres.execute("DROP TABLE restarted")
    (tmp_path / "bad.duckdb").write_bytes(b"no database at all")
    with pytest.raises(SinkError):
        DuckDBSink(tmp_path / "bad.duckdb").discard(LedgerView(), None)


async def test_what_cannot_be_begun_anew_says_why(server, tmp_path):
    """A sink of one's own without the method, a job that runs, and arguments that do not go together."""

    class Mine(NdjsonSink):
        discard = None

    async with server.client() as client:
        days = {"date_from": FIRST, "date_to": LAST}

        def job():
            return HistoryJob(client, server.profiles(), Mine(tmp_path / "x.ndjson"), ledger=tmp_path / "l", **days)

        await ran(job(), restart=True)
        with pytest.raises(ConfigurationError, match="cannot be deleted from here"):
            await ran(job(), restart=True)
        for given, options in ((None, {}), (server.profiles(), {"until": LAST})):
            with pytest.raises(ConfigurationError, match="restart goes with profiles"):
                await ran(job_of(client, tmp_path, given), restart=True, **options)
        held = FileLock(tmp_path / "l.lock", tmp_path / "l")
        assert held.acquire() is None
        with pytest.raises(JobHeld):
            await ran(job(), restart=True)
        held.release()
        # Nothing was asked of a place that no run has opened yet.
        with Ledger(tmp_path / "l") as ledger, ledger.transaction() as connection:
            connection.execute("DELETE FROM job WHERE key = 'begun'")
        discard_job(tmp_path / "l", sink_of(str(tmp_path / "x.ndjson")), threading.Event())
    assert (tmp_path / "x.ndjson").exists()
    assert not (tmp_path / "l").exists()


def test_one_output_may_have_several_options():
    """A table is another output."""
    assert is_same_output("/a/lake.parquet?partition=day", "/a/lake.parquet")
    assert not is_same_output("/a/x.duckdb?table=a", "/a/x.duckdb?table=b")
    assert not is_same_output("postgresql://h/d?table=a", "postgresql://h/d?table=b")


class TestCommands:
    """What a person types and sees."""

    @pytest.fixture
    def words(self, monkeypatch, tmp_path):
        """The line that exports three profiles."""
        monkeypatch.chdir(tmp_path)
        Path("who.txt").write_text("".join(f"user{number}@example.com\n" for number in range(3)))
        with HistoryServer(profiles=10, token=TOKEN) as server:
            lead_to(server, monkeypatch)
            self.server = server
            yield ["export", "who.txt", "--matching=email", "--from", FIRST, "--to", LAST, "--into=x.ndjson"]

    def test_a_first_try_with_a_typo_binds_nobody(self, words, run, monkeypatch):
        """The second line says what was replaced."""
        monkeypatch.setenv("PROFILE_HISTORY_TOKEN", "wrong")
        assert run(*words, "--list-id=7", "--window=9")[0] == 77
        monkeypatch.setenv("PROFILE_HISTORY_TOKEN", TOKEN)
        code, out, err = run(*words, "--json")
        assert code == 0
        assert "list_id is 7 there and " in err
        assert "Nothing has been fetched with the old plan: it is replaced" in err
        assert "it is replaced" in json.loads(out)["warnings"][0]

    def test_a_first_night_with_a_typo_binds_nobody_either(self, words, run, monkeypatch):
        """--since-last does not hold on to days of which nothing was fetched."""
        monkeypatch.setenv("PROFILE_HISTORY_TOKEN", "wrong")
        night = [*words[:3], "--since-last", "--into=x.ndjson"]
        assert run(*night, "--from=2012-01-01")[0] == 77
        monkeypatch.setenv("PROFILE_HISTORY_TOKEN", TOKEN)
        code, _, err = run(*night, "--from=2023-01-01")
        assert (code, "it is replaced" in err) == (0, True)
        assert run(*night, "--from=2023-01-01")[0] == 0
        assert run(*night, "--from=2023-01-02")[0] == 2

    def test_the_original_line_goes_on_after_a_night(self, words, run):
        """With code 0, and a word of how far the job reaches."""
        assert run(*words)[0] == 0
        assert run("export", "--since-last", "--into=x.ndjson")[0] == 0
        code, _, err = run(*words)
        assert (code, "the job by now reaches 20" in err) == (0, True)

    @pytest.mark.slow
    def test_to_begin_anew_wants_a_yes(self, words, run):
        """On a terminal it is asked for, else --yes says so; without, nothing is deleted."""
        code, _, err = run(*words, "--restart")
        assert (code, "warning" in err) == (0, False)
        events = json.loads(run("status", "x.ndjson", "--json")[1])["events"]
        code, _, err = run(*words, "--window=30")
        assert (code, "--restart deletes what was fetched and begins anew" in err) == (2, True)
        anew = [*PROGRAM, *words, "--window=30", "--restart"]
        process = subprocess.run(anew, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        would = f"--restart would delete {events:,} events in {Path.cwd()}/x.ndjson and begin anew; pass --yes"
        assert (process.returncode, would in process.stderr) == (2, True)
        assert json.loads(run("status", "x.ndjson", "--json")[1])["plan"]["window"] == "auto"
        assert run(*words, "--yes")[0] == 2
        assert run(*words, "--window=30", "--restart", "--yes")[0] == 0
        assert json.loads(run("status", "x.ndjson", "--json")[1])["plan"]["window"] == 30

    @pytest.mark.slow
    @pytest.mark.parametrize(("reply", "code"), [("y", 0), ("", 2), ("n", 2)])
    def test_a_person_is_asked(self, words, run, reply, code):
        """With the number of events, and "no" is what Enter means."""
        assert run(*words)[0] == 0
        with (
            Terminal() as screen,
            started(*words, "--restart", stdin=screen.end, stderr=screen.end, stdout=subprocess.DEVNULL) as process,
        ):
            assert "events in" in screen.read("[y/N]")
            screen.type(f"{reply}\n")
            assert process.wait(60) == code


def test_who_has_said_yes_is_not_asked(tmp_path):
    """Nor where there is nothing to delete."""
    confirm_restart(tmp_path / "none", "x", yes=False)
    confirm_restart(tmp_path, "x", yes=True)
