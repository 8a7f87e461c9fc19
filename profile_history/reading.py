"""Deprecated names of values that `profile_history` itself has; this module goes in 1.0."""

from profile_history._deprecated import deprecated_names

_MOVED = {name: ("profile_history", name) for name in ("QuarantinedRow", "WindowFailure", "WindowResult")}

__getattr__ = deprecated_names(__name__, {**_MOVED, "OnError": ("profile_history.results", "OnError")})
