"""The ids of requests."""

from itertools import islice

from profile_history._sending.request_ids import make_probe_id, make_request_id, make_request_ids


def test_ids_are_numbered_behind_a_part_that_is_drawn_for_each_stream():
    """So that no two windows share one, whatever the process."""
    first, second = (list(islice(make_request_ids(), 3)) for _ in range(2))
    assert [int(request_id[-16:], 16) for request_id in first] == [1, 2, 3]
    assert len({request_id[:-16] for request_id in first}) == 1
    assert {len(request_id) for request_id in first + second} == {32}
    assert not set(first) & set(second)


def test_a_probe_is_told_from_the_request_that_it_repeats():
    """In the logs of both sides, and from any other probe."""
    first, second = make_request_id(), make_request_id()
    assert first != second
    assert make_probe_id(first) == f"probe-{first}"
