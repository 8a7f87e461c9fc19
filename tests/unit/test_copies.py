"""What can be copied and sent to another process, and what cannot; what could not be made leaves nothing behind."""

import copy
import datetime as dt
import gc
import pickle
import sys

import attrs
import pytest

from profile_history import (
    Action,
    AuthenticationError,
    Channel,
    ConfigurationError,
    Event,
    HistoryClient,
    Limits,
    Matching,
    Pacing,
    Profile,
    QuarantinedRow,
    RetryPolicy,
    Stats,
    Timeouts,
    UsageError,
    Window,
    WindowFailure,
    WindowResult,
)
from profile_history.jobs import HistoryJob

ONE = Profile.email("john@example.com")
DAYS = Window(dt.date(2024, 1, 1), None)
EVENT = Event(Action("click"), dt.datetime(2024, 1, 1, tzinfo=dt.UTC), extra={"new": [1, None]})
VALUES = [
    ONE,
    Profile.push_sub("android-firebase", "id"),
    Profile.custom("field", 7),
    DAYS,
    EVENT,
    Action("click"),
    Action("not documented"),
    Channel("sms"),
    Matching("custom"),
    RetryPolicy(attempts=7),
    Pacing(concurrency=3),
    Timeouts(read=1.5),
    Limits(row_cap=1000),
    Stats(events=3),
    WindowResult(ONE, DAYS, (EVENT,), None, (QuarantinedRow(ONE, DAYS, "no action", b"{}"),)),
]
WAYS = [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]


def new_client(**options):
    return HistoryClient(**{"base_url": "https://history.example", "token": "secret", "list_id": 20, **options})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_copied_and_pickled_to_equal_ones(value, way):
    """Of the same class, and printed the same."""
    twin = way(value)
    assert (type(twin), twin, repr(twin)) == (type(value), value, repr(value))


@pytest.mark.parametrize("way", WAYS)
def test_a_failed_window_is_copied_with_its_error(way):
    """An error equals itself only, so it is compared by what it says."""
    error = AuthenticationError(401, "who are you", 401)
    error.profile, error.window = ONE, DAYS
    twin = way(WindowFailure(ONE, DAYS, error))
    assert (twin.profile, twin.window, twin.error.to_dict()) == (ONE, DAYS, error.to_dict())


@pytest.mark.parametrize("way", WAYS)
async def test_the_stats_of_a_running_stream_are_copied_as_they_are_now(server, way):
    """The copy counts no more and its time stands still; the stream's own go on."""
    async with server.client() as client, client.histories(server.profiles()) as stream:
        await anext(stream)
        before, twin, after = stream.stats.seconds, way(stream.stats), stream.stats.seconds
        assert twin == stream.stats
        assert before <= twin.seconds <= after
        seconds = twin.seconds
        async for _ in stream:
            pass
        assert twin.events < stream.stats.events
        assert twin.seconds == seconds
        assert way(twin).seconds == seconds
        assert way(stream.stats) == stream.stats


async def test_a_copy_of_a_client_is_one_that_shares_its_session(server):
    """As `with_options()` makes it; closing it leaves the original open, and it leaves no warning behind."""
    async with server.client(order="oldest") as client:
        twin = copy.copy(client)
        assert repr(twin) == repr(client)
        assert await twin.history(server.profile(1)).collect() == await client.history(server.profile(1)).collect()
        await twin.aclose()
        with pytest.raises(UsageError):
            twin.history(server.profile(1))
        assert await client.history(server.profile(1)).collect()
        del twin
        gc.collect()


@pytest.mark.parametrize("way", WAYS[1:])
def test_a_client_is_neither_pickled_nor_deep_copied(noise, way, tmp_path):
    """It holds the token and a session; what was half made on the way is silent, also within something else."""
    client = new_client()
    job = HistoryJob(client, ledger=tmp_path / "job.ledger")
    for thing in (client, {"client": client}, [job]):
        with pytest.raises(TypeError, match=r"take a copy with with_options\(\)"):
            way(thing)
    assert noise() == []


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_is_not_copied(noise, way):
    """Two of them would read the same rows; its stats are values."""
    stream = new_client().history(ONE)
    for thing in (stream, stream.windows()):
        with pytest.raises(TypeError, match="a stream is read once"):
            way(thing)
    assert way(stream.stats) == stream.stats
    assert noise() == []


@pytest.mark.parametrize(
    "options",
    [
        {name: wrong}
        for name in HistoryClient.__init__.__kwdefaults__ | {"base_url": None}
        for wrong in (object(), 10**5000, float("nan"))
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_client_that_could_not_be_made_leaves_no_noise(noise, options):
    """Whichever argument was wrong: the error is a `ConfigurationError`, and `__del__` is silent."""
    with pytest.raises(ConfigurationError, match=r".{20}"):
        new_client(**options)
    assert noise() == []


def test_a_client_that_was_not_begun_leaves_no_noise(noise):
    """As some libraries make objects, and as a class derived from it may end before it begins."""
    client = HistoryClient.__new__(HistoryClient)
    assert repr(client) == "HistoryClient(...)"
    with pytest.raises(UsageError, match="this client is closed"):
        client.history(ONE)
    del client

    class Derived(HistoryClient):
        def __init__(self):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Derived()
    with pytest.raises(TypeError):
        HistoryClient("https://history.example", nonsense=1)
    assert noise() == []


@pytest.fixture
def noise(monkeypatch):
    """What finalisers have complained of by the time it is called."""
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: complaints.append(str(told.exc_value)))

    def listen():
        gc.collect()
        return complaints

    return listen


def test_stats_that_never_began_have_no_seconds():
    """And so have their copies; what is not a counter is no part of a value."""
    assert [way(Stats()).seconds for way in WAYS] == [0, 0, 0]
    assert attrs.evolve(Stats(), events=2) == pickle.loads(pickle.dumps(Stats(events=2)))
