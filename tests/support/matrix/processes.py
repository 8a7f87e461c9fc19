"""Lives of processes: signals, crashes, disks, and two at once."""

import contextlib
import errno
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any
from unittest import mock

from support.commands import Saboteur, started, truth, until
from support.matrix.bench import EMAILS, MANY, Bench
from support.matrix.classes import ACCEPTED, REFUSED, STREAM_STOPPED
from support.matrix.scenarios import outside

from profile_history.cli import output
from profile_history.testing import Behaviour


@outside(STREAM_STOPPED)
def process_is_told_to_stop(bench: Bench) -> None:
    """Send SIGINT or SIGTERM, once or twice: it is over in seconds, and what it wrote is whole windows."""
    number = bench.dice.in_turn((signal.SIGINT, signal.SIGTERM))
    twice, requests = bench.dice.in_turn((False, True)), bench.dice.random.randint(1, 60)
    with bench.server(latency=0.05) as server:
        words = [*bench.words, "--concurrency", "4", *MANY]
        with started(*words, stderr=subprocess.PIPE) as process:
            until(lambda: len(server.log) >= requests)
            bench.note(Path(f"/proc/{process.pid}/cmdline").read_bytes().decode())
            os.kill(process.pid, number)
            if twice:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)
            err = process.communicate(timeout=10)[1]
        bench.note(err)
        assert (process.returncode, bench.path.exists()) == (128 + number, False)
        # The second signal ends it wherever it is, in the middle of a line as well.
        if bench.part.exists() and not twice:
            got, true = bench.written(bench.part), truth(server, MANY)
            assert got == {name: true[name] for name in got}
        server.behaviour = Behaviour()
        assert bench.run(*bench.words, *EMAILS)[0] == 0
        assert bench.written(bench.path) == truth(server, EMAILS)


@outside(STREAM_STOPPED)
def process_is_killed(bench: Bench) -> None:
    """Kill it at any moment: there is no file of that name, and the same command run again has everything once."""
    requests = bench.dice.random.randint(0, len(EMAILS) - 5)
    with bench.server(latency=0.05) as server:
        with started(*bench.words, "--concurrency", "2", *EMAILS, stderr=subprocess.PIPE) as process:
            until(lambda: len(server.log) >= requests)
            time.sleep(bench.dice.random.uniform(0, 0.05))
            process.kill()
            bench.note(process.communicate()[1])
        assert not bench.path.exists()
        server.behaviour = Behaviour()
        assert bench.run(*bench.words, *EMAILS)[0] == 0
        assert bench.written(bench.path) == truth(server, EMAILS)
        assert list(bench.folder.iterdir()) == [bench.path]


@outside(ACCEPTED)
def power_may_fail(bench: Bench) -> None:
    """Check that rows are on the disk before the file has its name, and the name before the command says it is done."""
    calls: list[Any] = []
    sync, replace = os.fsync, Path.replace
    emails = bench.dice.random.sample(EMAILS, 5)

    def fsync(file: int) -> None:
        calls.append((os.fstat(file).st_ino, bench.path.exists()))
        sync(file)

    def renamed(old: Path, new: Path) -> None:
        calls.append("rename")
        replace(old, new)

    with bench.server() as server, mock.patch("os.fsync", fsync), mock.patch.object(Path, "replace", renamed):
        assert bench.run(*bench.words, *emails)[0] == 0
        assert bench.written(bench.path) == truth(server, emails)
    assert calls == [(bench.path.stat().st_ino, False), "rename", (bench.folder.stat().st_ino, True)]


@outside(STREAM_STOPPED)
def disk_fails(bench: Bench) -> None:
    """Fail once or for good, at any call: the file is named, the old one or the new one is whole, a new run works."""
    error = bench.dice.in_turn((errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS))
    lasting, emails = bench.dice.in_turn((True, False)), bench.dice.random.sample(EMAILS, 5)
    words = [*bench.words, *emails, "--overwrite"]
    bench.path.write_text("old")
    with bench.server() as server, mock.patch.object(output, "_CHUNK", 1000):
        while True:
            saboteur = Saboteur(bench.dice.random.randint(1, 12), error, lasting=lasting)
            replace = saboteur.wrapped("replace", Path.replace)
            with mock.patch.object(output, "os", saboteur), mock.patch.object(Path, "replace", replace):
                code, _, err = bench.run(*words)
            if code:
                break
        assert (code, saboteur.struck != []) == (code if code in (2, 74) else None, True)
        assert (str(bench.path) in err, os.strerror(error) in err) == (True, True)
        if bench.path.read_text() != "old":
            assert bench.written(bench.path) == truth(server, emails)
        assert bench.run(*words)[0] == 0
        assert bench.written(bench.path) == truth(server, emails)


@outside(REFUSED)
def two_write_one_file(bench: Bench) -> None:
    """Start a second one: it stops at once, names the file, sends nothing, and does not disturb the first."""
    with bench.server(latency=60.0) as server:
        emails = bench.dice.random.sample(EMAILS, 5)
        with started(*bench.words, *emails, stderr=subprocess.PIPE) as process:
            until(bench.part.exists)
            until(lambda: server._busy)
            began = time.monotonic()
            code, _, err = bench.run(*bench.words, *emails)
            assert (code, time.monotonic() - began < 2, process.poll()) == (2, True, None)
            assert f"another process is writing {bench.part}" in err
            assert list(server.log) == []
            process.kill()
            bench.note(process.communicate()[1])
        server.behaviour = Behaviour()
        assert bench.run(*bench.words, *emails)[0] == 0
        assert bench.written(bench.path) == truth(server, emails)
