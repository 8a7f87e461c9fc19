"""The lists beside a ledger that people read: lines that name no profile, and rows that are set apart."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from profile_history.jobs.ledger import Ledger
from profile_history.sinks.disk import DISK, Disk


def write_lists(ledger: Ledger, disk: Disk = DISK) -> None:
    """Writes both lists anew from what the ledger holds; one that would be empty is deleted."""
    _write(rejects_beside(ledger.path), ledger.rejects(), disk)
    _write(quarantine_beside(ledger.path), map(_readable, ledger.quarantine()), disk)


def rejects_beside(ledger: Path) -> Path:
    """Where the lines stand that name no profile."""
    return ledger.with_name(f"{ledger.name.removesuffix('.ledger')}.rejects.ndjson")


def quarantine_beside(ledger: Path) -> Path:
    """Where the rows stand that are set apart."""
    return ledger.with_name(f"{ledger.name.removesuffix('.ledger')}.quarantine.ndjson")
