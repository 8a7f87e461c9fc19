"""Sessions for those who work on the package; `nox -l` lists them, `nox -s quick` runs one."""

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["quick", "lint", "types"]
nox.options.reuse_existing_virtualenvs = True


def _install(session: nox.Session, *extras: str) -> None:
    session.install("-e", f".[{','.join(extras)}]")


@nox.session
def quick(session: nox.Session) -> None:
    """Run what takes seconds: the tests of single modules."""
    _install(session, "test")
    session.run("pytest", "-q", "tests/unit", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests but the slow ones."""
    _install(session, "test")
    session.run("pytest", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Run the slow tests, the long ones in part."""
    _install(session, "test")
    session.run("pytest", "-m", "slow and not full", *session.posargs)


@nox.session(venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """Run all tests but the slow ones with the lowest versions of the libraries that pyproject.toml allows."""
    session.install("--resolution", "lowest-direct", "-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def full(session: nox.Session) -> None:
    """Run the long tests whole, which takes some two hours, and a thousand examples of each property."""
    _install(session, "test")
    session.run("pytest", "-m", "full or not full", "--hypothesis-profile=full", *session.posargs)


@nox.session
def proxies(session: nox.Session) -> None:
    """Run the tests with real proxies; needs nginx, HAProxy and Squid."""
    _install(session, "test")
    processes = ("-n", "6", "--maxprocesses", "6")
    session.run("pytest", "-m", "proxies and not full", *processes, "tests/proxies", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    _install(session, "dev")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types inside, and that all of what is public has some."""
    _install(session, "dev")
    session.run("mypy", "--strict", "profile_history")
    session.run("basedpyright", "--verifytypes", "profile_history", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """Run every example of the README, the pages and the docstrings."""
    _install(session, "test")
    session.run("pytest", "tests/docs", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Compare the instruction counts of the hot paths with their references; needs valgrind."""
    _install(session, "test")
    session.run("python", "-m", "benchmarks", "instructions", "--check", *session.posargs)
