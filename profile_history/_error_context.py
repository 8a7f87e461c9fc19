"""The context of an error: whose history and which days it tells, and how it leaves the process. No I/O."""

from __future__ import annotations

import datetime as dt
import math
import pickle
from enum import Enum
from typing import Any, Protocol


class FailedProfile(Protocol):
    """The part of a `Profile` that errors tell; the class raises errors itself and so stands above this module."""

    @property
    def matching(self) -> str:
        """Return the matching mode."""

    @property
    def fields(self) -> tuple[tuple[str, str | int], ...]:
        """Return the names and values that the matching mode puts into the request body."""


class FailedWindow(Protocol):
    """The part of a `Window` that errors tell; the class raises errors itself and so stands above this module."""

    @property
    def date_from(self) -> dt.date | None:
        """Return the first day, inclusive; `None` for an open start."""

    @property
    def date_to(self) -> dt.date | None:
        """Return the last day, inclusive; `None` for an open end."""


def as_json_value(value: object) -> Any:
    """Return a value as JSON holds it: whatever it has no form for is its text."""
    match value:
        case Enum():
            return value.value
        case float() if not math.isfinite(value):
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case BaseException():
            return {"type": type(value).__name__, "message": str(value)}
        case dict():
            return {str(name): as_json_value(item) for name, item in value.items()}
        case list() | tuple():
            return [as_json_value(item) for item in value]
    return str(value)


def can_pickle(error: BaseException) -> bool:
    """Tell whether an error of anybody's can be sent to another process."""
    try:
        pickle.dumps(error)
    except Exception:  # noqa: BLE001 (whatever it holds, it is not ours)
        return False
    return True
