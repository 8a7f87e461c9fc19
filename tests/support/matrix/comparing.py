"""Comparisons of what was received with what there is, or with what a fault leaves of it or adds to it.

Each takes the events that were received, `got`, and those of the history, `true`, both in their order.
"""

from collections import Counter

import attrs

from profile_history import Event


def exactly(got: list[Event], true: list[Event]) -> bool:
    """Tell whether they are the same events in the same order."""
    return got == true


def and_more(got: list[Event], true: list[Event]) -> bool:
    """Tell whether all are there in their order, and perhaps others."""
    rest = iter(got)
    return all(event in rest for event in true)


def in_any_order_of_a_moment(got: list[Event], true: list[Event]) -> bool:
    """Tell whether they are the same events; those of one moment in any order."""
    moments = [[event.datetime for event in events] for events in (got, true)]
    return moments[0] == moments[1] and Counter(got) == Counter(true)


def with_more_in_each(got: list[Event], true: list[Event]) -> bool:
    """Tell whether they are the same events, with keys that nobody knows."""
    return all(event.extra for event in got) and [attrs.evolve(event, extra={}) for event in got] == true


def repeated(got: list[Event], true: list[Event]) -> bool:
    """Tell whether each of them is there, some more than once."""
    return set(got) == set(true) and not Counter(true) - Counter(got) and len(got) > len(true)


def cut(got: list[Event], true: list[Event]) -> bool:
    """Tell whether it is some of them and nothing else."""
    return not Counter(got) - Counter(true)
