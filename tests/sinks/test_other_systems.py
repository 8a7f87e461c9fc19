"""What a system without the modules of POSIX can do, on this one: imports of them by the package fail."""

import importlib.util
import json
import subprocess
import sys

import pytest
from support.commands import EMAILS, read_ndjson, server, truth  # noqa: F401 (one is a fixture)

from profile_history import _extras, jobs
from profile_history.errors import UnsupportedSystem
from profile_history.sinks import disk, lock

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
    """Run a command, and return its code, stdout and stderr."""
    words = [sys.executable, "-c", BLOCKED + code, *map(str, words)]
    process = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, **more)
    return process.returncode, process.stdout, process.stderr


@pytest.mark.slow
def test_fetch_needs_none_of_them(server, tmp_path):
    """To stdout and to a file."""
    words = ["fetch", "--matching=email", "--format=ndjson", *EMAILS]
    code, out, _ = done(*words)
    assert (code, read_ndjson(out)) == (0, truth(server))
    code, out, _ = done(*words, "--output", tmp_path / "events")
    assert (code, out, read_ndjson((tmp_path / "events").read_text("utf-8"))) == (0, "", truth(server))


@pytest.mark.slow
def test_the_other_commands_without_a_job_need_none_of_them():
    """The catalogue, and the demo with its server."""
    code, out, _ = done("actions", "--json")
    assert (code, len(json.loads(out))) == (0, 66)
    code, out, _ = done("demo", "--profiles", "20", "--faults", "none")
    assert (code, "missing 0 · doubled 0" in out) == (0, True)


@pytest.mark.slow
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


@pytest.mark.slow
def test_programs_can_tell_and_the_rest_of_the_package_is_there():
    """The error is one of imports, and one of ours."""
    code = """
import profile_history, profile_history.testing, profile_history.sinks, profile_history.arrow, profile_history.otel
import profile_history.jobs.sources.columns
assert not hasattr(profile_history.jobs, "nothing")
assert profile_history.HistoryClient and profile_history.sinks.sink_of("x.ndjson")
for kind in (ImportError, profile_history.ConfigurationError):
    try:
        from profile_history.jobs import HistoryJob
    except kind as error:
        assert "file locks of Linux or macOS" in str(error)
    else:
        sys.exit("it was imported")
"""
    assert done(code=code) == (0, "", "")


def copy_of(module, monkeypatch):
    """The module as it is where there is no fcntl."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    spec = importlib.util.spec_from_file_location(f"{module.__name__}_elsewhere", module.__file__)
    made = importlib.util.module_from_spec(spec)
    # Where attrs looks for the annotations of a class.
    monkeypatch.setitem(sys.modules, spec.name, made)
    spec.loader.exec_module(made)
    return made


def test_without_locks_there_are_no_jobs_and_files_are_synced_all_the_same(tmp_path, monkeypatch):
    """The one module says so, and the other does what is left."""
    with pytest.raises(UnsupportedSystem, match="file locks of Linux or macOS"):
        copy_of(lock, monkeypatch)
    elsewhere = copy_of(disk, monkeypatch)
    with elsewhere.DISK.create(tmp_path / "a") as file:
        file.write(b"x")
        file.sync()
    assert (tmp_path / "a").read_bytes() == b"x"


def test_names_of_jobs_say_why_they_are_not_there(monkeypatch):
    """And names that are nowhere are not there, as in any module."""

    class Job:
        """A module that cannot be imported from."""

        def __getattr__(self, name):
            raise UnsupportedSystem("no locks")

    monkeypatch.setitem(sys.modules, "profile_history.jobs.job", Job())
    elsewhere = copy_of(jobs, monkeypatch)
    with pytest.raises(UnsupportedSystem, match=r"^no locks$"):
        elsewhere.HistoryJob  # noqa: B018
    assert not hasattr(elsewhere, "nothing")


def test_a_sink_that_needs_locks_is_not_taken_for_one_that_lacks_a_library(monkeypatch):
    """No package would help."""

    def fails(_):
        raise UnsupportedSystem("no locks")

    monkeypatch.setattr(_extras.importlib, "import_module", fails)
    with pytest.raises(UnsupportedSystem, match=r"^no locks$"):
        _extras.require("profile_history.sinks.duckdb", "duckdb")
