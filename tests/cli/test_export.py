"""The commands of durable jobs: what they print, where, and the codes they exit with. Real processes, real signals."""

import contextlib
import csv
import datetime as dt
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet
import pytest
from support.commands import ESCAPE, PROGRAM, TOKEN, Terminal, run, started, until  # noqa: F401 (one is a fixture)
from support.signals import linux

from profile_history import ConfigurationError, Profile, RetryPolicy
from profile_history.cli import exit_codes
from profile_history.cli.job_paths import format_command
from profile_history.cli.job_progress import format_duration, format_progress, make_job_view
from profile_history.cli.progress import ServerHealth
from profile_history.cli.stdin import open_stdin
from profile_history.errors import HistoryError
from profile_history.jobs import HistoryJob, JobHeld, LedgerError, Progress, SourceError, source_of, status_of, verify
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.lock import JobLock, holder_of
from profile_history.jobs.planner import PlanningStopped, digest_of
from profile_history.jobs.sources import MemorySource
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer

FIRST, LAST = "2023-01-01", "2024-12-31"
DAYS = ["--from", FIRST, "--to", LAST]
PROFILES = 600
# What a machine with something else to do may take for what takes milliseconds.
AT_ONCE = 3


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server in a thread, to which the environment leads; the working directory is one of our own."""
    monkeypatch.chdir(tmp_path)
    with HistoryServer(profiles=PROFILES, token=TOKEN) as running:
        monkeypatch.setenv("PROFILE_HISTORY_URL", running.url)
        monkeypatch.setenv("PROFILE_HISTORY_TOKEN", TOKEN)
        monkeypatch.setenv("PROFILE_HISTORY_LIST_ID", str(running.list_id))
        yield running


@pytest.fixture
def export(server, run):
    """Exports the first profiles; gives exit code, stdout and stderr."""

    def exporter(into, *words, profiles=20):
        return run("export", listed(profiles), "--matching", "email", *DAYS, f"--into={into}", *words)

    return exporter


def listed(profiles):
    """A file that names the first profiles."""
    path = Path("who.txt")
    path.write_text("".join(f"user{number}@example.com\n" for number in range(profiles)))
    return str(path)


def truth(server, profiles=20, last=LAST):
    """What has to be in the output: how often each event of each profile."""
    found = Counter()
    for number in range(profiles):
        name = f"email:user{number}@example.com"
        for event in server.truth(Profile.email(f"user{number}@example.com"), FIRST, last):
            found[name, event.datetime.replace(tzinfo=None), str(event.action), event.message_id] += 1
    return found


def stored(path):
    """What is in the output, read by other means than ours."""
    if path.endswith(".parquet"):
        table = pyarrow.parquet.read_table(path)
        names = ("profile", "datetime", "action", "message_id")
        return Counter(zip(*(table[name].to_pylist() for name in names), strict=True))
    if path.endswith(".csv"):
        with Path(path).open(newline="") as file:
            return Counter(moment(row["profile"], row) for row in csv.DictReader(file))
    entries = map(json.loads, Path(path).read_text().splitlines())
    return Counter(moment(entry["profile"], entry["event"]) for entry in entries)


def moment(profile, event):
    when = dt.datetime.fromisoformat(event["datetime"]).replace(tzinfo=None)
    number = event.get("message_id")
    return profile, when, event["action"], int(number) if number not in (None, "") else None


def words_for(into, *more, profiles=20):
    return ["export", listed(profiles), "--matching=email", *DAYS, "--into", into, *more]


def summary(out):
    """The one line on stdout."""
    (line,) = out.splitlines()
    return json.loads(line)


class TestExport:
    @pytest.mark.parametrize("into", ["history.ndjson", "history.csv", "lake.parquet"])
    def test_the_output_is_the_truth_and_stdout_stays_empty(self, server, export, into):
        """Every event of every profile is there once; the summary on stderr counts them."""
        code, out, err = export(into)
        expected = truth(server)
        assert (code, out) == (0, "")
        assert stored(into) == expected
        assert f": {expected.total():,} events in {Path(into).absolute()}; 20 units: " in err

    def test_again_it_finds_everything_done_and_asks_nobody(self, server, export):
        """So it may stand in a crontab."""
        assert export("history.ndjson")[0] == 0
        asked = len(server.log)
        code, out, err = export("history.ndjson")
        assert (code, out, len(server.log)) == (0, "", asked)
        assert "nothing was left to fetch" in err
        assert stored("history.ndjson") == truth(server)

    def test_another_plan_is_refused_and_the_difference_named(self, server, export, run):
        """The code is 2, and output and ledger stay as they are."""
        export("history.ndjson")
        before = Path("history.ndjson").read_bytes()
        code, _, err = export("history.ndjson", "--window", "61")
        assert (code, "window is 'auto' there and 61 here" in err) == (2, True)
        code, _, err = export("history.ndjson", profiles=21)
        assert (code, "the list of profiles is another one" in err) == (2, True)
        assert Path("history.ndjson").read_bytes() == before
        assert verify("history.ndjson.ledger") == []

    def test_profiles_come_down_a_pipe(self, server):
        """A single hyphen is stdin, in whatever format is named."""
        text = 'id;mail\n1;"user0@example.com"\n2;user1@example.com\n'
        words = ["export", "-", "--format=csv", "--matching=email", "--column=mail", *DAYS, "--into=history.ndjson"]
        done = subprocess.run([*PROGRAM, *words], input=text, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (0, "")
        assert stored("history.ndjson") == truth(server, 2)

    @pytest.mark.parametrize(("mark", "option"), [("|", "|"), ("\t", "tab"), (";", ";")])
    def test_the_delimiter_of_a_csv_file_can_be_named(self, server, run, mark, option):
        """A tab by its name, since shells make it hard to type."""
        Path("who.csv").write_text(f"a,b,c{mark}email\n1,2,3{mark}user0@example.com\n")
        words = ["export", "who.csv", "--matching=email", "--column=email", *DAYS, "--into=history.ndjson"]
        code, _, err = run(*words)
        assert (code, "no column 'email'; the columns are a, b, c" in err) == (2, True)
        assert run(*words, "--delimiter", option)[0] == 0
        assert stored("history.ndjson") == truth(server, 1)

    def test_no_neighbour_of_a_value_leaves_the_machine(self, server, run):
        """A file that is cut wrongly is refused, and rows of it that cannot be right are listed with their reasons."""
        Path("who.csv").write_text("id;mail\n1;user0@example.com\n")
        code, _, err = run("export", "who.csv", "--matching=email", "--delimiter=,", *DAYS, "--into=history.ndjson")
        assert (code, "its only column is 'id;mail'; pass --delimiter ';'" in err) == (2, True)
        Path("who.csv").write_text("mail\n1;user1@example.com\n<user0@example.com>\nuser1@example.com|Anna\n")
        assert run("export", "who.csv", "--matching=email", *DAYS, "--into=history.ndjson")[0] == 0
        assert stored("history.ndjson") == truth(server, 1)
        rejects = list(map(json.loads, Path("history.ndjson.rejects.ndjson").read_text().splitlines()))
        assert [(reject["line"], reject["text"]) for reject in rejects] == [
            (2, "1;user1@example.com"),
            (4, "user1@example.com|Anna"),
        ]
        assert all("pass --delimiter" in reject["reason"] for reject in rejects)

    def test_names_of_files_that_are_no_utf8_are_read_or_refused(self, server, run):
        """A source and a directory may have one; an output may not, since ledgers keep its name as UTF-8."""
        place = Path(os.fsdecode(b"pl\xffce"))
        place.mkdir()
        Path(os.fsdecode(b"wh\xff.txt")).write_bytes(b"user0@example.com\nj\xff@example.com\n")
        words = [b"wh\xff.txt", "--matching=email", *DAYS, "--into", b"pl\xffce/history.ndjson"]
        export = subprocess.run([*PROGRAM, "export", *words], capture_output=True, timeout=60, check=False)
        assert export.returncode == 0, export.stderr.decode()
        (reject,) = map(json.loads, (place / "history.ndjson.rejects.ndjson").read_text().splitlines())
        assert reject == {"line": 2, "reason": "the line is no UTF-8", "text": "j\\xff@example.com"}
        for name in ("status", "verify", "resume"):
            code, _, err = run(name, os.fsdecode(b"pl\xffce/history.ndjson"))
            assert code == 0, err
        words[-1] = b"h\xff.ndjson"
        code, _, err = run("export", *map(os.fsdecode, words))
        assert code == 2
        assert "the name of the output is no UTF-8: 'h\\udcff.ndjson'; choose another one" in err

    def test_profiles_come_from_a_query(self, server, run):
        """A database is a source like others."""
        import duckdb

        with duckdb.connect("crm.duckdb") as database:
            database.execute("CREATE TABLE people AS SELECT 'user' || range || '@example.com' AS mail FROM range(20)")
        query = "SELECT mail FROM people ORDER BY mail"
        words = ["export", "crm.duckdb", "--query", query, "--matching", "email", *DAYS, "--into", "history.ndjson"]
        assert run(*words)[0] == 0
        assert stored("history.ndjson") == truth(server)

    def test_lines_and_rows_that_are_set_apart_are_pointed_at(self, server, run):
        """The rest is exported, and the code is 0."""
        Path("who.txt").write_text("user0@example.com\nnobody\n")
        code, _, err = run("export", "who.txt", "--matching=email", *DAYS, "--into=history.ndjson")
        assert (code, stored("history.ndjson")) == (0, truth(server, 1))
        assert "1 line of the profiles names nobody: see history.rejects.ndjson" in err or (
            "see history.ndjson.rejects.ndjson" in err
        )
        assert json.loads(Path("history.ndjson.rejects.ndjson").read_text())["line"] == 2

    def test_a_ledger_may_stand_elsewhere(self, server, export, run):
        """Then it is what the other commands are told."""
        Path("books").mkdir()
        assert export("history.ndjson", "--ledger", "books/mine")[0] == 0
        assert run("verify", "books/mine")[0] == 0
        code, _, err = run("verify", "history.ndjson")
        assert (code, "name the ledger" in err) == (74, True)

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--into=a.ndjson"], "PROFILES is missing: a file, - for stdin"),
            (["who.txt", "--matching=email", "--into=a.ndjson"], "--from is missing; pass the first day"),
            (["who.txt", "--matching=email", "--from", FIRST, "--into=a.ndjson"], "--to is missing; pass the last day"),
            (["who.txt", *DAYS, "--into=a.ndjson"], "--matching on the command line"),
            (["who.txt", "--matching=fax", *DAYS, "--into=a.ndjson"], "no matching mode 'fax'"),
            (["who.txt", "--matching=email", *DAYS, "--into=a.txt"], "'a.txt' names no sink"),
            (["none.txt", "--matching=email", *DAYS, "--into=a.ndjson"], "none.txt cannot be read"),
            (["--since-last", "--into=a.ndjson"], "there is none at a.ndjson.ledger yet"),
            (["--since-last", "--column=a", "--into=a.ndjson"], "--column goes with PROFILES"),
            (["--since-last", "--delimiter=;", "--into=a.ndjson"], "--delimiter goes with PROFILES"),
            (["who.txt", "--matching=email", "--delimiter=;", *DAYS, "--into=a.ndjson"], "text takes no delimiter"),
            (
                ["who.txt", "--matching=email", "--format=csv", "--delimiter=", *DAYS, "--into=a.ndjson"],
                "a delimiter is one character such as a semicolon, not ''",
            ),
            (["who.txt", "--matching=custom:\udcff", *DAYS, "--into=a.ndjson"], "matching is no UTF-8: "),
            (["who.txt", "--matching=email", *DAYS, "--into=a.ndjson", "--window=week"], "--window is"),
        ],
    )
    def test_what_is_missing_or_wrong_is_said_in_one_line(self, server, run, words, message):
        """The code is 2, nothing was sent, and no file is made."""
        listed(1)
        code, out, err = run("export", *words)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert message in err
        assert list(server.log) == []
        assert [path.name for path in Path().iterdir()] == ["who.txt"]

    def test_a_place_that_is_not_there_is_named(self, server, export):
        """The code is that of a failed output."""
        code, _, err = export("nowhere/history.ndjson")
        assert code == 74
        assert "nowhere/history.ndjson.ledger.lock cannot be written (No such file or directory); make" in err
        assert "Traceback" not in err

    def test_the_token_is_nowhere(self, server, export, run):
        """Not in the ledger, nor in any other file, nor in what is printed."""
        for words in ([], ["--json"]):
            assert TOKEN not in "".join(map(str, export("history.ndjson", *words)))
        for name in ("status", "verify", "resume"):
            assert TOKEN not in "".join(map(str, run(name, "history.ndjson")))
        for path in Path().iterdir():
            assert TOKEN.encode() not in path.read_bytes(), path


class TestFailures:
    DEAD = FaultPlan(rates={Fault.API_ERROR: 1.0}, streak=None, api_error=440, profiles=range(7))

    def test_failed_units_are_listed_and_asked_for_again(self, server, export, run):
        """The code is 1 until `retry-failed` gets them; the others were there all the time."""
        server.faults = self.DEAD
        code, _, err = export("history.ndjson")
        assert code == 1
        assert len([line for line in err.splitlines() if line.startswith("failed: ")]) == 5
        assert "and 2 more failed: profile-history status history.ndjson.ledger" in err
        assert "ask again for what failed: profile-history retry-failed history.ndjson.ledger" in err
        assert run("resume", "history.ndjson")[0] == 1
        code, _, err = run("verify", "history.ndjson")
        assert (code, "intact, but 7 of 20 profiles failed: profile-history retry-failed" in err) == (1, True)
        server.faults = FaultPlan()
        code, _, err = run("retry-failed", "history.ndjson")
        assert (code, stored("history.ndjson")) == (0, truth(server))

    def test_json_lists_them(self, server, export):
        """Each with profile, days and reason."""
        server.faults = self.DEAD
        code, out, _ = export("history.ndjson", "--json")
        told = summary(out)
        assert (code, told["exit_code"], told["status"], told["units"]["failed"]) == (1, 1, "some_failed", 7)
        assert told["failed"][6]["profile"] == "email:user6@example.com"
        assert (told["failed"][6]["date_from"], told["failed"][6]["date_to"]) == (FIRST, LAST)
        assert "440" in told["failed"][6]["reason"]

    def test_a_bad_token_ends_it_with_77(self, server, export, run, monkeypatch):
        """The job stays, and a good token goes on with it."""
        monkeypatch.setenv("PROFILE_HISTORY_TOKEN", "wrong")
        code, out, err = export("history.ndjson", "--json")
        assert (code, summary(out)["exit_code"], summary(out)["status"]) == (77, 77, "not_authorised")
        assert "go on with: profile-history resume history.ndjson.ledger" in err
        monkeypatch.setenv("PROFILE_HISTORY_TOKEN", TOKEN)
        assert run("resume", "history.ndjson.ledger")[0] == 0
        assert stored("history.ndjson") == truth(server)

    def test_a_server_that_is_down_ends_it_with_75(self, server, export, run):
        """After the patience that was asked for; `resume` finds the server that --url names."""
        words = ["--url", "http://127.0.0.1:9", "--patience", "0.1"]
        code, out, err = export("history.ndjson", *words, "--json")
        assert (code, summary(out)["status"], summary(out)["units"]["pending"]) == (75, "try_later", 20)
        assert "resume history.ndjson.ledger --patience 0.1" in err
        assert run("resume", "history.ndjson", "--url", server.url)[0] == 0
        assert stored("history.ndjson") == truth(server)

    def test_an_output_that_cannot_be_written_ends_it_with_74(self, server, export):
        """Who had a directory of that name is told so."""
        Path("x.duckdb").mkdir()
        code, out, _ = export("x.duckdb", "--json")
        assert (code, summary(out)["exit_code"]) in [(74, 74), (2, 2)]
        assert summary(out)["error"]

    def test_a_password_is_refused_and_not_printed(self, server, export):
        """Others could read it; the message says where it goes, and no ledger is made."""
        code, out, err = export("postgresql://me:sesame@127.0.0.1:9/db", "--json")
        assert (code, "set PGPASSWORD" in err) == (2, True)
        assert "sesame" not in out + err
        assert not list(Path().glob("*.ledger*"))

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (JobHeld("x"), 75),
            (LedgerError("x"), 74),
            (SourceError("x"), 74),
            (HistoryError("x"), 1),
            (PlanningStopped("x"), 1),
        ],
    )
    def test_every_error_of_a_job_has_its_code(self, error, code, monkeypatch):
        """Where jobs were never imported there is none of theirs."""
        assert exit_codes.choose(error) == code
        monkeypatch.delitem(sys.modules, "profile_history.jobs")
        assert exit_codes.choose(error) == 1

    def test_each_code_has_a_meaning_and_a_word(self):
        """For people and for programs."""
        assert exit_codes.STATUSES.keys() == exit_codes.MEANINGS.keys()


class TestJson:
    def test_a_done_job_is_summed_up(self, server, export):
        """Units by status, events, requests, seconds, and where it all is."""
        code, out, _ = export("history.ndjson", "--json")
        told = summary(out)
        units = {"pending": 0, "done": 19, "empty": 1, "provisional": 0, "failed": 0}
        seconds = told.pop("seconds")
        assert sum(told["units"].values()) == 20
        assert told["units"].keys() == units.keys()
        assert 0 < seconds < 60
        events = truth(server).total()
        told.pop("units")
        assert (code, told) == (
            0,
            {
                "status": "done",
                "exit_code": 0,
                "error": None,
                "ledger": "history.ndjson.ledger",
                "sink": str(Path("history.ndjson").absolute()),
                "output": str(Path("history.ndjson").absolute()),
                "profiles": 20,
                "events": events,
                "rejects": 0,
                "quarantined": 0,
                "failed": [],
                "all_empty": False,
                "warnings": [],
                "events_here": events,
                "requests": 20,
                "retries": 0,
                "throttled": 0,
            },
        )

    def test_another_plan_is_an_object_too(self, server, export):
        """With the error in it, and what is in the ledger."""
        export("history.ndjson")
        code, out, _ = export("history.ndjson", "--border", "exact", "--json")
        told = summary(out)
        assert (code, told["status"], told["exit_code"]) == (2, "refused", 2)
        assert "border is 'overlap' there and 'exact' here" in told["error"]
        assert told["units"]["pending"] == 0

    def test_before_there_is_a_ledger_it_says_what_it_knows(self, server, run):
        """Even where hardly anything is known."""
        code, out, _ = run("export", "--into", "x.txt", "--json")
        told = summary(out)
        assert (code, told["status"], told["ledger"], told["sink"]) == (2, "refused", None, None)
        code, out, _ = run("resume", "none", "--json")
        assert (code, summary(out)["exit_code"]) == (2, 2)
        Path("a.ledger").write_text("no database")
        code, out, _ = run("retry-failed", "a.ledger", "--json")
        assert (code, summary(out)["exit_code"]) == (74, 74)

    def test_a_signal_is_an_object_too(self, server):
        """With what was stored by then."""
        server.behaviour = Behaviour(latency=0.05)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with started(*words_for("history.ndjson", "--json", "--concurrency=4", profiles=PROFILES), **pipes) as process:
            until(lambda: len(server.log) > 30)
            os.kill(process.pid, signal.SIGTERM)
            out, err = process.communicate(timeout=30)
        told = summary(out)
        assert (process.returncode, told["exit_code"], told["status"]) == (143, 143, "terminated")
        assert told["error"] is None
        assert told["units"]["done"] > 10
        assert "go on with: profile-history resume history.ndjson.ledger --concurrency 4\n" in err


class TestSignals:
    def interrupted(self, server, into, times, rng):
        """Interrupts one job so many times, and lets it end; gives the codes."""
        words = words_for(into, "--concurrency", "4", profiles=PROFILES)
        server.behaviour = Behaviour(latency=0.05)
        stop = "go on with: profile-history resume"
        codes = []
        for _ in range(times):
            before = len(server.log)
            with started(*words, stderr=subprocess.PIPE) as process:
                until(lambda process=process: listens(process))
                if rng.random() < 0.7:
                    wanted = before + rng.randrange(1, 60)
                    until(lambda wanted=wanted: len(server.log) >= wanted)
                time.sleep(rng.random() / 2)
                os.kill(process.pid, signal.SIGINT)
                begun = time.monotonic()
                err = process.communicate(timeout=30)[1]
                assert time.monotonic() - begun < 5, err
            codes.append(process.returncode)
            assert "Traceback" not in err
            assert stop in err or len(server.log) == before
            if Path(f"{into}.ledger").exists() and stop in err:
                words = ["resume", into, "--concurrency", "4"]
        server.behaviour = Behaviour()
        words = words_for(into, profiles=PROFILES)
        done = subprocess.run([*PROGRAM, *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return codes

    @linux
    @pytest.mark.parametrize("into", ["history.ndjson", pytest.param("lake.parquet", marks=pytest.mark.full)])
    def test_sigint_at_random_moments_loses_and_doubles_nothing(self, server, into):
        """Three times: gone within five seconds with code 130, and in the end exactly the truth."""
        assert self.interrupted(server, into, 3, random.Random(7)) == [130] * 3
        assert stored(into) == truth(server, PROFILES)
        assert verify(f"{into}.ledger") == []

    @linux
    @pytest.mark.full
    @pytest.mark.parametrize("seed", range(10))
    @pytest.mark.parametrize("into", ["history.ndjson", "lake.parquet"])
    def test_a_hundred_times(self, server, into, seed):
        """The same, ten times at each of ten jobs for each output."""
        assert set(self.interrupted(server, into, 10, random.Random(seed))) == {130}
        assert stored(into) == truth(server, PROFILES)
        assert verify(f"{into}.ledger") == []

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_while_profiles_are_awaited_from_a_pipe(self, server, number):
        """Who forgot to pipe something in gets out at once; the next run plans anew."""
        words = ["export", "-", "--matching=email", *DAYS, "--into=history.ndjson", "--json"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with started(*words, **pipes) as process:
            until(lambda: running(Path("history.ndjson.ledger")))
            os.kill(process.pid, number)
            begun = time.monotonic()
            assert process.wait(AT_ONCE) == 128 + number
            assert time.monotonic() - begun < AT_ONCE
            out, err = process.stdout.read(), process.stderr.read()
        assert summary(out)["exit_code"] == 128 + number
        assert "while the profiles were read, before anything was fetched; run the same command again" in err
        done = subprocess.run(
            [*PROGRAM, *words], input="user0@example.com\n", capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, stored("history.ndjson")) == (0, truth(server, 1))

    def test_the_second_signal_ends_it_at_once_and_what_was_stored_stays(self, server):
        """Nobody has to wait for a clean end, and the next run goes on."""
        server.faults = FaultPlan.always(Fault.STALL)
        code = f"""
import sys, time
from profile_history.cli import main
from profile_history.jobs.session import JobSession
def close(self):
    print("closing", flush=True)
    time.sleep(60)
JobSession.close = close
sys.exit(main({words_for("history.ndjson")!r}))
"""
        with started(program=[sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            until(lambda: server.injected[Fault.STALL] >= 4)
            os.kill(process.pid, signal.SIGINT)
            assert process.stdout.readline() == "closing\n"
            begun = time.monotonic()
            os.kill(process.pid, signal.SIGINT)
            assert process.wait(AT_ONCE) == 130
            assert time.monotonic() - begun < AT_ONCE
        server.faults = FaultPlan()
        done = subprocess.run([*PROGRAM, "resume", "history.ndjson"], capture_output=True, timeout=60, check=False)
        assert (done.returncode, stored("history.ndjson")) == (0, truth(server))

    def test_what_does_not_end_in_time_says_how_to_go_on(self, server):
        """The excuse names the command; nothing that was stored is lost."""
        server.faults = FaultPlan.always(Fault.STALL)
        code = f"""
import sys, time
from profile_history.cli import main
from profile_history.cli import signals
from profile_history.jobs.session import JobSession
signals.GRACE = 0.3
JobSession.close = lambda self: time.sleep(60)
sys.exit(main({words_for("history.ndjson")!r}))
"""
        with started(program=[sys.executable, "-c", code], stderr=subprocess.PIPE) as process:
            until(lambda: server.injected[Fault.STALL] >= 4)
            os.kill(process.pid, signal.SIGINT)
            err = process.communicate(timeout=30)[1]
        assert process.returncode == 130
        assert "nothing that was stored is lost: profile-history resume history.ndjson.ledger" in err


class TestTwoProcesses:
    def test_the_second_leaves_and_names_the_first_which_status_shows_too(self, server, run):
        """Within two seconds, with 75; the first is not disturbed."""
        server.behaviour = Behaviour(latency=0.2)
        words = words_for("history.ndjson", "--concurrency=4", "--json", profiles=100)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with started(*words, **pipes) as first:
            until(lambda: len(server.log) > 4)
            begun = time.monotonic()
            code, out, err = run("resume", "history.ndjson", "--json")
            assert time.monotonic() - begun < 2
            assert (code, summary(out)["status"]) == (75, "try_later")
            assert f"process {first.pid} on " in err
            code, out, err = run("verify", "history.ndjson")
            assert (code, f"process {first.pid} on " in err) == (75, True)
            code, out, _ = run("status", "history.ndjson", "--json")
            now = summary(out)
            assert (code, now["state"], now["pid"], now["profiles"]) == (0, "running", first.pid, 100)
            _, out, _ = run("status", "history.ndjson")
            assert f"running: process {first.pid} on " in out
            server.behaviour = Behaviour()
            out, _ = first.communicate(timeout=30)
        assert (first.returncode, summary(out)["status"]) == (0, "done")
        assert stored("history.ndjson") == truth(server, 100)
        assert summary(run("status", "history.ndjson", "--json")[1])["pid"] is None

    def test_a_killed_process_holds_nothing(self, server, run):
        """Its number in the lock does not make it alive."""
        server.faults = FaultPlan.always(Fault.STALL)
        with started(*words_for("history.ndjson"), stderr=subprocess.DEVNULL) as process:
            until(lambda: server.injected[Fault.STALL])
            process.kill()
            process.wait()
        assert Path("history.ndjson.ledger.lock").read_text().startswith(f"{process.pid} ")
        now = summary(run("status", "history.ndjson", "--json")[1])
        assert (now["state"], now["pid"]) == ("unfinished", None)

    def test_a_lock_that_names_nobody_is_another_process(self, tmp_path):
        """As on a machine that wrote it in another way."""
        lock = JobLock(tmp_path / "a.ledger")
        lock.acquire()
        (tmp_path / "a.ledger.lock").write_text("somebody")
        assert (holder_of(tmp_path / "a.ledger").pid, str(holder_of(tmp_path / "a.ledger"))) == (
            None,
            "another process",
        )
        with pytest.raises(JobHeld, match="another process is working"):
            JobLock(tmp_path / "a.ledger").acquire()
        lock.release()
        assert holder_of(tmp_path / "a.ledger") is None
        assert holder_of(tmp_path / "none") is None


class TestStatus:
    def test_it_shows_plan_and_totals(self, server, export, run):
        """Of the job beside the output or in the ledger, without any setting."""
        export("lake.parquet")
        for name in ("lake.parquet", "lake.parquet.ledger", "./lake.parquet?partition=month"):
            code, out, err = run("status", name)
            assert (code, err) == (0, "")
            assert "state     done" in out
            assert "days      2023-01-01 to 2024-12-31" in out
            assert f"{truth(server).total():,} events in {Path('lake.parquet').absolute()}" in out

    def test_it_names_what_failed_and_what_to_do(self, server, export, run):
        """Ten of them, and how many more."""
        server.faults = FaultPlan(rates={Fault.API_ERROR: 1.0}, streak=None, api_error=440, profiles=range(12))
        export("history.ndjson")
        code, out, _ = run("status", "history.ndjson")
        assert (code, len([line for line in out.splitlines() if line.startswith("failed    ")])) == (0, 10)
        assert "and 2 more" in out
        assert "profile-history retry-failed history.ndjson.ledger" in out

    def test_an_unfinished_job_says_how_to_go_on(self, server, export, run):
        """In the words of the shell."""
        export("-my history.ndjson", "--url", "http://127.0.0.1:9", "--patience", "0.1")
        _, out, _ = run("status", "./-my history.ndjson")
        assert "go on with: profile-history resume './-my history.ndjson.ledger'" in out

    def test_a_job_that_knows_no_profiles_yet_is_not_planned(self, server, run):
        """Nothing can be resumed there."""
        with started("export", "-", "--matching=email", *DAYS, "--into=a.ndjson", stdin=subprocess.PIPE) as process:
            until(lambda: running(Path("a.ndjson.ledger")))
            process.kill()
        code, out, _ = run("status", "a.ndjson")
        assert (code, "state     not planned" in out) == (0, True)
        assert summary(run("status", "a.ndjson", "--json")[1])["plan"] is None
        code, _, err = run("resume", "a.ndjson")
        assert (code, "run the same `export` again" in err) == (2, True)

    def test_what_is_no_job_is_said(self, server, run):
        """And no file of somebody else is touched."""
        code, _, err = run("status", "nothing")
        assert (code, "there is no job: nothing is not there" in err) == (2, True)
        code, _, err = run("status", "nothing.ndjson")
        assert (code, "neither nothing.ndjson.ledger nor nothing.ndjson is there" in err) == (2, True)
        with contextlib.closing(sqlite3.connect("mine.db")) as mine:
            mine.execute("CREATE TABLE a (b)")
        before = Path("mine.db").read_bytes()
        code, _, err = run("status", "mine.db")
        assert (code, "mine.db is no ledger of a job" in err) == (74, True)
        assert Path("mine.db").read_bytes() == before


class TestVerify:
    @pytest.mark.parametrize("into", ["history.ndjson", "history.csv", "lake.parquet"])
    def test_a_changed_byte_is_found_without_token_or_server(self, server, export, run, monkeypatch, into):
        """The difference is on stdout, the code is 1."""
        export(into)
        for name in ("URL", "TOKEN", "LIST_ID"):
            monkeypatch.delenv(f"PROFILE_HISTORY_{name}")
        code, out, err = run("verify", into)
        assert (code, out) == (0, "")
        assert "all is well" in err
        path = next(Path(into).rglob("*.parquet")) if into == "lake.parquet" else Path(into)
        changed = bytearray(path.read_bytes())
        changed[len(changed) // 2] ^= 1
        path.write_bytes(changed)
        code, out, _ = run("verify", into)
        assert (code, "not what was written" in out) == (1, True)
        differences = out.splitlines()
        code, out, _ = run("verify", into, "--json")
        assert (code, summary(out)["differences"]) == (1, differences)

    @pytest.mark.parametrize("into", ["history.ndjson", "history.csv", "lake.parquet"])
    def test_a_file_that_is_cut_or_gone_is_a_difference(self, server, export, run, into):
        """And no wrong usage."""
        export(into)
        path = next(Path(into).rglob("*.parquet")) if into == "lake.parquet" else Path(into)
        os.truncate(path, 10)
        assert run("verify", into)[0] == 1
        path.unlink()
        code, out, err = run("verify", into)
        assert (code, bool(out), err) == (1, True, "")

    def test_an_unfinished_job_is_verified_as_far_as_it_is(self, server, export, run):
        """And says that there is more to fetch."""
        export("history.ndjson", "--url", "http://127.0.0.1:9", "--patience", "0.1")
        code, out, err = run("verify", "history.ndjson")
        assert (code, out) == (1, "")
        assert "the 0 events fetched are intact, but 20 of 20 profiles are still to be fetched: " in err
        assert "profile-history resume history.ndjson.ledger" in err

    def test_a_database_that_cannot_be_read_is_no_difference(self, server, export, run):
        """It says nothing of what it holds; the code is that of an output."""
        export("history.duckdb")
        assert run("verify", "history.duckdb")[0] == 0
        Path("history.duckdb").write_bytes(b"no database at all")
        code, out, err = run("verify", "history.duckdb")
        assert (code, out, "history.duckdb" in err) == (74, "", True)

    def test_another_sink_is_refused(self, server, export, run):
        """That would compare two different things."""
        export("history.ndjson")
        code, _, err = run("verify", "history.ndjson", "--into", "other.ndjson")
        assert (code, "the job fills" in err) == (2, True)


class TestResume:
    def test_it_asks_as_the_plan_says(self, server, export, run, monkeypatch):
        """Server, database, windows, border and order are in the ledger; the environment does not matter."""
        options = ["--window", "365", "--border", "exact", "--order", "oldest"]
        export("history.ndjson", *options, "--patience", "0.1", "--token-file", token_file("wrong"))
        assert summary(run("status", "history.ndjson", "--json")[1])["units"]["pending"] == 20
        monkeypatch.setenv("PROFILE_HISTORY_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("PROFILE_HISTORY_LIST_ID", "99")
        assert run("resume", "history.ndjson", "--auth", "header")[0] == 0
        assert stored("history.ndjson") == truth(server)

    def test_windows_may_be_none(self, server, export, run):
        """One request a profile, also after a pause."""
        export("history.ndjson", "--window", "none", "--token-file", token_file("wrong"))
        assert run("resume", "history.ndjson")[0] == 0
        assert stored("history.ndjson") == truth(server)

    def test_the_sink_may_be_named_once_more(self, server, export, run):
        """For a password; another sink is refused."""
        export("history.ndjson", "--token-file", token_file("wrong"))
        code, _, err = run("resume", "history.ndjson", "--into", "other.ndjson")
        assert (code, "the job fills" in err) == (2, True)
        assert run("resume", "history.ndjson", "--into", "history.ndjson")[0] == 0
        assert stored("history.ndjson") == truth(server)

    def test_the_command_that_is_printed_has_the_options_it_needs(self):
        """Quoted for the shell."""
        assert format_command("resume", Path("a b"), " --allow-http") == "profile-history resume 'a b' --allow-http"

    def test_the_options_are_those_that_were_given(self, server, export):
        """A token file and an unusual place of the token have to be typed again."""
        _, _, err = export("history.ndjson", "--token-file", token_file("wrong"), "--auth=header", "--allow-http")
        assert "resume history.ndjson.ledger --token-file token --auth header --allow-http" in err


def listens(process):
    """Whether a process handles SIGTERM, as the command line does from its first lines on."""
    caught = re.search(r"SigCgt:\s+(\w+)", Path(f"/proc/{process.pid}/status").read_text())[1]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def running(ledger):
    """Whether some process has begun to fill a ledger."""
    try:
        return status_of(ledger).holder is not None
    except ConfigurationError:
        return False


def token_file(token):
    path = Path("token")
    path.write_text(token)
    path.chmod(0o600)
    return str(path)


class TestSinceLast:
    def test_one_line_serves_the_first_night_and_the_others(self, server, export, run):
        """Each night the days since the last one are there, once."""
        words = ["export", listed(20), "--matching=email", "--from", FIRST, "--since-last", "--into=history.ndjson"]
        for last in ("2024-06-30", "2024-07-15", "2024-07-15", LAST):
            code, out, _ = run(*words, "--to", last)
            assert (code, out) == (0, "")
            assert stored("history.ndjson") == truth(server, last=last)
        assert run("verify", "history.ndjson")[0] == 0

    def test_without_a_last_day_it_goes_up_to_today(self, server, run):
        """The most recent days are asked for again the next time."""
        words = ["export", listed(20), "--matching=email", "--from", FIRST, "--since-last", "--into=history.ndjson"]
        assert run(*words)[0] == 0
        now = summary(run("status", "history.ndjson", "--json")[1])
        assert (now["plan"]["date_to"], now["units"]["provisional"]) == (str(dt.date.today()), 20)
        assert run("export", "--since-last", "--into=history.ndjson")[0] == 0
        assert stored("history.ndjson") == truth(server)

    def test_it_needs_nothing_but_the_sink_and_the_token(self, server, export, run, monkeypatch):
        """Profiles and the way of asking stand in the ledger."""
        words = ["--window", "200", "--order", "oldest"]
        run("export", listed(20), "--matching=email", "--from", FIRST, "--to=2024-06-30", "--into=a.csv", *words)
        for name in ("URL", "LIST_ID"):
            monkeypatch.delenv(f"PROFILE_HISTORY_{name}")
        assert run("export", "--since-last", "--to", LAST, "--into=a.csv")[0] == 0
        assert stored("a.csv") == truth(server)

    def test_newcomers_get_all_days(self, server, export, run):
        """Who was there before gets the new ones."""
        run("export", listed(10), "--matching=email", "--from", FIRST, "--to=2024-06-30", "--into=a.ndjson")
        assert run("export", listed(20), "--matching=email", "--since-last", "--to", LAST, "--into=a.ndjson")[0] == 0
        assert stored("a.ndjson") == truth(server)

    def test_an_interrupted_job_is_gone_on_with(self, server, export, run):
        """What was left comes first, then the newer days; the numbers count both."""
        words = ["export", listed(20), "--matching=email", "--from", FIRST, "--into=a.ndjson"]
        run(*words, "--to=2024-06-30", "--token-file", token_file("wrong"))
        code, out, _ = run("export", "--since-last", "--to", LAST, "--into=a.ndjson", "--json")
        told = summary(out)
        assert (code, told["requests"], told["events_here"]) == (0, 40, truth(server).total())
        assert stored("a.ndjson") == truth(server)

    def test_what_does_not_fit_is_refused_before_anything_is_fetched(self, server, export, run):
        """A last day before the job's own, and another first day."""
        export("a.ndjson")
        asked = len(server.log)
        code, _, err = run("export", "--since-last", "--to=2024-01-01", "--into=a.ndjson")
        assert (code, "lies before the last day of this job, 2024-12-31" in err) == (2, True)
        code, _, err = run(
            "export", listed(20), "--matching=email", "--since-last", "--from=2023-02-01", "--into=a.ndjson"
        )
        assert (code, "--from 2023-02-01 is not the first day of this job, 2023-01-01" in err) == (2, True)
        assert len(server.log) == asked

    def test_the_look_back_is_kept(self, server, run):
        """Who resumes a job without the option does not take its recent days for final."""
        words = ["export", listed(2), "--matching=email", "--from", FIRST, "--since-last", "--into=a.ndjson"]
        run(*words, "--lookback", "900", "--token-file", token_file("wrong"))
        assert run("resume", "a.ndjson")[0] == 0
        with Ledger(Path("a.ndjson.ledger")) as ledger:
            first = ledger.connection.execute("SELECT min(date_from) FROM unit WHERE status = 'provisional'").fetchone()
        assert first == (str(dt.date.today() - dt.timedelta(days=900)),)

    def test_a_job_that_reaches_into_the_future_is_gone_on_with(self, server, run):
        """Each night says so; the days ahead are asked for until they are over, and the summary has the warning."""
        words = ["export", listed(20), "--matching=email", "--since-last", "--into=history.ndjson", "--json"]
        future = str(dt.date.today() + dt.timedelta(days=400))
        for more in (["--from", FIRST, "--to", future], [], ["--to", str(dt.date.today())]):
            code, out, err = run(*words, *more)
            assert (code, summary(out)["units"]["provisional"]) == (0, 20)
            [warning] = summary(out)["warnings"]
            assert f"the last day of this job, {future}, lies in the future" in warning
            assert err.count(f"warning: {warning}") == 1
        assert stored("history.ndjson") == truth(server)

    def test_a_clock_that_was_set_back_locks_nobody_out(self, server, run):
        """The job keeps its last day, nothing becomes final by the wrong clock, and the night says what is wrong."""
        words = ["export", listed(20), "--matching=email", "--from", FIRST, "--since-last", "--into=history.ndjson"]
        assert run(*words)[0] == 0
        server.behaviour = Behaviour(clock=lambda: dt.datetime.now(dt.UTC) + dt.timedelta(days=90))
        code, _, err = run(*words)
        assert (code, "warning: this machine's clock is behind the server's" in err) == (0, True)
        server.behaviour = Behaviour(clock=lambda: dt.datetime.now(dt.UTC) - dt.timedelta(days=90))
        code, _, err = run(*words)
        assert (code, "warning: this machine's clock is ahead of the server's" in err) == (0, True)
        server.behaviour = Behaviour(date_header=False)
        code, _, err = run(*words)
        assert (code, err.count("the server does not say what day it is")) == (0, 1)

    def test_days_are_fetched_again_from_a_day_on(self, server, run):
        """All units that reach it, final ones too; the others are left alone."""
        words = ["export", listed(20), "--matching=email", "--from", FIRST, "--since-last", "--into=history.ndjson"]
        assert run(*words, "--to=2023-12-31", "--window=90")[0] == 0
        assert run("export", "--since-last", "--to", LAST, "--into=history.ndjson")[0] == 0
        server.log.clear()
        code, _, _ = run("export", "--since-last", "--to", LAST, "--into=history.ndjson", "--refetch-from=2024-02-01")
        assert code == 0
        # The second run's windows begin on New Year's Day; one day more is asked for.
        assert min(entry.date_from for entry in server.log) == "2023-12-31"
        assert {entry.profile for entry in server.log} == set(range(20))
        assert stored("history.ndjson") == truth(server)
        assert run("verify", "history.ndjson")[0] == 0

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--since-last", "--refetch-from=yesterday"], 'refetch_from is a day such as "2017-01-31"'),
            (["--since-last", "--refetch-from=2022-12-31"], "is none of the days of this job, 2023-01-01 to"),
            (["--since-last", "--refetch-from=9999-12-31"], "lies after until"),
            (["--since-last", "--to", LAST, "--refetch-from=2025-01-01"], "lies after until 2024-12-31"),
            (["--refetch-from=2024-01-01"], "--refetch-from goes with --since-last; pass both"),
            (["--since-last", "--lookback=800000"], "lookback takes a whole number of days, 0 to 36,500"),
            (["--since-last", "--lookback=-1"], "Must be >= 0"),
            (["--since-last", "--min-events=-1"], "Must be >= 0"),
        ],
    )
    def test_days_that_cannot_be_are_refused(self, server, export, run, words, said):
        """Before anything is sent or stored."""
        export("history.ndjson")
        before = {path: path.read_bytes() for path in Path().glob("history.ndjson*")}
        server.log.clear()
        code, _, err = run("export", "--into=history.ndjson", *words)
        assert code == 2
        assert said in ESCAPE.sub("", err)
        assert not server.log
        assert Path("history.ndjson").read_bytes() == before[Path("history.ndjson")]
        with Ledger(Path("history.ndjson.ledger")) as ledger:
            assert ledger.lookback == 2

    def test_there_is_nothing_to_fetch_again_before_there_is_a_job(self, server, run):
        """The option is refused where a job would be begun."""
        words = ["export", listed(20), "--matching=email", "--from", FIRST, "--since-last", "--into=history.ndjson"]
        code, _, err = run(*words, "--refetch-from=2024-01-01")
        assert (code, "--refetch-from goes with a job that is there" in err) == (2, True)
        assert not Path("history.ndjson.ledger").exists()


def strangers(number):
    """A file that names profiles that the server does not know."""
    path = Path("strangers.txt")
    path.write_text("".join(f"nobody{1000 + place}@example.com\n" for place in range(number)))
    return str(path)


class TestTooFewEvents:
    def test_not_one_event_of_many_profiles_is_loud(self, server, run):
        """The matching mode may be wrong; a run that has nothing to do says it as well."""
        words = ["export", strangers(300), "--matching=email", *DAYS, "--into=history.ndjson", "--json"]
        for what in ("done in ", "nothing was left to fetch"):
            code, out, err = run(*words)
            asked = 'not one of 300 profiles has an event. Is --matching email right for values like "nobody1000@'
            assert (code, summary(out)["all_empty"], summary(out)["units"]["empty"]) == (0, True, 300)
            assert [asked in warning for warning in summary(out)["warnings"]] == [True]
            assert (err.count(asked), what in err, "but not one" in err) == (1, True, True)
        code, out, err = run("export", "--since-last", "--into=history.ndjson", "--json")
        assert (code, summary(out)["all_empty"], err.count(asked)) == (0, True, 1)

    def test_of_few_profiles_or_some_days_that_is_nothing_special(self, server, export, run):
        """Nineteen may have no events, and neither may the newest days of many."""
        code, out, err = run("export", strangers(19), "--matching=email", *DAYS, "--into=few.ndjson", "--json")
        assert (code, summary(out)["all_empty"], summary(out)["warnings"], "not one" in err) == (0, False, [], False)
        export("history.ndjson")
        code, out, err = run("export", "--since-last", "--into=history.ndjson", "--json")
        told = summary(out)
        assert (code, told["events_here"], told["all_empty"], told["warnings"]) == (0, 0, False, [])
        assert "not one" not in err

    def test_profiles_that_failed_may_have_had_events(self, server, run, monkeypatch):
        """Then nothing can be said, unless they are very few."""
        swift = RetryPolicy(base=0.001, cap=0.002)
        monkeypatch.setattr("profile_history.cli.client_options.RetryPolicy", lambda **_: swift)
        server.faults = FaultPlan.always(Fault.ERROR_402, profiles=[0, 1])
        for empty, said in ((30, False), (300, True)):
            into = f"{empty}.ndjson"
            who = Path(strangers(empty))
            who.write_text("user0@example.com\nuser1@example.com\n" + who.read_text())
            code, out, err = run("export", str(who), "--matching=email", *DAYS, f"--into={into}", "--json")
            assert (code, summary(out)["units"]["failed"], summary(out)["all_empty"]) == (1, 2, said)
            assert (f"not one of {empty} profiles that could be fetched has an event" in err) == said

    @pytest.mark.parametrize("mode", ["custom:CRM_ID", "phone", "xxh"])
    def test_the_question_names_the_mode_and_a_value(self, server, run, mode):
        """As they were given."""
        value = {"custom:CRM_ID": "99999", "phone": "+79009999999", "xxh": "0123456789abcdef"}[mode]
        Path("who.txt").write_text("".join(f"{value[:-2]}{number}\n" for number in range(10, 40)))
        code, _, err = run("export", "who.txt", "--matching", mode, *DAYS, "--into=a.ndjson")
        assert (code, f'Is --matching {mode} right for values like "{value[:-2]}10"?' in err) == (0, True)

    def test_a_run_can_be_asked_to_bring_some_events(self, server, export, run):
        """It looks at this run, whatever the job has."""
        there = truth(server).total()
        code, out, err = export("history.ndjson", "--min-events", str(there), "--json")
        assert (code, summary(out)["events_here"], "--min-events" in err) == (0, there, False)
        few = "this run has brought 0 events, fewer than --min-events 1"
        for words in (["resume"], ["retry-failed"]):
            code, out, err = run(*words, "history.ndjson", "--min-events=1", "--json")
            assert (code, summary(out)["exit_code"], few in err) == (1, 1, True)
            assert run(*words, "history.ndjson", "--min-events=0")[0] == 0
        code, _, err = run("export", "--since-last", "--into=history.ndjson", "--min-events=1")
        assert (code, few in err) == (1, True)
        code, _, err = export("other.ndjson", "--min-events", str(there + 1))
        assert (code, f"this run has brought {there:,} events, fewer than --min-events {there + 1:,}" in err) == (
            1,
            True,
        )


class TestDisplay:
    def test_a_terminal_shows_a_line_that_goes_when_the_summary_comes(self, server):
        """It says how far it is, and what the server does."""
        server.behaviour = Behaviour(latency=0.05)
        with Terminal() as screen, started(*words_for("a.ndjson", profiles=100), stderr=screen.end) as process:
            screen.hand_over()
            seen = ESCAPE.sub("", screen.read("/100 units"))
            assert process.wait(30) == 0
            seen = ESCAPE.sub("", screen.read())
        assert "in flight" in seen
        assert "done in " in seen

    def test_the_line_of_each_phase(self):
        """Planning counts lines, fetching has speed and time left, the end neither."""
        assert format_progress(Progress("planning")) == "planning"
        assert format_progress(Progress("planning", lines=1_200_000)) == "planning: 1,200,000 lines of profiles read"
        fetching = Progress("fetching", pending=900, done=80, empty=15, failed=5, events=5000, settled_here=50)
        assert format_progress(fetching) == "100/1,000 units · 5 failed · 5,000 events · 0 of 0 in flight · 15 empty"
        more = {"events_here": 4000, "requests": 200, "throttled": 3, "in_flight": 12, "limit": 16, "seconds": 10.0}
        running = Progress("fetching", pending=900, done=100, events=5000, settled_here=50, **more)
        assert format_progress(running) == (
            "100/1,000 units · ETA 0:03:00 · 5,000 events · 400 events/s · 20 requests/s · 1.5% throttled · "
            "12 of 16 in flight"
        )
        assert format_progress(Progress("finishing", done=1, events=1)) == "finishing · 1/1 units · 1 event"

    def test_times_are_written_as_people_do(self):
        """Short ones in seconds, long ones like a clock."""
        assert [format_duration(seconds) for seconds in (0.44, 12.4, 3700)] == ["0.4 s", "12 s", "1:01:40"]

    def test_why_nothing_moves_comes_first_and_only_while_it_fetches(self):
        """Away from a terminal each line has its time."""
        from rich.console import Console

        from profile_history.observing import CircuitOpened

        health = ServerHealth(900.0, clock=lambda: 0.0)
        health.observe(CircuitOpened("10 failures in a row"))
        now = Progress("fetching", pending=1, done=1, next_probe=11.2)
        line = make_job_view(lambda: now, health, Console(force_terminal=True)).line()
        assert line.startswith("server down, next try in 12 s, waiting 0 s of 900 s (10 failures in a row) · 1/2 units")
        now = Progress("complete", done=2)
        plain = make_job_view(lambda: now, health, Console(force_terminal=False)).line()
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d complete", plain)


class TestLibrary:
    async def test_progress_counts_the_lines_while_it_plans(self, tmp_path):
        """Who embeds a job can show that something happens."""
        gone = threading.Event()

        def profiles():
            yield Profile.email("user0@example.com")
            yield Profile.email("user1@example.com")
            gone.wait(30)

        with HistoryServer(profiles=2) as server:
            async with server.client(retry=RetryPolicy(base=0.001)) as client:
                job = HistoryJob(
                    client, profiles(), str(tmp_path / "a.ndjson"), ledger=tmp_path / "l", date_from=FIRST, date_to=LAST
                )
                async for progress in job.run():
                    if progress.phase == "planning" and not gone.is_set():
                        assert (progress.lines, job.progress.lines) == (2, 2)
                        gone.set()
        assert (progress.phase, progress.profiles, progress.pending) == ("complete", 2, 0)

    def test_comparing_profiles_can_be_stopped(self):
        """However many there are."""
        stop = threading.Event()
        stop.set()
        with pytest.raises(PlanningStopped):
            digest_of(MemorySource([Profile.email("user0@example.com")]), stop)

    def test_status_of_nothing_says_so(self, tmp_path):
        """The message names the file."""
        with pytest.raises(ConfigurationError, match="there is no ledger"):
            status_of(tmp_path / "none")

    def test_a_source_is_the_same_when_counted(self, tmp_path):
        """Its name and its nature are those of the other."""
        from profile_history.jobs.sources.counted import CountingSource

        (tmp_path / "who").write_text("user0@example.com\n")
        source = source_of(str(tmp_path / "who"), matching="email")
        counted = CountingSource(source)
        assert (counted.url, counted.repeatable) == (source.url, True)
        assert len(list(counted.lines())) == counted.read == 1

    def test_stdin_that_is_closed_is_said(self, monkeypatch):
        """Not an AttributeError."""
        monkeypatch.setattr("sys.stdin", None)
        with pytest.raises(ConfigurationError, match="stdin is closed"):
            open_stdin()
