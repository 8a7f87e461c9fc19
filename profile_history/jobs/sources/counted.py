"""A source that counts the entries that are read of it."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from profile_history.jobs.sources.base import Line, Source


@attrs.define
class CountingSource:
    """Another source, and how many entries were read of it so far.

    Attributes:
        source: The other source.
        read: How many entries were read since its reading began last.
    """

    source: Source
    read: int = 0

    @property
    def url(self) -> str:
        """Return the `url` of the other source."""
        return self.source.url

    @property
    def repeatable(self) -> bool:
        """Return whether the other source can be read more than once."""
        return self.source.repeatable

    def lines(self) -> Iterator[Line]:
        """Yield the entries of the other source; the count begins anew."""
        self.read = 0
        for line in self.source.lines():
            self.read += 1
            yield line
