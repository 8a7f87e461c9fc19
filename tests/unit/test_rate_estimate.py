"""How far an estimate goes from what was let in for long to what was let in just now."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_history._sending.rate_estimate import RateEstimate

# The room that an estimate leaves for jitter.
MARGIN = 0.97


def between(estimate, low=10.0, high=20.0):
    """Return the estimate without its margin."""
    return estimate.between(low, high) / MARGIN


def test_it_begins_half_way():
    """A bucket needs the lower figure, a short window the higher one, and nothing tells which it is."""
    assert between(RateEstimate()) == pytest.approx(15.0)


def test_it_is_bolder_after_one_that_held_and_half_as_bold_after_one_that_did_not():
    """Only a bold one can hold or fail: what was proven tells nothing about the next."""
    estimate = RateEstimate()
    between(estimate)
    estimate.hold()
    estimate.hold()
    assert between(estimate) == pytest.approx(17.5)
    estimate.fail()
    estimate.fail()
    assert between(estimate) == pytest.approx(13.75)
    for _ in range(5):
        estimate.hold()
        between(estimate)
    assert between(estimate) == pytest.approx(20.0)


def test_where_nothing_was_let_in_for_long_only_the_lower_figure_counts_until_one_has_held():
    """A quota of a minute lets in as many at once as the client likes, and then nothing."""
    estimate = RateEstimate()
    for _ in range(3):
        estimate.lower()
    assert estimate.is_timid
    assert between(estimate) == pytest.approx(10.0)
    estimate.hold()
    assert not estimate.is_timid
    assert between(estimate) > 12.0


def test_it_is_sure_of_what_was_proven_and_the_less_sure_the_further_the_figures_are_apart():
    """The rest that follows is as much shorter."""
    estimate = RateEstimate()
    assert estimate.sureness == 1.0
    between(estimate, 10.0, 40.0)
    assert estimate.sureness == pytest.approx(0.25)
    assert estimate.proven(10.0) == pytest.approx(10.0 * MARGIN)
    assert estimate.sureness == 1.0


def test_what_is_refused_too_soon_is_cut_by_more_each_time_but_not_below_what_was_let_in_for_long():
    """And at once to that, if it was far above."""
    estimate = RateEstimate()
    assert [estimate.cut(10.0, None) for _ in range(3)] == pytest.approx([9.0, 7.0, 7.0])
    assert estimate.cut(10.0, 9.0) == pytest.approx(0.95 * 9.0)
    assert estimate.cut(20.0, 9.0) == pytest.approx(MARGIN * 9.0)
    estimate.proven(9.0)
    assert estimate.cut(10.0, None) == pytest.approx(9.0)


@given(st.floats(0.1, 1e3), st.floats(0, 1e3), st.lists(st.sampled_from(["hold", "fail", "lower"]), max_size=12))
def test_it_is_never_outside_of_the_two_figures(low, high, course):
    """Whatever became of the others before."""
    estimate = RateEstimate()
    for step in course:
        estimate.between(low, high)
        getattr(estimate, step)()
    assert low * 0.999 <= between(estimate, low, high) <= max(low, high) * 1.001
