"""Text from outside, made fit to be stored and sent. No I/O."""

from __future__ import annotations

import re

NOT_IN_A_URL: re.Pattern[str] = re.compile(r"[\s\x00-\x1f\x7f\\]")
"""The characters that no address may hold: blanks, control characters, and what browsers take for a slash."""


def escape_surrogates(text: str) -> str:
    r"""Return a text that every file and database can hold.

    Half of a surrogate pair has no form in UTF-8. It comes from JSON that a server has cut in the middle of an emoji,
    and from names of files that are no UTF-8 (PEP 383).

    Args:
        text: Any text.

    Returns:
        The same text; halves of surrogate pairs are written as escapes, such as `\ud83d`.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
