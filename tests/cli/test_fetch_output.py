"""The output of `fetch`: files that are there whole or not at all, and odd events as text."""

import errno
import itertools
import json
import os
import re
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.commands import EMAILS, PROGRAM, Saboteur, fetch_rows, read_ndjson, row, run, server, started, truth, until  # noqa: F401 (fixtures)

from profile_history.cli import event_text, output
from profile_history.sinks import disk
from profile_history.testing import Behaviour, Fault, FaultPlan


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

    @pytest.mark.slow
    @pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
    @pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS], ids=errno.errorcode.get)
    def test_whichever_call_fails_the_old_file_stays_or_the_new_one_is_whole(
        self, server, run, tmp_path, monkeypatch, error, lasting
    ):
        """Each call to the system fails in its turn: there is a message that names the file, and the next run works."""
        path = tmp_path / "events"
        part = tmp_path / "events.part"
        # A private size, so that a small file takes several writes.
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

    @pytest.mark.slow
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

    @pytest.mark.slow
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

    @pytest.mark.slow
    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
    def test_a_full_disk_behind_stderr_costs_no_event(self, server):
        """Progress that nobody can read is no reason to fail."""
        words = ["fetch", "--matching", "email", "--format", "ndjson", *EMAILS]
        with Path("/dev/full").open("w") as full, started(*words, stdout=subprocess.PIPE, stderr=full) as process:
            out = process.stdout.read()
            assert process.wait(30) == 0
        assert read_ndjson(out) == truth(server)

    @pytest.mark.slow
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

    @pytest.mark.slow
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

    @pytest.mark.slow
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
        """An empty output counts, too; what an earlier run left is not taken for it."""
        path = tmp_path / "events"
        path.with_name("events.part").write_text("of an earlier run")
        assert run("fetch", "--matching", "email", "--output", path, "nobody@example.com")[0] == 0
        assert path.read_bytes() == b""

    def test_a_file_that_appears_meanwhile_is_not_replaced(self, server, run, tmp_path):
        """Somebody else's file stays, and the events are in the part."""
        server.behaviour = Behaviour(latency=0.2)
        path = tmp_path / "events"

        def appear():
            # The log has a request when it is over; this one is to be met before.
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

    @pytest.mark.slow
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

    @pytest.mark.slow
    def test_an_old_locale_does_not_matter(self, server):
        """NDJSON is UTF-8 wherever it is written."""
        words = ["fetch", "--matching", "custom", "--format", "ndjson", "ИМЯ=1", "CRM_ID=1"]
        environment = {**os.environ, "PYTHONIOENCODING": "latin-1:strict"}
        done = subprocess.run([*PROGRAM, *words], capture_output=True, timeout=30, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        assert [json.loads(line)["profile"] for line in done.stdout.decode("utf-8").splitlines()][
            -1
        ] == "custom:CRM_ID=1"
