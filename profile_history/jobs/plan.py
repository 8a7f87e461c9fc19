"""The task of a job; it stands in the ledger, and has to be the same when the job goes on."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypedDict

import attrs
import msgspec
from msgspec import Meta

from profile_history._protocol.requests import PATH
from profile_history._text import escape_surrogates
from profile_history.errors import ConfigurationError
from profile_history.jobs.whereabouts import locate_sink, relativize_sink

# A host may be renamed, and a file of profiles moved, while a job waits; what comes of it depends on the others.
_FREE = frozenset({"url"})


class _Terms(TypedDict):
    url: str
    list_id: Annotated[int, Meta(ge=1)]
    window: Annotated[int, Meta(ge=1)] | Literal["auto"] | None
    border: Literal["overlap", "exact"]
    order: Literal["newest", "oldest"]


class _Written(TypedDict):
    source: str
    profiles: str
    date_from: dt.date
    date_to: dt.date
    terms: _Terms
    sink: str


@attrs.frozen
class Plan:
    """The task of a job.

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

    @property
    def url(self) -> str:
        """Return the address of the platform, as a client takes it."""
        return address_of(self.terms["url"])

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
                "sink": relativize_sink(self.sink, home),
            }
        )

    @classmethod
    def from_json(cls, text: str, home: Path) -> Self:
        """Return the plan that stands in a ledger.

        Args:
            text: What `to_json` has written.
            home: The directory in which the ledger is now.

        Raises:
            ValueError: It is no plan.
        """
        # Names of files need not be UTF-8; msgspec's own decoder takes no half of a surrogate pair.
        written = json.loads(text)
        values = msgspec.convert(written, type=_Written)
        if values["date_to"] < values["date_from"]:
            raise ValueError(f"its last day {values['date_to']} lies before its first one, {values['date_from']}")
        return cls(
            values["source"],
            values["profiles"],
            values["date_from"],
            values["date_to"],
            # With terms of a later version, if there are any.
            written["terms"],
            locate_sink(values["sink"], home),
        )

    def differences(self, asked: Plan) -> list[str]:
        """Return in what another plan differs. Where the rows go is not compared: see `places.check_fits`.

        Args:
            asked: What somebody asks for now.
        """
        ours, theirs = self._fixed_terms(), asked._fixed_terms()
        return [_difference(name, ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]]

    def check_same(self, asked: Plan) -> None:
        """Compare with what somebody asks for now.

        Raises:
            ConfigurationError: It is another plan; the error says in what.
        """
        if differing := self.differences(asked):
            raise other_plan_error(differing)

    def _fixed_terms(self) -> dict[str, Any]:
        return {
            "profiles": self.profiles,
            "date_from": self.date_from.isoformat(),
            "date_to": self.date_to.isoformat(),
            **{name: value for name, value in self.terms.items() if name not in _FREE},
        }


def address_of(endpoint: str) -> str:
    """Return scheme and host of the platform, as a client takes them.

    Args:
        endpoint: Where requests go to, as in the terms of a plan.
    """
    return endpoint.removesuffix(PATH)


def other_plan_error(differences: list[str]) -> ConfigurationError:
    """Return the error of a job that has another plan than what somebody asks for.

    Args:
        differences: In what they differ.
    """
    return ConfigurationError(
        f"the job in this ledger has another plan: {'; '.join(differences)}. Use another sink or ledger for another "
        "plan; to go on with this one, use `resume`, or `export --since-last` for newer days; --restart deletes what "
        "was fetched and begins anew"
    )


def fingerprint(text: str) -> str:
    """Return a fingerprint of all that must be the same when a job goes on, wherever its directory is by then.

    Args:
        text: What `Plan.to_json` has written.
    """
    values = json.loads(text)
    fixed = {name: values[name] for name in ("profiles", "date_from", "date_to", "sink")}
    fixed |= {name: value for name, value in values["terms"].items() if name not in _FREE}
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()


def storable_path(path: str) -> str | bytes:
    """Return a path as a ledger keeps it: as bytes if it is no UTF-8; `os.fsdecode` reads either."""
    return path if path == escape_surrogates(path) else os.fsencode(path)


def _difference(name: str, there: object, here: object) -> str:
    if name == "profiles":
        return "the list of profiles is another one"
    return f"{name} is {there!r} there and {here!r} here"
