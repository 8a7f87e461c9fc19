"""The command `fetch`: what it prints, where, and the codes it exits with."""

import io
import re
import signal
import subprocess

import pytest
from support.commands import (  # noqa: F401 (fixtures)
    EMAILS,
    ESCAPE,
    REFUSED_AT_ONCE,
    TOKEN,
    Terminal,
    read_ndjson,
    run,
    server,
    started,
    truth,
    until,
)

from profile_history import Profile
from profile_history.matching import Matching
from profile_history.testing import Behaviour, Fault, FaultPlan


class TestFetch:
    def test_ndjson_is_the_truth_and_nothing_else_is_on_stdout(self, server, run):
        """Every event of every profile is one line; progress is on stderr."""
        code, out, err = run("fetch", "--matching", "email", "--format", "ndjson", *EMAILS)
        assert (code, read_ndjson(out)) == (0, truth(server))
        assert "5/5 profiles" in err

    def test_the_table_is_the_truth_under_one_heading(self, server, run):
        """Datetime, profile, action, ids and label of each event, in the order of the history."""
        email = EMAILS[0]
        code, out, err = run("fetch", "--matching", "email", email)
        events = server.truth(Profile.email(email))
        heading, *lines = out.splitlines()
        assert (code, heading.split()) == (
            0,
            ["datetime", "profile", "action", "message_id", "campaign_id", "label"],
        )
        for line, event in zip(lines, events, strict=True):
            ids = [str(number) for number in (event.message_id, event.campaign_id) if number is not None]
            words = [*str(event.datetime).split(), f"email:{email}", event.action, *ids, *event.action.label().split()]
            assert line.split() == words
        assert f"{len(events)} events" in err

    @pytest.mark.parametrize(
        ("matching", "value"),
        [
            ("xxh", "f1bbcdcbfa53e0a8"),
            ("email", "user1@example.com"),
            ("email_profile", "user1@example.com"),
            ("email_sub", "user1@example.com"),
            ("phone", "+7900000000001"),
            ("phone_sub", "+7900000000001"),
            ("profile_id", "66f669730000000000000001"),
            ("push_sub", "android-firebase:sub-1"),
            ("custom", "CRM_ID=1"),
            ("custom_sub", "CRM_ID=1"),
            ("email_phone", "user1@example.com,+7900000000001"),
            ("email_phone", ",+7900000000001"),
            ("email_phone_sub", "user1@example.com,"),
        ],
    )
    def test_every_matching_mode_is_written_as_its_text(self, server, run, matching, value):
        """The same profile is found by each mode in the words of the help."""
        code, out, _ = run("fetch", "--matching", matching, "--format", "ndjson", value)
        ((profile, events),) = read_ndjson(out).items()
        assert (code, profile) == (0, f"{matching}:{value}")
        assert events == truth(server)["email:user1@example.com"]
        assert server.log[-1].matching == matching

    def test_every_matching_mode_is_in_the_help_as_it_is_written(self, run, monkeypatch):
        """The help names the modes as the API does."""
        monkeypatch.setenv("COLUMNS", "200")
        _, out, _ = run("fetch", "--help")
        assert [mode for mode in Matching if not re.search(rf"\b{mode}\b", out.partition("choices: ")[2])] == []

    @pytest.mark.parametrize(
        ("options", "days"),
        [
            (["--from", "2024-01-01"], ("2024-01-01", None)),
            (["--to", "2023-12-31"], (None, "2023-12-31")),
            (["--from", "2023-06-01", "--to", "2024-03-31"], ("2023-06-01", "2024-03-31")),
        ],
    )
    def test_from_and_to_bound_the_days(self, server, run, options, days):
        """Both days belong to the range, and an open end stays open."""
        code, out, _ = run("fetch", "--matching", "email", "--format", "ndjson", *options, *EMAILS)
        assert (code, read_ndjson(out)) == (0, truth(server, EMAILS, *days))

    @pytest.mark.parametrize(("window", "requests"), [("none", 1), ("auto", 1), ("61", 12)])
    def test_the_window_says_how_many_requests_a_range_takes(self, server, run, window, requests):
        """Two years are one request, or one for each 61 days of the 731."""
        days = ["--from", "2023-01-01", "--to", "2024-12-31"]
        code, out, _ = run("fetch", "--matching=email", "--format=ndjson", *days, "--window", window, EMAILS[0])
        assert (code, len(server.log), read_ndjson(out)) == (0, requests, truth(server, EMAILS[:1]))

    def test_the_other_options_reach_the_server(self, server, run):
        """Header authorisation, exact borders and the oldest first are what they say."""
        days = ["--from", "2023-02-01", "--to", "2024-10-31"]
        options = ["--auth", "header", "--border", "exact", "--order", "oldest", "--concurrency", "1"]
        code, out, _ = run("fetch", "--matching", "email", "--format", "ndjson", *days, *options, EMAILS[0])
        (entry,) = server.log
        (events,) = read_ndjson(out).values()
        assert (code, entry.auth, entry.date_from, entry.date_to) == (0, "header", "2023-02-01", "2024-10-31")
        assert [event[0] for event in events] == sorted(event[0] for event in events)

    def test_url_and_list_id_may_be_arguments(self, server, run, monkeypatch):
        """An argument wins over the environment."""
        url = server.url
        monkeypatch.setenv("PROFILE_HISTORY_URL", "https://nobody.invalid")
        monkeypatch.setenv("PROFILE_HISTORY_LIST_ID", "21")
        code, out, _ = run("fetch", "--matching=email", "--format=ndjson", "--url", url, "--list-id", 20, *EMAILS)
        assert (code, read_ndjson(out)) == (0, truth(server))

    def test_output_writes_the_file_and_leaves_stdout_empty(self, server, run, tmp_path):
        """The events are in the file."""
        path = tmp_path / "events.ndjson"
        code, out, _ = run("fetch", "--matching", "email", "--format", "ndjson", "--output", path, *EMAILS)
        assert (code, out, read_ndjson(path.read_text("utf-8"))) == (0, "", truth(server))

    def test_a_file_that_is_there_is_kept_unless_told_otherwise(self, server, run, tmp_path):
        """Without --overwrite nothing is sent and the file stays; with it the file is replaced."""
        path = tmp_path / "events.ndjson"
        path.write_text("precious")
        words = ["fetch", "--matching", "email", "--format", "ndjson", "--output", path, *EMAILS]
        code, out, err = run(*words)
        assert (code, out, path.read_text(), list(server.log)) == (2, "", "precious", [])
        assert "--overwrite" in err
        assert run(*words, "--overwrite")[0] == 0
        assert read_ndjson(path.read_text("utf-8")) == truth(server)

    def test_a_refused_token_leaves_no_file_behind(self, server, run, tmp_path, monkeypatch):
        """What brought nothing does not stand in the way of the next try."""
        path = tmp_path / "events.ndjson"
        words = ["fetch", "--matching", "email", "--output", path, EMAILS[0]]
        monkeypatch.setenv("PROFILE_HISTORY_TOKEN", "wrong")
        assert run(*words)[0] == 77
        monkeypatch.setenv("PROFILE_HISTORY_TOKEN", TOKEN)
        assert run(*words)[0] == 0

    @pytest.mark.parametrize("words", [["--matching", "email", "-"], ["-", "--matching", "email"]], ids=" ".join)
    def test_a_hyphen_reads_the_values_from_stdin(self, server, run, monkeypatch, words):
        """One value a line; blank lines are passed over."""
        monkeypatch.setattr("sys.stdin", io.StringIO("\n\n".join(EMAILS) + "\n"))
        code, out, err = run("fetch", *words, "--format", "ndjson")
        assert (code, read_ndjson(out)) == (0, truth(server)), err

    @pytest.mark.parametrize("wrap", ["<{}>", "mailto:{}", " “{}” ", "\u200b{}\u200e"])
    def test_values_are_read_as_those_of_a_job_are(self, server, run, monkeypatch, wrap):
        """Whether they are arguments or lines of stdin."""
        words = ["fetch", "--matching", "email", "--format", "ndjson"]
        code, out, err = run(*words, wrap.format(EMAILS[0]))
        assert (code, read_ndjson(out)) == (0, truth(server, EMAILS[:1])), err
        monkeypatch.setattr("sys.stdin", io.StringIO(f"\ufeff\n{wrap.format(EMAILS[0])}\r\n"))
        code, out, err = run(*words, "-")
        assert (code, read_ndjson(out)) == (0, truth(server, EMAILS[:1])), err

    def test_a_value_that_cannot_be_right_is_refused_with_its_line(self, server, run, monkeypatch):
        """Nothing is asked for the others; a custom value may be anything."""
        code, _, err = run("fetch", "--matching", "email", EMAILS[0], f"{EMAILS[1]};")
        assert (code, f"email ends with ';', which is no part of it: '{EMAILS[1]};'" in err) == (2, True)
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{EMAILS[0]}\n\n# comment\n"))
        code, _, err = run("fetch", "--matching", "email", "-")
        assert (code, "line 3 of stdin: email is an address such as" in err) == (2, True)
        assert list(server.log) == []
        assert run("fetch", "--matching", "custom", "name=<a>; ")[0] == 0
        assert [entry.matching for entry in server.log] == ["custom"]

    def test_a_file_may_hold_the_token(self, server, run, monkeypatch, tmp_path):
        """A file that only its owner can read is as good as the variable, and wins over it."""
        path = tmp_path / "token"
        path.write_text(f"{TOKEN}\n")
        path.chmod(0o600)
        monkeypatch.setenv("PROFILE_HISTORY_TOKEN", "wrong")
        code, out, _ = run("fetch", "--matching", "email", "--format", "ndjson", "--token-file", path, *EMAILS)
        assert (code, read_ndjson(out)) == (0, truth(server))

    @pytest.mark.slow
    def test_a_reader_that_leaves_early_ends_it_quietly(self, server):
        """When the other end of the pipe is closed, there is no traceback."""
        server.behaviour = Behaviour(latency=0.2)
        with started(
            "fetch", "--matching", "email", *EMAILS, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            process.stdout.close()
            assert process.wait(30) == 1
            assert "Error" not in process.stderr.read()


class TestExitCodes:
    def test_one_dead_profile_fails_the_command_and_no_other_profile(self, server, run):
        """The failure is named on stderr, the others are complete, and the code is 1."""
        server.faults = FaultPlan(**REFUSED_AT_ONCE, profiles=[1])
        code, out, err = run("fetch", "--matching", "email", "--format", "ndjson", *EMAILS)
        named = [line for line in err.splitlines() if "failed:" in line]
        assert (code, read_ndjson(out)) == (1, truth(server, EMAILS[1:]))
        assert "1 failed" in err
        assert len(named) == 1
        assert "error 440" in named[0]
        assert "email:user1@example.com" in err

    def test_a_failure_stays_one_line_that_grep_finds(self, server, run):
        """Away from a terminal no message is broken at a width: the line ends with its bracket."""
        server.faults = FaultPlan(**REFUSED_AT_ONCE)
        _, _, err = run("fetch", "--matching", "email", EMAILS[0])
        assert re.search(r"^failed: .*error 440.*\[profile email:user1@example\.com, .*\]$", err, re.MULTILINE)

    def test_a_deadline_that_passes_is_a_failure(self, server, run):
        """The command gives up after its seconds and says why."""
        server.faults = FaultPlan.always(Fault.STALL)
        code, _, err = run("fetch", "--matching", "email", "--deadline", 0.1, EMAILS[0])
        assert (code, "deadline=0.1" in err) == (1, True)

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--bogus", "1"], "--bogus"),
            (["--matching", "profile_id", "--bogus"], "--bogus"),
            (["--from", "2024-13-01"], "2024-13-01"),
            (["--from", "2024-02-01", "--to", "2024-01-31"], "lies before"),
            (["--window", "x"], "--window"),
            (["--window", "0"], "window"),
            (["--window", "30"], "two ends"),
            (["--concurrency", "0"], "concurrency"),
            (["--deadline", "0"], "deadline"),
            (["--patience", "0"], "patience"),
            (["--list-id", "x"], "--list-id"),
            (["--list-id", "0"], "list_id"),
            (["--format", "xml"], "--format"),
            (["--url", "http://example.com"], "https"),
            (["--url", "ftp://example.com"], "ftp"),
            (["--output", "/nowhere/at/all"], "/nowhere/at/all"),
            (["--token-file", "/nowhere/at/all"], "/nowhere/at/all"),
            (["--matching", "name"], "name"),
            (["--matching", "xxh"], "xxh"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else None,
    )
    def test_wrong_usage_is_named_and_sends_nothing(self, server, run, words, said):
        """The code is 2, stdout is empty, stderr names what is wrong, and the server was not asked."""
        matching = [] if "--matching" in words else ["--matching", "email"]
        code, out, err = run("fetch", *matching, *words, EMAILS[0])
        assert (code, out, list(server.log)) == (2, "", [])
        assert said in err

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["fetch", "--matching", "email"], "VALUE"),
            (["fetch", EMAILS[0]], "--matching"),
            (["actions", "--channel", "pigeon"], "pigeon"),
            (["actions", "--lang", "de"], "de"),
            (["serve", "--latency", "20"], "20ms"),
            (["serve", "--latency=-1s"], "-1s"),
            (["serve", "--port", "99999"], "port"),
            (["serve", "--profiles", "-5"], "--profiles"),
            (["demo", "--profiles", "0"], "--profiles"),
            (["demo", "--faults", "total"], "total"),
            (["teleport"], "teleport"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else None,
    )
    def test_wrong_usage_of_any_command_is_two(self, server, run, words, said):
        """No traceback, nothing on stdout, and one look at stderr tells what to change."""
        code, out, err = run(*words)
        assert (code, out, "Traceback" in err) == (2, "", False)
        assert said in err

    @pytest.mark.parametrize("name", ["URL", "TOKEN", "LIST_ID"])
    def test_a_missing_setting_is_named(self, server, run, monkeypatch, name):
        """The message names the variable that would supply it."""
        monkeypatch.delenv(f"PROFILE_HISTORY_{name}")
        code, out, err = run("fetch", "--matching", "email", EMAILS[0])
        assert (code, out, list(server.log)) == (2, "", [])
        assert f"PROFILE_HISTORY_{name}" in err

    @pytest.mark.parametrize(
        ("name", "option"), [("URL", "--url"), ("TOKEN", "--token-file"), ("LIST_ID", "--list-id")]
    )
    def test_a_missing_setting_is_explained_in_options(self, server, run, monkeypatch, name, option):
        """At the command line the message names the option to pass, not the argument of a Python call."""
        monkeypatch.delenv(f"PROFILE_HISTORY_{name}")
        _, _, err = run("fetch", "--matching", "email", EMAILS[0])
        assert option in err
        assert "token=" not in err
        assert "list_id=" not in err

    @pytest.mark.parametrize("by_option", [False, True])
    def test_a_token_file_that_others_can_read_is_refused(self, server, run, monkeypatch, tmp_path, by_option):
        """The message tells the command that mends it."""
        path = tmp_path / "token"
        path.write_text(TOKEN)
        path.chmod(0o644)
        monkeypatch.delenv("PROFILE_HISTORY_TOKEN")
        if not by_option:
            monkeypatch.setenv("PROFILE_HISTORY_TOKEN_FILE", str(path))
        code, out, err = run("fetch", "--matching=email", *(["--token-file", path] if by_option else []), EMAILS[0])
        assert (code, out, list(server.log)) == (2, "", [])
        assert f"chmod 600 {path}" in err

    def test_plain_http_to_another_machine_has_to_be_allowed(self, server, run, monkeypatch):
        """With --allow-http it is the missing list_id that is complained of, and no more the address."""
        monkeypatch.delenv("PROFILE_HISTORY_LIST_ID")
        words = ["fetch", "--matching", "email", "--url", "http://example.com", EMAILS[0]]
        refused, allowed = run(*words), run(*words, "--allow-http")
        assert (refused[0], "in the clear" in refused[2]) == (2, True)
        assert (allowed[0], "in the clear" in allowed[2], "LIST_ID" in allowed[2]) == (2, False, True)

    def test_a_wrong_token_is_77(self, server, run, monkeypatch):
        """The job stops at the first refusal, and says it is one."""
        monkeypatch.setenv("PROFILE_HISTORY_TOKEN", "wrong")
        code, _, err = run("fetch", "--matching", "email", EMAILS[0])
        assert (code, len(server.log)) == (77, 1)
        complaint = [line for line in err.splitlines() if "profiles" not in line or "403" in line]
        assert "403" in complaint[0]
        for advice in ("again", "stopped early", "export"):
            assert advice not in err

    def test_a_token_that_is_revoked_later_is_77_and_says_what_is_complete(self, server, run):
        """But not to run the same command again."""
        server.faults = FaultPlan.always(Fault.ERROR_403, profiles=[4])
        code, _, err = run("fetch", "--matching", "email", "--concurrency", "1", *EMAILS)
        assert code == 77
        assert "stopped early: 3 of 5 profiles are complete" in err
        assert "again" not in err

    @pytest.mark.parametrize("fault", [Fault.PAGE_401, Fault.PAGE_403, Fault.ERROR_404])
    def test_a_page_in_place_of_the_api_is_75_and_not_about_the_token(self, server, run, fault):
        """It says whose page it is, and what to check, and not to run again what will meet the same."""
        server.faults = FaultPlan.always(fault)
        code, out, err = run("fetch", "--matching", "email", *EMAILS)
        assert "again" not in err
        assert (code, out) == (75, "")
        assert f"a page and not the API responded with HTTP {fault[-3:]}" in err
        assert "the token is" not in err
        assert ("check the base URL" in err) is (fault is Fault.ERROR_404)

    def test_a_redirect_comes_without_advice_to_run_again(self, server, run):
        """The target is all there is to say."""
        server.faults = FaultPlan.always(Fault.REDIRECT_302)
        code, _, err = run("fetch", "--matching", "email", EMAILS[0])
        assert (code, "redirects are refused" in err, "again" in err) == (1, True, False)

    def test_a_pause_beyond_patience_names_the_option(self, server, run):
        """And when to run it again."""
        server.faults = FaultPlan(script=[Fault.THROTTLED_WITH_RETRY_AFTER], retry_after=5000)
        code, _, err = run("fetch", "--matching", "email", EMAILS[0])
        assert code == 75
        assert "the server asks to wait for 5000 s; do so, or raise RetryPolicy.patience (--patience)" in err
        assert "run the same command again" in err

    def test_a_dead_port_is_75(self, server, run):
        """With one profile as with many, and as soon as patience ends."""
        words = ["fetch", "--matching", "email", "--url", "http://127.0.0.1:9", "--patience", "0.3", EMAILS[0]]
        code, out, err = run(*words)
        assert (code, out) == (75, "")
        assert "no connection to 127.0.0.1:9" in err

    @pytest.mark.slow
    def test_an_interrupt_is_130_and_says_what_is_complete(self, server):
        """Ctrl-C during a request ends the command in seconds, and the terminal has its cursor back."""
        server.faults = FaultPlan.always(Fault.STALL, profiles=[2])
        words = ["fetch", "--matching", "email", *EMAILS[:2]]
        with Terminal() as screen, started(*words, stdout=subprocess.DEVNULL, stderr=screen.end) as process:
            screen.hand_over()
            screen.read("1/2 profiles")
            until(lambda: server.injected[Fault.STALL])
            process.send_signal(signal.SIGINT)
            assert process.wait(5) == 130
            seen = screen.read()
        assert "interrupted: 1 of 2 profiles are complete" in ESCAPE.sub("", seen)
        assert "Traceback" not in seen
        assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h")


class TestSecrecy:
    @pytest.mark.parametrize(
        ("code", "token", "words"),
        [
            (0, TOKEN, []),
            (0, TOKEN, ["--auth", "header"]),
            (77, f"{TOKEN}-wrong", []),
            (2, TOKEN, ["--window", "x"]),
            (1, TOKEN, ["--to", "2023-12-31"]),
        ],
        ids=["body", "header", "wrong", "usage", "failing"],
    )
    def test_the_token_is_in_no_output(self, server, run, monkeypatch, code, token, words):
        """Whatever becomes of the command, neither stream tells the token."""
        monkeypatch.setenv("PROFILE_HISTORY_TOKEN", token)
        server.faults = FaultPlan(**REFUSED_AT_ONCE) if code == 1 else FaultPlan()
        done = run("fetch", "--matching", "email", *words, EMAILS[0])
        assert done[0] == code
        assert TOKEN not in done[1] + done[2]

    @pytest.mark.parametrize("words", [["--token", "secret"], ["--token=secret"]], ids=["blank", "equals"])
    def test_there_is_no_option_for_the_token_and_an_attempt_is_not_echoed(self, server, run, words):
        """It is refused, --token-file is suggested, and the value is not repeated into someone's log."""
        code, out, err = run("fetch", "--matching", "email", *words, EMAILS[0])
        assert (code, list(server.log)) == (2, [])
        assert "--token-file" in err
        assert "secret" not in out + err

    @pytest.mark.slow
    def test_on_a_terminal_the_token_is_asked_for_and_not_shown(self, server, monkeypatch):
        """Nobody has to write a token into a file or a variable, and no one sees it typed."""
        monkeypatch.delenv("PROFILE_HISTORY_TOKEN")
        words = ["fetch", "--matching", "email", "--format", "ndjson", *EMAILS]
        with (
            Terminal() as screen,
            started(*words, stdin=screen.end, stdout=subprocess.PIPE, stderr=screen.end) as process,
        ):
            screen.hand_over()
            screen.read("API token: ")
            screen.type(f"{TOKEN}\n")
            out = process.stdout.read()
            assert process.wait(30) == 0
            seen = screen.read()
        assert read_ndjson(out) == truth(server)
        assert TOKEN not in seen + out


class TestDisplay:
    @pytest.mark.slow
    def test_on_a_terminal_the_numbers_are_live_and_the_cursor_comes_back(self, server):
        """A bar and the state, redrawn in place, whose last state is complete and stays."""
        server.behaviour = Behaviour(latency=0.3)
        words = ["fetch", "--matching", "email", "--format", "ndjson", *EMAILS]
        with Terminal() as screen, started(*words, stdout=subprocess.PIPE, stderr=screen.end) as process:
            screen.hand_over()
            out = process.stdout.read()
            assert process.wait(30) == 0
            seen = screen.read()
        assert read_ndjson(out) == truth(server)
        assert "0/5 profiles" in seen
        assert "5/5 profiles" in "".join(ESCAPE.sub("", seen).splitlines()[-2:])
        assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") > 0

    @pytest.mark.slow
    def test_beside_data_on_the_same_terminal_the_numbers_keep_to_one_row(self, server):
        """To redraw several would go up into the data, and erase rows of them."""
        server.behaviour = Behaviour(latency=0.15)
        words = ["fetch", "--matching", "email", "--format", "ndjson", *EMAILS]
        with Terminal() as screen, started(*words, stdout=screen.end, stderr=screen.end) as process:
            screen.hand_over()
            assert process.wait(30) == 0
            seen = screen.read()
        assert "profiles" in seen
        assert re.search(r"\x1b\[\d*A", seen) is None

    @pytest.mark.slow
    def test_on_a_narrow_terminal_failures_are_not_cut_off(self, server):
        """At 80 columns, the usual width, the last state still says how many windows failed."""
        server.faults = FaultPlan(**REFUSED_AT_ONCE, profiles=[1])
        words = ["fetch", "--matching", "email", *EMAILS]
        with Terminal() as screen, started(*words, stdout=subprocess.DEVNULL, stderr=screen.end) as process:
            screen.hand_over()
            assert process.wait(30) == 1
            seen = ESCAPE.sub("", screen.read())
        assert re.search(r"5/5 profiles.* 1 failed", seen)

    def test_elsewhere_the_numbers_are_plain_lines(self, server, run):
        """A log gets no escape codes and no bar."""
        _, _, err = run("fetch", "--matching", "email", *EMAILS)
        assert not ESCAPE.search(err)
        assert len(err.splitlines()) == 1
