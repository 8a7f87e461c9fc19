"""The unit of work: a profile, and the days of its history. No I/O."""

from __future__ import annotations

import attrs

from profile_history.profiles import Profile
from profile_history.windows import Window


@attrs.frozen
class Unit:
    """One profile and a range of days.

    A stream asks for it whole or in shorter windows, and hands those out in order.

    Attributes:
        profile: Whose history.
        window: Which days.
    """

    profile: Profile
    window: Window
