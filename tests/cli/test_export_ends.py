"""Jobs of the command line that end early or meet each other: signals, two processes, and uses of the library."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.commands import PROGRAM, run, started, until  # noqa: F401 (fixtures)
from support.exports import DAYS, FIRST, LAST, PROFILES, export, running, server, stored, summary, truth, words_for  # noqa: F401 (fixtures)
from support.signals import linux

from profile_history import ConfigurationError, Profile, RetryPolicy
from profile_history.cli.stdin import open_stdin
from profile_history.jobs import HistoryJob, JobHeld, source_of, status_of, verify
from profile_history.jobs.lock import JobLock, holder_of
from profile_history.jobs.planner import PlanningStopped, digest_of
from profile_history.jobs.sources import MemorySource
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer

# What a machine with something else to do may take for what takes milliseconds.
AT_ONCE = 3


class TestSignals:
    def interrupted(self, server, into, times, rng):
        """Interrupt one job so many times, and let it end; return the codes."""
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

    @pytest.mark.slow
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

    @pytest.mark.slow
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

    @pytest.mark.slow
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

    @pytest.mark.slow
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
    @pytest.mark.slow
    def test_the_second_leaves_and_names_the_first_which_status_shows_too(self, server, run):
        """At once, with 75; the first is not disturbed."""
        server.behaviour = Behaviour(latency=0.2)
        words = words_for("history.ndjson", "--concurrency=4", "--json", profiles=100)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with started(*words, **pipes) as first:
            until(lambda: len(server.log) > 4)
            begun = time.monotonic()
            code, out, err = run("resume", "history.ndjson", "--json")
            assert time.monotonic() - begun < AT_ONCE
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

    @pytest.mark.slow
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

    def test_a_lock_that_names_nobody_is_another_process(self, tmp_path, monkeypatch):
        """As on a machine that wrote it in another way."""
        # A private time, for which a name is waited for in earnest.
        monkeypatch.setattr("profile_history.sinks.lock._PATIENCE", 0.02)
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


def listens(process):
    """Tell whether a process handles SIGTERM, as the command line does from its first lines on."""
    caught = re.search(r"SigCgt:\s+(\w+)", Path(f"/proc/{process.pid}/status").read_text())[1]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


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
