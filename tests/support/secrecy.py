"""Helpers of the tests of secrecy."""

import contextlib
import logging
import pickle
import traceback
from pathlib import Path

import attrs
import pytest
from support.paths import TESTS
from support.scripts import Script, http, last
from support.virtual_clock import run_virtually

from profile_history import (
    HistoryClient,
    HistoryError,
    Profile,
    RetryPolicy,
    Timeouts,
    Window,
)
from profile_history._sending.task import Task

CANARY = "canary-7f3a9c"


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
                if TESTS not in Path(frame.filename).parents
            ]
            found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if TESTS not in Path(frame.f_code.co_filename).parents:
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
    core = client._core
    owners = (core, core.shared, core.fetcher)
    values = [value for owner in owners for value in attrs.asdict(owner, recurse=False).values()]
    return [
        client,
        *vars(client).values(),
        Task(ONE, Window(), "id"),
        *(v for v in values if v is not core.fetcher.requests),
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


def read_to_the_end(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def chain(awaited):
    """The frames of a coroutine and of those that it waits for."""
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            yield frame
        inner = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
        # aiohttp wraps its request in an object with a coroutine inside.
        awaited = getattr(inner, "_coro", inner)
