"""The options of the commands that run or inspect a job; each option has its help here and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from profile_history.cli.stdin import open_stdin
from profile_history.errors import ConfigurationError

if TYPE_CHECKING:
    from profile_history.jobs import Source

Job = Annotated[str, Parameter(name="JOB", help="The ledger, or the output beside which it stands as NAME.ledger.")]
"""The argument that names a job."""

MovedOutput = Annotated[str | None, Parameter(help="The output, if it is elsewhere than before, or the ledger is.")]
"""The option `--into` of the commands that find the output in a ledger."""

AsJson = Annotated[bool, Parameter(negative="", help="Print one JSON object instead of lines.")]
"""The option `--json` of the commands that only look at a job."""


@Parameter(name="*")
@attrs.frozen
class SourceOptions:
    """Options that say how PROFILES is read.

    Attributes:
        matching: How the API finds the profiles: xxh, email, phone, profile_id or another mode of `fetch`, or
            custom:FIELD_NAME where the values are those of that field. Not needed where the file names a mode with
            each profile.
        column: The column that holds the profiles, in CSV, Parquet and databases.
        format: How PROFILES is read, whatever its name is.
        query: The SELECT whose rows are the profiles.
        delimiter: What stands between the cells of a CSV file: one character, or tab; its first line tells unless you
            say.
    """

    matching: str | None = None
    column: str | None = None
    format: Literal["text", "csv", "ndjson", "parquet"] | None = None
    query: str | None = None
    delimiter: str | None = None

    def make_source(self, profiles: str | None) -> Source | None:
        """Return the source of a job, `None` if no profiles are named.

        Args:
            profiles: What the command line names them by; "-" stands for stdin.

        Raises:
            ConfigurationError: There is an option, and nothing that it is for.
        """
        from profile_history.jobs import source_of

        options = attrs.asdict(self)
        if profiles is None:
            for name, value in options.items():
                if value is not None:
                    raise ConfigurationError(f"--{name} goes with PROFILES, which is missing")
            return None
        return source_of(profiles, **options, stdin=open_stdin() if profiles == "-" else None)


@Parameter(name="*")
@attrs.frozen
class UpdateOptions:
    """Options that bring a job up to a later day.

    Attributes:
        since_last: Go on with the job up to --to: newer days, and once more those that were still recent, which are
            replaced. PROFILES may be left out, or name newcomers too. Where there is no job yet, it is begun.
        refetch_from: With --since-last: a day, YYYY-MM-DD; what reaches it or a later day is fetched again as well, and
            replaced. It corrects what was fetched while a clock was wrong.
        lookback: So many days before today count as recent: they may still grow; 2 unless you say otherwise. Today is
            the server's day or this machine's, whichever is earlier.
    """

    since_last: Annotated[bool, Parameter(negative="")] = False
    refetch_from: str | None = None
    lookback: Annotated[int | None, Parameter(validator=Number(gte=0))] = None


@Parameter(name="*")
@attrs.frozen
class ReportOptions:
    """Options of all commands that run a job.

    Attributes:
        min_events: Exit with 1 if this run brings fewer events.
        json: Print a summary as one JSON object to stdout at the end, however it ends.
    """

    min_events: Annotated[int | None, Parameter(validator=Number(gte=0))] = None
    json: Annotated[bool, Parameter(negative="")] = False


@Parameter(name="*")
@attrs.frozen
class RestartOptions:
    """Options that begin a job anew.

    Attributes:
        restart: Delete what the job has written, and begin anew. Only what its ledger knows, or what carries its id, is
            deleted.
        yes: Do not ask whether to delete it.
    """

    restart: Annotated[bool, Parameter(negative="")] = False
    yes: Annotated[bool, Parameter(negative="")] = False

    def check(self) -> None:
        """Return if the options go together.

        Raises:
            ConfigurationError: They do not.
        """
        if self.yes and not self.restart:
            raise ConfigurationError("--yes goes with --restart")
