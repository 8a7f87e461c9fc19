"""Old public names, which work until 1.0 and say what to write instead."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def deprecated_names(
    module: str, successors: Mapping[str, tuple[str, str]], *, frames: int = 0
) -> Callable[[str], Any]:
    """Return a `__getattr__` for a module, which hands out renamed things under their old names and warns.

    Assign it outside of `if TYPE_CHECKING`, so that a type checker still reports a wrong name:

        if not TYPE_CHECKING:
            __getattr__ = deprecated_names(__name__, {"Old": ("profile_history.observing", "New")})

    Args:
        module: The name of the module, for messages.
        successors: For each old name, the module that has the new one, and the new name.
        frames: How many functions of ours stand between the user and the returned one.
    """

    def get(name: str) -> Any:
        """Return what an old name stands for now.

        Raises:
            AttributeError: The name was never there.
        """
        if name not in successors:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, new = successors[name]
        warn_deprecated(f"{module}.{name}", f"{home}.{new}", frames=frames)
        return getattr(importlib.import_module(home), new)

    return get


def warn_deprecated(old: str, new: str, *, frames: int = 0) -> None:
    """Warn that an old name goes in 1.0, at the line of the user that has it.

    Args:
        old: The name that was used, such as "HistoryClient.pace".
        new: What to write instead.
        frames: How many functions of ours stand between the user and the one that calls this.
    """
    warnings.warn(f"{old} goes in 1.0; use {new}", DeprecationWarning, stacklevel=3 + frames)
