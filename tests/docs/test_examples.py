"""The examples in the docstrings do what they say, against a real server on loopback.

An example may use, beside all that is in its own module and all public names of `profile_history`:

- `server`: an embedded `HistoryServer` of 30 profiles, shared by all examples; do not change it;
- `client`: a client of that server; `HistoryClient()` is another one, by the environment;
- `profile` and `profiles`: the server's profile 1, and its first three;
- `asyncio` and `dt` (`datetime`), and `await`, `async for` and `async with` outside of any function.

The working directory is empty. `...` stands for any text, and exceptions are written without their module.
"""

import asyncio
import datetime as dt
import tempfile

import pytest
from support.examples import find_examples, run_examples

import profile_history
from profile_history import _config
from profile_history.testing import HistoryServer

EXAMPLES = find_examples()
LEAST = 40


@pytest.fixture(scope="module")
def server():
    """One server for all, in a thread of its own, so that an example may hold its loop."""
    with HistoryServer(profiles=30) as server:
        yield server


@pytest.mark.parametrize("name", EXAMPLES)
async def test_the_example_does_what_it_says(name, server, tmp_path, monkeypatch):
    """Each example of the docstring prints what stands below it."""
    monkeypatch.chdir(tmp_path)
    # Where directories of examples go when this is over.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv(_config.URL, server.url)
    monkeypatch.setenv(_config.TOKEN, server.token)
    monkeypatch.setenv(_config.LIST_ID, str(server.list_id))
    names = {name: getattr(profile_history, name) for name in profile_history.__all__}
    async with server.client() as client:
        names |= {"server": server, "client": client, "asyncio": asyncio, "dt": dt}
        names |= {"profile": server.profile(1), "profiles": [server.profile(number) for number in range(3)]}
        await run_examples(EXAMPLES[name], names)


def test_what_users_call_has_an_example():
    """The number only grows."""
    print(f"{len(EXAMPLES)} docstrings have examples that are run")
    assert len(EXAMPLES) >= LEAST
