"""Libraries that only some sinks need."""

from __future__ import annotations

import importlib
from types import ModuleType

from profile_history.errors import ConfigurationError, UnsupportedSystem


def needed(module: str, extra: str) -> ModuleType:
    """Imports a module that is a library of an extra, or imports some.

    Args:
        module: The module's name.
        extra: The extra that brings them.

    Raises:
        ConfigurationError: One of them is not installed, or is but cannot be loaded.
    """
    try:
        return importlib.import_module(module)
    except UnsupportedSystem:
        raise
    except ImportError as error:
        if (error.name or "").startswith("profile_history"):
            raise
        told = str(error).split("\n")[0]
        if "pip install" in told:
            raise ConfigurationError(told) from None
        what = f"{error.name} is not installed" if isinstance(error, ModuleNotFoundError) else told
        raise ConfigurationError(f'{what}; run: python -m pip install "profile-history[{extra}]"') from None
