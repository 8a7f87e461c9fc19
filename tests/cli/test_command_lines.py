"""Command lines that nobody means: whatever is typed, there is a sentence and a code that is documented."""

import asyncio
import contextlib
import io
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from support.commands import TOKEN, lead_to

from profile_history import Profile
from profile_history.cli import app, exit_codes, main, serve
from profile_history.jobs import HistoryJob
from profile_history.testing import HistoryServer

PROGRAM = [sys.executable, "-m", "profile_history"]
CODES = set(exit_codes.MEANINGS) - {exit_codes.INTERNAL}
COMMANDS = ("actions", "demo", "export", "fetch", "resume", "retry-failed", "serve", "status", "verify")
FLAGS = ("--json", "--since-last", "--overwrite", "--allow-http", "--gzip", "--traceback", "--help", "--version", "-h")


def listed(text):
    """The words of a text."""
    return text.split()


NUMBERS = (
    *listed("""
        0 1 -1 2 20 61 1.5 1e3 1e400 nan inf -inf 0x10 1_000 ٣ 800000 2147483648 9223372036854775808 -0 +1 1,5 True
    """),
    "9" * 40,
    "9" * 5000,
)
DAYS = (
    *listed("""
        2024-01-01 2024-01-31 2024-02-30 2023-12-01 0001-01-01 9999-12-31 10000-01-01 2024-1-1 20240101 today
        2024-01-01T00:00:00 2024-W01-1 -2024-01-01 1969-12-31 2999-01-01
    """),
)
ODD = (os.fsdecode(b"\xff\xfe"), "\ud800", "x" * 5000, "a\0b", "", " ", "\n", "\t", "\x1b[31m", "\u202eevil", "\ufeff")
WORDS = (
    *ODD,
    *listed("""
        - -- --- -x = --= é письмо 𝔘 a@b.c user1@example.com user2@example.com nobody +79000000001 a:b a=b {} []
        null %s%n $HOME ~ * ' \" ; \\ table ndjson csv text parquet email xxh custom custom: custom:x push_sub all
        body header overlap exact newest oldest auto none light heavy push ru en 20ms 1s -1s inclusive exclusive
        seed
    """),
    *("newer", "select 1", "select 'a@b.c' as email", "drop"),
)
PATHS = (
    *(os.fsdecode(b"\xff") + ending for ending in ("", ".csv", ".ndjson", ".parquet", ".duckdb")),
    *("", "new\nline.csv", "a b.csv", "x" * 300, "x" * 300 + ".csv", "a\0b.csv"),
    *listed("""
        . .. ./ / nothing nothing/ nothing/below directory directory/ directory/new.ndjson empty empty.csv text.csv
        text.txt lines.ndjson bytes bytes.parquet bytes.duckdb fifo fifo.ndjson fifo.ledger socket loop loop.csv
        link.ndjson private private.csv /dev/null /dev/full /dev/full.csv /proc/self/new.csv /proc/self/mem
        /nonexistent/x.csv -x.csv ? #.ndjson .csv x.csv? x.csv?formulas=maybe x.csv?formulas=keep x.parquet
        x.parquet?partition=hash:0 x.parquet?partition=hash:9999999999 x.parquet?partition=day x/ x.duckdb
        x.duckdb?table= x.duckdb?table=a.b.c.d x.duckdb?table=%00 x.ndjson.gz x.csv.zst a:b.csv
        s3://bucket/x.parquet http://127.0.0.1:1/x.csv file:///x.csv postgresql://127.0.0.1:1/x postgresql://[
        postgresql:///x?host=/nonexistent postgresql://a:b@127.0.0.1:1/x?table=y postgresql://127.0.0.1:99999/x
        job.ndjson job.ndjson.ledger job.csv job.csv.ledger job.parquet job.parquet.ledger job.duckdb
        job.duckdb.ledger draft.ledger draft.ndjson new.ndjson new.csv new.parquet new.duckdb
    """),
)


def options():
    """The options of all commands, as their signatures name them."""
    found = set(FLAGS)
    for command in COMMANDS:
        found.update(f"--{name}" for name in named(app.app[command]) if name != "help")
    return sorted(found)


def named(command):
    """The long options of one command."""
    for argument in command.assemble_argument_collection():
        yield from (name.removeprefix("--") for name in argument.names if name.startswith("--"))


def command_lines(seed, server):
    """Command lines without end; most of them begin like one that somebody means."""
    chance = random.Random(seed)
    known = options()
    likely = {
        "--url": (server.url, server.url + "/", "http://", "https://", "ftp://127.0.0.1", "127.0.0.1", "http://[", "x"),
        "--concurrency": ("1", "2", "0", "-1", "nan", "16"),
        "--rate": ("50", "1000", "0", "-1", "nan"),
        "--port": ("0", "1", "65536", "-1"),
        "--patience": ("0", "0.1", "-1", "nan", "1"),
        "--deadline": ("0", "0.1", "-1", "nan", "inf", "1e400", "5"),
        "--profiles": ("0", "1", "3", "-1", "x"),
        "--latency": ("0ms", "1ms", "x", "-1ms"),
        "--lookback": NUMBERS,
        "--list-id": ("20", "20", "20", *NUMBERS),
        "--from": DAYS,
        "--to": DAYS,
        "--matching": ("email", "email", "email", *WORDS),
        **dict.fromkeys(("--into", "--output", "--ledger", "--token-file"), PATHS),
        "--query": WORDS,
    }

    def value(option):
        pools = (likely.get(option, WORDS), NUMBERS, DAYS, WORDS, PATHS)
        # What would make a demo or an outage long has the likely values only.
        bounded = option in {"--url", "--patience", "--profiles", "--latency", "--port", "--deadline", "--rate"}
        return chance.choice(pools[0] if bounded else chance.choices(pools, (8, 1, 1, 1, 1))[0])

    def option():
        name = chance.choice(known)
        if name in FLAGS:
            return [name]
        return [f"{name}={value(name)}"] if chance.random() < 0.3 else [name, value(name)]

    starts = {
        "demo": lambda: ["--profiles", "3", "--faults", "none"],
        "export": lambda: [
            *([chance.choice(("text.txt", "text.csv", "lines.ndjson", *PATHS))] if chance.random() < 0.7 else []),
            *("--into", chance.choice(PATHS)),
            *(("--from", value("--from"), "--to", value("--to")) if chance.random() < 0.7 else ()),
            *(("--matching", "email") if chance.random() < 0.7 else ()),
        ],
        "fetch": lambda: ["--matching", value("--matching"), chance.choice(WORDS)],
        **dict.fromkeys(("resume", "retry-failed", "status", "verify"), lambda: [chance.choice(PATHS)]),
    }
    while True:
        command = chance.choice(COMMANDS)
        # Without its beginning a demo fetches more profiles than anybody wants to wait for.
        words = [command, *(starts.get(command, list)() if command == "demo" or chance.random() < 0.9 else [])]
        for _ in range(chance.choice((0, 0, 1, 1, 2, 3, 6))):
            added = option() if chance.random() < 0.8 else [chance.choice((*WORDS, *PATHS))]
            place = len(words) if chance.random() < 0.7 else chance.randint(0, len(words))
            words[place:place] = added
        yield words


class World:
    """A directory in which all kinds of things stand under the names of `PATHS`."""

    def __init__(self, directory, server):
        self.directory = directory
        self._server = server
        self._jobs = None

    def make(self):
        """Make everything anew."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir()
        if self._jobs is None:
            self._jobs = self.directory.with_name("jobs")
            asyncio.run(self._run_jobs())
        for path in self._jobs.iterdir():
            (shutil.copytree if path.is_dir() else shutil.copy)(path, self.directory / path.name)
        here = self.directory
        (here / "directory").mkdir()
        for name in ("empty", "empty.csv"):
            (here / name).touch()
        (here / "text.txt").write_text("user1@example.com\nuser2@example.com\nnobody\n")
        (here / "text.csv").write_text("email,name\nuser1@example.com,x\nuser3@example.com\n")
        (here / "lines.ndjson").write_text('{"matching":"email","email":"user1@example.com"}\n{\n')
        for name in ("bytes", "bytes.parquet", "bytes.duckdb", "draft.ledger.planning"):
            (here / name).write_bytes(bytes(range(256)) * 8)
        for name in ("fifo", "fifo.ndjson", "fifo.ledger"):
            os.mkfifo(here / name)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(here / "socket"))
        for name in ("loop", "loop.csv"):
            (here / name).symlink_to(name)
        (here / "link.ndjson").symlink_to("lines.ndjson")
        for name in ("private", "private.csv"):
            (here / name).touch(0)

    async def _run_jobs(self):
        self._jobs.mkdir()
        async with self._server.client() as client:
            for name in ("job.ndjson", "job.csv", "job.parquet", "job.duckdb"):
                path = self._jobs / name
                profiles = [Profile.email(f"user{number}@example.com") for number in range(3)]
                job = HistoryJob(
                    client,
                    profiles,
                    str(path),
                    ledger=f"{path}.ledger",
                    date_from="2024-01-01",
                    date_to="2024-01-31",
                )
                async for _ in job.run():
                    pass


@contextlib.contextmanager
def fed(directory):
    """Give the end of its input to whoever waits at a FIFO of the directory."""
    over = threading.Event()

    def feed():
        while not over.wait(0.02):
            for name in ("fifo", "fifo.ndjson", "fifo.ledger"):
                # Nobody waits, or there is no such file just now.
                with contextlib.suppress(OSError):
                    os.close(os.open(directory / name, os.O_WRONLY | os.O_NONBLOCK))

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Watch:
    """Takes note of files that are made or written outside of a directory."""

    def __init__(self):
        self.inside = None
        self.outside = []
        sys.addaudithook(self)

    def __call__(self, event, arguments):
        inside = self.inside
        if inside is None or event not in {"open", "os.mkdir", "os.rename", "os.remove", "sqlite3.connect"}:
            return
        path = arguments[0]
        if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if isinstance(path, (str, bytes, os.PathLike)):
            name = os.path.realpath(os.fsdecode(path).removeprefix("file:").partition("?")[0])
            if not name.startswith((inside, "/dev/", "/proc/", "/nonexistent")) and "pycache" not in name:
                self.outside.append((event, name))


WATCH = Watch()


@pytest.fixture(scope="module")
def server():
    """A server in a thread."""
    with HistoryServer(profiles=5, token=TOKEN) as running:
        yield running


@pytest.fixture
def world(server, monkeypatch):
    """A place to run commands in; nothing outside of it is written, and no other machine is asked."""
    lead_to(server, monkeypatch)
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory).resolve() / "world"
        world = World(place, server)
        world.make()
        monkeypatch.chdir(place)
        monkeypatch.setenv("TMPDIR", directory)
        monkeypatch.setenv("HOME", directory)
        monkeypatch.setattr(tempfile, "tempdir", None)
        with fed(place):
            yield world


def complaint(words, code, text):
    """What is wrong with how a command has ended, or None."""
    if code not in CODES:
        return f"{words} ended with {code}:\n{text}"
    if "Traceback" in text and "--traceback" not in words:
        return f"{words} has printed a traceback:\n{text}"
    return f"{words} has printed the token:\n{text}" if TOKEN in text else None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "times"), [(1, 150), *(pytest.param(seed, 500, marks=pytest.mark.full) for seed in range(2, 12))]
)
def test_any_command_line_ends_with_a_documented_code(world, server, monkeypatch, seed, times):
    """In this process, with no terminal to ask; what it does stays in its directory."""
    resolve = socket.getaddrinfo

    def resolved(host, *rest, **more):
        assert host in {None, "127.0.0.1", "localhost", "::1", b"127.0.0.1"}, host
        return resolve(host, *rest, **more)

    def briefly(work, **_):
        with contextlib.suppress(TimeoutError):
            asyncio.run(asyncio.wait_for(work, 0.1))

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    monkeypatch.setattr(serve, "run", briefly)
    lines = command_lines(seed, server)
    wrong = []
    for number in range(times):
        if number % 25 == 0:
            world.make()
            os.chdir(world.directory)
        words = next(lines)
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        WATCH.inside, WATCH.outside = str(world.directory.parent), []
        with Path(os.devnull).open() as stdin, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            monkeypatch.setattr(sys, "stdin", stdin)
            begun = time.monotonic()
            try:
                code = main(words)
            except BaseException as error:
                code = repr(error)
            took = time.monotonic() - begun
        WATCH.inside = None
        text = "".join(stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err))
        if (told := complaint(words, code, text)) is not None:
            wrong.append(told)
        if WATCH.outside:
            wrong.append(f"{words} has written {WATCH.outside}")
        if took > 20:
            wrong.append(f"{words} took {took:.0f} s")
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("times", [4, pytest.param(200, marks=pytest.mark.full)])
def test_so_it_does_as_a_process(world, server, times):
    """With a real command line, and no stdin."""
    lines = (words for words in command_lines(99, server) if words[0] != "serve" and not any("\0" in w for w in words))
    wrong = []
    for number in range(times):
        if number % 25 == 0:
            world.make()
        words = next(lines)
        done = subprocess.run(
            [*PROGRAM, *map(os.fsencode, filter(encodable, words))],
            capture_output=True,
            timeout=60,
            check=False,
            cwd=world.directory,
            stdin=subprocess.DEVNULL,
        )
        text = (done.stdout + done.stderr).decode("utf-8", "replace")
        if (told := complaint(words, done.returncode, text)) is not None:
            wrong.append(told)
    assert not wrong, "\n\n".join(wrong)


def encodable(word):
    """Tell whether a word can be given to a process."""
    try:
        return bool(os.fsencode(word)) or True
    except UnicodeEncodeError:
        return False
