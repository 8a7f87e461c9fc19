"""The names of the files of a dataset: the number of the first batch in them, and a revision. No I/O.

A file never changes. What takes its place has the same first batch and a higher revision, so a reader never meets one
name with two contents. Until it is complete, a file has a name that begins with a dot, which readers pass over.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from profile_history.sinks.base import Part

_PART = re.compile(r"part-(\d{8,})-(\d+)\.parquet")
_TEMPORARY = re.compile(rf"\.{_PART.pattern}\.tmp")


def part_name(directory: str, first: int, revision: int) -> str:
    """Return the name of a file, relative to the dataset.

    Args:
        directory: The directory of its partition, relative to the dataset.
        first: The number of its first batch.
        revision: The number of the batch that made it, or a higher one.
    """
    return str(PurePosixPath(directory, f"part-{first:08}-{revision}.parquet"))


def successor_name(part: Part, batch: int) -> str:
    """Return a name for what takes the place of a file.

    Args:
        part: The file.
        batch: The number of the batch that replaces its rows, which may be the one that made it.
    """
    path = PurePosixPath(part.name)
    match = _PART.fullmatch(path.name)
    assert match
    return part_name(str(path.parent), part.first, max(batch, int(match[2]) + 1))


def temporary_of(path: Path) -> Path:
    """Return the name of a file until it is complete."""
    return path.with_name(f".{path.name}.tmp")


def is_name_of_ours(name: str) -> bool:
    """Tell whether a name, without directories, is one that this program gives, complete or not."""
    return bool(_PART.fullmatch(name) or _TEMPORARY.fullmatch(name))


def is_unfinished(name: str, last_batch: int) -> bool:
    """Tell whether a file is temporary, or of a batch that the ledger does not know yet.

    Args:
        name: Its name, relative to the dataset.
        last_batch: The number of the last batch that the ledger knows.
    """
    match = _PART.fullmatch(PurePosixPath(name).name)
    return match is None or int(match[2]) > last_batch
