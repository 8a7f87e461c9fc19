"""Where things are: the project, its tests, and the scripts that tests start as processes."""

from pathlib import Path

SUPPORT = Path(__file__).parent
TESTS = SUPPORT.parent
ROOT = TESTS.parent
