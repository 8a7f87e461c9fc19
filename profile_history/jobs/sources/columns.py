"""Find the columns of a table that hold a profile, and read their cells."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import attrs

from profile_history._profile_fields import check_name, strip_marks
from profile_history.errors import ConfigurationError
from profile_history.jobs.profile_text import as_text, build_profile, read_value
from profile_history.matching import CUSTOM, WORDS, Matching, parse_matching
from profile_history.profiles import Profile

# Such as 66f66973096b3b454bbbccec or 1024, and no word.
_ID = re.compile(r"[0-9]+|(?=[0-9a-f-]*[0-9])[0-9a-f-]{12,}", re.IGNORECASE)


@attrs.frozen
class Mode:
    """The way in which one value is read: a matching mode, and the name of the field if it is a custom one.

    Attributes:
        matching: The mode.
        field_name: The custom field that the value is in; `None` if the value itself names it.
    """

    matching: Matching
    field_name: str | None = None

    def profile(self, value: object) -> Profile:
        """Return the profile that a value names, in the form of `Profile.parse`, or as the value of the field.

        What stands around a value is cleaned off, but for the value of a custom field.

        Args:
            value: Of a text, a cell or JSON.

        Raises:
            ConfigurationError: It does not fit, or cannot be right.
        """
        if self.field_name is not None:
            return build_profile(self.matching, self.field_name, value)
        return read_value(self.matching, as_text(self.matching, value))

    def __str__(self) -> str:
        return self.matching if self.field_name is None else f"{self.matching}:{self.field_name}"


def mode_of(text: Matching | str) -> Mode:
    """Return the mode that a text names: `MATCHING`, `custom:FIELD_NAME` or `custom_sub:FIELD_NAME`.

    Args:
        text: The text.

    Raises:
        ConfigurationError: It is neither.
    """
    name, found, field_name = text.partition(":")
    matching = parse_matching(name)
    if found and (matching not in CUSTOM or not field_name):
        raise ConfigurationError(
            f"no matching mode {text!r}; only custom and custom_sub take the name of a field, as in custom:CRM_ID"
        )
    return Mode(matching, check_name("field_name", field_name, without="=") if found else None)


def mode_or_none(text: Matching | str | None) -> Mode | None:
    """Return the mode that a text names, or `None` if there is none."""
    return None if text is None else mode_of(text)


@attrs.frozen
class Cells:
    """The cells of a row that hold a profile.

    Attributes:
        places: Their columns, counted from 0.
        build: Makes the profile of their values.
    """

    places: tuple[int, ...]
    build: Callable[..., Profile]


def cells_of(columns: Sequence[str], mode: Mode | None, column: str | None) -> Cells:
    """Return which columns hold the profile.

    Without a mode there must be a column `matching`, and `value` (or the given column) beside it. With one it is the
    given column, else the column named like the mode (or like the custom field), else the columns named like the API's
    words for it, such as `provider` and `subscription_id`, else the only column. Upper and lower case are the same.

    Args:
        columns: The names of the columns there are.
        mode: The mode in which each value is read; `None` if each row names its own.
        column: The column that holds the value; `None` to find it.

    Returns:
        The cells, and what makes a profile of their values.

    Raises:
        ConfigurationError: They cannot be told; the message names the columns there are.
    """
    if mode is None:
        modes, value = _find(columns, "matching"), _find(columns, column or "value")
        if modes is None or value is None:
            raise ConfigurationError(
                f"pass a matching mode, one of {', '.join(Matching)}, or name it in each row in a column matching, "
                f"with its value in a column {column or 'value'}; {_list_columns(columns)}"
            )
        return Cells((modes, value), _build_by_row)
    if column is not None:
        place = _find(columns, column)
        if place is None:
            raise ConfigurationError(f"no column {column!r}; {_list_columns(columns)}")
        return Cells((place,), mode.profile)
    return _guess_cells(columns, mode)


def _guess_cells(columns: Sequence[str], mode: Mode) -> Cells:
    place = _find(columns, mode.field_name or mode.matching)
    if place is not None:
        return Cells((place,), mode.profile)
    words = [_find(columns, word) for word in WORDS[mode.matching]]
    places = tuple(place for place in words if place is not None)
    if mode.field_name is None and len(places) == len(words):
        return Cells(places, partial(build_profile, mode.matching))
    if len(columns) != 1:
        raise ConfigurationError(f"pass column=, the one that holds the {mode}; {_list_columns(columns)}")
    if _is_value(columns[0], mode):
        raise ConfigurationError(
            f"the first line, {columns[0]!r}, looks like a profile where the names of the columns belong; "
            "put them there, or read the file as text"
        )
    return Cells((0,), mode.profile)


def _is_value(column: str, mode: Mode) -> bool:
    if mode.field_name is not None or mode.matching is Matching.PROFILE_ID:
        return _ID.fullmatch(column) is not None
    try:
        mode.profile(column)
    except ConfigurationError:
        return False
    return True


def _build_by_row(matching: object, value: object) -> Profile:
    return mode_of(strip_marks(as_text("matching", matching))).profile(value)


def _find(columns: Sequence[str], name: str) -> int | None:
    for wanted, names in ((name, columns), (name.casefold(), [column.casefold() for column in columns])):
        if names.count(wanted) > 1:
            raise ConfigurationError(f"there are {names.count(wanted)} columns {name!r}; rename all but one")
        if wanted in names:
            return list(names).index(wanted)
    return None


def _list_columns(columns: Iterable[str]) -> str:
    return f"the columns are {', '.join(columns)}"
