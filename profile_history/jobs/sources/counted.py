"""A source that counts what is read of it."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from profile_history.jobs.sources.base import Line, Source


@attrs.define
class CountingSource:
    """Another source, and how many entries were read of it so far."""

    source: Source
    read: int = 0

    @property
    def url(self) -> str:
        """That of the other source."""
        return self.source.url

    @property
    def repeatable(self) -> bool:
        """Whether the other source can be read more than once."""
        return self.source.repeatable

    def lines(self) -> Iterator[Line]:
        """Reads the other source; the count begins anew."""
        self.read = 0
        for line in self.source.lines():
            self.read += 1
            yield line
