"""Which 503 means that there are too many requests."""

import random

from profile_history._sending.refusal_evidence import RefusalEvidence


def met(evidence, count, noise, draw):
    """So many results at rest, with a share of 503; return how many of these were believed."""
    believed = 0
    for _ in range(count):
        if draw() < noise:
            believed += evidence.believes(resting=True)
        else:
            evidence.add_success(resting=True)
    return believed


def test_where_nothing_is_known_five_within_32_results_are_believed():
    """Four are not."""
    evidence = RefusalEvidence()
    for _ in range(2):
        assert [evidence.believes(resting=False) for _ in range(5)] == [False] * 4 + [True]


def test_a_single_one_is_believed_where_fifty_results_at_rest_were_good():
    """Also while more is tried; and one in two hundred leaves it so."""
    evidence = RefusalEvidence()
    for _ in range(20):
        for _ in range(200):
            evidence.add_success(resting=True)
        assert evidence.believes(resting=False)
    assert evidence.believes(resting=True)


def test_good_responses_while_more_is_tried_say_nothing_about_the_noise():
    """They are part of finding out."""
    evidence = RefusalEvidence()
    for _ in range(1000):
        evidence.add_success(resting=False)
    assert not evidence.believes(resting=False)


def test_one_in_twenty_whatever_is_asked_is_noise_and_hardly_ever_believed():
    """Once, to see whether less helps."""
    draw = random.Random(3).random
    assert met(RefusalEvidence(), 5000, 0.05, draw) <= 4


def test_noise_that_ends_is_forgotten():
    """Then one is enough again."""
    evidence, draw = RefusalEvidence(), random.Random(3).random
    met(evidence, 1000, 0.05, draw)
    assert 0.03 < evidence.noise < 0.08
    met(evidence, 2000, 0.0, draw)
    assert evidence.noise < 0.01
    assert evidence.believes(resting=True)


def test_two_late_responses_in_a_row_are_believed():
    """A queue makes all of them late, and a slow response now and then is none."""
    evidence = RefusalEvidence()
    for _ in range(10):
        assert not evidence.believes(resting=False, queued=True)
        for _ in range(8):
            evidence.add_success(resting=False)
    assert not evidence.believes(resting=False, queued=True)
    assert evidence.believes(resting=False, queued=True)
