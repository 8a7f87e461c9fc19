"""What the command line does where its streams are odd, its interpreter is still starting, or it has a bug."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.commands import EMAILS, PROGRAM, TOKEN, read_ndjson, run, server, started, truth, until  # noqa: F401 (fixtures)

from profile_history import ConfigurationError
from profile_history.cli import actions, app, main
from profile_history.jobs import source_of

SCRIPT = [str(Path(sys.executable).with_name("profile-history"))]
full = pytest.mark.full
HELPS = [
    ["--help"],
    ["actions", "--json"],
    *(pytest.param(words, marks=full) for words in (["fetch", "--help"], ["--version"], ["actions"])),
]
WRONG = [
    ["nothing"],
    ["fetch", "--matching=email", "a@b.c"],
    *(pytest.param(words, marks=full) for words in (["status"], ["status", "nothing"])),
]

linux = pytest.mark.skipif(not Path("/dev/full").exists(), reason="it needs /dev/full and /proc")


def done(*words, **more):
    """Run a command in a process of its own, and return its code, stdout and stderr as bytes."""
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    process = subprocess.run([*PROGRAM, *words], timeout=60, check=False, **more)
    return process.returncode, process.stdout, process.stderr


class TestEncodings:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("words", "encoding"),
        [
            *(("actions --lang=ru", encoding) for encoding in ("ascii", "cp1252", "latin-1", "utf-16")),
            ("fetch --help", "ascii"),
            *(pytest.param("fetch --help", encoding, marks=full) for encoding in ("cp1252", "latin-1", "utf-16")),
            *(pytest.param("--help", encoding, marks=full) for encoding in ("ascii", "cp1252", "latin-1", "utf-16")),
        ],
    )
    def test_what_stdout_cannot_hold_is_escaped(self, encoding, words):
        """Text for people comes whole, in the encoding that was asked for."""
        words = words.split()
        code, out, err = done(*words, env={**os.environ, "PYTHONIOENCODING": encoding})
        text = out.decode(encoding)
        assert (code, err.decode(encoding)) == (0, "")
        if words[0] == "actions" and encoding != "utf-16":
            assert re.search(r"send +email +\\u041f\\u0438", text)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "encoding", ["ascii", "utf-16", pytest.param("cp1252", marks=full), pytest.param("latin-1", marks=full)]
    )
    def test_data_are_utf_8_whatever_the_locale(self, server, encoding):
        """JSON of the catalogue and of events is read by programs, which expect nothing else."""
        env = {**os.environ, "PYTHONIOENCODING": encoding}
        code, out, _ = done("actions", "--json", "--lang=ru", env=env)
        assert (code, json.loads(out.decode())[0]["label"]) == (0, "Письмо отправлено")
        code, out, _ = done("fetch", "--matching=email", "--format=ndjson", *EMAILS, env=env)
        assert (code, read_ndjson(out.decode())) == (0, truth(server))

    @pytest.mark.slow
    def test_names_that_are_no_utf_8_are_escaped(self, tmp_path):
        """In a sentence, and no traceback."""
        code, out, err = done("status", b"\xff.ndjson", cwd=tmp_path)
        assert (code, out) == (2, b"")
        assert rb"\udcff.ndjson" in err

    def test_one_that_prints_to_its_own_stdout_gets_it_back(self, capsys):
        """Who calls `main` finds its stderr as it was."""
        before = sys.stderr
        assert main(["nothing"]) == 2
        assert sys.stderr is before


class TestBrokenStreams:
    @pytest.mark.slow
    @linux
    @pytest.mark.parametrize("words", HELPS, ids=" ".join)
    def test_a_full_disk_behind_stdout_is_74(self, words):
        """And one line says so."""
        with Path("/dev/full").open("wb") as full:
            code, _, err = done(*words, stdout=full)
        assert (code, len(err.splitlines())) == (74, 1)
        assert b"No space left on device" in err

    @pytest.mark.slow
    @pytest.mark.parametrize("words", HELPS, ids=" ".join)
    def test_a_reader_of_stdout_that_has_gone_is_met_in_silence(self, words):
        """As in `--help | head -1`."""
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "wb") as broken:
            code, _, err = done(*words, stdout=broken)
        assert (code, err) == (1, b"")

    @pytest.mark.slow
    @linux
    @pytest.mark.parametrize("words", WRONG, ids=" ".join)
    def test_a_stderr_that_fails_changes_no_code(self, words):
        """A full disk, a pipe without a reader, none at all: wrong usage is wrong usage."""
        reading, writing = os.pipe()
        os.close(reading)
        with Path("/dev/full").open("wb") as full, os.fdopen(writing, "wb") as broken:
            assert [done(*words, stderr=stream)[0] for stream in (full, broken)] == [2, 2]
        closed = subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *PROGRAM, *words], timeout=60, check=False)
        assert closed.returncode == 2

    @pytest.mark.slow
    def test_a_reader_of_stderr_that_has_gone_costs_no_event(self, server, tmp_path):
        """The events are in the file, and not one more request was sent."""
        reading, writing = os.pipe()
        os.close(reading)
        words = ["fetch", "--matching=email", "--format=ndjson", *EMAILS]
        with os.fdopen(writing, "wb") as broken, (tmp_path / "out").open("wb") as out:
            code, _, _ = done(*words, stdout=out, stderr=broken)
        assert (code, read_ndjson((tmp_path / "out").read_text("utf-8"))) == (0, truth(server))

    @pytest.mark.slow
    @pytest.mark.parametrize("words", [["actions", "--json"], ["export", "--into=x.csv", "--json"]], ids=" ".join)
    def test_an_object_for_a_stdout_that_is_closed_is_refused_before_anything_is_done(self, words, tmp_path):
        """Who asks for JSON wants to read it."""
        shell = ["sh", "-c", '"$@" >&-', "sh", *PROGRAM, *words]
        process = subprocess.run(shell, capture_output=True, timeout=60, check=False, cwd=tmp_path)
        assert (process.returncode, b"stdout is closed; leave it open" in process.stderr) == (2, True)


class TestStarting:
    @pytest.mark.slow
    @linux
    @pytest.mark.parametrize("program", [PROGRAM, SCRIPT], ids=["module", "script"])
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    @pytest.mark.parametrize("times", [1, pytest.param(40, marks=full)])
    def test_a_signal_while_python_still_imports_ends_it_without_a_word(self, program, number, code, times, tmp_path):
        """At any moment of its first second, its end included: it leaves at once, with the code of the signal."""
        for moment in [0, *random.Random(int(number)).sample(range(1000), times)]:
            with started("status", "x", program=program, stderr=subprocess.PIPE, cwd=tmp_path) as process:
                until(lambda: process.poll() is not None or listens(process))
                time.sleep(moment / 1000)
                process.send_signal(number)
                _, err = process.communicate(timeout=30)
            # Before it can have looked for the job, or after.
            assert process.returncode in {code, 2}, err
            assert not err or err.startswith("profile-history: there is no job")
            assert moment or process.returncode == code

    def test_the_handlers_are_there_before_anything_is_imported(self):
        """Of the package, and of the libraries that it takes long to import."""
        code = """
import sys
from profile_history import cli
names = set(sys.modules)
assert not names & {"asyncio", "aiohttp", "attrs", "attr", "cyclopts", "rich", "logging", "pathlib", "threading"}, names
assert {name for name in names if name.startswith("profile_history")} == {
    "profile_history", "profile_history.version", "profile_history.cli", "profile_history.cli.signals"
}
"""
        subprocess.run([sys.executable, "-S", "-c", code], timeout=60, check=True, cwd=Path(app.__file__).parents[2])


class TestErrorsOfOurs:
    @pytest.fixture
    def broken(self, monkeypatch):
        """A command with a bug."""

        def bug(*_, **__):
            raise KeyError("odd \x1b[31m")

        monkeypatch.setattr(actions, "print_json", bug)

    def test_an_error_of_ours_is_70_and_one_line(self, broken, run):
        """Which names the error, and how to see the rest."""
        code, out, err = run("actions", "--json")
        assert (code, out, len(err.splitlines())) == (70, "", 1)
        assert "profile-history: an error of ours, KeyError: 'odd \\x1b[31m'" in err
        assert "run the command again with --traceback, and report what it prints" in err

    def test_traceback_prints_the_rest(self, broken, run):
        """Behind the same line."""
        code, out, err = run("actions", "--json", "--traceback")
        first, second, *_ = err.splitlines()
        assert (code, out, second) == (70, "", "Traceback (most recent call last):")
        assert "report what follows" in first
        assert re.search(r"actions.py\", line \d+, in actions", err)

    def test_any_error_has_a_traceback_where_it_is_asked_for(self, run, tmp_path):
        """What is no bug, too; behind `--` the word is a word."""
        code, _, err = run("status", "--traceback", tmp_path / "nothing")
        assert (code, "Traceback" in err) == (2, True)
        code, _, err = run("status", "--", "--traceback")
        assert (code, "Traceback" in err, "neither ./--traceback" in err or "--traceback is" in err) == (2, False, True)

    def test_an_error_of_ours_in_a_job_is_in_its_object(self, run, monkeypatch, tmp_path):
        """With the code and a word."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("profile_history.sinks.urls.sink_of", lambda _: 1 / 0)
        code, out, err = run("export", "--into", "x.csv", "--json", "--traceback")
        told = json.loads(out)
        assert (code, told["exit_code"], told["status"]) == (70, 70, "internal_error")
        assert "an error of ours, ZeroDivisionError" in told["error"]
        assert "ZeroDivisionError: division by zero" in err

    def test_an_error_of_the_system_names_the_file(self, run, monkeypatch):
        """Or at least not stdout, where that is not to blame."""

        def fails(*_, **__):
            raise OSError(5, "Input/output error", "/a/file")

        monkeypatch.setattr(actions, "print_json", fails)
        code, _, err = run("actions", "--json")
        assert (code, "/a/file cannot be used: Input/output error; check that path" in err) == (74, True)


class TestPlaces:
    @pytest.fixture(autouse=True)
    def here(self, tmp_path, monkeypatch):
        """A directory with all kinds of things."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PROFILE_HISTORY_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("PROFILE_HISTORY_TOKEN", TOKEN)
        monkeypatch.setenv("PROFILE_HISTORY_LIST_ID", "1")
        Path("people.txt").write_text("a@b.c\n")
        Path("directory").mkdir()
        os.mkfifo("fifo")

    @pytest.mark.parametrize("ledger", [".", "/", "directory", "fifo", "/dev/null", "/dev/full"])
    def test_what_is_no_file_is_no_ledger_and_nothing_is_made_beside_it(self, run, ledger):
        """A FIFO is not waited for."""
        before = sorted(Path(ledger).resolve().parent.iterdir())
        words = ["people.txt", "--matching=email", "--from=2024-01-01", "--to=2024-01-02", "--into=x.ndjson"]
        code, out, err = run("export", *words, "--ledger", ledger)
        assert (code, out) == (2, "")
        assert re.search(
            "is (a directory|no file), and no ledger; name the file of one, or one that is to be made", err
        )
        assert sorted(Path(ledger).resolve().parent.iterdir()) == before

    @pytest.mark.parametrize("job", [".", "/", "", "directory", "fifo", "people.txt/x", "x" * 300])
    @pytest.mark.parametrize("command", ["status", "verify", "resume", "retry-failed"])
    def test_what_is_no_job_is_said(self, run, command, job):
        """Whatever it is."""
        code, out, err = run(command, job)
        assert (code, out, len(err.splitlines())) == (2, "", 1)

    def test_a_word_with_the_character_0_is_refused(self, run):
        """No process can be given one, but a program can call `main` with it, or name it as a file of profiles."""
        code, out, err = run("export", "a\0b.csv", "--into", "x.ndjson")
        assert (code, out, "holds the character 0" in err) == (2, "", True)
        with pytest.raises(ConfigurationError, match="is no path of a file: it holds the character 0"):
            source_of("a\0b.csv", matching="email")

    def test_a_look_back_of_ages_is_refused_before_anything_is_written(self, run):
        """It would reach beyond the calendar."""
        words = ["people.txt", "--matching=email", "--from=2024-01-01", "--to=2024-01-02", "--into=x.ndjson"]
        code, _, err = run("export", *words, "--lookback", "800000")
        assert (code, "lookback" in err, list(Path().glob("x.*"))) == (2, True, [])


def listens(process):
    """Tell whether a process has a handler for SIGTERM, by the kernel's own account."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        status = Path(f"/proc/{process.pid}/status").read_text()
        return bool(int(re.search(r"SigCgt:\s+(\w+)", status)[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False
