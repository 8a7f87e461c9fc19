"""Long work takes turns, with the event loop and with other long work."""

import asyncio

import pytest

from profile_history import _aio
from profile_history._aio import CooperativeRunner


@pytest.fixture(autouse=True)
def _each_step_counts_as_long(monkeypatch):
    monkeypatch.setattr(_aio, "MAX_SLICE_SECONDS", -1)


def steps(name, count, log):
    """Some steps that say when they are made."""
    for number in range(count):
        log.append((name, number))
        yield
    return name


async def test_it_gives_what_the_work_gives():
    """Be it short or long."""
    taking = CooperativeRunner()
    assert [await taking.run(steps("work", count, [])) for count in (0, 1, 5)] == ["work"] * 3


async def test_the_event_loop_turns_between_two_steps():
    """Nobody waits for more than one."""
    log, work = [], steps("work", 5, [])

    async def others():
        while True:
            log.append("turn")
            await asyncio.sleep(0)

    ticking = asyncio.create_task(others())
    await CooperativeRunner().run(work)
    ticking.cancel()
    assert len(log) >= 4


async def test_of_several_long_works_one_goes_on_at_a_time():
    """So that a turn of the loop is not the sum of theirs. Each makes its first step at once; most end with that."""
    log, taking = [], CooperativeRunner()
    await asyncio.gather(*(taking.run(steps(name, 4, log)) for name in "abc"))
    assert [name for name, number in log[:4] if number == 0] == ["a", "b", "c"]
    assert [step for step in log if step[1]] == [(name, number) for name in "abc" for number in (1, 2, 3)]


async def test_work_that_fails_or_is_cancelled_lets_the_others_go_on():
    """Its turn ends with it."""
    taking, log = CooperativeRunner(), []

    def failing():
        yield
        yield
        raise ValueError("broken")

    cancelled = asyncio.create_task(taking.run(steps("cancelled", 10**9, log)))
    await asyncio.sleep(0)
    failed = asyncio.create_task(taking.run(failing()))
    good = asyncio.create_task(taking.run(steps("good", 5, log)))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(ValueError, match="broken"):
        await failed
    assert await good == "good"
    assert cancelled.cancelled()
