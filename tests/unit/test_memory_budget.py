"""How many bytes of responses are held at once."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_history._sending.memory_budget import MemoryBudget, MemoryExceeded, StreamBudget

SIZES = st.integers(0, 60)
STEPS = st.tuples(
    st.integers(0, 5), st.sampled_from(["renew", "urgent", "restart", "grow", "settle", "release"]), SIZES
)


def reservations(count, *, limit=100, expected=0):
    """Some reservations of one stream_budget, and the memory they count in."""
    memory = MemoryBudget()
    memory.learn(expected)
    stream_budget = StreamBudget(memory, limit)
    return memory, stream_budget, [stream_budget.reservation() for _ in range(count)]


def test_a_request_sets_aside_as_much_as_the_longer_answers_of_late_needed():
    """The expectation jumps to a longer response, and fades by a twentieth with each shorter one."""
    memory, _, [reservation] = reservations(1)
    for size, expected in ((1000, 1000), (10, 950), (10, 902), (940, 940)):
        memory.learn(size)
        assert memory.expected == expected
    reservation.renew()
    assert memory.used == 940


def test_another_request_may_start_only_where_an_answer_of_the_usual_length_fits():
    """What is in use and what is expected stay within the limit together."""
    _, stream_budget, (first, second) = reservations(2, limit=100, expected=40)
    first.renew()
    assert stream_budget.has_room
    second.renew()
    assert not stream_budget.has_room
    second.release()
    assert stream_budget.has_room


def test_a_memory_that_is_full_has_no_room_even_for_answers_of_no_length():
    """Nothing is expected yet, and the limit holds all the same."""
    memory, stream_budget, (first, _) = reservations(2, limit=100)
    first.renew()
    first.grow(100)
    assert memory.expected == 0
    assert not stream_budget.has_room


def test_bytes_are_counted_as_they_come_and_not_twice_where_they_were_set_aside():
    """A response counts with what was set aside for it, or with what it has, whichever is more."""
    memory, _, [reservation] = reservations(1, expected=30)
    reservation.renew()
    for piece, used in ((20, 30), (10, 30), (1, 31), (9, 40)):
        reservation.grow(piece)
        assert memory.used == used


def test_an_answer_received_anew_is_counted_anew():
    """The bytes of a failed attempt are not added to those of the next."""
    memory, _, [reservation] = reservations(1)
    reservation.renew()
    reservation.grow(60)
    reservation.restart()
    reservation.grow(60)
    assert memory.used == 60
    reservation.grow(1)
    assert memory.used == 61


def test_an_answer_that_is_kept_counts_with_its_own_size_until_the_consumer_is_through_with_it():
    """What was set aside beyond it is given back at once."""
    memory, _, [reservation] = reservations(1, expected=50)
    reservation.renew()
    reservation.settle(7)
    assert memory.used == 7
    reservation.release()
    reservation.release()
    assert memory.used == 0


def test_where_room_runs_out_the_answer_that_would_go_beyond_gives_way_and_the_others_go_on():
    """It is asked for again when there is room."""
    _, _, (first, second) = reservations(2, limit=100)
    first.renew()
    second.renew()
    first.grow(60)
    with pytest.raises(MemoryExceeded):
        second.grow(41)
    second.release()
    first.grow(40)
    with pytest.raises(MemoryExceeded):
        first.grow(1)


def test_one_stream_that_holds_everything_does_not_stop_another():
    """Each has one response beyond the limit, since it may be the other's consumer that is slow."""
    memory = MemoryBudget()
    greedy, modest = StreamBudget(memory, 100).reservation(), StreamBudget(memory, 100).reservation()
    greedy.renew()
    greedy.settle(100)
    memory.expected = 0
    modest.renew(urgent=True)
    modest.grow(100)
    assert memory.used == 200


def test_an_answer_that_all_others_wait_for_finds_room_whatever_others_hold():
    """Otherwise nothing would ever make room; asked for without need it is a response like any other."""
    memory = MemoryBudget()
    kept, coming = (StreamBudget(memory, 100).reservation() for _ in range(2))
    kept.renew()
    kept.settle(300)
    memory.expected = 0
    coming.renew(urgent=True)
    coming.grow(200)
    assert memory.used == 500
    coming.release()
    coming.renew()
    with pytest.raises(MemoryExceeded):
        coming.grow(1)


def test_an_answer_that_found_no_room_teaches_how_long_answers_are():
    """The next request sets aside as much from the start, and waits until that is there."""
    memory, stream_budget, (first, second) = reservations(2, limit=100)
    first.renew()
    second.renew()
    first.grow(60)
    second.grow(15)
    with pytest.raises(MemoryExceeded):
        second.grow(45)
    assert memory.expected == 60
    second.release()
    assert memory.used == 60
    assert not stream_budget.has_room


def test_an_answer_cut_off_for_lack_of_room_makes_nobody_forget_a_longer_one():
    """The part of it that came is a lower bound."""
    memory, _, (first, second) = reservations(2, limit=100)
    first.renew()
    first.grow(100)
    second.renew()
    memory.expected = 1000
    with pytest.raises(MemoryExceeded):
        second.grow(1)
    assert memory.expected == 950


def test_a_stream_that_is_closed_gives_back_what_it_holds_and_nothing_of_the_others():
    """Whether it was being received or waited for the consumer; it is safe to call twice."""
    memory = MemoryBudget()
    ours, theirs = StreamBudget(memory, 100), StreamBudget(memory, 100)
    for stream_budget in (ours, theirs):
        kept, coming = stream_budget.reservation(), stream_budget.reservation()
        kept.renew()
        kept.settle(30)
        coming.renew()
        coming.grow(12)
    assert memory.used == 30 + 30 + 30 + 30
    ours.close()
    assert memory.used == 60
    ours.close()
    assert memory.used == 60


@pytest.mark.parametrize("end", ["release", "settle", "nothing"])
def test_whatever_is_done_with_an_answer_after_its_stream_was_closed_counts_nothing(end):
    """A consumer may keep an event for longer than its stream; the bytes were given back already."""
    memory = MemoryBudget()
    closed, other = StreamBudget(memory, 100), StreamBudget(memory, 100).reservation()
    reservation, late = closed.reservation(), closed.reservation()
    reservation.renew()
    reservation.grow(10)
    other.renew()
    other.grow(30)
    closed.close()
    match end:
        case "release":
            reservation.release()
        case "settle":
            reservation.settle(25)
    late.renew()
    late.settle(7)
    late.release()
    closed.close()
    assert memory.used == 30


@given(st.lists(STEPS, max_size=80), st.integers(1, 100))
def test_whatever_the_sequence_the_count_is_what_is_held_and_returns_to_nothing(course, limit):
    """Six responses of two streams; every step that the fetching can take, in any order."""
    memory = MemoryBudget()
    allowances = [StreamBudget(memory, limit), StreamBudget(memory, limit)]
    count = [allowances[number % 2].reservation() for number in range(6)]
    held, state, received, urgent = [0] * 6, ["idle"] * 6, [0] * 6, [False] * 6
    for number, step, size in course:
        reservation = count[number]
        match step, state[number]:
            case "renew" | "urgent", "idle":
                urgent[number] = step == "urgent"
                reservation.renew(urgent=urgent[number])
                held[number], state[number], received[number] = memory.expected, "receiving", 0
                reservation.restart()
            case "restart", "receiving":
                reservation.restart()
                received[number] = 0
            case "grow", "receiving":
                received[number] += size
                beyond = received[number] > held[number]
                held[number] = max(held[number], received[number])
                refused = beyond and sum(held) > limit and not urgent[number]
                learned = max(received[number], int(memory.expected * 0.95)) if refused else memory.expected
                with pytest.raises(MemoryExceeded) if refused else contextlib.nullcontext():
                    reservation.grow(size)
                assert memory.expected == learned
            case "settle", "receiving":
                expected = memory.expected
                reservation.settle(size)
                held[number], state[number] = size, "kept"
                assert memory.expected >= max(size, expected * 0.95 - 1)
            case "release", _:
                reservation.release()
                held[number], state[number] = 0, "idle"
        assert memory.used == sum(held) >= 0
        room = memory.used < limit and memory.used + memory.expected <= limit
        assert [stream_budget.has_room for stream_budget in allowances] == [room, room]
    allowances[0].close()
    assert memory.used == sum(held[1::2])
    for reservation in count:
        reservation.release()
    assert memory.used == 0
