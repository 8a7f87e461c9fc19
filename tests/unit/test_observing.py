"""What a client tells its hook and the log."""

import asyncio
import datetime as dt
import functools
import logging
import typing

import pytest

from profile_history import ApiError, ConfigurationError, ConnectionFailed, Profile, Window
from profile_history.observing import (
    AttemptEnded,
    AttemptStarted,
    CircuitClosed,
    CircuitOpened,
    Observation,
    Observer,
    RateLearned,
    RetryPlanned,
    RowCapSuspected,
    Throttled,
    WindowDone,
    WindowDropped,
)

PROFILE = Profile.email("canary@example.com")
WINDOW = Window(dt.date(2024, 2, 29), dt.date(2024, 3, 1))
REQUEST = (PROFILE, WINDOW, "id-1")
REPORTED = ApiError(17, "canary text of the server", 500)
LOST = ConnectionFailed("canary message of the network")

LINES = [
    (AttemptStarted(*REQUEST, 1), "DEBUG", "request id-1 attempt 1: sent"),
    (AttemptEnded(*REQUEST, 1, 0.25, 4711, None), "DEBUG", "request id-1 attempt 1: 4711 bytes in 250 ms"),
    (AttemptEnded(*REQUEST, 2, 0.25, 0, LOST), "DEBUG", "request id-1 attempt 2: ConnectionFailed after 250 ms"),
    (
        AttemptEnded(*REQUEST, 2, 1.0, 0, REPORTED),
        "DEBUG",
        "request id-1 attempt 2: ApiError (HTTP 500, error 17) after 1000 ms",
    ),
    (RetryPlanned(*REQUEST, 2, 1.5, LOST), "DEBUG", "request id-1 attempt 2: again in 1.50 s"),
    (Throttled(None, 11), "INFO", "throttled: 11 requests at once from now on"),
    (Throttled(2.5, 1), "INFO", "throttled: 1 requests at once from now on, pausing for 2.5 s"),
    (Throttled(2.5, 16, 29.1, paused=False), "INFO", "throttled: 16 requests at once, 29.1 per second from now on"),
    (RateLearned(29.1), "INFO", "held at 29.1 requests/s by the server"),
    (RateLearned(None), "INFO", "no longer held at a rate by the server"),
    (
        CircuitOpened("10 failures in a row"),
        "WARNING",
        "the server fails for everyone (10 failures in a row): waiting, with one probe at a time",
    ),
    (CircuitClosed(61.0), "WARNING", "the server responds again after 61 s"),
    (
        RowCapSuspected(1000),
        "WARNING",
        "several responses have exactly 1000 rows and none has more: see Limits(row_cap=...)",
    ),
    (
        WindowDone(*REQUEST, attempts=3, seconds=9.0, rows=12, bytes=4711, error=None),
        "DEBUG",
        "request id-1: 12 rows, 4711 bytes, 3 attempts",
    ),
    (
        WindowDone(*REQUEST, attempts=12, seconds=9.0, rows=0, bytes=0, error=LOST),
        "WARNING",
        "request id-1: given up after 12 attempts: ConnectionFailed",
    ),
    (
        WindowDone(*REQUEST, attempts=1, seconds=9.0, rows=0, bytes=0, error=REPORTED),
        "WARNING",
        "request id-1: given up after 1 attempts: ApiError (HTTP 500, error 17)",
    ),
    (WindowDropped(*REQUEST, attempts=2, split=True), "DEBUG", "request id-1: split after 2 attempts"),
    (WindowDropped(*REQUEST, attempts=2, split=False), "DEBUG", "request id-1: dropped after 2 attempts"),
]
OBSERVATIONS = [observation for observation, _, _ in LINES]


class Plain:
    def __call__(self, observation): ...


@pytest.fixture
def log(caplog):
    """The log at its most talkative."""
    caplog.set_level(logging.DEBUG, "profile_history")
    return caplog


@pytest.mark.parametrize(("observation", "level", "line"), LINES, ids=lambda value: type(value).__name__)
def test_each_observation_is_one_line_of_the_log(log, observation, level, line):
    """What a person must know is a warning, what explains it is information, and the rest is for debugging."""
    Observer().emit(observation)
    assert [(record.levelname, record.getMessage()) for record in log.records] == [(level, line)]


def test_no_line_holds_a_profile_a_day_or_a_text_of_the_server(log):
    """The log is metadata, whatever a log is shipped to; and every kind of observation is among those above."""
    assert {type(observation) for observation in OBSERVATIONS} == set(typing.get_args(Observation))
    for observation in OBSERVATIONS:
        Observer().emit(observation)
    assert len(log.records) == len(OBSERVATIONS)
    for secret in ("canary", "example", "2024", "02-29", "@"):
        assert secret not in log.text


def test_a_record_of_the_log_carries_text_only(log):
    """What ships logs elsewhere takes a record's arguments along, not only its message."""

    def hook(_):
        raise ValueError("canary")

    for observation in OBSERVATIONS:
        Observer(hook).emit(observation)
    assert len(log.records) == 2 * len(OBSERVATIONS)
    for record in log.records:
        assert all(type(argument) is str for argument in record.args)
        assert record.exc_info is None
        assert not record.stack_info
        for secret in ("canary", "Profile", "Window"):
            assert secret not in repr(vars(record))


def test_a_line_that_nobody_reads_is_not_written(monkeypatch, caplog):
    """Where the log is at INFO, not even the text is made of what is for debugging."""
    caplog.set_level(logging.INFO, "profile_history")
    monkeypatch.delattr(AttemptStarted, "__str__")
    monkeypatch.setattr(AttemptStarted, "__repr__", None)
    Observer().emit(AttemptStarted(*REQUEST, 1))
    assert caplog.records == []


def test_the_hook_gets_every_observation_itself_and_in_order():
    """Whatever the log's level is."""
    seen = []
    observer = Observer(seen.append)
    for observation in OBSERVATIONS:
        observer.emit(observation)
    assert [id(one) for one in seen] == [id(one) for one in OBSERVATIONS]


def test_what_a_hook_learns_cannot_be_changed():
    """One hook's carelessness is not another reader's surprise."""
    for observation in OBSERVATIONS:
        with pytest.raises(AttributeError):
            setattr(observation, type(observation).__attrs_attrs__[0].name, None)


def test_a_hook_that_raises_harms_nothing_and_is_told_of_once(caplog):
    """By the name of what it raised: the message may hold a profile."""
    calls = []

    def hook(observation):
        calls.append(observation)
        raise ValueError("canary")

    observer = Observer(hook)
    for _ in range(50):
        observer.emit(OBSERVATIONS[0])
    assert len(calls) == 50
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("WARNING", None)]
    assert "ValueError" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.parametrize("end", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_passes_through_a_hook(end, caplog):
    """Somebody pressed Ctrl-C, or cancelled the work, while the hook was at it; that is no fault of the hook."""

    def hook(_):
        raise end

    with pytest.raises(end):
        Observer(hook).emit(OBSERVATIONS[0])
    assert caplog.records == []


def test_a_coroutine_function_is_refused_at_once():
    """Nobody would await it."""

    async def hook(observation): ...

    class Metrics:
        async def note(self, observation): ...

        async def __call__(self, observation): ...

    for wrong in (hook, functools.partial(hook), Metrics().note, Metrics()):
        with pytest.raises(ConfigurationError, match="on_event is a plain function of one argument"):
            Observer(wrong)


@pytest.mark.parametrize("wrong", [0, "print", [], object()])
def test_what_cannot_be_called_is_refused_at_once(wrong):
    """Not after the first million of events."""
    with pytest.raises(ConfigurationError, match="on_event"):
        Observer(wrong)


@pytest.mark.parametrize(
    "hook", [print, [].append, functools.partial(print, "event"), lambda observation: None, dict, Plain()]
)
def test_whatever_can_be_called_plainly_is_taken(hook):
    """A function, a method of an object, a partial, a lambda, a class, an object with a plain `__call__`."""
    assert Observer(hook).enabled


def test_single_attempts_are_of_interest_only_where_there_is_a_hook_or_a_log_for_debugging(caplog):
    """Nobody pays for values that nobody sees."""
    caplog.set_level(logging.INFO, "profile_history")
    assert not Observer().enabled
    assert Observer(print).enabled
    caplog.set_level(logging.DEBUG, "profile_history")
    assert Observer().enabled
