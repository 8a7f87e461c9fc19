"""The page on architecture names files that exist, and fifty behaviours with the file where each lives."""

import re

import pytest
from support.pages import text_of
from support.paths import ROOT

PAGE = text_of("docs/architecture.md")
PACKAGE = ROOT / "profile_history"


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:[a-z_]+/)*(?:[a-z_]+\.py|[a-z_]+/))`", PAGE))))
def test_a_file_that_the_page_names_exists(name):
    """In the package or, with its whole path, in the project."""
    assert (PACKAGE / name).exists() or (ROOT / name).exists()


def test_fifty_behaviours_have_their_file():
    """Each in a row of the table under "Where do I find"."""
    rows = re.findall(r"^\| .+ \| `[a-z_/]+\.py` \|$", PAGE.split("## Where do I find", 1)[1], re.MULTILINE)
    assert len(rows) >= 50


def test_every_package_is_in_the_picture():
    """With its name as it stands in the tree."""
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {package for package in packages if f"{package}/" not in PAGE} == set()
