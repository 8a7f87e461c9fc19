"""Names that sinks had until version 0.5: this is the only place that reads them, and it goes in 1.0."""

from __future__ import annotations

from typing import Any, cast

from profile_history._deprecated import warn_deprecated
from profile_history.sinks.base import RowFormat, Sink

_SUCCESSORS = {"lane": "row_format", "keeps_books": "transactional", "replaces_at_finish": "compacts_on_finish"}


class OldSinkNames:
    """The old names of what every sink of this package has."""

    __slots__ = ()

    row_format: RowFormat
    transactional: bool
    compacts_on_finish: bool

    @property
    def lane(self) -> RowFormat:
        """Return `row_format`, by its old name."""
        warn_deprecated("Sink.lane", "Sink.row_format")
        return self.row_format

    @property
    def keeps_books(self) -> bool:
        """Return `transactional`, by its old name."""
        warn_deprecated("Sink.keeps_books", "Sink.transactional")
        return self.transactional

    @property
    def replaces_at_finish(self) -> bool:
        """Return `compacts_on_finish`, by its old name."""
        warn_deprecated("Sink.replaces_at_finish", "Sink.compacts_on_finish")
        return self.compacts_on_finish


class _RenamingSink:
    """A sink that was written for version 0.5, with the attributes that a job reads today."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        for old, new in _SUCCESSORS.items():
            setattr(self, new, getattr(sink, new if hasattr(sink, new) else old))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)


def with_current_names(sink: Sink) -> Sink:
    """Return a sink of a user as a job needs it, also one that has only the old names of its attributes.

    Args:
        sink: The sink.
    """
    old = [name for name, new in _SUCCESSORS.items() if not hasattr(sink, new) and hasattr(sink, name)]
    for name in old:
        warn_deprecated(f"{type(sink).__name__}.{name}", f"{type(sink).__name__}.{_SUCCESSORS[name]}", frames=1)
    return cast("Sink", _RenamingSink(sink)) if old else sink
