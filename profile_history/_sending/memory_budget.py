"""Count how many bytes of responses are held at once, received or waiting for the consumer. No I/O, no clock."""

from __future__ import annotations

# The factor by which the expected length shrinks with each shorter response: fourteen of them halve it.
_FADING = 0.95


class MemoryExceeded(Exception):
    """A response found no room while it was being received."""


class MemoryBudget:
    """The count of all streams of a client.

    How long a response will be is known only after it arrived. So each request reserves as much as the longer ones of
    late needed; that makes it rare that a response finds no room half-way.
    """

    def __init__(self) -> None:
        self.used = 0
        self.expected: int = 0

    def learn(self, size: int) -> None:
        """Record how many bytes a response had."""
        self.expected = max(size, int(self.expected * _FADING))


class StreamBudget:
    """One stream's share: it may fill the memory up to its limit, and one response beyond, so that it never stalls.

    Args:
        memory: The count, shared by all streams of a client.
        limit: Bytes, inclusive.
    """

    def __init__(self, memory: MemoryBudget, limit: int) -> None:
        self._memory = memory
        self._limit = limit
        self._used = 0
        self._closed = False

    @property
    def has_room(self) -> bool:
        """Tell whether another request may start."""
        return self._memory.used + self._memory.expected <= self._limit and self._memory.used < self._limit

    @property
    def exceeded(self) -> bool:
        """Tell whether more is in use than this stream may fill."""
        return self._memory.used > self._limit

    def adjust(self, change: int) -> None:
        """Count more bytes as in use, or fewer if `change` is negative; without effect after `close`."""
        # The consumer may release an outcome after its stream was closed, which has given back everything.
        if not self._closed:
            self._memory.used += change
            self._used += change

    def reservation(self) -> Reservation:
        """Return a new count for one response."""
        return Reservation(self, self._memory)

    def close(self) -> None:
        """Give back whatever is still in use."""
        self._memory.used -= self._used
        self._used = 0
        self._closed = True


class Reservation:
    """The bytes of one response, from the request's start until the consumer is through with it."""

    __slots__ = ("_memory", "_received", "_reserved", "_stream_budget", "_urgent")

    def __init__(self, stream_budget: StreamBudget, memory: MemoryBudget) -> None:
        self._stream_budget = stream_budget
        self._memory = memory
        self._reserved = 0
        self._received = 0
        self._urgent = False

    def renew(self, *, urgent: bool = False) -> None:
        """Reserve as much as a response is expected to need, before its request is sent.

        Args:
            urgent: Whether all others wait for this response, which then always finds room.
        """
        self._urgent = urgent
        self._resize(self._memory.expected)

    def restart(self) -> None:
        """Count from nothing again, since the response is received anew after a failed attempt."""
        self._received = 0

    def grow(self, size: int) -> None:
        """Count some bytes more as received.

        Raises:
            MemoryExceeded: There is no room for them, and others that are in flight will make some.
        """
        self._received += size
        if self._received <= self._reserved:
            return
        self._resize(self._received)
        if self._stream_budget.exceeded and not self._urgent:
            # It is longer than expected: the next attempt reserves as much before it starts.
            self._memory.learn(self._received)
            raise MemoryExceeded

    def settle(self, size: int) -> None:
        """Count a response that was received whole and is kept, with its own size in bytes."""
        self._memory.learn(size)
        self._resize(size)

    def release(self) -> None:
        """Give the bytes back; safe to call twice."""
        self._resize(0)

    def _resize(self, size: int) -> None:
        self._stream_budget.adjust(size - self._reserved)
        self._reserved = size
