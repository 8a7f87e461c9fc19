"""What a system without the modules of POSIX can do, on this one: imports of them by the package fail."""

import json
import subprocess
import sys

import pytest
from test_cli import EMAILS, TOKEN, read_ndjson, truth

from profile_history.testing import HistoryServer

# Only imports of our own: asyncio on this system needs some of them.
BLOCKED = """
import builtins, sys
original = builtins.__import__

def importing(name, globals=None, *rest, **named):
    ours = ((globals or {}).get("__name__") or "").startswith("profile_history")
    if ours and name in {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline", "crypt"}:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return original(name, globals, *rest, **named)

builtins.__import__ = importing
"""
MAIN = """
from profile_history.cli import main
sys.exit(main())
"""


def done(*words, code=MAIN, **more):
    """Runs a command, and gives its code, stdout and stderr."""
    words = [sys.executable, "-c", BLOCKED + code, *map(str, words)]
    process = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, **more)
    return process.returncode, process.stdout, process.stderr


@pytest.fixture
def server(monkeypatch):
    """A server in a thread, to which the environment leads."""
    with HistoryServer(profiles=40, token=TOKEN) as running:
        monkeypatch.setenv("PROFILE_HISTORY_URL", running.url)
        monkeypatch.setenv("PROFILE_HISTORY_TOKEN", TOKEN)
        monkeypatch.setenv("PROFILE_HISTORY_LIST_ID", str(running.list_id))
        yield running


def test_fetch_needs_none_of_them(server, tmp_path):
    """To stdout and to a file."""
    words = ["fetch", "--matching=email", "--format=ndjson", *EMAILS]
    code, out, _ = done(*words)
    assert (code, read_ndjson(out)) == (0, truth(server))
    code, out, _ = done(*words, "--output", tmp_path / "events")
    assert (code, out, read_ndjson((tmp_path / "events").read_text("utf-8"))) == (0, "", truth(server))


def test_the_other_commands_without_a_job_need_none_of_them():
    """The catalogue, and the demo with its server."""
    code, out, _ = done("actions", "--json")
    assert (code, len(json.loads(out))) == (0, 66)
    code, out, _ = done("demo", "--profiles", "20", "--faults", "none")
    assert (code, "missing 0 · doubled 0" in out) == (0, True)


@pytest.mark.parametrize("command", ["export", "status", "resume", "retry-failed", "verify"])
def test_a_job_is_refused_in_a_sentence(command, tmp_path):
    """With the code of wrong usage, before anything is read."""
    words = ["--into", "x.ndjson"] if command == "export" else ["x.ledger"]
    code, out, err = done(command, *words, cwd=tmp_path)
    assert (code, out, list(tmp_path.iterdir())) == (2, "", [])
    assert err == (
        "profile-history: jobs need the file locks of Linux or macOS, which this system has not: use `fetch` here, or "
        "run the job there (on Windows, in WSL)\n"
    )


def test_programs_can_tell_and_the_rest_of_the_package_is_there():
    """The error is one of imports, and one of ours."""
    code = """
import profile_history, profile_history.testing, profile_history.sinks, profile_history.arrow, profile_history.otel
assert profile_history.HistoryClient and profile_history.sinks.sink_of("x.ndjson")
for kind in (ImportError, profile_history.ConfigurationError):
    try:
        import profile_history.jobs
    except kind as error:
        assert "file locks of Linux or macOS" in str(error)
    else:
        sys.exit("it was imported")
"""
    assert done(code=code) == (0, "", "")
