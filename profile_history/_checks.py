"""Checks of arguments: each refuses a wrong value with a sentence that names the argument and says what to pass."""

from __future__ import annotations

from typing import Any

from profile_history.errors import ConfigurationError

# Beyond any use; such numbers still fit into JSON, into a database, and into arithmetic with fractions.
MOST = 2**63

_LONGEST = 200


def describe(value: object) -> str:
    """Return a value as a message shows it: cut where it is long, and never an error of its own."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 (a number of 5,000 digits has no text, and a class of somebody else may fail)
        return f"a value of the class {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def check_number(name: str, value: Any, unit: str, *, optional: bool = False) -> None:
    """Refuse what is no finite number above 0.

    Args:
        name: The argument.
        value: What was passed for it.
        unit: What it counts, such as "seconds".
        optional: Whether it may be `None`.

    Raises:
        ConfigurationError: It is something else.
    """
    if optional and value is None:
        return
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < MOST:
        raise ConfigurationError(f"{name} takes a positive number of {unit}{_or_none(optional)}, not {describe(value)}")


def check_whole_number(
    name: str, value: Any, unit: str, *, least: int = 1, most: int = MOST - 1, optional: bool = False
) -> None:
    """Refuse what is no whole number.

    Args:
        name: The argument.
        value: What was passed for it.
        unit: What it counts, such as "rows".
        least: The smallest one, inclusive.
        most: The largest one, inclusive.
        optional: Whether it may be `None`.

    Raises:
        ConfigurationError: It is something else.
    """
    if optional and value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        limits = f"{least} or more" if most >= MOST - 1 else f"{least} to {most:,}"
        raise ConfigurationError(
            f"{name} takes a whole number of {unit}, {limits}{_or_none(optional)}, not {describe(value)}"
        )


def check_flag(name: str, value: object) -> None:
    """Refuse what is neither True nor False: a text such as "no" would count as yes.

    Args:
        name: The argument.
        value: What was passed for it.

    Raises:
        ConfigurationError: It is something else.
    """
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} takes True or False, not {describe(value)}")


def check_choice(name: str, value: Any, choices: Any) -> Any:
    """Return one of some texts, or the member of an enum of texts.

    Args:
        name: The argument.
        value: What was passed for it.
        choices: The texts, or the enum.

    Raises:
        ConfigurationError: It is none of them.
    """
    if not isinstance(value, str) or value not in tuple(choices):
        raise ConfigurationError(
            f"{name} is {' or '.join(repr(str(choice)) for choice in choices)}, not {describe(value)}"
        )
    return choices(value) if isinstance(choices, type) else value


def expect(name: str, value: Any, wanted: type[Any]) -> Any:
    """Return a value of some class.

    Args:
        name: The argument.
        value: What was passed for it.
        wanted: The class.

    Raises:
        ConfigurationError: It is of another one.
    """
    if not isinstance(value, wanted):
        raise ConfigurationError(f"{name} is a {wanted.__name__}, not {describe(value)}")
    return value


def _or_none(optional: bool) -> str:  # noqa: FBT001
    return " or None" if optional else ""
