"""Programs that pip cannot install, and the tests that need them."""

import shutil
from pathlib import Path

import pytest


def require_program(name: str) -> Path:
    """Return where a program is, and skip the test where it is not installed.

    Args:
        name: Its name on the path, which is also that of Debian's package.
    """
    if (found := shutil.which(name)) is None:
        pytest.skip(f"{name} is not installed: apt-get install {name}")
    return Path(found)
