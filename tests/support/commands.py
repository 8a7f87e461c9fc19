"""Helpers of the tests of commands."""

import contextlib
import datetime as dt
import http.server
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict

import pytest

from profile_history import Profile
from profile_history.cli import main
from profile_history.testing import Fault, HistoryServer

TOKEN = "a-token-that-nothing-prints"


PROGRAM = [sys.executable, "-m", "profile_history"]


EMAILS = [f"user{number}@example.com" for number in range(1, 6)]


REFUSED_AT_ONCE = {"api_error": 440, "rates": {Fault.API_ERROR: 1.0}, "streak": None}


OPTIONS = {
    "actions": "channel lang json",
    "demo": "profiles seed faults",
    "export": "from to into matching column format query delimiter ledger since-last refetch-from lookback min-events "
    "restart yes json url list-id "
    "token-file auth window border order concurrency rate patience allow-http proxy ca redact-profiles empty-data",
    "fetch": "matching from to format output overwrite url list-id token-file auth window border order concurrency "
    "rate patience deadline allow-http proxy ca redact-profiles empty-data",
    "resume": "into min-events json url token-file auth concurrency rate patience allow-http proxy ca "
    "redact-profiles empty-data",
    "retry-failed": "into min-events json url token-file auth concurrency rate patience allow-http proxy ca "
    "redact-profiles empty-data",
    "status": "json",
    "verify": "into json",
    "serve": "port profiles seed faults latency rows order date-to offset row-cap capacity limit gzip",
}


# Seconds within which a server of `answering` notices that it is to end.
POLL = 0.01


# A sequence that moves the cursor or colours text (ECMA-48, 5.4).
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def lead_to(server, monkeypatch):
    """Let the environment say where a server is, and how one gets in."""
    monkeypatch.setenv("PROFILE_HISTORY_URL", server.url)
    monkeypatch.setenv("PROFILE_HISTORY_TOKEN", server.token)
    monkeypatch.setenv("PROFILE_HISTORY_LIST_ID", str(server.list_id))


@pytest.fixture
def server(monkeypatch):
    """A server in a thread, to which the environment leads."""
    with HistoryServer(profiles=40, token=TOKEN) as running:
        lead_to(running, monkeypatch)
        yield running


@pytest.fixture
def run(capsys):
    """Run a command in this process; return its exit code, stdout and stderr."""

    def runner(*words):
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return runner


@contextlib.contextmanager
def started(*words, program=PROGRAM, **streams):
    """Run a command in a process of its own, which does not outlive the block."""
    # A shell that put us in the background ignores SIGINT, and a child would inherit that.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen([*program, *words], text=True, start_new_session=True, **streams)
    signal.signal(signal.SIGINT, inherited)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


class Terminal:
    """A pseudo-terminal: `end` is for a process, and what it prints and reads is seen and typed here."""

    def __init__(self):
        self._ours, self.end = pty.openpty()
        self._seen = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.hand_over()
        os.close(self._ours)

    def hand_over(self):
        """Leave the process as the only holder of its end, so that its exit can be noticed."""
        if self.end is not None:
            os.close(self.end)
            self.end = None

    def type(self, text):
        os.write(self._ours, text.encode())

    def read(self, text=None):
        """Read until a text has appeared or, without one, to the end; return all that was seen."""
        deadline = time.monotonic() + 30
        # Linux reports the other side's end as EIO, other systems as no bytes.
        with contextlib.suppress(OSError):
            while text is None or text.encode() not in self._seen:
                assert select.select([self._ours], [], [], max(0, deadline - time.monotonic()))[0], self._seen
                if not (part := os.read(self._ours, 65536)):
                    break
                self._seen.extend(part)
        return self._seen.decode()


def until(condition):
    """Wait for a condition, thirty seconds at most."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in thirty seconds"
        time.sleep(0.005)


def essence(event):
    return event.datetime, event.action, event.message_id, event.campaign_id, event.email


def read_ndjson(text):
    """The histories in lines of JSON, by profile."""
    histories = defaultdict(list)
    for line in text.splitlines():
        item = json.loads(line)
        assert set(item) == {"profile", "event"}
        event = item["event"]
        moment = dt.datetime.fromisoformat(event["datetime"])
        rest = (event["action"], event.get("message_id"), event.get("campaign_id"), event["email"])
        histories[item["profile"]].append((moment, *rest))
    return histories


def truth(server, emails=EMAILS, *days):
    """The histories of some addresses as `read_ndjson` gives them."""
    named = {f"email:{email}": server.truth(Profile.email(email), *days) for email in emails}
    return {name: list(map(essence, events)) for name, events in named.items() if events}


def answering(*rows):
    """A server that gives everybody the same rows, exactly as they are written here."""
    body = b'{"data":[%b],"error":0,"error_text":""}' % b",".join(rows)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_): ...

    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def fetch_rows(run, monkeypatch):
    """Fetch rows, and return what `run` gives."""
    monkeypatch.setenv("PROFILE_HISTORY_TOKEN", TOKEN)

    def fetcher(format_, *rows):
        with answering(*rows) as server:
            thread = threading.Thread(target=server.serve_forever, args=(POLL,))
            thread.start()
            url = f"http://127.0.0.1:{server.server_port}"
            try:
                return run("fetch", "--matching=email", "--url", url, "--list-id=20", "--format", format_, "a@b.c")
            finally:
                server.shutdown()
                thread.join()

    return fetcher


def row(action="open", **more):
    fields = {"action": action, "datetime": "2024-01-02T03:04:05Z", **more}
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "backslashreplace")


class Saboteur:
    """Stands in for the module `os`: from the call of a given number on, once or for good, calls fail."""

    CALLS = ("open", "ftruncate", "write", "fsync", "close", "dup")

    def __init__(self, number, error, *, lasting):
        self._left = number
        self._error = error
        self._lasting = lasting
        self.struck = []

    def __getattr__(self, name):
        call = getattr(os, name)
        return self.wrapped(name, call) if name in self.CALLS else call

    def wrapped(self, name, call):
        """A call that fails when its turn has come."""

        def wrapper(*words, **options):
            self._left -= 1
            if self._left == 0 or (self._left < 0 and self._lasting):
                if name == "close":
                    call(*words)
                self.struck.append(name)
                raise OSError(self._error, os.strerror(self._error))
            return call(*words, **options)

        return wrapper
