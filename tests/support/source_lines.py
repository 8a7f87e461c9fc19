"""What the tests of sources share: what a source yields, how one is refused, and files to read."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.written_profiles import JOHN

from profile_history import ConfigurationError, Profile
from profile_history.jobs.sources import (
    source_of,
)

JANE = "jane@example.com"
TWO = [Profile.email(JOHN), Profile.email(JANE)]


def profiles(source):
    """The profiles of a source that has no bad line."""
    lines = list(source.lines())
    assert [line.reason for line in lines if line.reason] == []
    return [line.profile for line in lines]


def outcome(source):
    """Each line's number, and its profile or its reason."""
    return [(line.number, line.profile or line.reason) for line in source.lines()]


def from_bytes(kind, content, *options, **more):
    """What a source of some kind makes of bytes."""
    return outcome(kind(io.BytesIO(content), *options, **more))


def refusal(*arguments, error=ConfigurationError, **options):
    """The message with which `source_of` refuses its arguments."""
    with pytest.raises(error) as refused:
        source_of(*arguments, **options)
    return str(refused.value)


@pytest.fixture
def file(tmp_path):
    """Write a file and return its path as text."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


def parquet(path, **columns):
    """Write a Parquet file, and return its path as text."""
    pq.write_table(pa.table(columns), path)
    return str(path)
