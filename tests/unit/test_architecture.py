"""The structure: public names, directions of imports, and where the libraries live."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import profile_history
import profile_history.testing

PACKAGE = Path(profile_history.__file__).parent

# From the ground up; each imports only from those below it, and from itself.
FLOORS = (
    {"_deprecated", "_error_context"},
    {"version", "_text", "errors", "actions", "stats"},
    {"_checks", "_aio", "_extras"},
    {"_profile_fields"},
    {"matching"},
    {"profiles", "options", "windows", "events", "_secrets"},
    {"units"},
    {"results", "observing", "_token_file", "_certificates"},
    {"_route"},
    {"results", "observing", "_token_file", "_redaction"},
    {"_protocol"},
    {"_config", "_decoding", "_sending"},
    {"_scheduling"},
    {"_assembly", "arrow"},
    {"streams", "_client_core"},
    {"client"},
    {"_public", "reading"},
)
WINGS = {"sinks": set(), "jobs": {"sinks"}, "otel": set(), "testing": set(), "cli": {"jobs", "sinks", "testing"}}
PURE = {"_error_context", "errors", "actions", "_profile_fields", "matching", "profiles", "windows", "units", "results"}
PURE |= {"_protocol", "_decoding"}


@functools.cache
def parse(path):
    """The tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports(path):
    """The modules that a file imports, outside of `if TYPE_CHECKING`."""
    names = []
    body = [
        node
        for node in parse(path).body
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    ]
    for node in ast.walk(ast.Module(body, [])):
        if isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def modules(name):
    """The files of a module or package of the core."""
    return sorted((PACKAGE / name).rglob("*.py")) if (PACKAGE / name).is_dir() else [PACKAGE / f"{name}.py"]


def rooms(path):
    """The modules and packages, right below the root, that a file imports from."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("profile_history.")}


def test_what_the_core_consists_of_and_that_its_imports_point_downwards():
    """Values, then the protocol, then sending and decoding side by side, then scheduling, then what users call."""
    core = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert core - {"__init__", "__main__"} - WINGS.keys() == set().union(*FLOORS)
    below = set()
    for floor in FLOORS:
        for name in floor:
            for path in modules(name):
                assert rooms(path) <= below | {name}, path
        below |= floor


def test_no_module_imports_itself_on_any_way_round():
    """Also where an import is only for the type checker or inside a function."""
    graph = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        graph[name] = every_import(path) - {name}
    known = graph.keys()
    graph = {name: {nearest(target, known) for target in targets} - {None, name} for name, targets in graph.items()}
    assert circles(graph) == []


def every_import(path):
    """All that a file imports of the package, wherever in it that stands."""
    names = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("profile_history"):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def nearest(target, known):
    """The module that a dotted name is in."""
    while target not in known and "." in target:
        target = target.rpartition(".")[0]
    return target if target in known else None


def circles(graph):
    """Each group of modules that import one another."""
    order, low, stack, found = {}, {}, [], []

    def visit(name):
        order[name] = low[name] = len(order)
        stack.append(name)
        for target in graph[name]:
            if target not in order:
                visit(target)
            if target in stack:
                low[name] = min(low[name], low[target])
        if low[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            found.extend([sorted(group)] if len(group) > 1 else [])

    for name in graph:
        if name not in order:
            visit(name)
    return found


def test_the_core_never_imports_a_wing():
    """The command line, the telemetry and the test server use the core, not the other way round."""
    for name in set().union(*FLOORS):
        for path in modules(name):
            assert not rooms(path) & WINGS.keys(), path


def test_wings_lean_on_each_other_in_one_direction():
    """The command line starts jobs, jobs fill sinks; nothing looks back, and only the demo leans on the test server."""
    for wing, allowed in WINGS.items():
        for path in (PACKAGE / wing).rglob("*.py"):
            assert rooms(path) & (WINGS.keys() - {wing}) <= allowed, path


def test_each_library_has_one_home():
    """What sends and receives knows aiohttp, the retrying tenacity; the client names the type of a session."""

    def homes(library):
        core = (path for name in set().union(*FLOORS) for path in modules(name))
        return {path.stem for path in core if any(name.split(".")[0] == library for name in imports(path))}

    receiving = {"response_body", "content_decoder", "repeated_length"}
    assert homes("aiohttp") == {"transport", "connector", "connection_failures", "client"} | receiving
    assert homes("tenacity") == {"retrier"}
    assert homes("cattrs") == {"event_decoder"}
    assert homes("pyarrow") == {"arrow", "record_batches"}
    assert homes("opentelemetry") == homes("polars") == homes("pandas") == set()


def test_pure_rooms_know_no_clock_and_no_input_or_output():
    """Time, randomness and sleep are passed in."""
    impure = {"asyncio", "time", "random", "os", "socket", "pathlib", "aiohttp", "logging"}
    sending = ("retry_budget", "row_cap", "concurrency_limit", "circuit_breaker", "memory_budget")
    paths = [path for name in PURE for path in modules(name)]
    paths += [PACKAGE / "_sending" / f"{name}.py" for name in sending]
    paths += [PACKAGE / "_scheduling" / f"{name}.py" for name in ("scheduler", "window_plan")]
    for path in paths:
        assert not {name.split(".")[0] for name in imports(path)} & impure, path


# Participles that are no verbs of their own; "read" and "split" are.
IRREGULAR = {
    "built",
    "made",
    "shown",
    "told",
    "kept",
    "found",
    "held",
    "sent",
    "taken",
    "given",
    "known",
    "written",
}
# In these words the ending is the verb's own.
VERBS_IN_ED_OR_EN = {"need", "feed", "open", "listen", "shorten", "widen", "embed", "speed", "happen"}


def definitions(kind):
    """The names that the modules of the package define at their top level, each with its module."""
    for path in PACKAGE.rglob("*.py"):
        for node in parse(path).body:
            if isinstance(node, kind):
                yield node.name, path.relative_to(PACKAGE).as_posix()


def test_no_class_name_stands_for_two_things():
    """A reader who meets a name has met it before, or not at all; private ones count as well."""
    found = {}
    for name, place in definitions(ast.ClassDef):
        found.setdefault(name.lstrip("_"), []).append(place)
    twice = {
        name: places for name, places in found.items() if len(places) > 1 and sorted(places) != ["client.py", "sync.py"]
    }
    assert twice == {}


def test_functions_are_verbs():
    """A function that is called by a participle, such as `built`, does not say what it does."""
    participles = {
        f"{place}:{name}"
        for name, place in definitions((ast.FunctionDef, ast.AsyncFunctionDef))
        if "_" not in name.strip("_")
        and name.strip("_") not in VERBS_IN_ED_OR_EN
        and (name.strip("_") in IRREGULAR or name.endswith(("ed", "en")))
    }
    assert participles == set()


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
        "CircuitClosed",
        "CircuitOpened",
        "HistoryClient",
        "HistoryError",
        "HistoryStream",
        "Limits",
        "Matching",
        "Observation",
        "Pacing",
        "Profile",
        "ProxyFailed",
        "QuarantinedRow",
        "RateLearned",
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
        "UnexpectedPage",
        "UnexpectedRedirect",
        "UntrustedServer",
        "UsageError",
        "Window",
        "WindowDone",
        "WindowDropped",
        "WindowFailure",
        "WindowResult",
        "__version__",
        "unstructure",
    }
    assert set(profile_history.__all__) == documented
    assert all(hasattr(profile_history, name) for name in profile_history.__all__)
    limiters = {"Limiter", "ConcurrencyLimiter", "TokenBucket", "LeakyBucket", "SlidingWindow", "FixedWindow"}
    public = {"Behaviour", "Fault", "FaultPlan", "HistoryServer", "LoggedRequest", "Unfolding", *limiters}
    assert set(profile_history.testing.__all__) == public


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
