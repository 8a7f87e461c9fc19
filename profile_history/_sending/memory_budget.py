"""How many bytes of answers are held at once, received or waiting for the consumer. No I/O, no clock."""

from __future__ import annotations

_FADING = 0.95


class MemoryExceeded(Exception):
    """An answer found no room while it was being received."""


class MemoryBudget:
    """The count of all streams of a client.

    How long an answer will be is known only when it is there. So each request sets aside as much as the longer ones of
    late needed; that makes it rare that an answer finds no room half-way.
    """

    def __init__(self) -> None:
        self.used = 0
        self.expected: int = 0

    def learn(self, size: int) -> None:
        """Takes note of how long an answer was."""
        self.expected = max(size, int(self.expected * _FADING))


class StreamBudget:
    """One stream's share: it may fill the memory up to its limit, and one answer beyond, so that it never stands still.

    Args:
        memory: The count, shared by all streams of a client.
        limit: Bytes.
    """

    def __init__(self, memory: MemoryBudget, limit: int) -> None:
        self._memory = memory
        self._limit = limit
        self._used = 0
        self._closed = False

    @property
    def has_room(self) -> bool:
        """Whether another request may start."""
        return self._memory.used + self._memory.expected <= self._limit and self._memory.used < self._limit

    def reservation(self) -> Reservation:
        """The count for one answer."""
        return Reservation(self)

    def close(self) -> None:
        """Gives back whatever is still in use."""
        self._memory.used -= self._used
        self._used = 0
        self._closed = True


class Reservation:
    """The bytes of one answer: from the request's start until the consumer is through with it."""

    __slots__ = ("_received", "_set_aside", "_stream_budget", "_urgent")

    def __init__(self, stream_budget: StreamBudget) -> None:
        self._stream_budget = stream_budget
        self._set_aside = 0
        self._received = 0
        self._urgent = False

    def renew(self, *, urgent: bool = False) -> None:
        """Sets bytes aside for an answer that is about to be asked for; one that all others wait for finds room."""
        self._urgent = urgent
        self._resize(self._stream_budget._memory.expected)

    def restart(self) -> None:
        """Takes note that the answer is received anew, after a failed attempt."""
        self._received = 0

    def grow(self, size: int) -> None:
        """Takes note of some bytes received.

        Raises:
            MemoryExceeded: There is no room for them, and others that are on their way will make some.
        """
        self._received += size
        if self._received <= self._set_aside:
            return
        self._resize(self._received)
        memory = self._stream_budget._memory
        if memory.used > self._stream_budget._limit and not self._urgent:
            memory.learn(self._received)
            raise MemoryExceeded

    def settle(self, size: int) -> None:
        """Takes note that the answer was received whole and is kept."""
        self._stream_budget._memory.learn(size)
        self._resize(size)

    def release(self) -> None:
        """Gives the bytes back; again is harmless."""
        self._resize(0)

    def _resize(self, size: int) -> None:
        if self._stream_budget._closed:
            return
        change = size - self._set_aside
        self._stream_budget._memory.used += change
        self._stream_budget._used += change
        self._set_aside = size
