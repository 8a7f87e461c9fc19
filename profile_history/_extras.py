"""Libraries that come with an extra of this package, and what is said when one of them is missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from profile_history.errors import ConfigurationError, UnsupportedSystem


def install_command(extra: str) -> str:
    """Return the command that installs this package with an extra.

    Args:
        extra: The name of the extra, such as "duckdb".
    """
    return f'python -m pip install "profile-history[{extra}]"'


def install_hint(needs: str, extra: str) -> str:
    """Return what to tell somebody who lacks the libraries of an extra.

    Args:
        needs: What needs which libraries, such as "DuckDB needs duckdb and pyarrow".
        extra: The extra that brings them.
    """
    return f"{needs}: {install_command(extra)}"


def missing_extra(needs: str, extra: str) -> ImportError:
    """Return the error for a module of this package that is imported without the libraries that it stands on.

    Args:
        needs: What needs which libraries, such as "DuckDB needs duckdb and pyarrow".
        extra: The extra that brings them.
    """
    return ImportError(install_hint(needs, extra))


def require(module: str, extra: str, needs: str = "") -> ModuleType:
    """Import a module that is a library of an extra, or a module of this package that imports some.

    Args:
        module: The name of the module.
        extra: The extra that brings the libraries.
        needs: What needs which libraries, for the message; by default the message names the library alone.

    Returns:
        The module.

    Raises:
        ConfigurationError: A library is not installed, or is installed and cannot be loaded.
        UnsupportedSystem: The module does not work on this operating system.
    """
    try:
        return importlib.import_module(module)
    except UnsupportedSystem:
        raise
    except ImportError as error:
        # A module of this package that is missing is a mistake in this package, and stays visible as one.
        if (error.name or "").startswith("profile_history"):
            raise
        said = str(error).split("\n")[0]
        if "pip install" in said:
            # The module itself has called `missing_extra`.
            raise ConfigurationError(said) from None
        is_missing = isinstance(error, ModuleNotFoundError)
        if is_missing and needs:
            raise ConfigurationError(install_hint(needs, extra)) from None
        fault = f"{error.name} is not installed" if is_missing else said
        raise ConfigurationError(f"{fault}; run: {install_command(extra)}") from None
