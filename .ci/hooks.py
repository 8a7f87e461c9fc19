"""Checks of single files for `.pre-commit-config.yaml`: `python .ci/hooks.py end-of-file|yaml FILE...`."""

import sys
from pathlib import Path


def end_of_file(path: Path) -> str:
    """Make a file end with one newline; return what was wrong, and "" if nothing was."""
    data = path.read_bytes()
    whole = data.rstrip(b"\r\n") + b"\n" if data.strip() else data
    if whole == data:
        return ""
    path.write_bytes(whole)
    return "did not end with one newline, and does now"


def yaml(path: Path) -> str:
    """Read a file as YAML; return what is wrong, and "" if nothing is."""
    import yaml as library  # noqa: PLC0415 (only this check needs it; pre-commit brings it)

    try:
        list(library.safe_load_all(path.read_text("utf-8")))
    except library.YAMLError as error:
        return str(error)
    return ""


def main(check: str, *names: str) -> int:
    """Check files, and return the exit code."""
    problems = {name: {"end-of-file": end_of_file, "yaml": yaml}[check](Path(name)) for name in names}
    for name, problem in problems.items():
        if problem:
            print(f"{name}: {problem}")
    return int(any(problems.values()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
