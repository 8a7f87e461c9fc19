"""Libraries that only some sinks need."""

from __future__ import annotations

import importlib
from types import ModuleType

from profile_history.errors import ConfigurationError


def needed(module: str, library: str, extra: str) -> ModuleType:
    """Imports a module that is, or imports, a library of an extra.

    Args:
        module: The module's name.
        library: The library's name.
        extra: The extra that brings it.

    Raises:
        ConfigurationError: The library is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        raise ConfigurationError(
            f'{library} is not installed; run: python -m pip install "profile-history[{extra}]"'
        ) from None
