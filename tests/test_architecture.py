"""The structure: public names, directions of imports, and where the libraries live."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import profile_history
import profile_history.testing

PACKAGE = Path(profile_history.__file__).parent

# From the ground up; a room imports only from lower floors.
FLOORS = (
    {
        "version",
        "_text",
        "errors",
        "actions",
        "stats",
        "budget",
        "capping",
        "ceiling",
        "gate",
        "memory",
        "labels",
        "turns",
        "cutting",
        "members",
        "ndjson",
    },
    {"checks", "loops"},
    {"profile_fields"},
    {"profiles", "options", "windows", "events", "secrecy", "envelope", "threads"},
    {"walking", "lanes", "arranging", "protocol", "observing", "units", "token_file"},
    {"settings", "transport", "retrying", "pacing", "decoding", "rawrows", "unpacking"},
    {"fetching", "flatrows"},
    {"schedule", "columns"},
    {"running", "tabling"},
    {"arrow", "reading"},
    {"streams", "assembly"},
    {"client"},
    {"_public"},
)
PURE = (
    "errors",
    "actions",
    "budget",
    "capping",
    "ceiling",
    "gate",
    "memory",
    "profile_fields",
    "profiles",
    "windows",
    "walking",
    "protocol",
    "cutting",
    "envelope",
    "labels",
    "lanes",
    "members",
    "ndjson",
    "decoding",
    "rawrows",
    "flatrows",
    "arranging",
    "unpacking",
    "columns",
    "tabling",
    "schedule",
)


def imports(path):
    """The modules that a file imports, outside of `if TYPE_CHECKING`."""
    names = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [
        node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def rooms(path):
    """The rooms of the core that a file imports from."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("profile_history.")}


def test_the_core_is_these_rooms_and_their_imports_point_downwards():
    """Every room has its floor."""
    core = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert core == set().union(*FLOORS)
    below = set()
    for floor in FLOORS:
        for room in floor:
            assert rooms(PACKAGE / f"{room}.py") <= below, room
        below |= floor


def test_the_core_never_imports_a_wing():
    """The command line, the telemetry and the test server use the core, not the other way round."""
    wings = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert wings == {"cli", "jobs", "otel", "sinks", "testing"}
    for path in PACKAGE.glob("*.py"):
        assert path.stem == "__main__" or not rooms(path) & wings, path


def test_wings_lean_on_each_other_in_one_direction():
    """The command line starts jobs, jobs fill sinks; nothing looks back, and only the demo leans on the test server."""
    below = {"sinks": set(), "jobs": {"sinks"}, "otel": set(), "testing": set(), "cli": {"jobs", "sinks", "testing"}}
    for wing, allowed in below.items():
        for path in (PACKAGE / wing).rglob("*.py"):
            assert rooms(path) & (below.keys() - {wing}) <= allowed, path


def test_each_library_has_one_home():
    """The transport alone knows aiohttp, the retrying tenacity; the client names the type of a session."""

    def homes(library):
        return {
            path.stem for path in PACKAGE.glob("*.py") if any(name.split(".")[0] == library for name in imports(path))
        }

    assert homes("aiohttp") == {"transport", "client"}
    assert homes("tenacity") == {"retrying"}
    assert homes("cattrs") == {"decoding"}
    assert homes("pyarrow") == {"arrow", "columns"}
    assert homes("opentelemetry") == homes("polars") == homes("pandas") == set()


def test_pure_rooms_know_no_clock_and_no_input_or_output():
    """Time, randomness and sleep are passed in."""
    impure = {"asyncio", "time", "random", "os", "socket", "pathlib", "aiohttp", "logging"}
    for room in PURE:
        assert not {name.split(".")[0] for name in imports(PACKAGE / f"{room}.py")} & impure, room


def test_the_public_names_are_exactly_these():
    """Adding one is a decision; losing one breaks somebody."""
    documented = {
        "Action",
        "ApiError",
        "AttemptEnded",
        "AttemptStarted",
        "AttemptTimeout",
        "AuthenticationError",
        "Channel",
        "ConfigurationError",
        "ConnectionFailed",
        "DeadlineExceeded",
        "DecodeError",
        "Event",
        "GateClosed",
        "GateOpened",
        "HistoryClient",
        "HistoryError",
        "HistoryStream",
        "Limits",
        "Matching",
        "Observation",
        "Pacing",
        "Profile",
        "QuarantinedRow",
        "RateLimited",
        "ResponseError",
        "ResponseTooLarge",
        "RetryPlanned",
        "RetryPolicy",
        "RowCapSuspected",
        "ServerUnavailable",
        "Stats",
        "Throttled",
        "Timeouts",
        "TransportError",
        "TruncatedResponse",
        "UnexpectedRedirect",
        "UntrustedServer",
        "UsageError",
        "Window",
        "WindowDone",
        "WindowFailure",
        "WindowResult",
        "__version__",
        "unstructure",
    }
    assert set(profile_history.__all__) == documented
    assert all(hasattr(profile_history, name) for name in profile_history.__all__)
    public = ["Behaviour", "Fault", "FaultPlan", "HistoryServer", "LoggedRequest", "Unfolding"]
    assert profile_history.testing.__all__ == public


def test_importing_the_package_alone_takes_no_time():
    """The command line imports it before it can listen to signals; the names come when they are asked for."""
    code = """
import sys
before = set(sys.modules)
import profile_history
print(*(name for name in set(sys.modules) - before if name.startswith("profile_history")))
from profile_history import *
assert HistoryClient is profile_history.HistoryClient
assert profile_history.errors.HistoryError is HistoryError
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(printed) == {"profile_history", "profile_history.version"}
    assert set(profile_history.__all__) <= set(dir(profile_history))
    # A wing is not imported by asking for it, as the core is; this one is there already.
    assert profile_history.__getattr__("testing") is profile_history.testing
    with pytest.raises(AttributeError, match="module 'profile_history' has no attribute 'nothing'"):
        profile_history.nothing  # noqa: B018
    with pytest.raises(AttributeError, match="__nothing__"):
        profile_history.__nothing__  # noqa: B018


def test_importing_the_names_imports_neither_wings_nor_optional_libraries():
    """Who only uses the core pays only for the core."""
    code = "import sys; from profile_history import *; print(*(name.split('.')[0] for name in sys.modules))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {"cyclopts", "rich", "uvloop", "pytest", "hypothesis", "fastapi", "opentelemetry", "pyarrow"}
