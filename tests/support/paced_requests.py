"""Requests that a pacer lets in on virtual time."""

import asyncio
import functools

import pytest
from support.virtual_clock import run_virtually

from profile_history import Pacing
from profile_history._sending.failure_signals import Signal
from profile_history._sending.pacer import Pacer
from profile_history.observing import Observer

PATIENCE = 60.0


def longest(low, high):
    """Draw the longest waits, so that each moment is known."""
    return high


def virtual(test):
    """Run an asynchronous test on virtual time.

    A waiter that is forgotten fails it within a second, and so does an error that only the loop would tell of.
    """

    async def watched(arguments):
        complaints = []
        asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
        await test(**arguments)
        await settle()
        assert complaints == []

    @functools.wraps(test)
    def run(**arguments):
        run_virtually(watched(arguments), limit=1e6, patience=1.0)

    return run


class Server:
    """A pacer with what it told, and what was let in by it and when."""

    def __init__(self, *, uniform=longest, **pacing):
        self.told = []
        self.pacer = Pacer(Pacing(**pacing), observer=Observer(self.told.append), uniform=uniform)
        self.starts = []
        self.permits = []

    async def start(self, patience=PATIENCE, since=None):
        """Wait for the right to send."""
        permit = await self.pacer.acquire(patience, since)
        self.starts.append(now())
        self.permits.append(permit)
        return permit

    def starting(self, count, patience=PATIENCE):
        """So many that begin to wait, in order."""
        return [asyncio.create_task(self.start(patience)) for _ in range(count)]

    def end(self, signal=Signal.SUCCESS, **more):
        """End the oldest request in flight, and tell whether a failure of it is charged to its window."""
        charged = not self.pacer.circuit_open
        self.pacer.release(self.permits.pop(0), signal, **more)
        return charged

    async def fail(self, times=10, signal=Signal.FAILED, **more):
        """So many failures in a row, of three windows."""
        for number in range(times):
            await self.start()
            self.end(signal, request_id="abc"[number % 3], **more)

    async def grow(self, limit):
        """Succeed until so many may be in flight."""
        for _ in range(1000):
            if self.pacer.limit >= limit:
                return
            await self.start()
            self.end()
        pytest.fail("the limit does not grow")

    def check_idle(self):
        """No request is in flight, nobody waits, and no timer is left to ring."""
        assert self.pacer.in_use == 0
        # A waiter or a timer that is forgotten is seen by nobody.
        assert not self.pacer._waiters
        assert self.pacer._timer is None
        scheduled = asyncio.get_running_loop()._scheduled
        assert not [timer for timer in scheduled if timer._callback == self.pacer._ring and not timer.cancelled()]


def now():
    return asyncio.get_running_loop().time()


async def settle():
    """Let everybody go on who can, without any time passing."""
    for _ in range(5):
        await asyncio.sleep(0)


async def cancel(*tasks):
    for task in tasks:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


def late_timers(lateness):
    """From now on every timer of the loop rings late by what this draws."""
    loop = asyncio.get_running_loop()
    call_at = loop.call_at
    loop.call_at = lambda when, *args, **options: call_at(when + lateness(), *args, **options)


def most_in_a_second(starts):
    """The most starts in any window of a second, whichever moment it begins at."""
    return max(sum(first <= start < first + 1 for start in starts) for first in starts)
