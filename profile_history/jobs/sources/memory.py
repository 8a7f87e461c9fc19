"""Profiles that the program has in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from profile_history.jobs.sources.base import Line, reject_line
from profile_history.profiles import Profile


@attrs.frozen
class MemorySource:
    """The profiles of an iterable, which is read once if it is an iterator.

    Attributes:
        profiles: The profiles.
        url: What to call them. Nothing else tells a job whether it is resumed with the same profiles.
    """

    profiles: Iterable[Profile] = attrs.field(repr=False)
    url: str = "memory"

    @property
    def repeatable(self) -> bool:
        """Return whether it is more than an iterator."""
        return iter(self.profiles) is not self.profiles

    def lines(self) -> Iterator[Line]:
        """Yield the entries by their number."""
        profiles: Iterable[object] = self.profiles
        for number, profile in enumerate(profiles, 1):
            if isinstance(profile, Profile):
                yield Line(number, profile)
            else:
                yield reject_line(
                    number, [profile], "it is no Profile; build it with Profile.email or a constructor like that"
                )
