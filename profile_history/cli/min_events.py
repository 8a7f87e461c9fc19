"""The option `--min-events` of the commands that run a job."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

MinEvents = Annotated[int | None, Parameter(validator=Number(gte=0))]
"""How many events a run has to bring."""
