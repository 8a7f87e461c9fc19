"""The client itself: its options, its settings, its life."""

import asyncio
import gc
import inspect
import warnings
from inspect import signature

import aiohttp
import pytest

from profile_history import (
    ConfigurationError,
    HistoryClient,
    Limits,
    Pacing,
    Profile,
    RetryPolicy,
    Timeouts,
    UsageError,
    _config,
)
from profile_history.testing import Fault, FaultPlan

URL = "https://ru.altkraft.com"


def client(**options):
    return HistoryClient(**{"base_url": URL, "token": "secret-token", "list_id": 20, **options})


def test_the_signature_is_the_documented_one():
    """Names and defaults of the contract, all but the address by keyword."""
    parameters = signature(HistoryClient).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    assert defaults == {
        "base_url": None,
        "token": None,
        "token_file": None,
        "list_id": None,
        "session": None,
        "auth": "body",
        "window": "auto",
        "border": "overlap",
        "order": "newest",
        "retry": RetryPolicy(),
        "pacing": Pacing(),
        "timeouts": Timeouts(),
        "limits": Limits(),
        "empty_data": "error",
        "allow_http": False,
        "proxy": None,
        "ca": None,
        "redact_profiles": False,
        "on_event": None,
    }
    assert {name for name, parameter in parameters.items() if parameter.kind is inspect.Parameter.KEYWORD_ONLY} == (
        set(defaults) - {"base_url"}
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_url": "http://ru.altkraft.com"}, "use https, or pass allow_http=True"),
        ({"base_url": None}, "the base URL is missing"),
        ({"token": ""}, "the token is empty"),
        ({"token": None}, "the token is missing; pass token= or token_file="),
        ({"list_id": None}, "the list_id is missing; pass list_id="),
        ({"list_id": "20"}, "list_id is a whole number above 0"),
        ({"list_id": True}, "list_id is a whole number above 0"),
        ({"auth": "url"}, "auth is 'body' or 'header', not 'url'"),
        ({"window": 0}, 'window is "auto", a number of days above 0, or None'),
        ({"window": "month"}, 'window is "auto"'),
        ({"border": "inclusive"}, "border is 'overlap' or 'exact', not 'inclusive'"),
        ({"order": None}, "order is 'newest' or 'oldest', not None"),
        ({"order": []}, "order is 'newest' or 'oldest'"),
        ({"retry": 3}, "retry is a RetryPolicy, not 3"),
        ({"on_event": "print"}, "on_event is a plain function of one argument, not 'print'"),
        ({"pacing": 16}, "pacing is a Pacing, not 16"),
        ({"timeouts": 10.0}, "timeouts is a Timeouts, not 10.0"),
        ({"limits": None}, "limits is a Limits, not None"),
        ({"session": "mine"}, "session is a ClientSession, not 'mine'"),
    ],
)
def test_a_wrong_option_is_refused_with_a_word_on_what_to_pass(options, message):
    """When the client is made, before anything is sent."""
    with pytest.raises(ConfigurationError, match=message.replace("(", r"\(")):
        client(**options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"date_from": "2024-02-01", "date_to": "2024-01-01"}, "date_to 2024-01-01 lies before date_from 2024-02-01"),
        ({"on_error": "ignore"}, "on_error is 'raise' or 'collect'"),
        ({"deadline": 0}, "deadline takes a positive number of seconds or None, not 0"),
        ({"deadline": "5"}, "deadline takes a positive number"),
        ({"profile": "john@example.com"}, "profile is a Profile, not 'john@example.com'"),
    ],
)
def test_a_wrong_argument_of_history_is_refused_at_the_call(arguments, message):
    """Not at the first step, where the cause would be far away."""
    with pytest.raises(ConfigurationError, match=message):
        client().history(**{"profile": Profile.email("john@example.com"), **arguments})


def test_a_fixed_window_needs_both_dates():
    """With a word on the alternatives."""
    with pytest.raises(ConfigurationError, match='pass date_from and date_to, or use window="auto"'):
        client(window=31).history(Profile.email("john@example.com"), date_from="2024-01-01")


async def test_everything_may_come_from_the_environment(server, monkeypatch):
    """Address, token and database."""
    monkeypatch.setenv(_config.URL, server.url)
    monkeypatch.setenv(_config.TOKEN, server.token)
    monkeypatch.setenv(_config.LIST_ID, str(server.list_id))
    async with HistoryClient() as ours:
        assert await ours.history(server.profile(1)).collect() == server.truth(server.profile(1))
    async with HistoryClient(list_id=20, token=server.token, base_url=server.url) as ours:
        monkeypatch.setenv(_config.LIST_ID, "99")
        assert await ours.history(server.profile(1)).collect()


@pytest.mark.parametrize("auth", ["body", "header"])
async def test_the_token_goes_where_it_is_told(server, auth):
    """Into the body for every version of the platform, into the header for newer ones."""
    async with server.client(auth=auth) as ours:
        await ours.history(server.profile(1)).collect()
    assert [entry.auth for entry in server.log] == [auth]


async def test_a_copy_has_its_own_options_and_shares_the_connection_and_the_pacing(server):
    """And leaves the original as it was."""
    async with server.client(pacing=Pacing(concurrency=3)) as ours:
        copy = ours.with_options(
            order="oldest", window=None, border="exact", retry=RetryPolicy(attempts=1), timeouts=Timeouts(read=1)
        )
        newest = await ours.history(server.profile(1)).collect()
        oldest = await copy.history(server.profile(1)).collect()
        assert oldest == sorted(newest, key=lambda event: event.datetime)
        # That the parts are the same is what is promised; options are not shown.
        assert copy._core.shared is ours._core.shared
        await copy.aclose()
        with pytest.raises(UsageError, match="this client is closed"):
            copy.history(server.profile(1))
        assert await ours.history(server.profile(1)).collect() == newest
        assert ours.with_options() is not ours
        assert ours.with_options(limits=Limits(body=5))._core.options.limits.body == 5
        assert ours.with_options(list_id=7)._core.options.list_id == 7


def test_a_copy_refuses_what_the_client_refuses():
    """By the same checks."""
    for options in ({"window": 0}, {"order": "up"}, {"border": "x"}, {"list_id": -1}, {"retry": 1}, {"limits": 1}):
        with pytest.raises(ConfigurationError):
            client().with_options(**options)


async def test_closing_a_copy_ends_only_its_own_streams_and_closing_the_original_ends_all(server):
    """And a stream ended so says that it is not complete."""
    server.faults = FaultPlan.always(Fault.STALL)
    ours = server.client()
    copy = ours.with_options(order="oldest")

    def reading(client):
        return asyncio.create_task(client.histories(server.profiles()).collect())

    first, second = reading(ours), reading(copy)
    while len(server.log) < 4:
        await asyncio.sleep(0.001)
    await copy.aclose()
    with pytest.raises(UsageError, match="closed while it was being read"):
        await second
    assert not first.done()
    await ours.aclose()
    with pytest.raises(UsageError, match="closed while it was being read"):
        await first
    with pytest.raises(UsageError, match="closed"):
        ours.with_options(order="newest").history(server.profile(1))


async def test_a_copy_that_is_the_last_one_left_closes_the_session(server):
    """As in `async with HistoryClient(...).with_options(...)`, where nobody holds the original."""
    async with server.client().with_options(order="oldest") as copy:
        gc.collect()
        assert await copy.history(server.profile(1)).collect()
        # That the session is closed is seen on itself.
        session = copy._core.shared.transport._session
    assert session.closed


async def test_a_copy_of_a_client_closed_meanwhile_is_refused(server):
    """The session it shares is gone."""
    ours = server.client()
    copy = ours.with_options()
    await ours.aclose()
    with pytest.raises(UsageError, match="this client is closed"):
        await copy.history(server.profile(1)).collect()


async def test_closing_twice_is_harmless_and_use_after_closing_is_refused(server):
    """With a clear error."""
    ours = server.client()
    await ours.history(server.profile(1)).collect()
    await ours.aclose()
    await ours.aclose()
    with pytest.raises(UsageError, match="make a new one"):
        ours.history(server.profile(1))
    with pytest.raises(UsageError):
        async with ours:
            pass


async def test_a_session_of_the_caller_is_used_and_stays_open(server):
    """We close only what we made."""
    async with aiohttp.ClientSession(headers={"X-Mine": "1"}) as session:
        async with server.client(session=session) as ours:
            assert await ours.history(server.profile(1)).collect()
        assert not session.closed


def test_another_event_loop_is_refused(history_server):
    """A session belongs to the loop it was made on."""
    ours = history_server.client()

    async def use():
        return await ours.history(history_server.profile(1)).collect()

    async def close():
        await ours.aclose()

    runner = asyncio.Runner()
    runner.run(use())
    with pytest.raises(UsageError, match="make one client for each loop"):
        asyncio.run(use())
    runner.run(close())
    runner.close()


async def test_a_client_that_was_not_closed_warns_and_does_nothing_else(server):
    """A ResourceWarning that names the client; no work in a finaliser."""
    ours = server.client()
    await ours.history(server.profile(1)).collect()
    # That the session is closed is seen on itself.
    session = ours._core.shared.transport._session
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del ours
        gc.collect()
        messages = [str(warning.message) for warning in caught if warning.category is ResourceWarning]
    assert any(message.startswith("HistoryClient('http://127.0.0.1") for message in messages)
    assert not session.closed
    await session.close()


def test_a_client_that_could_not_be_made_or_was_never_used_does_not_warn():
    """There is nothing to close."""
    with pytest.raises(ConfigurationError):
        client(token="")
    client()
    gc.collect()


def test_the_representation_names_everything_but_the_token():
    """For logs and debuggers."""
    shown = repr(client(token="canary"))
    assert shown == (
        "HistoryClient('https://ru.altkraft.com', list_id=20, window='auto', border='overlap', order='newest')"
    )
