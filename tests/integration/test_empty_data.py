"""A `data` of null is a failure, or no events where that is said; what is less than that is always a failure."""

import pytest
from support.scripts import Script, http

from profile_history import ConfigurationError, DecodeError, HistoryClient, HistoryError, Profile, RetryPolicy

PROFILE = Profile.email("john@example.com")
NULL = b'{"data":null,"error":0,"error_text":"Successful operation"}'
LESS = {
    "no data": b'{"error":0,"error_text":"Successful operation"}',
    "an object": b'{"data":{},"error":0,"error_text":"Successful operation"}',
    "a text": b'{"data":"","error":0,"error_text":"Successful operation"}',
    "false": b'{"data":false,"error":0,"error_text":"Successful operation"}',
    "nothing": b"",
    "null": b"null",
    "no error": b'{"data":null}',
    "an error": b'{"data":null,"error":400,"error_text":"no"}',
    "cut": NULL[:-2],
}


def client_of(server, **options):
    """A client that tries once."""
    url, retry = f"http://127.0.0.1:{server.port}", RetryPolicy(attempts=1, passes=1)
    return HistoryClient(url, token="t", list_id=20, retry=retry, **options)


async def test_null_is_an_error_that_says_what_to_set():
    """Nobody documents what it means, and a failure that passes for no events would go unnoticed."""
    async with Script(rest=http(NULL)) as server, client_of(server) as client:
        with pytest.raises(DecodeError, match=r"`data` is null.*empty_data=\"empty\" \(--empty-data empty\)") as caught:
            await client.history(PROFILE).collect()
    assert caught.value.path == "$.data"


@pytest.mark.parametrize("body", [NULL, b' {"error_text":"","error":"0",\n"data" : null}'], ids=["plain", "unusual"])
async def test_null_is_no_events_where_the_user_says_so(body):
    """The window counts as empty, and its bytes count."""
    async with Script(rest=http(body)) as server, client_of(server, empty_data="empty") as client:
        stream = client.history(PROFILE)
        assert await stream.collect() == []
        assert (stream.stats.windows_empty, stream.stats.bytes) == (1, len(body))


@pytest.mark.parametrize("body", LESS.values(), ids=LESS)
async def test_what_is_less_than_null_is_always_a_failure(body):
    """Also where null is none."""
    async with Script(rest=http(body)) as server, client_of(server, empty_data="empty") as client:
        with pytest.raises(HistoryError):
            await client.history(PROFILE).collect()


async def test_a_copy_may_read_null_otherwise():
    """And one that is told nothing of it reads it as before."""
    async with Script(rest=http(NULL)) as server, client_of(server) as client:
        lenient = client.with_options(empty_data="empty")
        assert await lenient.history(PROFILE).collect() == []
        assert await lenient.with_options(order="oldest").history(PROFILE).collect() == []
        with pytest.raises(DecodeError):
            await lenient.with_options(empty_data="error").history(PROFILE).collect()


@pytest.mark.parametrize("value", ["none", "", True])
def test_another_word_is_refused(value):
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="empty_data is 'error' or 'empty', not"):
        HistoryClient("https://history.example", token="t", list_id=20, empty_data=value)
