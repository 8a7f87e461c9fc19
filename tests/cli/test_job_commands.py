"""The commands `status`, `verify`, `resume` and `retry-failed`, and the options that go on with a job."""

import contextlib
import datetime as dt
import os
import sqlite3
import subprocess
from pathlib import Path

import pytest
from support.commands import ESCAPE, TOKEN, run, started, until  # noqa: F401 (fixtures)
from support.exports import DAYS, FIRST, LAST, export, listed, running, server, stored, summary, truth  # noqa: F401 (fixtures)

from profile_history import RetryPolicy
from profile_history.cli.job_paths import format_command
from profile_history.jobs.ledger import Ledger
from profile_history.testing import Behaviour, Fault, FaultPlan


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

    @pytest.mark.slow
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
        server.faults = FaultPlan.always(Fault.ERROR_503)
        options = ("--token-file", token_file(server.token), "--auth=header", "--allow-http", "--patience=0.1")
        code, _, err = export("history.ndjson", *options)
        assert code == 75
        assert "resume history.ndjson.ledger --token-file token --auth header --patience 0.1 --allow-http" in err


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
