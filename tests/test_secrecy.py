"""The token stays where it belongs."""

import asyncio
import contextlib
import logging
import pickle
import traceback
from pathlib import Path

import attrs
import pytest
from test_transport import Script, hang_up, http, last, silence
from virtual import run_virtually

from profile_history import (
    ApiError,
    ConfigurationError,
    HistoryClient,
    HistoryError,
    Limits,
    Pacing,
    Profile,
    RetryPolicy,
    Timeouts,
    Window,
)
from profile_history._protocol.envelope import Envelope
from profile_history._protocol.responses import Reply, reading
from profile_history._secrets import SecretBytes, SecretText, Token
from profile_history._sending.fetcher import Task
from profile_history.testing import Fault, FaultPlan, HistoryServer

CANARY = "canary-7f3a9c"
TESTS = Path(__file__).parent
ONE = Profile.email("john@example.com")
QUICK = RetryPolicy(base=0.001, cap=0.002)


def shown(error):
    """Everything that prints of an error, as crash reporters print it: with local variables, notes and causes."""
    texts = [str(error), repr(error), repr(error.args), repr(vars(error)), *getattr(error, "__notes__", [])]
    # attrs cannot print an instance that is not finished yet, and Python 3.11 does not bear that.
    with contextlib.suppress(AttributeError):
        found = traceback.TracebackException.from_exception(error, capture_locals=True)
        while found is not None:
            texts += found.format_exception_only()
            # These tests' own variables hold the token.
            texts += [
                f"{frame.filename}:{frame.name}: {frame.locals}"
                for frame in found.stack
                if Path(frame.filename).parent != TESTS
            ]
            found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if Path(frame.f_code.co_filename).parent != TESTS:
            for name, value in frame.f_locals.items():
                with contextlib.suppress(AttributeError):
                    texts.append(f"{name}={value!r}")
    return "\n".join(texts)


def pickled(value):
    """What travels to another process with a value; nothing where it cannot travel."""
    try:
        return pickle.dumps(value).decode("latin-1")
    except Exception:
        return ""


def printed(*values):
    """Everything that prints of some values, and of what they hold."""
    texts = []
    for value in values:
        texts += [str(value), repr(value), f"{value}", pickled(value)]
        with contextlib.suppress(TypeError):
            texts.append(repr(vars(value)))
    return "\n".join(texts)


def logged(caplog):
    """Every line of every log, and what was put into it."""
    return caplog.text + "".join(f"{vars(record)}" for record in caplog.records)


def parts(client):
    """A client, what it is made of, and a task of its."""
    shared, fetcher = client._shared, client._fetcher
    values = [value for owner in (shared, fetcher) for value in attrs.asdict(owner, recurse=False).values()]
    return [
        client,
        *vars(client).values(),
        Task(ONE, Window(), "id"),
        *(v for v in values if v is not fetcher.requests),
    ]


class Listener(list):
    """A hook that looks at each error as soon as it is told of it, before anybody forgets where it came from."""

    def __init__(self):
        super().__init__()
        self.shown = ""

    def __call__(self, event):
        self.append(event)
        if isinstance(getattr(event, "error", None), HistoryError):
            self.shown += shown(event.error)


@pytest.mark.parametrize("auth", ["body", "header"])
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


ECHOES = {
    "error_text": http(b'{"data":[],"error":400,"error_text":"token %b"}' % CANARY.encode()),
    "a page": http(b"<html>%b</html>" % CANARY.encode()),
    "a page with 500": http(b"<html>%b</html>" % CANARY.encode(), status=500),
    "a redirect": http(b"", f"Location: https://elsewhere.example/?token={CANARY}", status=307),
    "a header of an error": http(b"no", f"X-Echo: {CANARY}", status=500),
    "a reason": f"HTTP/1.1 500 {CANARY}\r\nContent-Length: 2\r\n\r\nno".encode(),
    "a header that is none": last(f"HTTP/1.1 200 OK\r\n{CANARY}\r\n\r\n".encode()),
    "a chunk's size": last(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{CANARY}\r\n".encode()),
    "another protocol": last(f"220 {CANARY}\r\n".encode()),
}
ECHOES_IN_FRAMES = {
    "a header of half an answer": last(
        f"HTTP/1.1 200 OK\r\nX-Echo: {CANARY}\r\nContent-Length: 50\r\n\r\n{{}}".encode()
    ),
    "half an envelope": http(b'{"error_text":"%b","data":[' % CANARY.encode()),
    "an odd envelope": http(b'{"error_text":"%b","data":[],"error":null}' % CANARY.encode()),
    "no envelope": http(b'["%b"]' % CANARY.encode()),
    "a key": http(b'{"%b":1,"%b":2,"error":0}' % (CANARY.encode(), CANARY.encode())),
}


def echoing(answer, auth, caplog):
    """What a client shows of a server that sends the token back: in all its channels, and in local variables."""
    caplog.set_level(logging.DEBUG)
    told = Listener()

    async def main():
        async with Script(rest=answer) as server:
            url, timeouts = f"http://127.0.0.1:{server.port}", Timeouts(read=5, window=20)
            async with HistoryClient(
                url, token=CANARY, list_id=20, auth=auth, retry=QUICK, timeouts=timeouts, on_event=told
            ) as client:
                with pytest.raises(HistoryError) as caught:
                    await client.history(ONE).collect()
                return caught.value

    error = run_virtually(main())
    return printed(*told) + logged(caplog) + shown(error) + pickled(error), told.shown


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
    rows = read_to_the_end(reading(reply, Token("another")))
    assert CANARY not in repr(reply) + repr(rows) + repr(Envelope(0, CANARY, rows))


def read_to_the_end(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


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
        for one in (client, copy, client._fetcher, client._fetcher.token):
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
            ours = [frame for frame in frames if Path(frame.f_code.co_filename).parent != TESTS]
            assert {"send", "_request"} <= {frame.f_code.co_name for frame in ours}
            for frame in ours:
                assert CANARY not in repr(frame.f_locals)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def chain(awaited):
    """The frames of a coroutine and of those that it waits for."""
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            yield frame
        inner = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
        # aiohttp wraps its request in an object with a coroutine inside.
        awaited = getattr(inner, "_coro", inner)


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
