"""A row cap that the server does not speak of is suspected, and the user told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_history import RowCapSuspected
from profile_history._sending.row_cap import RowCapDetector
from profile_history.testing import Behaviour, HistoryServer


def suspicions(counts):
    watch = RowCapDetector()
    return [count for count in counts if watch.observe(count)]


def test_the_third_answer_of_the_same_round_length_is_suspicious_once():
    """Further ones are no news."""
    assert suspicions([1000, 3, 1000, 17, 1000, 1000, 1000]) == [1000]


@pytest.mark.parametrize("counts", [[1000, 1000], [1001] * 9, [40] * 9, [1000, 1000, 1050], [1000, 1200, 1000, 1000]])
def test_few_short_uneven_or_surpassed_lengths_are_not(counts):
    """A longer response proves that there is no cap at the shorter length."""
    assert suspicions(counts) == []


@given(st.lists(st.integers(0, 400)))
def test_only_a_longest_answer_seen_three_times_is_ever_suspected(counts):
    """Whatever the order."""
    for count in suspicions(counts):
        assert counts.count(count) >= 3


async def test_a_user_hears_of_a_hidden_cap():
    """Through the hook."""
    seen = []
    async with HistoryServer(profiles=200, behaviour=Behaviour(row_cap=100)) as server:
        crowded = [profile for profile in server.profiles() if len(server.truth(profile)) > 100][:3]
        assert len(crowded) == 3
        async with server.client(on_event=seen.append) as client:
            await client.histories(crowded).collect()
    assert [value for value in seen if isinstance(value, RowCapSuspected)] == [RowCapSuspected(100)]
