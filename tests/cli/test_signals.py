"""SIGINT and SIGTERM: the first ends a command cleanly, the second at once. Real processes, real signals."""

import json
import os
import re
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.commands import EMAILS, ESCAPE, PROGRAM, TOKEN, Terminal, read_ndjson, server, started, truth, until  # noqa: F401 (one is a fixture)
from support.signals import (
    AT_ONCE,
    BOTH,
    BOTH_ON_BOTH_LOOPS,
    CODES,
    INT,
    MANY,
    TERM,
    WORDS,
    asleep,
    coroutine,
    linux,
    program,
    stalled,
    threads,
    unread,
)

from profile_history._protocol.requests import PATH
from profile_history.cli import signals
from profile_history.testing import Behaviour, Fault, FaultPlan


class TestFetch:
    @pytest.mark.slow
    @BOTH_ON_BOTH_LOOPS
    def test_a_stalled_request_is_dropped_and_what_arrived_is_kept(self, server, tmp_path, number, loop):
        """The file under its own name is not there; the one in `.part` holds what stderr says it holds."""
        path = tmp_path / "events.ndjson"
        with stalled(server, "--output", str(path), program=program(loop)) as (process, screen):
            begun = time.monotonic()
            os.kill(process.pid, number)
            assert process.wait(AT_ONCE) == CODES[number]
            assert time.monotonic() - begun < AT_ONCE
            err = ESCAPE.sub("", screen.read())
        part = path.with_name("events.ndjson.part")
        lines = part.read_text("utf-8")
        assert (path.exists(), len(server.log)) == (False, 2)
        assert read_ndjson(lines) == truth(server, EMAILS[:1])
        assert (
            f"{WORDS[number]}: 1 of 2 profiles are complete, {len(lines.splitlines())} events are in {part}; "
            "run the same command again, it starts anew; `profile-history export` goes on where it stood" in err
        )
        assert "Traceback" not in err

    @pytest.mark.slow
    @BOTH_ON_BOTH_LOOPS
    def test_in_the_middle_of_a_stream_only_whole_windows_are_kept(self, server, tmp_path, number, loop):
        """Every profile in the file is there whole, and the numbers on stderr are those of the file."""
        server.behaviour = Behaviour(latency=0.05)
        emails = MANY * 20
        path = tmp_path / "events.ndjson"
        words = ["--matching", "email", "--format", "ndjson", "--concurrency", "4", "--output", str(path)]
        with started("fetch", *words, *emails, program=program(loop), stderr=subprocess.PIPE) as process:
            until(lambda: len(server.log) > 25)
            os.kill(process.pid, number)
            err = process.communicate(timeout=30)[1]
        asked = len(server.log)
        lines = path.with_name("events.ndjson.part").read_text("utf-8")
        histories = read_ndjson(lines)
        complete, events = map(int, re.search(r"(\d+) of 800 profiles are complete, (\d+) events", err).groups())
        assert (process.returncode, events) == (CODES[number], len(lines.splitlines()))
        assert histories == {name: events for name, events in truth(server, emails).items() if name in histories}
        assert len(histories) <= complete <= asked < 200
        assert complete > 10

    @pytest.mark.slow
    def test_what_went_to_stdout_is_flushed_and_counted(self, server):
        """A reader of the pipe has every event that is counted."""
        with stalled(server, stdout=subprocess.PIPE) as (process, screen):
            os.kill(process.pid, INT)
            out = process.stdout.read()
            assert process.wait(AT_ONCE) == 130
            err = ESCAPE.sub("", screen.read())
        assert read_ndjson(out) == truth(server, EMAILS[:1])
        assert f"1 of 2 profiles are complete, {len(out.splitlines())} events went to stdout" in err

    @pytest.mark.slow
    def test_before_anything_arrived_nothing_is_left(self, server, tmp_path):
        """No empty file stands in the way, and stderr says that there is nothing."""
        server.faults = FaultPlan.always(Fault.STALL)
        words = ["fetch", "--matching", "email", "--output", str(tmp_path / "events"), *EMAILS]
        with started(*words, stderr=subprocess.PIPE) as process:
            until(lambda: server.injected[Fault.STALL] >= 4)
            os.kill(process.pid, TERM)
            err = process.communicate(timeout=30)[1]
        assert (process.returncode, list(tmp_path.iterdir())) == (143, [])
        assert "terminated: 0 of 5 profiles are complete, no events arrived" in err

    @pytest.mark.slow
    @linux
    @pytest.mark.parametrize("second", [INT, TERM], ids=["SIGINT", "SIGTERM"])
    def test_when_nobody_reads_stdout_the_second_signal_ends_it(self, server, second):
        """A write that blocks holds the whole event loop, and still the process ends at once."""
        with unread() as process:
            before = threads(process)
            os.kill(process.pid, INT)
            until(lambda: threads(process) > before)
            begun = time.monotonic()
            os.kill(process.pid, second)
            assert process.wait(AT_ONCE) == CODES[second]
            assert time.monotonic() - begun < AT_ONCE

    @pytest.mark.slow
    @linux
    def test_when_nobody_reads_stdout_one_signal_is_enough_in_the_end(self, server):
        """What cannot stop cleanly in the time it has is ended, and says so."""
        with unread(program=program(grace=0.3)) as process:
            os.kill(process.pid, TERM)
            assert process.wait(AT_ONCE) == 143
            assert "it did not stop within 0.3 s" in process.stderr.read()

    @pytest.mark.slow
    @linux
    def test_a_running_fetch_shows_no_token_and_leaves_no_core(self, server):
        """Neither its command line, which everybody can read, nor the limit on core files gives the token away."""
        server.faults = FaultPlan.always(Fault.STALL)
        with started("fetch", "--matching", "email", *EMAILS, stderr=subprocess.DEVNULL) as process:
            until(lambda: server.injected[Fault.STALL])
            words = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert EMAILS[0].encode() in words
        assert TOKEN.encode() not in words
        assert re.search(r"^Max core file size +0 ", limits, re.MULTILINE)


class TestPrompts:
    @pytest.mark.slow
    @BOTH
    def test_while_the_token_is_asked_for(self, server, monkeypatch, number):
        """The prompt ends at once, and the terminal shows again what is typed."""
        monkeypatch.delenv("PROFILE_HISTORY_TOKEN")
        with (
            Terminal() as screen,
            started("fetch", "--matching", "email", *EMAILS, stdin=screen.end, stderr=screen.end) as process,
        ):
            screen.read("API token: ")
            until(lambda: not termios.tcgetattr(screen.end)[3] & termios.ECHO)
            os.kill(process.pid, number)
            assert process.wait(AT_ONCE) == CODES[number]
            assert termios.tcgetattr(screen.end)[3] & termios.ECHO
            screen.hand_over()
            assert "Traceback" not in screen.read()
        assert list(server.log) == []

    @pytest.mark.slow
    @BOTH
    @linux
    def test_while_the_values_are_read_from_stdin(self, server, number):
        """Who forgot to pipe something in gets out, without a traceback."""
        with started("fetch", "--matching=email", "-", stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            until(
                lambda: (
                    "SigCgt" in (s := Path(f"/proc/{process.pid}/status").read_text())
                    and int(re.search(r"SigCgt:\s+(\w+)", s)[1], 16) >> (TERM - 1) & 1
                )
            )
            until(lambda: asleep(process))
            os.kill(process.pid, number)
            assert process.wait(AT_ONCE) == CODES[number]
            assert process.stderr.read() == ""


class TestServeAndDemo:
    @pytest.mark.slow
    @BOTH_ON_BOTH_LOOPS
    def test_serve_ends_while_an_answer_is_awaited(self, server, number, loop):
        """A client that waits for a response does not keep it, and it ends without a word."""
        words = ["serve", "--latency", "60s"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with started(*words, program=program(loop), **pipes) as serving:
            address = urlsplit(serving.stdout.readline().strip())
            hint = serving.stderr.readline()
            with socket.create_connection((address.hostname, address.port)) as client:
                body = json.dumps({"token": "loopback-token", "list_id": 20, "email": EMAILS[0]}).encode()
                client.sendall(
                    b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (PATH.encode(), len(body))
                )
                client.sendall(body)
                time.sleep(0.2)
                os.kill(serving.pid, number)
                assert serving.wait(AT_ONCE) == CODES[number]
            assert (serving.stdout.read(), serving.stderr.read()) == ("", "")
            assert "loopback-token" in hint

    @pytest.mark.slow
    @BOTH
    def test_demo_says_that_nothing_is_proven(self, number):
        """It ends in the middle, with one line and no table."""
        with (
            Terminal() as screen,
            started("demo", "--profiles", "100000", stdout=subprocess.PIPE, stderr=screen.end) as process,
        ):
            screen.hand_over()
            screen.read("/100000 profiles")
            os.kill(process.pid, number)
            assert process.wait(AT_ONCE) == CODES[number]
            out, err = process.stdout.read(), screen.read()
        assert len(out.splitlines()) == 1
        assert "nothing is proven" in err
        assert "Traceback" not in err


class TestStopping:
    @linux
    @pytest.mark.parametrize("second", [INT, TERM], ids=["SIGINT", "SIGTERM"])
    def test_a_second_signal_ends_a_clean_up_that_takes_long(self, second):
        """Nobody has to wait out what does not end; the code is that of the second signal."""
        with coroutine("print('cleaning', flush=True); await asyncio.sleep(60)") as process:
            os.kill(process.pid, INT)
            assert process.stdout.readline() == "cleaning\n"
            begun = time.monotonic()
            os.kill(process.pid, second)
            assert process.wait(AT_ONCE) == CODES[second]
            assert time.monotonic() - begun < AT_ONCE

    @BOTH
    @pytest.mark.parametrize(
        "body",
        [
            "await asyncio.sleep(60)",
            "time.sleep(60)",
            "await asyncio.shield(asyncio.to_thread(time.sleep, 60))",
            "asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)",
        ],
        ids=["awaits", "holds the loop", "awaits a thread", "leaves a thread"],
    )
    def test_a_clean_up_that_does_not_end_is_ended(self, number, body):
        """Whatever it waits for, the process is gone when its time is over."""
        with coroutine(body, grace=0.3) as process:
            os.kill(process.pid, number)
            assert process.wait(AT_ONCE) == CODES[number]
            assert "it did not stop within 0.3 s" in process.stderr.read()

    @pytest.mark.parametrize("second", [False, True], ids=["one signal", "two signals"])
    @BOTH
    def test_a_library_that_never_comes_back_to_python_is_ended(self, tmp_path, number, second):
        """Such as SQLite that waits for the other end of a FIFO: no handler of Python is called there."""
        code = f"""
import sqlite3
from profile_history.cli import signals
signals.GRACE = {60 if second else 0.3}
with signals.SignalScope():
    print("working", flush=True)
    sqlite3.connect("file:fifo?mode=ro", uri=True)
"""
        os.mkfifo(tmp_path / "fifo")
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": tmp_path}
        with started(program=[sys.executable, "-c", code], **streams) as process:
            assert process.stdout.readline() == "working\n"
            until(lambda: asleep(process))
            os.kill(process.pid, number)
            if second:
                time.sleep(0.2)
                os.kill(process.pid, number)
            assert process.wait(AT_ONCE) == CODES[number]
            assert ("it did not stop within 0.3 s" in process.stderr.read()) is not second

    def test_five_seconds_are_what_a_clean_stop_has(self):
        """The tests above shorten that, and see that it is kept to."""
        assert signals.GRACE == 5

    @pytest.mark.full
    def test_five_seconds_are_the_most_that_a_clean_stop_takes(self):
        """As long as that, and not longer."""
        with coroutine("await asyncio.sleep(60)") as process:
            begun = time.monotonic()
            os.kill(process.pid, INT)
            assert process.wait(5 + AT_ONCE) == 130
            assert time.monotonic() - begun >= 4.9

    @pytest.mark.slow
    def test_a_background_job_of_a_shell_ignores_ctrl_c_as_before(self):
        """SIGINT that is ignored from outside stays ignored, and SIGTERM ends it."""
        code = "import signal, os; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv({0!r}, {1!r})"
        words = [sys.executable, "-c", code.format(sys.executable, [*PROGRAM, "serve"])]
        with started(program=words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.readline()
            os.kill(process.pid, INT)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.3)
            os.kill(process.pid, TERM)
            assert process.wait(AT_ONCE) == 143

    def test_work_that_ends_in_time_after_all_counts_as_done(self):
        """A signal that comes when nothing is left to stop changes nothing."""
        code = """
import os, signal
from profile_history.cli import event_loop
from profile_history.cli import signals

async def work():
    os.kill(os.getpid(), signal.SIGTERM)
    return 7

with signals.SignalScope():
    assert event_loop.run(work()) == 7
    assert signals.get_stop_signal() == signal.SIGTERM
"""
        assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0

    @pytest.mark.slow
    def test_the_handlers_of_a_calling_program_come_back(self, server):
        """A program that calls `main` keeps its own handlers; from another thread it is called without any."""
        code = """
import signal, threading
from profile_history.cli import main

def mine(number, frame): ...

signal.signal(signal.SIGTERM, mine)
assert main(["actions"]) == 0
assert signal.getsignal(signal.SIGTERM) is mine
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
codes = []
thread = threading.Thread(target=lambda: codes.append(main(["fetch", "--matching", "email", "user1@example.com"])))
thread.start()
thread.join()
assert codes == [0], codes
"""
        with started(program=[sys.executable, "-c", code], stdout=subprocess.DEVNULL) as process:
            assert process.wait(30) == 0
