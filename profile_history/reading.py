"""Deprecated: these names are in `profile_history` itself, and this module goes in 1.0."""

import warnings

from profile_history.results import OnError, QuarantinedRow, WindowFailure, WindowResult

__all__ = ["OnError", "QuarantinedRow", "WindowFailure", "WindowResult"]

warnings.warn(
    "profile_history.reading goes in 1.0; import its names from profile_history",
    DeprecationWarning,
    stacklevel=2,
)
