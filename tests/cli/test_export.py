"""The command `export`: what it prints, where, and the codes it exits with. Real processes, real signals."""

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import ESCAPE, PROGRAM, TOKEN, Terminal, run, started, until  # noqa: F401 (fixtures)
from support.exports import (  # noqa: F401 (fixtures)
    DAYS,
    FIRST,
    LAST,
    PROFILES,
    export,
    listed,
    running,
    server,
    stored,
    summary,
    truth,
    words_for,
)

from profile_history.cli import exit_codes
from profile_history.cli.job_progress import format_duration, format_progress, make_job_view
from profile_history.cli.progress import ServerHealth, display
from profile_history.errors import HistoryError
from profile_history.jobs import JobHeld, LedgerError, Progress, SourceError, verify
from profile_history.jobs.planner import PlanningStopped
from profile_history.testing import Behaviour, Fault, FaultPlan


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

    @pytest.mark.slow
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

    @pytest.mark.slow
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
        assert "403" in err.splitlines()[-1]
        assert "go on with" not in err
        assert "stopped early" not in err
        monkeypatch.setenv("PROFILE_HISTORY_TOKEN", TOKEN)
        assert run("resume", "history.ndjson.ledger")[0] == 0
        assert stored("history.ndjson") == truth(server)

    def test_a_token_that_is_revoked_later_ends_it_with_77_and_says_how_to_go_on(self, server, export):
        """What is there stays."""
        server.faults = FaultPlan.always(Fault.ERROR_403, profiles=[15])
        code, _, err = export("history.ndjson", "--concurrency", "1")
        assert code == 77
        assert "go on with: profile-history resume history.ndjson.ledger" in err

    def test_the_page_of_a_firewall_ends_it_with_75(self, server, export):
        """It is not the API that refuses the token."""
        server.faults = FaultPlan.always(Fault.PAGE_403)
        code, out, err = export("history.ndjson", "--json")
        assert (code, summary(out)["exit_code"], summary(out)["status"]) == (75, 75, "try_later")
        assert "a page and not the API responded with HTTP 403" in err
        assert "go on with" not in err
        assert summary(out)["units"]["pending"] == 20

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

    @pytest.mark.slow
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


class TestDisplay:
    @pytest.mark.slow
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

    @pytest.mark.parametrize("width", [40, 80, 120])
    async def test_no_width_of_a_terminal_cuts_anything_off(self, width):
        """At 80 columns, the usual width, the bar leaves room for some words in a row, and the others follow below."""
        from rich.console import Console

        more = {"events_here": 4000, "requests": 200, "throttled": 3, "in_flight": 12, "limit": 16, "seconds": 10.0}
        held = "held at 29 requests/s by the server"
        now = Progress("fetching", pending=900, done=95, empty=5, events=5000, settled_here=50, held=held, **more)
        console = Console(force_terminal=True, width=width, file=io.StringIO())
        async with display(make_job_view(lambda: now, ServerHealth(900.0), console), console):
            await asyncio.sleep(0)
        shown = " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[━╸╺\u2800-\u28ff]", " ", console.file.getvalue()).split())
        assert "100/1,000 units · ETA 0:03:00 · held at 29 requests/s by the server · 5,000 events" in shown
        assert "12 of 16 in flight · 5 empty" in shown

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
