"""The pages of the documentation, and the examples on them."""

import re
import shlex

import attrs
import pytest
from support.commands import lead_to
from support.paths import ROOT

from profile_history.testing import HistoryServer

PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "benchmarks/README.md")
    for path in ROOT.glob(pattern)
)

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@attrs.frozen
class Example:
    """One fenced block of a page."""

    page: str
    heading: str
    language: str
    code: str
    line: int

    def __str__(self):
        return f"{self.page}:{self.line}"

    def run(self, names=None):
        """Run it as a module of its own; return its names."""
        names = {"__name__": "example"} if names is None else names
        # Tracebacks show the line of the page.
        exec(compile("\n" * self.line + self.code, self.page, "exec"), names)
        return names

    def commands(self):
        """The words of each `profile-history` in it, wherever the block is meant to stand."""
        text = self.code.replace("\\\n", " ")
        text = re.sub(r'"\n\s*"', "", text)
        for line in text.splitlines():
            if (found := re.search(r"(?:^|[ |/=\"])profile-history (.*)", line)) is not None:
                yield _words(found[1])


def _words(text):
    """The words up to what ends a command in a shell or a text in Python."""
    lexer = shlex.shlex(re.split(r' (?:>>|2>|<)|",$', text)[0], posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    words = list(lexer)
    ends = [place for place, word in enumerate(words) if set(word) <= set("|&;")]
    return words[: ends[0]] if ends else words


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def examples(page, *languages):
    """The blocks of some languages on a page, in order."""
    text = text_of(page)
    for block in _FENCED.finditer(text):
        if block[1] in languages:
            headings = _HEADING.findall(_FENCED.sub("", text[: block.start()]))
            yield Example(page, headings[-1], block[1], block[2], text[: block.start()].count("\n") + 1)


def example(page, heading, number=0):
    """One Python example under a heading that begins so."""
    return [one for one in examples(page, "python") if one.heading.startswith(heading)][number]


def anchors(page):
    """What links may name behind a `#`: the headings as GitHub makes anchors of them."""
    for heading in _HEADING.findall(_FENCED.sub("", text_of(page))):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links(page):
    """The targets of the links on a page that lead to other places of this project."""
    prose = re.sub(r"`[^`\n]*`", "", _FENCED.sub("", text_of(page)))
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", prose) if not re.match(r"[a-z]+:", target)]


@pytest.fixture
def documented_server(monkeypatch, tmp_path):
    """A server in a thread of its own, the environment that leads to it, and a directory with a file of addresses."""
    with HistoryServer(profiles=30) as server:
        lead_to(server, monkeypatch)
        monkeypatch.chdir(tmp_path)
        (tmp_path / "addresses.txt").write_text("".join(f"user{number}@example.com\n" for number in range(5)))
        yield server
