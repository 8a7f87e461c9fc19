"""The tuning values have the promised defaults, cannot change, and refuse what they cannot mean."""

import math

import attrs
import pytest

from profile_history import ConfigurationError, Limits, Pacing, RetryPolicy, Timeouts

MIB = 2**20
SECONDS, COUNT, RATE, CAP, SWITCH = "seconds", "count", "rate", "cap", "switch"

ATTRIBUTES = [
    (RetryPolicy, "attempts", 4, COUNT),
    (RetryPolicy, "passes", 3, COUNT),
    (RetryPolicy, "base", 0.5, SECONDS),
    (RetryPolicy, "cap", 20.0, SECONDS),
    (RetryPolicy, "patience", 60.0, SECONDS),
    (Pacing, "concurrency", 16, COUNT),
    (Pacing, "adaptive", True, SWITCH),
    (Pacing, "requests_per_second", None, RATE),
    (Timeouts, "connect", 10.0, SECONDS),
    (Timeouts, "read", 30.0, SECONDS),
    (Timeouts, "attempt", 120.0, SECONDS),
    (Timeouts, "window", 600.0, SECONDS),
    (Limits, "body", 64 * MIB, COUNT),
    (Limits, "in_flight", 256 * MIB, COUNT),
    (Limits, "row_cap", None, CAP),
]
NEVER = (0, -1, -0.5, math.nan, math.inf, -math.inf, "1", b"1", [1])
BAD = {
    SECONDS: (*NEVER, True, None, 0.0),
    RATE: (*NEVER, True, 0.0),
    COUNT: (*NEVER, True, None, 1.5, 1.0),
    CAP: (*NEVER, True, 1.5, 1.0),
    SWITCH: (0, 1, "yes", None),
}
GOOD = {SECONDS: (0.001, 1, 1e9), RATE: (0.5, 3, None), COUNT: (1, 2**40), CAP: (1, None), SWITCH: (True, False)}
CLASSES = [RetryPolicy, Pacing, Timeouts, Limits]


@pytest.mark.parametrize("cls", CLASSES)
def test_the_defaults_are_the_promised_ones(cls):
    """The defaults are those of the public contract, attribute by attribute."""
    assert attrs.asdict(cls()) == {name: value for owner, name, value, _ in ATTRIBUTES if owner is cls}


@pytest.mark.parametrize(("cls", "name", "kind"), [(cls, name, kind) for cls, name, _, kind in ATTRIBUTES])
def test_a_sensible_value_is_taken_as_it_is(cls, name, kind):
    """One is the least count, any finite time above zero will do, and None lifts an optional limit."""
    for value in GOOD[kind]:
        assert getattr(cls(**{name: value}), name) is value


@pytest.mark.parametrize(
    ("cls", "name", "value"), [(cls, name, value) for cls, name, _, kind in ATTRIBUTES for value in BAD[kind]]
)
def test_a_value_that_makes_no_sense_is_refused_by_name(cls, name, value):
    """The message names the class and the attribute, so that it is found in any program."""
    with pytest.raises(ConfigurationError) as refused:
        cls(**{name: value})
    assert f"{cls.__name__}({name}=...) takes " in str(refused.value)


@pytest.mark.parametrize(("cls", "name"), [(cls, name) for cls, name, _, kind in ATTRIBUTES if kind in {SECONDS, RATE}])
def test_a_whole_number_beyond_every_float_is_refused_like_infinity(cls, name):
    """No clock can wait for it, and nobody meets an `OverflowError`."""
    with pytest.raises(ConfigurationError, match=rf"{cls.__name__}\({name}="):
        cls(**{name: 10**400})


@pytest.mark.parametrize(("cls", "name", "kind"), [(cls, name, kind) for cls, name, _, kind in ATTRIBUTES[:3]])
def test_the_refusal_says_what_to_pass(cls, name, kind):
    """A count asks for a whole number and its least, a time for a positive number, each with its unit."""
    wanted = {COUNT: r"a whole number of \w+, 1 or more, not -1", SECONDS: "a positive number of seconds, not -1"}
    with pytest.raises(ConfigurationError, match=wanted[kind]):
        cls(**{name: -1})


def test_the_refusal_of_an_optional_limit_offers_none():
    """Whoever passes 0 for "no limit" learns the right word."""
    with pytest.raises(ConfigurationError, match="or None, not 0"):
        Limits(row_cap=0)
    with pytest.raises(ConfigurationError, match="or None, not 0"):
        Pacing(requests_per_second=0)


@pytest.mark.parametrize("cls", CLASSES)
def test_the_values_are_frozen_and_equal_by_value(cls):
    """A client's tuning cannot change under it, and checks apply to changed copies too."""
    name = attrs.fields(cls)[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(cls(), name, 1)
    assert cls() == cls()
    assert hash(cls()) == hash(cls())
    assert attrs.evolve(cls(), **{name: 1}) != cls()
    with pytest.raises(ConfigurationError):
        attrs.evolve(cls(), **{name: 0})


@pytest.mark.parametrize("cls", CLASSES)
def test_the_values_are_passed_by_name(cls):
    """`Timeouts(10, 30)` would not say which is which."""
    with pytest.raises(TypeError, match="positional"):
        cls(1)
