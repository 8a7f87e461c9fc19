"""The prose of the package: how docstrings begin, which arguments they describe, and how many comments there are."""

import ast
import io
import re
import tokenize

import pytest
from support.leftovers import show
from support.paths import ROOT

SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "profile_history").rglob("*.py"))
}
TREES = {name: ast.parse(text) for name, text in SOURCES.items()}
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)

# A first line that begins so describes, asks or riddles; one that says what is done begins with a verb.
NO_VERB = re.compile(
    r"(The|An?|This|That|These|Those|Its|All|Each|Every|One|Some|No|Not|If|As|"
    r"Whether|What|How|Which|Where|When|Who|Whose|Why|\w*[^s\W]s)\b"
)
RIDDLE = re.compile(r"(Whether|What|How|Which|Where|When|Who|Whose|Why|Does|Is|May|Can)\b")
# What is said in other words: response, in flight, quarantine, idempotent, `None` if, retried automatically, window.
OTHER_WORDS = re.compile(
    r"\b(answer(s|ed|ing)?|on (its|their) way|set apart|again is harmless|[Nn]one where|heals?|tiles?|lanes?|"
    r"nobody's place|what is there first)\b"
)


def nodes(*kinds):
    """Each node of some kinds, with the place where it stands."""
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, kinds):
                yield f"{name}:{getattr(node, 'lineno', 1)}", node


def parameters(function):
    """The names of what is passed to a function."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return [argument.arg for argument in named if argument is not None and argument.arg not in ("self", "cls")]


def statement(docstring):
    """Tell whether a docstring begins with something else than a verb in the imperative."""
    return NO_VERB.match(docstring.lstrip("`\"'")) is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Return the limit.", False),
        ("Pass it on.", False),
        ("Address a host.", False),
        ("Discuss it.", False),
        ("Returns the limit.", True),
        ("The limit.", True),
        ("Whether it is open.", True),
        ("A limit.", True),
        ("Takes note.", True),
    ],
)
def test_a_statement_is_told_from_an_imperative(text, expected):
    """By its first word alone."""
    assert statement(text) is expected


def test_the_docstring_of_a_function_begins_with_what_is_done():
    """In the imperative, also where the function is private or a property."""
    found = [(place, ast.get_docstring(node)) for place, node in nodes(*FUNCTION)]
    assert [(place, text.splitlines()[0]) for place, text in found if text and statement(text)] == []


def test_the_docstring_of_a_class_or_a_module_does_not_begin_with_a_riddle():
    """Such as "What an error is" or "Whether it is open"; it names the thing, or says what is done with it."""
    found = [(place, ast.get_docstring(node) or "") for place, node in nodes(ast.Module, ast.ClassDef)]
    assert [(place, text.splitlines()[0]) for place, text in found if RIDDLE.match(text)] == []


def test_public_callables_with_two_or_more_parameters_describe_them(capsys):
    """Each in a section `Args:`, which names all of them."""
    several = [
        (place, node)
        for place, node in nodes(*FUNCTION)
        if not node.name.startswith("_") and len(parameters(node)) > 1 and ast.get_docstring(node)
    ]
    missing = [place for place, node in several if "Args:" not in ast.get_docstring(node)]
    show(capsys, f"{len(several) - len(missing)} of {len(several)} public callables with several parameters have Args")
    assert missing == []
    described = {place: ast.get_docstring(node).split("Args:", 1)[1] for place, node in several}
    assert [
        (place, name)
        for place, node in several
        for name in parameters(node)
        if not re.search(rf"^ +\W*{name}\b.*:", described[place], re.MULTILINE)
    ] == []


def test_docstrings_and_comments_use_one_word_for_one_thing():
    """The word of the documentation and of the API."""
    texts = [(place, ast.get_docstring(node) or "") for place, node in nodes(ast.Module, ast.ClassDef, *FUNCTION)] + [
        (f"{name}:{token.start[0]}", token.string) for name, text in SOURCES.items() for token in comments(text)
    ]
    assert [(place, found[0]) for place, text in texts if (found := OTHER_WORDS.search(text))] == []


def comments(text):
    """The comments of a module, without those that speak to a tool alone."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [
        token for token in tokens if token.type == tokenize.COMMENT and not re.match(r"# (noqa|type:)", token.string)
    ]


def code_lines(name):
    """The numbers of the lines of a module that hold code, without docstrings."""
    silent = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.COMMENT}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(SOURCES[name]).readline):
        if token.type not in silent:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(TREES[name]):
        if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTION)) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return lines


@pytest.mark.slow
def test_comments_are_few_and_not_none(capsys):
    """Between 2 and 6 for a hundred lines of code."""
    found = sum(len(comments(text)) for text in SOURCES.values())
    code = sum(len(code_lines(name)) for name in SOURCES)
    show(capsys, f"{found} lines of comments for {code} lines of code: {found / code:.2%}")
    assert 0.02 <= found / code <= 0.06
