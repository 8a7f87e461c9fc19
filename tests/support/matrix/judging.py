"""Play a case on virtual time against a real server on loopback, and judge it by its class in one place."""

import asyncio
import gc
import random
from collections import Counter
from pathlib import Path
from typing import Any

from support.leftovers import NOTHING, descriptors, left_of
from support.matrix.case import NO_FAULTS, RETRY, Case, Stage
from support.matrix.classes import ACCEPTED, CONSUMER_ENDED, REFUSED, RETRIED
from support.matrix.comparing import and_more, exactly
from support.matrix.dice import Dice
from support.matrix.seen import Seen
from support.secrecy import parts, printed
from support.virtual_clock import run_virtually

from profile_history import AttemptEnded, AttemptStarted, CircuitOpened, ConfigurationError, RetryPlanned, UsageError
from profile_history.testing import Fault


def play(case: Case, dice: Dice, seen: Seen, folder: Path) -> None:
    """Play a case on virtual time, and judge it.

    Args:
        case: The case.
        dice: The values of the seed.
        seen: Takes all that is printed and logged.
        folder: Where files may be made.
    """
    random.seed(dice.random.random())
    run_virtually(_play(Stage(case, dice, seen, folder)), limit=case.limit)


async def _play(stage: Stage) -> None:
    loop, case, seen = asyncio.get_running_loop(), stage.case, stage.seen
    loop.set_exception_handler(lambda _, context: seen.problems.append(str(context)))
    async with stage.server:
        tasks, files = len(asyncio.all_tasks()), descriptors()
        async with case.around(stage), stage.connect() as stage.client:
            try:
                await case.consume(stage)
            except case.ends as error:
                stage.error = error
                seen.error(error)
            assert left_of(stage.client) == NOTHING
            seen.texts.append(printed(*parts(stage.client)))
        _judge(stage)
        stage.client = stage.error = None
        await _nothing_left(tasks, files)
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []


def _judge(stage: Stage) -> None:
    if stage.stats is not None:
        assert stage.stats.in_flight == 0
    stage.seen.texts += [printed(stage.notes, stage.stats, stage.failures, stage.quarantined), repr(stage.server.log)]
    for failure in stage.failures:
        stage.seen.error(failure.error)
    Judge(stage).judge()
    stage.case.check(stage)


async def _nothing_left(tasks: int, files: int) -> None:
    for _ in range(100):
        if (len(asyncio.all_tasks()), descriptors()) == (tasks, files):
            return
        gc.collect(0)
        await asyncio.sleep(0.5)
    assert [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    assert descriptors() == files


class Judge:
    """The judge of whether a run was of its class: one method per class, for all rows."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.case = stage, stage.case
        self.log = [entry for entry in stage.server.log if not _is_probe(entry)]
        self.windows = stage.stats.windows if stage.stats else 0
        self.bad = sum(not set(entry.faults) <= stage.case.harmless for entry in self.log)
        self.ended = [note for note in stage.told(AttemptEnded) if not _is_probe(note)]
        self.failed = [note for note in self.ended if note.error is not None]
        self.free_retries = len({note.request_id for note in self.failed if note.error.stale_connection})

    def judge(self) -> None:
        """Assert all that its class says."""
        if self.case.plan != NO_FAULTS and self.case.outcome not in CONSUMER_ENDED | REFUSED:
            assert self.bad, "the fault did not strike"
        for plan in self.stage.told(RetryPlanned):
            assert 0 <= plan.wait <= max(RETRY.cap, 1.1 * self.stage.options["retry"].patience, 132), plan
        getattr(self, f"_judge_{self.case.outcome.name.lower()}")()

    def _judge_retried(self) -> None:
        self._whole()
        ended, split = len(self.ended), self.stage.stats.windows_split
        capped = split if self.stage.client._core.fetcher.limits.row_cap else 0
        assert self.failed or split
        assert ended == self.windows + capped + len(self.failed)
        if self.case.plan == NO_FAULTS:
            assert ended - len(self.failed) <= len(self.log) <= ended
        else:
            assert (len(self.log), self.bad) == (ended, len(self.failed))
        charged = len(self.stage.told(RetryPlanned)) + split - capped
        assert charged <= len(self.failed)
        if not self.stage.told(CircuitOpened):
            assert charged + self.free_retries == len(self.failed)

    def _judge_free(self) -> None:
        self._whole()
        assert self.free_retries == len(self.failed) > 0
        assert len(self.log) == self.windows + self.free_retries
        assert self.stage.told(RetryPlanned) == []
        assert set(self.stage.tokens) == {100}

    def _judge_paused(self) -> None:
        self._judge_retried()
        asked = [(end, note) for end, note in self.stage.notes if _asks_to_wait(note)]
        assert asked
        sent = [(when, note.request_id) for when, note in self.stage.notes if isinstance(note, AttemptStarted)]
        good = [when for when, note in self.stage.notes if isinstance(note, AttemptEnded) and note.bytes]
        for end, refused in asked:
            until = end + refused.error.retry_after
            meanwhile = [request_id for when, request_id in sent if end < when < until]
            assert refused.request_id not in meanwhile
            # The others go on where somebody is served, since this one was sent or between its refusals.
            begun = min(when for when, request_id in sent if request_id == refused.request_id)
            assert meanwhile == [] or any(begun < when < until for when in good)

    def _judge_window_failed(self) -> None:
        assert self.stage.error is None
        assert {self.stage.numbers[failure.profile] for failure in self.stage.failures} == self.case.hit
        for failure in self.stage.failures:
            assert isinstance(failure.error, self.case.error), repr(failure.error)
            if self.case.attempts is not None:
                assert failure.error.attempts == self.case.attempts, failure.error
        self._true(set(self.stage.numbers.values()) - self.case.hit)
        asked = Counter(entry.profile for entry in self.log if entry.profile not in self.case.hit)
        assert set(asked.values()) <= {self.stage.dice.windows}

    def _judge_stream_stopped(self) -> None:
        assert isinstance(self.stage.error, self.case.error), repr(self.stage.error)
        self._true_so_far()
        request_id = getattr(self.stage.error, "request_id", None)
        notes = [note for _, note in self.stage.notes]
        ends = [n for n, note in enumerate(notes) if isinstance(note, AttemptEnded) and note.request_id == request_id]
        if ends:
            assert not [note for note in notes[ends[-1] :] if isinstance(note, AttemptStarted)]

    def _judge_refused(self) -> None:
        assert isinstance(self.stage.error, self.case.error or (ConfigurationError, UsageError))
        assert self.log == []

    def _judge_accepted(self) -> None:
        self._whole()
        assert self.failed == []
        assert len(self.log) == self.windows

    def _judge_consumer_ended(self) -> None:
        assert self.stage.error is None
        self._true_so_far()

    def _whole(self) -> None:
        assert self.stage.error is None, repr(self.stage.error)
        assert self.stage.failures == []
        self._true(set(self.stage.numbers.values()))

    def _true(self, numbers: set[int]) -> None:
        more = len(self.stage.quarantined)
        for profile, number in self.stage.numbers.items():
            if number in numbers:
                got, true = self.stage.events[profile], self.stage.truth(profile)
                hit = self.case.hit and self.case.outcome in ACCEPTED | RETRIED
                same = self.case.same if not hit or number in self.case.hit else exactly
                assert same(got, true), f"profile {number} has {len(got)} events of {len(true)}"
                more += len(got) - len(true)
        if self.case.same is and_more:
            assert 0 <= more <= sum(set(entry.faults) != {Fault.SLOW_FIRST_BYTE} for entry in self.log if entry.faults)

    def _true_so_far(self) -> None:
        for profile, events in self.stage.events.items():
            assert events == self.stage.truth(profile)[: len(events)]


def _is_probe(seen: Any) -> bool:
    # It asks whether the server is back, and belongs to no window.
    return (seen.request_id or "").startswith("probe-")


def _asks_to_wait(note: Any) -> bool:
    return isinstance(note, AttemptEnded) and getattr(note.error, "retry_after", None) is not None
