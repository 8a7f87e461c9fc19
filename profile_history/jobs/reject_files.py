"""The lists beside a ledger that people read: lines that name no profile, and rows in quarantine."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from profile_history.jobs.ledger import Ledger
from profile_history.sinks.disk import DISK, Disk


def write_lists(ledger: Ledger, disk: Disk = DISK) -> None:
    """Write both lists anew from what the ledger holds; one that would be empty is deleted.

    Args:
        ledger: The ledger.
        disk: What writes them.
    """
    _write(rejects_beside(ledger.path), ledger.rejects(), disk)
    _write(quarantine_beside(ledger.path), map(_format_quarantined, ledger.quarantine()), disk)


def rejects_beside(ledger: Path) -> Path:
    """Return the file of the lines that name no profile."""
    return ledger.with_name(f"{ledger.name.removesuffix('.ledger')}.rejects.ndjson")


def quarantine_beside(ledger: Path) -> Path:
    """Return the file of the rows in quarantine."""
    return ledger.with_name(f"{ledger.name.removesuffix('.ledger')}.quarantine.ndjson")


def _write(path: Path, entries: Iterable[dict[str, Any]], disk: Disk) -> None:
    lines = (json.dumps(entry, ensure_ascii=True).encode() + b"\n" for entry in entries)
    first = next(lines, None)
    if first is None:
        disk.remove(path)
        return
    temporary = path.with_name(f".{path.name}.tmp")
    disk.remove(temporary)  # one that a run which died has left
    with disk.create(temporary, mode=0o600) as file:
        for line in chain([first], lines):
            file.write(line)
        file.sync()
    disk.replace(temporary, path)
    disk.sync_directory(path.parent)


def _format_quarantined(row: tuple[str, str, str, str, bytes]) -> dict[str, Any]:
    profile, date_from, date_to, reason, raw = row
    entry = {"profile": profile, "date_from": date_from, "date_to": date_to, "reason": reason}
    try:
        return {**entry, "raw": raw.decode()}
    except UnicodeDecodeError:
        return {**entry, "raw_base64": base64.b64encode(raw).decode()}
