"""The token stays where it belongs."""

import asyncio
import datetime as dt
import logging
import pickle
import traceback
from pathlib import Path

import attrs
import pytest
from support.paths import TESTS
from support.scripts import Script, hang_up, http, silence
from support.secrecy import (
    CANARY,
    ECHOES,
    ECHOES_IN_FRAMES,
    ONE,
    QUICK,
    Listener,
    chain,
    echoing,
    logged,
    parts,
    pickled,
    printed,
    read_to_the_end,
    shown,
)
from support.virtual_clock import run_virtually

from profile_history import (
    ApiError,
    ConfigurationError,
    HistoryClient,
    HistoryError,
    Limits,
    Pacing,
    Timeouts,
)
from profile_history._protocol.envelope import Envelope
from profile_history._protocol.responses import Reply, verify_response
from profile_history._secrets import SecretBytes, SecretText, Token
from profile_history.testing import Fault, FaultPlan, HistoryServer


@pytest.mark.parametrize("auth", ["body", pytest.param("header", marks=pytest.mark.slow)])
@pytest.mark.parametrize("fault", sorted(Fault))
def test_no_failure_shows_the_token(caplog, fault, auth):
    """Raised or collected: no message, representation, note, local variable, pickle, log line or event has it."""
    caplog.set_level(logging.DEBUG)
    told, errors = Listener(), []

    async def main():
        plan = attrs.evolve(FaultPlan.always(fault), bomb=3 * 2**20)
        limits, timeouts = Limits(body=2**20, row_cap=10), Timeouts(attempt=40, window=100)
        async with (
            HistoryServer(profiles=3, token=CANARY, faults=plan) as server,
            server.client(
                token=CANARY,
                auth=auth,
                window=None,
                retry=QUICK,
                limits=limits,
                timeouts=timeouts,
                on_event=told,
            ) as client,
        ):
            for on_error in ("collect", "raise"):
                stream = client.histories(server.profiles()[:2], on_error=on_error, strict=True)
                try:
                    await stream.collect()
                except HistoryError as error:
                    errors.append(error)
                errors.extend(failure.error for failure in stream.failures)
                told.append((stream.stats, stream.failures, stream.quarantined))
            assert CANARY not in printed(*parts(client))
            assert CANARY not in repr(server.log)

    run_virtually(main())
    assert told
    assert CANARY not in printed(*told)
    assert CANARY not in told.shown
    assert CANARY not in logged(caplog)
    for error in errors:
        assert CANARY not in shown(error)
        assert CANARY not in pickled(error)
        assert CANARY not in repr(pickle.loads(pickle.dumps(error)))


@pytest.mark.slow
def test_the_faults_above_do_make_failures():
    """A canary that is never near a flame proves nothing."""

    async def main(fault):
        async with (
            HistoryServer(profiles=3, token=CANARY, faults=FaultPlan.always(fault)) as server,
            server.client(token=CANARY, retry=QUICK) as client,
        ):
            await client.history(server.profile(1)).collect()

    failing = 0
    for fault in (Fault.ERROR_500, Fault.STALL, Fault.TRUNCATED_BODY, Fault.HTML_PAGE, Fault.ERROR_403):
        try:
            run_virtually(main(fault))
        except HistoryError:
            failing += 1
    assert failing == 5


@pytest.mark.parametrize("auth", ["body", "header"])
@pytest.mark.parametrize("name", ECHOES)
def test_a_token_that_the_server_sends_back_is_shown_nowhere(caplog, name, auth):
    """Wherever it puts it: it is masked where the server is quoted, and left out elsewhere."""
    assert CANARY not in "".join(echoing(ECHOES[name], auth, caplog))


@pytest.mark.parametrize("name", ECHOES_IN_FRAMES)
def test_a_token_in_an_answer_that_is_refused_is_not_shown_to_whom_the_error_reaches(caplog, name):
    """In no message, log, event or pickle, and the error has let go of its frames."""
    assert CANARY not in echoing(ECHOES_IN_FRAMES[name], "body", caplog)[0]


@pytest.mark.parametrize("name", ECHOES_IN_FRAMES)
def test_a_token_in_an_answer_that_is_refused_is_in_no_local_variable_that_a_hook_meets(caplog, name):
    """A hook may report the error of an `AttemptEnded` as crash reporters do."""
    assert CANARY not in echoing(ECHOES_IN_FRAMES[name], "body", caplog)[1]


def test_what_a_server_sent_is_not_printed_with_the_values_that_hold_it():
    """It may echo the token, in a header as well as in the body."""
    body = b'{"data":[{"a":"%b"}],"error":0,"error_text":"%b"}' % (CANARY.encode(), CANARY.encode())
    reply = Reply(200, {"x-echo": CANARY}, body)
    rows = read_to_the_end(verify_response(reply, Token("another"), dt.datetime.now))
    assert CANARY not in repr(reply) + repr(rows) + repr(Envelope(0, CANARY, rows))


async def test_a_server_that_echoes_the_token_is_quoted_without_it():
    """Its text is masked, and its escapes are gone."""
    answer = http(b'{"data":[],"error":400,"error_text":"\\u001b[31mbad token %b"}' % CANARY.encode())
    async with (
        Script(rest=answer) as server,
        HistoryClient(f"http://127.0.0.1:{server.port}", token=CANARY, list_id=20) as client,
    ):
        with pytest.raises(ApiError, match=r"bad token \[token\]") as caught:
            await client.history(ONE).collect()
    assert CANARY not in shown(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("arguments", [{"token": f"{CANARY} "}, {"token": CANARY, "window": 0}, {"token": CANARY}])
def test_a_client_that_is_refused_does_not_show_its_token(arguments):
    """Not in the local variables of the frames that refuse it."""
    with pytest.raises(ConfigurationError) as caught:
        HistoryClient("https://ru.altkraft.com", **arguments)
    assert CANARY not in shown(caught.value)


@pytest.mark.parametrize("auth", ["body", "header"])
async def test_a_client_cannot_be_pickled_and_none_of_its_parts_takes_the_token_along(server, auth):
    """It would travel with it; nor do they print it, before, between and after requests."""
    server.token = CANARY
    client = server.client(token=CANARY, auth=auth)
    assert CANARY not in printed(*parts(client))
    async with client:
        await client.history(server.profile(1)).collect()
        copy = client.with_options(list_id=20, window=7)
        assert CANARY not in printed(*parts(client), *parts(copy))
        # The parts themselves must not take the token along either.
        for one in (client, copy, client._core.fetcher, client._core.fetcher.token):
            with pytest.raises(TypeError):
                pickle.dumps(one)
    assert CANARY not in printed(*parts(client))


@pytest.mark.parametrize("auth", ["body", "header"])
async def test_a_loop_in_debug_mode_logs_nothing_of_the_token(server, caplog, auth, monkeypatch):
    """It prints what it runs, with arguments, where that takes long; let everything take long."""
    caplog.set_level(logging.DEBUG)
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "slow_callback_duration", 0.0)
    loop.set_debug(True)
    server.token = CANARY
    server.faults = FaultPlan(script=(Fault.ERROR_500, Fault.TRUNCATED_BODY))
    try:
        async with server.client(token=CANARY, auth=auth, retry=QUICK) as client:
            await client.histories(server.profiles()[:5]).collect()
    finally:
        loop.set_debug(False)
    assert any(record.name == "asyncio" for record in caplog.records)
    assert CANARY not in logged(caplog)


@pytest.mark.parametrize("auth", ["body", "header"])
@pytest.mark.parametrize("turn", [silence, hang_up], ids=["silent", "gone"])
def test_a_stream_that_is_cancelled_or_runs_out_of_time_shows_no_token(turn, auth):
    """Neither do the frames that a cancellation or a deadline passes through."""

    async def main():
        async with Script(rest=turn) as server:
            url = f"http://127.0.0.1:{server.port}"
            async with HistoryClient(url, token=CANARY, list_id=20, auth=auth) as client:
                with pytest.raises(HistoryError) as late:
                    await client.history(ONE, deadline=1.5).collect()
                reading = asyncio.create_task(client.history(ONE).collect())
                while len(server.requests) < 2:
                    await asyncio.sleep(0.01)
                reading.cancel()
                with pytest.raises(asyncio.CancelledError) as cancelled:
                    await reading
                return late.value, cancelled.value

    for error in run_virtually(main()):
        assert CANARY not in shown(error)


async def test_the_body_of_a_request_under_way_prints_as_its_length():
    """For those who look at a running task: in our frames, and in those of the library."""
    async with Script(rest=silence) as server:
        url = f"http://127.0.0.1:{server.port}"
        async with HistoryClient(url, token=CANARY, list_id=20, pacing=Pacing(concurrency=1)) as client:
            reading = asyncio.create_task(client.history(ONE).collect())
            while not server.requests:
                await asyncio.sleep(0.001)
            frames = [frame for task in asyncio.all_tasks() for frame in chain(task.get_coro())]
            ours = [frame for frame in frames if TESTS not in Path(frame.f_code.co_filename).parents]
            assert {"send", "_request"} <= {frame.f_code.co_name for frame in ours}
            for frame in ours:
                assert CANARY not in repr(frame.f_locals)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def test_secret_values_do_not_print_themselves():
    """However they are asked to; nor do they travel to another process."""
    for secret in (SecretBytes(CANARY.encode()), Token(CANARY)):
        for text in (repr(secret), str(secret), f"{secret}", f"{secret!r}", f"{[secret]}", format(secret)):
            assert CANARY not in text
    assert CANARY not in repr([SecretText(CANARY)])
    for secret in (SecretBytes(CANARY.encode()), SecretText(CANARY), Token(CANARY)):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match="not pickled"):
                pickle.dumps(secret, protocol)


async def test_no_request_header_but_the_one_that_is_meant_to_has_the_token():
    """In the body by default, in the header where asked for, and never in both."""
    for auth, in_head in (("body", 0), ("header", 1)):
        async with Script(rest=http(b'{"data":[],"error":0}')) as server:
            url = f"http://127.0.0.1:{server.port}"
            async with HistoryClient(url, token=CANARY, list_id=20, auth=auth) as client:
                await client.history(ONE).collect()
        ((_, head, body, _),) = server.requests
        assert (head.count(CANARY.encode()), body.count(CANARY.encode())) == (in_head, 1 - in_head)


@pytest.mark.parametrize("options", [{"list_id": 20}, {"base_url": f"https://user:{CANARY}@history.example"}])
def test_a_setting_that_is_refused_shows_neither_the_environment_nor_the_address(monkeypatch, options):
    """The environment holds the token, and an address may hold a password; crash reporters print local variables."""
    monkeypatch.setenv("PROFILE_HISTORY_TOKEN", CANARY)
    with pytest.raises(ConfigurationError) as caught:
        HistoryClient(**options)
    trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in trace.stack if "profile_history/" in frame.filename.replace("\\", "/")]
    assert ours
    assert not any(CANARY in value for frame in ours for value in (frame.locals or {}).values())
    assert CANARY not in str(caught.value)
