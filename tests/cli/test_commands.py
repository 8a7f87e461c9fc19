"""The commands `actions`, `serve` and `demo`, what is shown of an outage, and the program itself."""

import asyncio
import importlib.util
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.commands import EMAILS, ESCAPE, OPTIONS, PROGRAM, Terminal, read_ndjson, row, run, server, started, truth  # noqa: F401 (fixtures)

from profile_history import Action, Channel, __version__
from profile_history.cli.limit_option import parse_limiter
from profile_history.cli.progress import ServerHealth
from profile_history.observing import CircuitClosed, CircuitOpened, Throttled
from profile_history.testing import (
    ConcurrencyLimiter,
    Fault,
    FaultPlan,
    FixedWindow,
    HistoryServer,
    LeakyBucket,
    SlidingWindow,
    TokenBucket,
)


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


class TestOutage:
    @pytest.mark.slow
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
            assert "5/5 profiles" in "".join(ESCAPE.sub("", screen.read()).splitlines()[-2:])
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
    @pytest.mark.slow
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

    @pytest.mark.slow
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

    @pytest.mark.parametrize(
        ("word", "limiter"),
        [
            ("concurrency:3,status=503", ConcurrencyLimiter(3, status=503)),
            ("token-bucket:2.5,burst=5,retry-after=1", TokenBucket(2.5, burst=5, retry_after=1)),
            ("leaky-bucket:50,queue=9", LeakyBucket(50, queue=9)),
            (
                "sliding-window:30,seconds=2,count-refused,retry-after=exact",
                SlidingWindow(30, seconds=2, count_refused=True, retry_after="exact"),
            ),
            ("fixed-window:600,seconds=60,envelope", FixedWindow(600, seconds=60, envelope=True)),
        ],
    )
    def test_a_limiter_is_one_word(self, word, limiter):
        """Its kind, its number, and what is not as by default."""
        assert parse_limiter(word) == limiter

    @pytest.mark.parametrize(
        ("word", "said"),
        [
            ("", "--limit takes concurrency or token-bucket or "),
            ("concurrency", "such as token-bucket:50,burst=5, not 'concurrency'"),
            ("bucket:50", "not 'bucket:50'"),
            ("token-bucket:50,burts=5", "may be followed by status, retry-after, envelope, burst, not by 'burts=5'"),
            ("token-bucket:50,rate=5", "not by 'rate=5'"),
            ("token-bucket:50,burst=5,burst=6", "--limit token-bucket:50,burst=5,burst=6 gives burst twice"),
            ("concurrency:1_0", "not '1_0'"),
            (
                "token-bucket:fifty",
                "--limit token-bucket:fifty: TokenBucket(rate=...) takes a positive number of requests per ",
            ),
            ("fixed-window:600,seconds=", "FixedWindow(seconds=...) takes a positive number of seconds, not ''"),
        ],
    )
    def test_a_wrong_limiter_is_refused_before_anything_is_served(self, run, word, said):
        """In one line, which says what there is."""
        code, out, err = run("serve", "--limit", "concurrency:3", "--limit", word)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert said in err

    @pytest.mark.slow
    def test_a_port_in_use_is_said_in_one_line(self, server):
        """The code is 2 and there is no traceback."""
        words = ["serve", "--port", server.url.rpartition(":")[2]]
        done = subprocess.run([*PROGRAM, *words], capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert "in use" in done.stderr


class TestDemo:
    @pytest.mark.slow
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

    @pytest.mark.slow
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
