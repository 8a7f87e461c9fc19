"""Deprecated names of values that `profile_history` itself has; this module goes in 1.0."""

from typing import TYPE_CHECKING

from profile_history._deprecated import deprecated_names

_MOVED = {name: ("profile_history", name) for name in ("QuarantinedRow", "WindowFailure", "WindowResult")}

if not TYPE_CHECKING:
    __getattr__ = deprecated_names(__name__, {**_MOVED, "OnError": ("profile_history.results", "OnError")})
