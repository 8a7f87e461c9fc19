"""Find where a job is: the file of its ledger, the sink that it fills, and whether both are where the job was begun."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

import attrs

from profile_history.errors import ConfigurationError
from profile_history.sinks.base import Part
from profile_history.sinks.disk import DISK
from profile_history.sinks.postgres_address import is_server
from profile_history.sinks.schemes import check_path
from profile_history.sinks.urls import directory_of, identity, shape


def ledger_file(path: Path | str) -> Path:
    """Return the file that somebody means by the path of a ledger.

    A link is followed, so that a ledger has one lock and its sink is sought beside it, whatever leads there.

    Args:
        path: What was given.

    Raises:
        ConfigurationError: It is an address, a directory, or something else that is no regular file.
    """
    check_path(str(path), "ledger")
    path = Path(path)
    try:
        path = path.resolve() if path.is_symlink() else path
        other = path.exists() and not path.is_file()
    except OSError as error:
        raise ConfigurationError(f"{path} can be no ledger ({error.strerror}); name another file") from None
    if not path.name or other:
        # Before anything is made beside it, and before a FIFO is waited for.
        kind = "a directory" if path.is_dir() else "no file"
        raise ConfigurationError(f"{path} is {kind}, and no ledger; name the file of one, or one that is to be made")
    return path


def relativize_sink(sink: str, home: Path) -> str:
    """Return the text of a sink as a ledger keeps it: `./NAME` for one inside the ledger's directory.

    So a directory that holds both can be moved or copied, and a copy never writes into the original.

    Args:
        sink: The sink's `url`.
        home: The directory of the ledger, absolute.
    """
    place, mark, options = sink.partition("?")
    path = PurePosixPath(place)
    if not path.is_absolute():
        return sink
    inside = _inside(path, home) or _inside(_without_links(path), Path(os.path.realpath(home)))
    if inside is None:
        return sink
    slash = "/" if place.endswith("/") else ""
    return f"./{inside}{slash}{mark}{options}"


def locate_sink(sink: str, home: Path) -> str:
    """Return the `url` of a sink that `relativize_sink` has written, seen from where the ledger is now.

    Args:
        sink: The text in the ledger.
        home: The directory in which the ledger is now, absolute.
    """
    if not sink.startswith("./"):
        return sink
    return f"{home.as_posix().rstrip('/')}/{sink.removeprefix('./')}"


@attrs.frozen
class Whereabouts:
    """The place where a job was begun, and the one where it is found.

    Attributes:
        ledger: The ledger as it is found.
        home: The directory in which it was begun or last pointed at; `None` if that is not known.
        name: The name that the ledger had there; `None` if that is not known.
        sink: The sink of its plan, seen from where the ledger is.
    """

    ledger: Path
    home: str | None
    name: str | None
    sink: str

    @property
    def moved(self) -> bool:
        """Return whether the job is found elsewhere than it was begun, or that is not known."""
        return self.home != str(self._directory) or self.name not in {None, self.ledger.name}

    def __str__(self) -> str:
        """Say where it was begun and where it is found."""
        if self.home is None:
            return f"where the job of {self.ledger} was begun is not known, as its output is not beside it"
        return (
            f"the job was begun with the ledger {Path(self.home, self.name or self.ledger.name)}, and is found with "
            f"{self._directory / self.ledger.name}"
        )

    def command(self, verb: str) -> str:
        """Return what to type to go on with the job as it is found.

        Args:
            verb: The command, such as "resume".
        """
        return f"profile-history {verb} {quote_word(str(self.ledger))} --into {quote_word(self._likely)}"

    def check_pointed(self, verb: str) -> None:
        """Return if nobody has to say where the job's output is.

        Args:
            verb: The command that goes on with it, such as "resume".

        Raises:
            ConfigurationError: The job is found elsewhere than it was begun.
        """
        if self.moved:
            whole = ", with all parameters of its address such as sslmode" if is_server(self.sink) else ""
            outside = self._likely == relativize_sink(self.sink, self._directory)
            sole = ", provided that no other ledger fills that" if outside else ""
            raise ConfigurationError(
                f"{self}; it goes on only with the output that you name{whole}, so that a copy never writes into the "
                f"original's: {self.command(verb)} (in Python: sink=){sole}"
            )

    @property
    def _directory(self) -> Path:
        return self.ledger.absolute().parent.resolve()

    @property
    def _likely(self) -> str:
        """Return the place that is meant in all likelihood: beside the ledger if something there has that name."""
        place, mark, options = self.sink.partition("?")
        beside = self.ledger.absolute().with_name(PurePosixPath(place).name or "-")
        if not is_server(place) and beside.exists():
            return f"{beside}{'/' if place.endswith('/') else ''}{mark}{options}"
        return self.sink


def quote_word(text: str) -> str:
    """Return a text as a shell takes it for one word that is no option.

    Args:
        text: A path or an address.
    """
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def is_same_place(sink: str, other: str) -> bool:
    """Return whether two texts name one sink, however they are spelled.

    Args:
        sink: The `url` of a sink.
        other: That of another one.
    """
    return sink == other or identity(sink) == identity(other)


def is_same_output(sink: str, other: str) -> bool:
    """Return whether two texts name one file, directory or table, whatever the options are.

    Args:
        sink: The `url` of a sink.
        other: That of another one.
    """
    return is_same_place(*(text if is_server(text) or ".duckdb?" in text else _bare(text) for text in (sink, other)))


def check_fits(planned: str, given: str) -> None:
    """Return if a sink can take the place of the one that a job has filled so far.

    Args:
        planned: The `url` of the sink in the plan.
        given: That of the sink which somebody named.

    Raises:
        ConfigurationError: It is of another kind, or has other options, another table, or another file name.
    """
    if is_same_place(planned, given):
        return
    if (ours := shape(planned)) is None or ours != shape(given):
        raise ConfigurationError(
            f"the job fills {planned}, not {given}; `resume` goes on with it, also elsewhere if kind, options, table "
            "and file name are the same; another output needs another ledger"
        )


def find_misplaced(sink: str, parts: Iterable[Part], check_stop: Callable[[], None]) -> Iterator[str]:
    """Compare the files at a place that a job was pointed at with what the ledger has written down of them.

    Args:
        sink: The `url` of the sink. One without files has no parts.
        parts: What the ledger knows of its files.
        check_stop: Raises when the run is to end.

    Yields:
        A sentence for each part that is not what was written.
    """
    directory = directory_of(sink)
    if directory is None:
        return
    for part in parts:
        check_stop()
        path = directory / part.name
        if DISK.size(path) is None:
            yield f"{path} is not there"
        elif hashlib.sha256(DISK.read(path, part.offset, part.size)).hexdigest() != part.checksum:
            yield f"{path} is not what this job wrote"


def _bare(sink: str) -> str:
    return sink.partition("?")[0]


def _inside(path: PurePosixPath, home: Path) -> PurePosixPath | None:
    if ".." in path.parts or not path.is_relative_to(home.as_posix()):
        return None
    return path.relative_to(home.as_posix())


def _without_links(path: PurePosixPath) -> PurePosixPath:
    """Return the same with the links of its directory resolved; the file itself may be one."""
    return PurePosixPath(os.path.realpath(path.parent), path.name)
