"""Fixtures and options of all tests: the event loop, the number of processes, a quiet environment, a server."""

import asyncio
import gc
import os
import tempfile
from pathlib import Path

import pytest

pytest.register_assert_rewrite("support")
from hypothesis import HealthCheck, settings
from support.disks import memory_directory
from support.postgres import postgres  # noqa: F401 (a fixture)
from support.virtual_clock import VirtualLoop

from profile_history import RetryPolicy
from profile_history.testing import HistoryServer

# The same examples every day and on every machine; `--hypothesis-profile=full` takes many more.
settings.register_profile(
    "default",
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("full", settings.get_profile("default"), max_examples=1000)
settings.load_profile("default")

# Jobs bring each commit to the disk, and a test of them is not about how long that takes.
if "TMPDIR" not in os.environ and (memory := memory_directory()) is not None:
    os.environ["TMPDIR"] = tempfile.tempdir = str(memory)


def pytest_xdist_auto_num_workers(config):
    """Return how many processes `-n auto` starts: one per core for the suite or folders, none for single files."""
    if all(Path(argument.partition("::")[0]).is_file() for argument in config.args):
        return 0
    # The cores that this process may use; half of them can be hyper-threads, and serve as well.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def pytest_addoption(parser):
    """Add the choice of event loop."""
    parser.addoption("--loop", choices=("asyncio", "uvloop"), default="asyncio", help="the event loop to test on")


def pytest_collection():
    """Keep the garbage collector out of the collection of tests, of which nothing is garbage."""
    gc.disable()


def pytest_collection_finish():
    """Let the garbage collector work again."""
    gc.enable()


@pytest.fixture(autouse=True, scope="module")
def frozen():
    """Keep the garbage collector from looking through modules and tests in each of the many tests that call it.

    At each module of tests anew, since libraries are imported on the way.
    """
    gc.collect()
    gc.freeze()


def pytest_asyncio_loop_factories(config, item):
    """Run every asynchronous test on the chosen event loop, or on virtual time if it is marked so."""
    if item.get_closest_marker("virtual") is not None:
        return {"virtual": VirtualLoop}
    if config.getoption("--loop") == "asyncio":
        return {"asyncio": asyncio.new_event_loop}
    import uvloop

    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch):
    """No test reads the settings of the machine it runs on."""
    for name in list(os.environ):
        if name.startswith("PROFILE_HISTORY_"):
            monkeypatch.delenv(name)


@pytest.fixture
async def server():
    """A server of 30 profiles on the test's own loop."""
    async with HistoryServer(profiles=30) as server:
        yield server


@pytest.fixture
def swift():
    """A retry policy with the usual counts and hardly any waiting."""
    return RetryPolicy(base=0.001, cap=0.002)
