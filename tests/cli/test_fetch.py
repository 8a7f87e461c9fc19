"""The command line: what each command prints, where it prints it, and the code it exits with."""

import asyncio
import errno
import importlib.util
import io
import itertools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.commands import (  # noqa: F401
    EMAILS,
    ESCAPE,
    OPTIONS,
    PROGRAM,
    REFUSED_AT_ONCE,
    TOKEN,
    Saboteur,
    Terminal,
    fetch_rows,
    read_ndjson,
    row,
    run,
    server,
    started,
    truth,
    until,
)

from profile_history import Action, Channel, Profile, __version__
from profile_history.cli import event_text, output
from profile_history.cli.progress import ServerHealth
from profile_history.observing import CircuitClosed, CircuitOpened, Throttled
from profile_history.profiles import Matching
from profile_history.sinks import disk
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer


class TestActions:
    def test_the_table_has_all_documented_actions(self, run):
        """66 rows under a heading, each with action, channel and label."""
        code, out, err = run("actions")
        heading, *lines = out.splitlines()
        assert (code, err, heading.split()) == (0, "", ["action", "channel", "label"])
        assert len(lines) == 66
        assert [line.split(maxsplit=2)[:2] for line in lines] == [[action, action.channel] for action in Action]
        assert [line.split(maxsplit=2)[2].rstrip() for line in lines] == [action.label() for action in Action]

    def test_json_is_an_array_of_the_same(self, run):
        """Each action is an object with action, channel and label, in the language asked for."""
        code, out, _ = run("actions", "--json", "--lang", "ru")
        wanted = [{"action": a, "channel": a.channel, "label": a.label("ru")} for a in Action]
        assert (code, json.loads(out)) == (0, wanted)

    @pytest.mark.parametrize("channel", [Channel.PUSH, Channel.TELEGRAM_BOT])
    def test_a_channel_has_only_its_own_actions(self, run, channel):
        """The channel is written as the API and the table write it."""
        code, out, _ = run("actions", "--channel", channel, "--json")
        chosen = [row["action"] for row in json.loads(out)]
        assert (code, chosen) == (0, [action for action in Action if action.channel is channel])

    def test_the_labels_are_russian_where_asked_for(self, run):
        """Each label of the Russian table has Cyrillic letters."""
        _, out, _ = run("actions", "--lang", "ru")
        assert len([line for line in out.splitlines() if re.search("[а-я]", line)]) == 66

    def test_lines_have_no_blanks_at_their_ends(self, run):
        """What goes into a pipe is not padded to a width."""
        assert [line for line in run("actions")[1].splitlines() if line != line.rstrip()] == []


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
        assert "403" in err

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


class TestOutput:
    WORDS = ("fetch", "--matching", "email", "--format", "ndjson", *EMAILS, "--output")

    def test_it_is_on_the_disk_before_it_has_its_name(self, server, run, tmp_path, monkeypatch):
        """File, name, directory: in this order, a loss of power leaves the old file or the whole new one."""
        calls = []
        path = tmp_path / "events"
        sync, replace = os.fsync, Path.replace

        def fsync(file):
            calls.append((os.fstat(file).st_ino, path.exists()))
            sync(file)

        monkeypatch.setattr("os.fsync", fsync)
        monkeypatch.setattr(Path, "replace", lambda old, new: (calls.append("rename"), replace(old, new)))
        assert run(*self.WORDS, path)[0] == 0
        assert calls == [(path.stat().st_ino, False), "rename", (tmp_path.stat().st_ino, True)]

    @pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
    @pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS], ids=errno.errorcode.get)
    def test_whichever_call_fails_the_old_file_stays_or_the_new_one_is_whole(
        self, server, run, tmp_path, monkeypatch, error, lasting
    ):
        """Each call to the system fails in its turn: there is a message that names the file, and the next run works."""
        path = tmp_path / "events"
        part = tmp_path / "events.part"
        monkeypatch.setattr(output, "_CHUNK", 1000)
        seen = set()
        for number in itertools.count(1):
            path.write_text("old")
            saboteur = Saboteur(number, error, lasting=lasting)
            with monkeypatch.context() as patch:
                patch.setattr(output, "os", saboteur)
                patch.setattr(disk, "os", saboteur)
                patch.setattr(Path, "replace", saboteur.wrapped("replace", Path.replace))
                code, _, err = run(*self.WORDS, path, "--overwrite")
            if not saboteur.struck:
                break
            first = saboteur.struck[0]
            seen.add(first)
            whole = path.read_text() != "old"
            if whole:
                assert read_ndjson(path.read_text("utf-8")) == truth(server)
                assert not part.exists()
            if code:
                assert (code, str(path) in err, os.strerror(error) in err) == (
                    2 if first in ("open", "dup") and not whole else 74,
                    True,
                    True,
                )
                if part.exists() and code != 2:
                    assert f"in {part}" in err
                else:
                    assert whole or first in ("open", "dup", "ftruncate") or "none of their" in err
            else:
                assert whole
            assert "Traceback" not in err
            assert run(*self.WORDS, path, "--overwrite")[0] == 0
            assert read_ndjson(path.read_text("utf-8")) == truth(server)
        assert seen == {*Saboteur.CALLS, "replace"}
        assert number > 15

    def test_a_limit_on_the_size_of_files_is_explained_and_what_fits_is_kept(self, server, tmp_path):
        """A real limit of the system, with a real process."""
        path = tmp_path / "events"
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # noqa: E731
        with started(*self.WORDS, path, stderr=subprocess.PIPE, preexec_fn=limit) as process:
            err = process.communicate(timeout=30)[1]
        part = tmp_path / "events.part"
        assert (process.returncode, path.exists(), part.stat().st_size) == (74, False, 4096)
        assert f"{part} cannot be written: File too large; raise the limit" in err
        assert "the last of the" in err
        assert "Traceback" not in err

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
    @pytest.mark.parametrize(
        "words", [["fetch", "--matching", "email", EMAILS[0]], ["actions"], ["--help"]], ids=" ".join
    )
    def test_a_full_disk_behind_stdout_is_said_in_one_line(self, server, words):
        """The code is 74, and there is no traceback."""
        with Path("/dev/full").open("w") as full, started(*words, stdout=full, stderr=subprocess.PIPE) as process:
            err = process.communicate(timeout=30)[1]
        assert process.returncode == 74
        assert "No space left on device" in err.splitlines()[-1]
        assert "Traceback" not in err
        assert "Exception ignored" not in err

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
    def test_a_full_disk_behind_stderr_costs_no_event(self, server):
        """Progress that nobody can read is no reason to fail."""
        words = ["fetch", "--matching", "email", "--format", "ndjson", *EMAILS]
        with Path("/dev/full").open("w") as full, started(*words, stdout=subprocess.PIPE, stderr=full) as process:
            out = process.stdout.read()
            assert process.wait(30) == 0
        assert read_ndjson(out) == truth(server)

    @pytest.mark.parametrize("closed", [1, 2])
    def test_a_stream_that_was_closed_by_the_caller_is_missed_or_not(self, server, closed):
        """Without stdout there is nowhere to write to, and that is said; without stderr all goes on."""
        words = ["fetch", "--matching", "email", "--format", "ndjson", *EMAILS]
        code = f"import os, sys; os.close({closed}); os.execv(sys.executable, sys.argv[1:])"
        program = [sys.executable, "-c", code, *PROGRAM]
        with started(*words, program=program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            out, err = process.communicate(timeout=30)
        assert process.returncode == {1: 2, 2: 0}[closed]
        assert read_ndjson(out) == ({} if closed == 1 else truth(server))
        assert ("stdout is closed" in err) == (closed == 1)

    def test_a_second_process_with_the_same_output_stops_at_once(self, server, run, tmp_path):
        """It names the file and sends nothing, and the first is not disturbed; `kill -9` of that frees the file."""
        server.faults = FaultPlan.always(Fault.STALL)
        path = tmp_path / "events"
        with started(*self.WORDS, path, stderr=subprocess.PIPE) as process:
            until(lambda: server.injected[Fault.STALL] >= 4)
            requests = len(server.log)
            code, _, err = run(*self.WORDS, path)
            assert (code, len(server.log), process.poll()) == (2, requests, None)
            assert f"another process is writing {path}.part" in err
            process.kill()
            process.wait()
        server.faults = FaultPlan()
        assert not path.exists()
        assert run(*self.WORDS, path)[0] == 0
        assert read_ndjson(path.read_text("utf-8")) == truth(server)
        assert list(tmp_path.iterdir()) == [path]

    def test_a_kill_in_the_middle_leaves_no_file_of_that_name(self, server, run, tmp_path):
        """At whatever moment it comes; the next run overwrites what it left."""
        server.behaviour = Behaviour(latency=0.02)
        path = tmp_path / "events"
        for requests in (1, 60):
            server.log.clear()
            emails = [f"user{number}@example.com" for number in range(40)] * 5
            with started("fetch", "--matching=email", "--output", path, *emails, stderr=subprocess.DEVNULL) as process:
                until(lambda requests=requests: len(server.log) >= requests)
                process.kill()
            assert not path.exists()
        (tmp_path / "events.part").write_text("half a li")
        assert run(*self.WORDS, path)[0] == 0
        assert read_ndjson(path.read_text("utf-8")) == truth(server)

    def test_a_run_that_brings_nothing_keeps_what_the_last_one_left(self, server, run, tmp_path, monkeypatch):
        """Hours of work do not go for a wrong token."""
        part = tmp_path / "events.part"
        part.write_text("hours of work")
        monkeypatch.setenv("PROFILE_HISTORY_TOKEN", "wrong")
        assert run(*self.WORDS, tmp_path / "events")[0] == 77
        assert part.read_text() == "hours of work"

    def test_a_file_without_events_is_empty(self, server, run, tmp_path):
        """Nothing is an answer, too; what an earlier run left is not taken for it."""
        path = tmp_path / "events"
        path.with_name("events.part").write_text("of an earlier run")
        assert run("fetch", "--matching", "email", "--output", path, "nobody@example.com")[0] == 0
        assert path.read_bytes() == b""

    def test_a_file_that_appears_meanwhile_is_not_replaced(self, server, run, tmp_path):
        """Somebody else's file stays, and the events are in the part."""
        server.behaviour = Behaviour(latency=0.5)
        path = tmp_path / "events"

        def appear():
            until(lambda: server._busy)
            path.write_text("precious")

        threading.Thread(target=appear).start()
        code, _, err = run(*self.WORDS, path)
        assert (code, path.read_text()) == (2, "precious")
        assert f"events are in {path}.part" in err
        assert read_ndjson(path.with_name("events.part").read_text("utf-8")) == truth(server)

    def test_only_files_are_replaced(self, server, run, tmp_path):
        """A device or a pipe of that name stays what it is."""
        path = tmp_path / "pipe"
        os.mkfifo(path)
        code, _, err = run(*self.WORDS, path, "--overwrite")
        assert (code, path.is_fifo(), list(server.log)) == (2, True, [])
        assert "redirect stdout" in err

    def test_a_replaced_file_keeps_its_permissions_and_a_link_stays_one(self, server, run, tmp_path):
        """Nobody can read the new file who could not read the old one."""
        path, link = tmp_path / "private", tmp_path / "link"
        path.write_text("old")
        path.chmod(0o600)
        link.symlink_to(path)
        assert run(*self.WORDS, link, "--overwrite")[0] == 0
        assert (link.is_symlink(), path.stat().st_mode & 0o777) == (True, 0o600)
        assert read_ndjson(path.read_text("utf-8")) == truth(server)

    @pytest.mark.parametrize("name", ["missing/events", "x" * 300, "file/events"], ids=["missing", "long", "file"])
    def test_a_place_that_cannot_be_written_is_named_before_anything_is_sent(self, server, run, tmp_path, name):
        """The code is 2, the message one line."""
        (tmp_path / "file").write_text("no directory")
        code, _, err = run(*self.WORDS, tmp_path / name)
        assert (code, list(server.log), len(err.splitlines())) == (2, [], 1)
        assert "cannot be written" in err


class TestPoison:
    NASTY = "a\x00b\x1b[31mred\r\n\x9b2J\u202egnp.exe"

    def test_ndjson_keeps_every_character(self, fetch_rows):
        """NUL, escapes and line ends arrive as they were sent, half a surrogate pair as its JSON; one line an event."""
        surrogate = row(message_name="half \ud83d a pair")
        code, out, _ = fetch_rows("ndjson", row(self.NASTY), surrogate, row(message_name=self.NASTY))
        first, second, third = (json.loads(line)["event"] for line in out.splitlines())
        assert (code, first["action"], third["message_name"]) == (0, self.NASTY, self.NASTY)
        assert second == {
            "action": "open",
            "datetime": "2024-01-02T03:04:05+00:00",
            "message_name": r'"half \ud83d a pair"',
        }

    def test_a_terminal_gets_no_control_characters(self, fetch_rows):
        """The table is one line an event, and shows what it does not pass on."""
        code, out, _ = fetch_rows("table", row(self.NASTY), row("half \ud83d a pair"))
        _, *lines = out.splitlines()
        assert (code, len(lines)) == (0, 2)
        assert r"a\x00b\x1b[31mred\r\n\x9b2J\u202egnp.exe" in lines[0]
        assert r"half \ud83d a pair" in lines[1]
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out)

    def test_values_nested_deeply_do_not_end_the_fetch(self, fetch_rows):
        """What can be written is written; what cannot is reported, and the events around it are there."""
        deep = [
            b'{"action":"open","datetime":"2024-01-02T03:04:05Z","fields":{"a":%b}}' % (b"[" * n + b"]" * n)
            for n in (10, 400)
        ]
        code, out, err = fetch_rows("ndjson", row("click"), *deep, row("click"))
        events = [json.loads(line)["event"] for line in out.splitlines()]
        assert (code, [event["action"] for event in events]) == (0, ["click", "open", "open", "click"]), err

    def test_an_event_that_cannot_be_written_is_left_out_with_a_word(self, fetch_rows, monkeypatch):
        """The code says that something is missing."""

        def refuse(name, profile, event):
            if event.action == "open":
                raise event_text.UnwritableEvent("its values are nested too deeply")
            return f"{event.action}\n"

        monkeypatch.setattr("profile_history.cli.fetch_run.format_event", refuse)
        code, out, err = fetch_rows("ndjson", row("click"), row("open"), row("click"))
        assert (code, out) == (1, "click\nclick\n")
        assert (
            "left out: an event of 2024-01-02 03:04:05+00:00, its values are nested too deeply [profile email:a@b.c]"
            in err
        )

    def test_what_the_server_says_of_an_error_steers_no_terminal(self, fetch_rows):
        """A row that cannot be read is told of on one line."""
        code, _, err = fetch_rows("ndjson", row(action=None), b'{"action":"\\u001b[2J","datetime":"\\u001b[2J\\n"}')
        assert (code, len([line for line in err.splitlines() if "unreadable row" in line])) == (0, 2)
        assert "\x1b" not in err

    def test_stdin_that_is_no_text_is_refused(self, server):
        """The code is 2 and there is no traceback."""
        done = subprocess.run(
            [*PROGRAM, "fetch", "--matching", "email", "-"],
            input=b"user1@example.com\n\xff\xfe\n",
            capture_output=True,
            timeout=30,
            check=False,
            env={**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:strict"},
        )
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"stdin is no text in utf-8" in done.stderr

    def test_an_old_locale_does_not_matter(self, server):
        """NDJSON is UTF-8 wherever it is written."""
        words = ["fetch", "--matching", "custom", "--format", "ndjson", "ИМЯ=1", "CRM_ID=1"]
        environment = {**os.environ, "PYTHONIOENCODING": "latin-1:strict"}
        done = subprocess.run([*PROGRAM, *words], capture_output=True, timeout=30, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        assert [json.loads(line)["profile"] for line in done.stdout.decode("utf-8").splitlines()][
            -1
        ] == "custom:CRM_ID=1"


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
    def test_on_a_terminal_the_numbers_are_live_and_the_cursor_comes_back(self, server):
        """A bar and the state in one line, redrawn in place, whose last state is complete and stays."""
        server.behaviour = Behaviour(latency=0.3)
        words = ["fetch", "--matching", "email", "--format", "ndjson", *EMAILS]
        with Terminal() as screen, started(*words, stdout=subprocess.PIPE, stderr=screen.end) as process:
            screen.hand_over()
            out = process.stdout.read()
            assert process.wait(30) == 0
            seen = screen.read()
        assert read_ndjson(out) == truth(server)
        assert "0/5 profiles" in seen
        assert "5/5 profiles" in ESCAPE.sub("", seen).splitlines()[-1]
        assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") > 0

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


class TestOutage:
    def test_the_line_says_that_the_server_is_down_and_the_fetch_outlives_it(self, server):
        """While nothing is sent a person sees why; when the server is back, every event arrives."""
        server.faults = FaultPlan.always(Fault.ERROR_503)
        words = ["fetch", "--matching", "email", "--format", "ndjson", *EMAILS]
        with Terminal() as screen, started(*words, stdout=subprocess.PIPE, stderr=screen.end) as process:
            screen.hand_over()
            screen.read("server down, waiting 0 s of 900 s (")
            server.faults = FaultPlan()
            out = process.stdout.read()
            assert process.wait(30) == 0
            assert "5/5 profiles" in ESCAPE.sub("", screen.read()).splitlines()[-1]
        assert read_ndjson(out) == truth(server)

    def test_a_server_that_stays_down_is_75(self, server, run):
        """A script may try again later; stderr says why and what is complete."""
        server.faults = FaultPlan.always(Fault.ERROR_503)
        code, _, err = run("fetch", "--matching", "email", "--patience", 0.2, *EMAILS)
        assert code == 75
        assert "stopped early: 0 of 5 profiles are complete, no events arrived" in err
        assert "server down, waiting" in err

    def test_a_pause_too_long_to_wait_for_is_75(self, server, run):
        """What the server asks for is in the message."""
        server.faults = FaultPlan(rates={Fault.THROTTLED_WITH_RETRY_AFTER: 1.0}, streak=None, retry_after=100_000)
        code, _, err = run("fetch", "--matching", "email", *EMAILS)
        assert (code, len(server.log) <= 4) == (75, True)
        assert "100000 s" in err

    def test_the_health_follows_what_the_client_tells(self):
        """A pause counts down, an outage counts up and goes before a pause, and the rest is no news."""
        now = [100.0]
        health = ServerHealth(900, clock=lambda: now[0])
        assert str(health) == ""
        health.observe(Throttled(None, 3))
        assert str(health) == ""
        health.observe(Throttled(30.0, 3))
        health.observe(Throttled(10.0, 2))
        now[0] += 5
        assert str(health) == "the server asks for a pause, 25 s left"
        health.observe(CircuitOpened("10 failures\x1b in a row"))
        now[0] += 12
        assert str(health) == "server down, waiting 12 s of 900 s (10 failures\\x1b in a row)"
        health.observe(CircuitClosed(12.0))
        assert str(health) == "the server asks for a pause, 13 s left"
        now[0] += 13
        assert str(health) == ""


class TestServe:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
    def test_it_prints_its_address_first_serves_and_ends_on_a_signal(self, run, monkeypatch, number):
        """The first line on stdout is all a script needs; a signal ends it without a word."""
        with started("serve", "--profiles", "9", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            monkeypatch.setenv("PROFILE_HISTORY_TOKEN", "loopback-token")
            url = process.stdout.readline().strip()
            options = ["--matching", "email", "--format", "ndjson", "--url", url, "--list-id", 20]
            code, out, _ = run("fetch", *options, *EMAILS)
            process.send_signal(number)
            assert process.wait(30) == 128 + number
            assert (process.stdout.read(), "Traceback" in process.stderr.read()) == ("", False)
        assert (code, read_ndjson(out)) == (0, truth(HistoryServer(profiles=9)))

    def test_its_settings_are_those_of_the_server(self, run, monkeypatch):
        """Capacity, row cap, seed, shape and latency reach the behaviour that answers."""
        words = ["--seed", "3", "--rows", "newer", "--row-cap", "2", "--order", "oldest", "--latency", "1ms", "--gzip"]
        with started("serve", *words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            monkeypatch.setenv("PROFILE_HISTORY_TOKEN", "loopback-token")
            url = process.stdout.readline().strip()
            options = ["--matching", "email", "--format", "ndjson", "--url", url, "--list-id", 20]
            _, out, _ = run("fetch", *options, "--order", "oldest", EMAILS[0])
        rows = HistoryServer(seed=3).histories.rows(1, "newer")[:2]
        events = [json.loads(line)["event"] for line in out.splitlines()]
        assert [event["event_id"] for event in events] == [row.fields["event_id"] for row in rows]

    def test_a_port_in_use_is_said_in_one_line(self, server):
        """The code is 2 and there is no traceback."""
        words = ["serve", "--port", server.url.rpartition(":")[2]]
        done = subprocess.run([*PROGRAM, *words], capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert "in use" in done.stderr


class TestDemo:
    def test_it_proves_that_nothing_is_missing_or_doubled(self, run):
        """Through real faults the count received is the count expected, and the code is 0."""
        code, out, _ = run("demo", "--profiles", 20)
        assert code == 0
        proof = re.search(
            r"expected ([\d,]+) · received ([\d,]+) · missing 0 · doubled 0 · profiles out of order 0", out
        )
        assert proof
        assert proof[1] == proof[2] != "0"
        assert int(re.search(r"(\d+) faults injected", out)[1]) > 0

    def test_without_faults_there_are_none(self, run):
        """The same seed makes the same histories, with nothing injected and nothing repeated."""
        code, out, _ = run("demo", "--profiles", 5, "--faults", "none", "--seed", 3)
        assert code == 0
        assert "0 faults injected: none" in out
        assert "0 of them retries" in out

    def test_its_sentences_are_not_broken_in_a_pipe(self, run):
        """Away from a terminal each sentence is one line, however long, so that a script finds the proof."""
        _, out, _ = run("demo", "--profiles", 5, "--faults", "none")
        assert re.search(r"^Fetching 5 profiles .* faults$", out, re.MULTILINE)


class TestProgram:
    @pytest.mark.parametrize("command", OPTIONS)
    def test_help_names_every_option(self, run, command):
        """--help exits with 0 and lists what the command takes, and nothing more."""
        code, out, err = run(command, "--help")
        named = set(re.findall(r"^│\s+(?:\*\s+)?(?:\w+ )?--([a-z-]+)", out, re.MULTILINE | re.IGNORECASE))
        assert (code, err) == (0, "")
        assert named == {*OPTIONS[command].split(), "traceback"}

    def test_help_of_the_program_names_commands_and_exit_codes(self, run):
        """Who knows nothing yet finds the commands, the exit codes and the variables."""
        code, out, _ = run("--help")
        text = " ".join(out.split())
        assert code == 0
        assert [word for word in OPTIONS if not re.search(rf"│ {word} ", text)] == []
        codes = "0 done; 1 some windows failed.*; 2 wrong usage.*; 70 an error of ours; 74 .*; 75 .*; 77 .*; 130 .*"
        assert re.search(f"{codes}; 143 terminated", text)
        assert "PROFILE_HISTORY_TOKEN_FILE" in text

    def test_version_is_the_packages(self, run):
        """--version prints it and nothing else."""
        assert run("--version") == (0, f"{__version__}\n", "")

    @pytest.mark.parametrize(
        "program",
        [PROGRAM, [str(Path(sys.executable).with_name("profile-history"))]],
        ids=["module", "script"],
    )
    def test_module_and_script_are_the_same_program(self, run, program):
        """`python -m profile_history` and `profile-history` print the same."""
        done = subprocess.run([*program, "actions", "--json"], capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout == run("actions", "--json")[1]

    @pytest.mark.parametrize("missing", [["cyclopts"], ["rich"], ["cyclopts", "rich"]], ids=" and ".join)
    def test_without_its_libraries_it_says_what_to_install(self, run, monkeypatch, missing):
        """The core works without them; the command line names them and the extra that brings them."""
        found = importlib.util.find_spec
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in missing else found(name))
        code, out, err = run("actions")
        assert (code, out) == (2, "")
        assert f"needs {' and '.join(missing)}: python -m pip install" in err
        assert "profile-history[cli]" in err

    def test_it_runs_on_the_plain_event_loop_too(self, server, run, monkeypatch):
        """The extra uvloop is a choice: where it cannot be imported, the result is the same."""
        monkeypatch.setitem(sys.modules, "uvloop", None)
        code, out, _ = run("fetch", "--matching", "email", "--format", "ndjson", *EMAILS)
        assert (code, read_ndjson(out)) == (0, truth(server))

    @pytest.mark.parametrize(
        ("version", "taken"), [("0.21.0", False), ("0.22.1", False), ("0.23.0", True), ("1.0", True)]
    )
    def test_a_uvloop_that_closes_descriptors_twice_is_not_run_on(self, server, run, monkeypatch, version, taken):
        """What it closes the second time may be the output, or the connection of another profile."""
        made = []

        def new_event_loop():
            made.append(asyncio.new_event_loop())
            return made[0]

        monkeypatch.setitem(sys.modules, "uvloop", SimpleNamespace(__version__=version, new_event_loop=new_event_loop))
        code, out, _ = run("fetch", "--matching", "email", "--format", "ndjson", *EMAILS)
        assert (code, read_ndjson(out)) == (0, truth(server))
        assert bool(made) == taken
