"""The errors are the tree their module draws, and carry their context through pickles and into logs."""

import copy
import datetime as dt
import importlib
import json
import pickle
import pkgutil
import re

import pytest

import profile_history
from profile_history import HistoryError, Profile, Window, errors
from profile_history.errors import Kind

CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, HistoryError)]
API_ERRORS = [cls for cls in CLASSES if issubclass(cls, errors.ApiError)]
OTHERS = [cls for cls in CLASSES if cls not in API_ERRORS]
PROFILE = Profile.email("john@example.com")
WINDOW = Window(dt.date(2017, 1, 1), dt.date(2017, 12, 31))


def drawn():
    """Each class the module's docstring draws, with the class above it."""
    parents, above = {}, {}
    for line in errors.__doc__.splitlines():
        if match := re.match(r"^([│├└─ ]*)([A-Z][A-Za-z]+)(?: {2}|$)", line):
            depth = len(match[1]) // 4
            above[depth] = match[2]
            parents[match[2]] = above.get(depth - 1)
    return parents


def built(cls):
    """An error of the class, with everything that can be known about it."""
    if cls in API_ERRORS:
        error = cls(403, "no access", 200, kind=Kind.AUTH, retry_after=2.5)
    elif cls is errors.DecodeError:
        error = cls("no action", "$.data[3].action")
    elif cls is errors.UnexpectedRedirect:
        error = cls("it redirects", "https://elsewhere.example")
    elif cls is errors.UnexpectedPage:
        error = cls("it went wrong", 403, server="edge/1.2", title="Who are you?", retry_after=1.5)
    else:
        error = cls("it went wrong")
    error.profile, error.window, error.attempts, error.request_id = PROFILE, WINDOW, 4, "ab12"
    error.hint = "try fewer days"
    return error


def test_the_classes_are_the_drawn_tree():
    """The drawing at the top of the module names every class, each under its own parent."""
    parents = {cls.__name__: cls.__mro__[1].__name__ for cls in CLASSES}
    assert parents.pop("HistoryError") == "Exception"
    assert drawn() == {"HistoryError": None, **parents}


def test_the_errors_can_be_caught_as_the_built_in_ones_too():
    """A wrong value is a `ValueError`, a wrong use a `RuntimeError`, and no other class is either."""
    values = [errors.ConfigurationError, errors.UnsupportedSystem]
    assert [cls for cls in CLASSES if issubclass(cls, ValueError)] == values
    assert [cls for cls in CLASSES if issubclass(cls, RuntimeError)] == [errors.UsageError]


@pytest.mark.parametrize("cls", OTHERS)
def test_an_error_is_built_with_one_message(cls):
    """Nothing else is needed, and the message is what it prints."""
    error = cls("it went wrong")
    assert str(error).startswith("it went wrong")
    assert "[" not in str(error)
    assert (error.profile, error.window, error.attempts, error.request_id, error.hint) == (None, None, 0, None, None)


@pytest.mark.parametrize("cls", OTHERS)
def test_an_error_without_a_message_is_named_by_its_class(cls):
    """No log line is empty."""
    assert str(cls()).startswith(cls.__name__)


@pytest.mark.parametrize("cls", API_ERRORS)
def test_an_error_of_the_api_is_built_from_its_answer(cls):
    """Code, text and HTTP status are kept, and printed."""
    error = cls(403, "no access", 200)
    assert (error.code, error.text, error.http_status) == (403, "no access", 200)
    assert (error.kind, error.retry_after) == (Kind.UNKNOWN, None)
    assert str(error) == "the API responded with HTTP 200 and error 403: no access"
    assert str(cls(None, "", 502)) == "the API responded with HTTP 502 and no error code"


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_survives_pickling_with_all_it_carries(cls):
    """A worker process can raise it in its parent: the same class, message, context and particulars."""
    error = built(cls)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        twin = pickle.loads(pickle.dumps(error, protocol))
        assert type(twin) is cls
        assert twin.args == error.args
        assert vars(twin) == vars(error)
        assert str(twin) == str(error)
        assert (twin.kind, twin.fatal, twin.splittable) == (error.kind, error.fatal, error.splittable)


def every_class():
    """All classes of the package below the root, those of the wings too."""
    for module in pkgutil.walk_packages(profile_history.__path__, "profile_history."):
        if not module.name.endswith(("__main__", ".reading")):
            importlib.import_module(module.name)
    found, left = {}, [HistoryError]
    while left:
        cls = left.pop()
        if cls.__module__.startswith("profile_history."):
            found[cls] = None
        left += cls.__subclasses__()
    return list(found)


def full(cls):
    """An error of any class of the package, with a value in every attribute and a cause."""
    error = built(cls)
    for number, name in enumerate(vars(error)):
        if getattr(error, name) is None:
            setattr(error, name, number)
    error.kind, error.fatal, error.splittable, error.stale_connection = Kind.AMBIGUOUS, True, True, True
    error.add_note("seen on a Monday")
    error.__cause__ = errors.DecodeError("no action", "$.data[3].action")
    return error


@pytest.mark.parametrize("cls", every_class(), ids=lambda cls: cls.__name__)
def test_every_error_of_the_package_keeps_everything_through_pickle_copy_and_json(cls):
    """Also in a group, with its cause, its notes, and what this one case turned out to be."""
    error = full(cls)
    said = error.to_dict()
    assert said["type"] == cls.__name__
    assert said["message"] == error.summary()
    assert set(vars(error)) | {"kind", "fatal", "splittable", "stale_connection", "hint", "cause"} <= set(said)
    assert said["profile"] == "email:john@example.com"
    assert said["window"] == {"date_from": "2017-01-01", "date_to": "2017-12-31"}
    assert said["cause"]["path"] == "$.data[3].action"
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    (grouped,) = pickle.loads(pickle.dumps(ExceptionGroup("two", [error]))).exceptions
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error), grouped):
        assert type(twin) is cls
        assert str(twin) == str(error)
        assert twin.to_dict() == said


def test_what_json_cannot_hold_is_text_in_the_dictionary_of_an_error():
    """Whatever a program of yours has put onto it."""
    error = HistoryError("it went wrong")
    error.seconds, error.raw, error.several = float("inf"), b"raw", (WINDOW.date_from, {"a": PROFILE})
    error.__cause__ = KeyError("first")
    said = error.to_dict()
    assert (said["seconds"], said["raw"]) == ("inf", "b'raw'")
    assert said["several"] == ["2017-01-01", {"a": "email:john@example.com"}]
    assert said["cause"] == {"type": "KeyError", "message": "'first'"}
    assert (said["profile"], said["window"]) == (None, None)
    json.dumps(said, allow_nan=False)


def test_a_cause_that_cannot_travel_stays_behind():
    """And does not keep the error from travelling."""
    error = HistoryError("it went wrong")
    error.__cause__ = ValueError(lambda: None)
    assert pickle.loads(pickle.dumps(error)).__cause__ is None
    bare = HistoryError.__new__(HistoryError, "not begun")
    assert pickle.loads(pickle.dumps(bare)).args == ("not begun",)
    error.__cause__ = bare.__cause__ = ValueError("first")
    assert str(pickle.loads(pickle.dumps(bare)).__cause__) == "first"
    assert str(pickle.loads(pickle.dumps(error)).__cause__) == "first"


def test_the_pickled_attributes_are_the_documented_ones():
    """What the docstrings list is what the errors carry."""
    context = {"profile", "window", "attempts", "request_id"}
    answer = {"code", "text", "http_status", "retry_after", "kind", "splittable"}
    own = {
        errors.DecodeError: {"path"},
        errors.ProxyFailed: {"proxy", "status"},
        errors.UnexpectedPage: {"http_status", "server", "title", "retry_after"},
        errors.UnexpectedRedirect: {"location"},
        **dict.fromkeys(API_ERRORS, answer),
    }
    for cls in CLASSES:
        assert set(vars(built(cls))) == context | own.get(cls, set()) | {"hint"}


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_prints_its_message_its_hint_and_its_context(cls):
    """One log line tells what went wrong, what to try, and for which request."""
    text = str(built(cls))
    message = {errors.DecodeError: "no action (at $.data[3].action)", errors.UnexpectedRedirect: "it redirects"}
    expected = "the API responded with HTTP 200 and error 403: no access" if cls in API_ERRORS else "it went wrong"
    context = "profile email:john@example.com, window 2017-01-01..2017-12-31, attempts 4, request id ab12"
    assert text == f"{message.get(cls, expected)}; try fewer days [{context}]"


def test_an_error_prints_only_the_context_it_has():
    """Where nothing is known, nothing is made up."""
    error = errors.ConnectionFailed("hung up")
    error.attempts = 2
    assert str(error) == "hung up [attempts 2]"


@pytest.mark.parametrize(
    ("error", "splittable"),
    [
        (errors.ApiError(413, "", 200), False),
        (errors.ApiError(413, "", 200, splittable=True), True),
        (errors.ApiError(), False),
        (errors.ResponseTooLarge("64 MiB"), True),
        (errors.AttemptTimeout("30 s"), True),
        (errors.ConnectionFailed("hung up"), False),
    ],
)
def test_splittable_says_whether_fewer_days_may_help(error, splittable):
    """Of a response whoever verifies it says so, by the table of the numbers."""
    assert error.splittable is splittable


def test_a_failure_that_every_request_would_meet_is_fatal():
    """A bad token, a foreign certificate, a redirect, a dead server or a misused client stop a job, by their class."""
    assert {cls for cls in CLASSES if cls.fatal} == {
        errors.UsageError,
        errors.UntrustedServer,
        errors.UnexpectedRedirect,
        errors.AuthenticationError,
        errors.ServerUnavailable,
    }


@pytest.mark.parametrize("cls", CLASSES)
def test_what_one_failure_turned_out_to_be_stays_with_it(cls):
    """Where the case decides and not the class, one error says so, through a pickle too, and its class says nothing."""
    error, before = built(cls), (cls.kind, cls.fatal, cls.stale_connection)
    error.kind, error.fatal, error.stale_connection = Kind.AMBIGUOUS, True, True
    twin = pickle.loads(pickle.dumps(error))
    assert (twin.kind, twin.fatal, twin.stale_connection) == (Kind.AMBIGUOUS, True, True)
    assert (cls.kind, cls.fatal, cls.stale_connection) == before
    assert not cls.stale_connection


@pytest.mark.parametrize("cls", CLASSES)
def test_a_summary_says_what_went_wrong_and_not_for_whom(cls):
    """It can be counted and logged: neither profile nor window nor hint is in it."""
    error = built(cls)
    assert str(error).startswith(error.summary() + "; try fewer days [")
    assert not re.search("john@example.com|2017|ab12|fewer days", error.summary())


def test_a_failure_that_is_kept_lets_go_of_its_frames():
    """A traceback and what came before hold local variables, and with them whole responses."""
    error = errors.ConnectionFailed("hung up")
    with pytest.raises(errors.ConnectionFailed) as caught:
        try:
            raise KeyError("first")
        except KeyError as first:
            raise error from first
    assert caught.value is error
    assert error.__traceback__ is not None
    error.forget_frames()
    assert error.__traceback__ is error.__cause__ is error.__context__ is None
    assert str(error) == "hung up"


@pytest.mark.parametrize(
    ("cls", "kind"),
    [
        (HistoryError, Kind.UNKNOWN),
        (errors.ConfigurationError, Kind.CALLER),
        (errors.UsageError, Kind.CALLER),
        (errors.TransportError, Kind.TRANSIENT),
        (errors.ResponseError, Kind.TRANSIENT),
        (errors.AttemptTimeout, Kind.TRANSIENT),
        (errors.ConnectionFailed, Kind.TRANSIENT),
        (errors.UntrustedServer, Kind.CALLER),
        (errors.TruncatedResponse, Kind.TRANSIENT),
        (errors.DecodeError, Kind.AMBIGUOUS),
        (errors.ResponseTooLarge, Kind.CALLER),
        (errors.UnexpectedPage, Kind.UNKNOWN),
        (errors.UnexpectedRedirect, Kind.CALLER),
        (errors.ServerUnavailable, Kind.TRANSIENT),
        (errors.DeadlineExceeded, Kind.CALLER),
    ],
)
def test_the_kind_says_what_a_failure_means_for_the_next_attempt(cls, kind):
    """What may pass by itself is transient, what the caller must change is not."""
    assert cls("it went wrong").kind is kind
