"""The prepared responses: synthetic rows in the API's envelope, written to files that nginx serves as they are."""

from __future__ import annotations

import datetime as dt
import gzip
from pathlib import Path

import attrs

from profile_history.testing.histories import Histories, Row, Shape

_HISTORIES = Histories(10_000, 7, 20, dt.date(2023, 1, 1), dt.date(2024, 12, 31))
_DISTINCT = 20_000


@attrs.frozen
class Body:
    """One response: how many rows, of which shape, and whether compressed."""

    rows: int
    shape: Shape = "seed"
    gzip: bool = False

    @property
    def name(self) -> str:
        """Return what it is called in addresses."""
        return f"{self.shape}-{self.rows}{'-gzip' if self.gzip else ''}"


@attrs.frozen
class Prepared:
    """A body on disk.

    Attributes:
        body: What it is.
        plain: Its uncompressed bytes.
        served: The file that is sent.
        size: The length of the uncompressed bytes.
    """

    body: Body
    plain: Path
    served: Path
    size: int


def prepare(body: Body, folder: Path) -> Prepared:
    """Write a body into a folder."""
    plain = folder / f"{body.name}.json"
    data = b'{"data":[%b],"error":0,"error_text":"Successful operation"}' % b",".join(_rows(body))
    plain.write_bytes(data)
    served = plain
    if body.gzip:
        served = folder / f"{body.name}.json.gz"
        # Level 6 is what most servers use for what they compress as they send it.
        served.write_bytes(gzip.compress(data, 6))
    return Prepared(body, plain, served, len(data))


def rows_of(size: int, shape: Shape) -> int:
    """Return how many rows make a response of at most that many bytes."""
    sample = _rows(Body(_DISTINCT, shape))
    return int(size / (sum(map(len, sample)) / len(sample) + 1) * 0.999)


def _rows(body: Body) -> list[bytes]:
    distinct: list[Row] = []
    number = 0
    while len(distinct) < min(body.rows, _DISTINCT):
        distinct += _HISTORIES.rows(number, body.shape)
        number += 1
    distinct = distinct[: min(body.rows, _DISTINCT)]
    repeated = distinct * (body.rows // len(distinct)) + distinct[: body.rows % len(distinct)]
    return [row.json for row in sorted(repeated, key=lambda row: row.label, reverse=True)]
