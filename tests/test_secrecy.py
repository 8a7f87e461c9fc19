"""The token stays where it belongs."""

import asyncio
import contextlib
import logging
import pickle
import traceback

import attrs
import pytest

from profile_history import ConfigurationError, HistoryClient, HistoryError, Timeouts
from profile_history.envelope import Envelope
from profile_history.protocol import Reply, reading
from profile_history.secrecy import Token
from profile_history.testing import Fault, FaultPlan

CANARY = "canary-7f3a9c"


def shown(error):
    """Everything that prints of an error, the local variables of the product's frames included."""
    texts = [str(error), repr(error), repr(vars(error)), *getattr(error, "__notes__", [])]
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename != __file__:
            # attrs cannot print an instance that is not finished yet.
            with contextlib.suppress(AttributeError):
                texts += [f"{name}={value!r}" for name, value in frame.f_locals.items()]
    return "\n".join(texts)


@pytest.mark.parametrize("auth", ["body", "header"])
@pytest.mark.parametrize("fault", sorted(set(Fault) - {Fault.SLOW_FIRST_BYTE}))
async def test_no_failure_shows_the_token(server, swift, caplog, fault, auth):
    """Neither in messages, representations, notes, local variables, pickles nor logs at DEBUG."""
    caplog.set_level(logging.DEBUG)
    server.token = CANARY
    server.faults = attrs.evolve(FaultPlan.always(fault), retry_after=0, stall=0.01)
    async with server.client(token=CANARY, auth=auth, retry=swift, timeouts=Timeouts(read=1)) as client:
        with pytest.raises(HistoryError) as caught:
            await client.history(server.profile(1)).collect()
        assert CANARY not in shown(caught.value)
        assert CANARY not in repr(pickle.loads(pickle.dumps(caught.value)))
        assert CANARY not in repr(client) + repr(vars(client)) + repr(client._fetcher)
    assert CANARY not in caplog.text
    assert CANARY not in repr(server.log)


def test_what_a_server_sent_is_not_printed_with_the_values_that_hold_it():
    """It may echo the token, in a header as well as in the body."""
    body = b'{"data":[{"a":"%b"}],"error":0,"error_text":"%b"}' % (CANARY.encode(), CANARY.encode())
    reply = Reply(200, {"x-echo": CANARY}, body)
    rows = read_to_the_end(reading(reply, Token("another")))
    assert CANARY not in repr(reply) + repr(rows) + repr(Envelope(0, CANARY, rows))


def read_to_the_end(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


async def test_a_server_that_echoes_the_token_is_not_quoted(server, monkeypatch):
    """Its text is masked."""
    server.token = CANARY
    monkeypatch.setattr(
        type(server), "_answer", lambda self, body: (None, self._error(400, f"\x1b[31mbad token {CANARY}"))
    )
    async with server.client(token=CANARY) as client:
        with pytest.raises(HistoryError, match=r"bad token \[token\]") as caught:
            await client.history(server.profile(1)).collect()
    assert CANARY not in shown(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("arguments", [{"token": f"{CANARY} "}, {"token": CANARY, "window": 0}, {"token": CANARY}])
def test_a_client_that_is_refused_does_not_show_its_token(arguments):
    """Not in the local variables of the frames that refuse it."""
    with pytest.raises(ConfigurationError) as caught:
        HistoryClient("https://ru.altkraft.com", **arguments)
    assert CANARY not in shown(caught.value)


async def test_a_client_cannot_be_pickled(server):
    """The token would travel with it."""
    async with server.client(token=CANARY) as client:
        with pytest.raises(TypeError):
            pickle.dumps(client)


async def test_the_body_of_a_request_under_way_prints_as_its_length(server):
    """For those who look at a running task."""
    server.faults = FaultPlan.always(Fault.STALL)
    async with server.client() as client:
        reading = asyncio.create_task(client.history(server.profile(1)).collect())
        while not server.log:
            await asyncio.sleep(0.001)
        frames = [frame for task in asyncio.all_tasks() for frame in task.get_stack()]
        assert all(server.token not in repr(frame.f_locals.get("body")) for frame in frames)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
