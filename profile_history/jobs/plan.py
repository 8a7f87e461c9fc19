"""What a job is to do; it stands in the ledger, and has to be the same when the job goes on. No I/O."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Self

import attrs

from profile_history.errors import ConfigurationError

# A host may be renamed, and a file of profiles moved, while a job waits; what comes of it depends on the others.
_FREE = frozenset({"url"})


@attrs.frozen
class Plan:
    """What a job is to do.

    Attributes:
        source: Where the profiles come from, as text.
        profiles: A fingerprint of the profiles in their order.
        date_from: The first day.
        date_to: The last day, inclusive.
        terms: How the client asks: url, list_id, window, border, order.
        sink: Where the rows go, as text.
    """

    source: str
    profiles: str
    date_from: dt.date
    date_to: dt.date
    terms: Mapping[str, Any]
    sink: str

    def hash(self, home: Path) -> str:
        """Return a fingerprint of all that must be the same when the job goes on, wherever its directory is by then.

        Args:
            home: The directory of the ledger.
        """
        fixed = {**self._fixed(), "sink": portable(self.sink, home)}
        return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()

    def to_json(self, home: Path) -> str:
        """Return the plan as it stands in the ledger: a sink inside the ledger's directory is kept relative to it.

        Args:
            home: The directory of the ledger.
        """
        return json.dumps(
            {
                "source": self.source,
                "profiles": self.profiles,
                "date_from": self.date_from.isoformat(),
                "date_to": self.date_to.isoformat(),
                "terms": dict(self.terms),
                "sink": portable(self.sink, home),
            }
        )

    @classmethod
    def from_json(cls, text: str, home: Path) -> Self:
        """Return the plan that stands in a ledger.

        Args:
            text: What `to_json` has written.
            home: The directory in which the ledger is now.
        """
        values = json.loads(text)
        return cls(
            values["source"],
            values["profiles"],
            dt.date.fromisoformat(values["date_from"]),
            dt.date.fromisoformat(values["date_to"]),
            values["terms"],
            located(values["sink"], home),
        )

    def check_same(self, asked: Plan) -> None:
        """Compares with what somebody asks for now.

        Raises:
            ConfigurationError: It is another plan; the error says in what.
        """
        ours, theirs = self._fixed(), asked._fixed()
        differing = [_difference(name, ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]]
        if differing:
            raise ConfigurationError(
                f"the job in this ledger has another plan: {'; '.join(differing)}. Use another sink or ledger for "
                "another plan; to go on with this one, use `resume`, or `export --since-last` for newer days"
            )

    def _fixed(self) -> dict[str, Any]:
        return {
            "profiles": self.profiles,
            "date_from": self.date_from.isoformat(),
            "date_to": self.date_to.isoformat(),
            **{name: value for name, value in self.terms.items() if name not in _FREE},
            "sink": self.sink,
        }


def portable(sink: str, home: Path) -> str:
    """Return the text of a sink as a ledger keeps it: `./NAME` for one inside the ledger's directory.

    So a directory that holds both can be moved or copied, and a copy never writes into the original.

    Args:
        sink: The sink's `url`.
        home: The directory of the ledger, absolute.
    """
    place, mark, options = sink.partition("?")
    path = PurePosixPath(place)
    if not path.is_absolute() or ".." in path.parts or not path.is_relative_to(home.as_posix()):
        return sink
    slash = "/" if place.endswith("/") else ""
    return f"./{path.relative_to(home.as_posix())}{slash}{mark}{options}"


def located(sink: str, home: Path) -> str:
    """Return the `url` of a sink that `portable` has written, seen from where the ledger is now.

    Args:
        sink: The text in the ledger.
        home: The directory in which the ledger is now, absolute.
    """
    if not sink.startswith("./"):
        return sink
    return f"{home.as_posix().rstrip('/')}/{sink.removeprefix('./')}"


def _difference(name: str, there: object, here: object) -> str:
    if name == "profiles":
        return "the list of profiles is another one"
    return f"{name} is {there!r} there and {here!r} here"
