"""Texts that look like an address where a path of this machine is meant: each is refused by name. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from profile_history.errors import ConfigurationError

Purpose = Literal["sink", "source", "ledger"]

_OBJECTS = "s3 s3a s3n gs gcs r2 az abfs abfss adl wasb wasbs hdfs webhdfs viewfs dbfs oss cos swift"
_WEB = "http https ftp ftps sftp scp ssh webdav"
_DATABASES = (
    "mysql mariadb sqlite mssql sqlserver oracle mongodb redis cassandra clickhouse snowflake bigquery redshift "
    "cockroachdb trino presto hive jdbc odbc motherduck md"
)
_ADVICE: Mapping[str, Mapping[Purpose, str]] = {
    _OBJECTS: {
        "sink": "export to a directory and copy it, or use a sink of your own",
        "source": "copy the file here and pass its path, or pipe it in and pass -",
    },
    _WEB: {
        "sink": "export to a file and send that, or use a sink of your own",
        "source": "download the file and pass its path, or pipe it in and pass -",
    },
    _DATABASES: {
        "sink": "databases are FILE.duckdb and postgresql://user@host/database; for others export to Parquet, or use "
        "the sink for dlt",
        "source": "databases are FILE.duckdb and postgresql://user@host/database; from others write the column to a "
        "CSV file and pass its path, or pipe it in and pass -",
    },
    "file": dict.fromkeys(("sink", "source", "ledger"), "write the path alone"),
    "duckdb": {"sink": "write FILE.duckdb"},
}
_ELSE: Mapping[Purpose, str] = {
    "sink": "write a path, or postgresql://user@host/database",
    "source": "pass the path of a file, - for stdin, or postgresql://user@host/database",
    "ledger": "a ledger is a file on a disk of this machine: write its path",
}
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


def check_path(text: str, purpose: Purpose) -> None:
    """Return if a text is no address and no path of another system.

    Args:
        text: What somebody has typed for a path.
        purpose: What it is to name.

    Raises:
        ConfigurationError: It is one; the error names its scheme, and nothing else of it.
    """
    if _DRIVE.match(text):
        raise ConfigurationError(
            f"{text[:2]} is a drive of Windows, on which jobs do not run; in WSL it is /mnt/{text[0].lower()}/..."
        )
    if (match := _SCHEME.match(text)) is None:
        return
    scheme = match[1].lower()
    group = next((group for group in _ADVICE if scheme in group.split()), None)
    if group is not None and (advice := _ADVICE[group].get(purpose, _ELSE[purpose])):
        raise ConfigurationError(f"{scheme}:// is not supported; {advice}")
    if text[match.end() :].startswith("/"):
        raise ConfigurationError(f"{scheme}:// is not known; {_ELSE[purpose]}")
