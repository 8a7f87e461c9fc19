"""Every number and every switch, wherever it is passed: what it cannot be is refused by the argument's name."""

import decimal
import fractions
import math

import numpy as np
import pytest

from profile_history import ConfigurationError, HistoryClient, Limits, Pacing, Profile, RetryPolicy, Timeouts
from profile_history._checks import describe
from profile_history.jobs import HistoryJob

ONE = Profile.email("john@example.com")


def new_client(**options):
    return HistoryClient(**{"base_url": "https://history.example", "token": "secret", "list_id": 20, **options})


def new_job(**options):
    return HistoryJob(new_client(), ledger="nowhere.ledger", **options)


def history(**options):
    return new_client().history(ONE, **options)


def histories(**options):
    return new_client().histories([ONE], **options)


def copied(**options):
    return new_client().with_options(**options)


def batched(**options):
    return history().batches(**options)


class Odd:
    """A value that cannot even be printed."""

    def __repr__(self):
        raise ZeroDivisionError


NEVER = [
    math.nan,
    math.inf,
    -math.inf,
    -1,
    10**400,
    10**5000,
    -(10**5000),
    2**63,
    "5",
    b"5",
    True,
    False,
    decimal.Decimal(5),
    decimal.Decimal("nan"),
    fractions.Fraction(5),
    np.int64(5),
    np.float32(5),
    np.bool_(True),
    np.array([1, 2]),
    [5],
    5j,
    Odd(),
]
NUMBERS = [
    (new_client, "list_id"),
    (new_client, "window"),
    (copied, "list_id"),
    (copied, "window"),
    (history, "deadline"),
    (histories, "deadline"),
    (batched, "rows"),
    (new_job, "lookback"),
    (new_job, "commit_bytes"),
    (new_job, "commit_seconds"),
    *((RetryPolicy, name) for name in ("attempts", "passes", "base", "cap", "patience")),
    *((Pacing, name) for name in ("concurrency", "requests_per_second")),
    *((Timeouts, name) for name in ("connect", "read", "attempt", "window")),
    *((Limits, name) for name in ("body", "in_flight", "row_cap")),
]
WHOLE = {"list_id", "window", "rows", "lookback", "commit_bytes", "attempts", "passes", "concurrency", "body"}
SWITCHES = [
    (new_client, "allow_http"),
    (history, "strict"),
    (histories, "strict"),
    (lambda **options: new_job().run(**options), "retry_failed"),
    (Pacing, "adaptive"),
]
CHOICES = [
    (new_client, "auth"),
    (new_client, "border"),
    (new_client, "order"),
    (copied, "border"),
    (copied, "order"),
    (history, "on_error"),
    (histories, "on_error"),
]


def refused(make, name, value):
    with pytest.raises(ConfigurationError) as caught:
        make(**{name: value})
    return str(caught.value)


@pytest.mark.parametrize("make_name", NUMBERS, ids=lambda pair: f"{getattr(pair[0], '__name__', '')}-{pair[1]}")
def test_what_is_no_such_number_is_refused_by_the_name_of_its_argument(make_name):
    """Beyond every clock, of another class, or not even printable; no other error comes out."""
    for value in NEVER:
        text = refused(*make_name, value)
        assert make_name[1] in text
        assert len(text) < 400
    if make_name[1] in WHOLE and make_name[0] is not Timeouts:
        assert make_name[1] in refused(*make_name, 1.0)


@pytest.mark.parametrize("make_name", SWITCHES, ids=lambda pair: pair[1])
def test_what_is_neither_true_nor_false_is_refused_by_the_name_of_its_switch(make_name):
    """The text "no" would count as yes."""
    for value in ("no", "", 0, 1, None, np.bool_(True), Odd()):
        assert f"{make_name[1]}" in refused(*make_name, value)
        assert "takes True or False, not " in refused(*make_name, value)


@pytest.mark.parametrize("make_name", CHOICES, ids=lambda pair: pair[1])
def test_what_is_none_of_the_choices_is_refused_with_them(make_name):
    """An empty text is none of them, and neither is what cannot be compared."""
    for value in ("", "other", 1, b"newest", np.array(["newest", "oldest"]), Odd()):
        assert refused(*make_name, value).startswith(f"{make_name[1]} is '")


@pytest.mark.parametrize("make", [Profile.custom, Profile.custom_sub])
def test_a_number_in_a_custom_field_has_64_bits(make):
    """Beyond, no request could be written; it would be met when the first one is sent."""
    for value in (2**64, -(2**63) - 1, 10**400, 10**5000):
        with pytest.raises(ConfigurationError, match="field_value is a text or a whole number of 64 bits, not "):
            make("field", value)
    for value in (2**64 - 1, -(2**63), 0):
        assert make("field", value).body()["field_value"] == value


def test_a_ledger_is_a_path_and_a_sink_may_be_one(tmp_path):
    """Nothing is written by asking."""
    assert refused(lambda ledger: HistoryJob(new_client(), ledger=ledger), "ledger", 5).startswith("ledger is the path")
    job = HistoryJob(
        new_client(),
        [ONE],
        tmp_path / "history.ndjson",
        ledger=tmp_path / "job.ledger",
        date_from="2024-01-01",
        date_to="2024-01-02",
    )
    assert job.progress.phase == "planning"
    assert list(tmp_path.iterdir()) == []


def test_a_value_is_shown_short_and_without_an_error_of_its_own():
    """A message is for people."""
    assert describe("abc") == "'abc'"
    assert describe("a" * 1000) == f"'{'a' * 199}…"
    assert describe(10**5000) == "a value of the class int"
    assert describe(Odd()) == "a value of the class Odd"
