"""The tests themselves: how long their modules are, what they import, and how many look into private parts."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
MODULES = sorted(TESTS.rglob("test_*.py"))
SHARED = [TESTS / "conftest.py", *sorted(TESTS.glob("support/**/*.py"))]
MOST_LINES = 600
MOST_SHARE_OF_PRIVATE_TOUCHES = 0.05
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def parse(path):
    """Return the syntax tree of a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


def is_private(name):
    """Tell whether a name begins with one underscore."""
    return name.startswith("_") and not name.startswith("__")


def touches_private_parts(function):
    """Tell whether a function reads or replaces a private attribute of anything but `self` and the package."""
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if ast.unparse(node.value) not in ("self", "cls", "profile_history"):
                return True
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".setattr", ".delattr")):
            names = [part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            if any(is_private(name.rpartition(".")[2]) for name in names):
                return True
    return False


def names_in(function):
    """Return all names that a function uses, its parameters included: fixtures come by these."""
    arguments = {argument.arg for argument in ast.walk(function) if isinstance(argument, ast.arg)}
    return arguments | {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}


def find_touching(functions, touching, tests=frozenset()):
    """Return the names of all that touch private parts, by themselves or by a function among them that does.

    Args:
        functions: The functions, and perhaps classes, by their names.
        touching: The names of those that are known to.
        tests: Those that nobody calls.
    """
    found = touching | {name for name, node in functions.items() if touches_private_parts(node)}
    while more := {name for name in functions.keys() - found if names_in(functions[name]) & (found - tests)}:
        found |= more
    return found


def imported_names(tree, module_helpers):
    """Return the names under which a module has helpers that touch private parts; those of `conftest` come unasked.

    Args:
        tree: The module.
        module_helpers: The names of such helpers, by their modules.
    """
    names = set(module_helpers.get("conftest", ()))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in module_helpers:
            names |= {alias.asname or alias.name for alias in node.names if alias.name in module_helpers[node.module]}
    return names


def private_helpers():
    """Return, by the names of their modules, the functions that tests share and that touch private parts.

    Methods of classes are left out: what a test calls of them cannot be told from the text.
    """
    trees = {".".join(path.relative_to(TESTS).with_suffix("").parts): parse(path) for path in SHARED}
    own = {
        module: {node.name: node for node in tree.body if isinstance(node, FUNCTIONS)} for module, tree in trees.items()
    }
    found = {}
    while True:
        before = found
        found = {module: find_touching(own[module], imported_names(tree, before)) for module, tree in trees.items()}
        if found == before:
            return found


def private_tests(tree, helpers):
    """Return the tests of a module, and those that touch private parts, by themselves or by helpers.

    Args:
        tree: The module.
        helpers: Those that tests share and that touch private parts, by their modules.
    """
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, (*FUNCTIONS, ast.ClassDef))}
    tests = {name for name, node in functions.items() if name.startswith("test_") and isinstance(node, FUNCTIONS)}
    return tests, tests & find_touching(functions, imported_names(tree, helpers), tests)


def test_no_test_module_is_too_long_to_be_read():
    """What is longer has two themes, and is split by them."""
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_nothing_is_imported_from_a_test_module():
    """What tests share is in `tests/support`."""
    modules = {path.stem for path in MODULES}
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ImportFrom):
                imported = {*(node.module or "").split("."), *(alias.name for alias in node.names)}
            elif isinstance(node, ast.Import):
                imported = {part for alias in node.names for part in alias.name.split(".")}
            else:
                continue
            assert not imported & modules, path


@pytest.mark.slow
def test_few_tests_touch_private_parts():
    """The others see what they want to see as users do: through `stats`, `on_event` and `pacing_state`."""
    helpers = private_helpers()
    found = {path.relative_to(TESTS).as_posix(): private_tests(parse(path), helpers) for path in MODULES}
    count = sum(len(tests) for tests, _ in found.values())
    touching = {f"{place}::{name}" for place, (_, names) in found.items() for name in names}
    print(
        *sorted(touching),
        f"{len(touching)} of {count} tests touch private parts: {len(touching) / count:.1%}",
        sep="\n",
    )
    assert len(touching) <= MOST_SHARE_OF_PRIVATE_TOUCHES * count
