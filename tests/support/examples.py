"""Examples in docstrings: finding them without an import, and running them with `await` at the top level."""

import ast
import asyncio
import contextlib
import doctest
import importlib
import io
import sys
import traceback
from pathlib import Path

import profile_history

PACKAGE = Path(profile_history.__file__).parent

_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_PARSER = doctest.DocTestParser()
_CHECKER = doctest.OutputChecker()


def find_examples():
    """Return the examples of the package, by the dotted name of the module, class or function that has them."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if ">>> " in text:
            module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
            _collect(found, module, "", ast.parse(text), path)
    return found


def _collect(found, module, qualname, node, path):
    docstring = ast.get_docstring(node)
    if docstring and ">>> " in docstring:
        name = f"{module}:{qualname}" if qualname else module
        found[name] = _PARSER.get_doctest(docstring, {}, name, str(path), getattr(node, "lineno", 1))
    for child in node.body:
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            _collect(found, module, f"{qualname}.{child.name}".lstrip("."), child, path)


async def run_examples(example_set, names):
    """Run the examples of one docstring, one after another, with what is in its module and some names besides.

    Raises:
        AssertionError: One prints or raises something else than its docstring says.
    """
    module = importlib.import_module(example_set.name.partition(":")[0])
    namespace = {**vars(module), **names, "__name__": "example"}
    for example in example_set.examples:
        got = await _run(example, namespace, example_set.name)
        want = example.want if example.exc_msg is None else example.exc_msg
        assert _CHECKER.check_output(want, got, _FLAGS), (
            f"{example_set.filename}, {example_set.name}\n{example.source}\nexpected:\n{want}\ngot:\n{got}"
        )


async def _run(example, namespace, name):
    code = compile(example.source, f"<{name}>", "single", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = io.StringIO()
    displayhook, sys.displayhook = sys.displayhook, _display
    try:
        with contextlib.redirect_stdout(printed):
            if "asyncio.run(" in example.source:
                # It brings its own loop, and this thread has one.
                await asyncio.to_thread(eval, code, namespace)
            elif (result := eval(code, namespace)) is not None:
                await result
    except Exception as error:
        if example.exc_msg is None:
            raise
        message = "".join(traceback.format_exception_only(error))
        return message.removeprefix(f"{type(error).__module__}.")
    finally:
        sys.displayhook = displayhook
    if example.exc_msg is not None:
        return f"nothing was raised, and this was printed:\n{printed.getvalue()}"
    return printed.getvalue()


def _display(value):
    if value is not None:
        print(repr(value))
