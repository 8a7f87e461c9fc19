"""A PostgreSQL server of our own, on loopback, that the tests stop and start as they like."""

from __future__ import annotations

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
_BINARIES = Path("/usr/lib/postgresql")
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "on",
    "shared_buffers": "16MB",
    "max_connections": "20",
    "max_wal_size": "64MB",
    "autovacuum": "off",
    "logging_collector": "off",
}


class Postgres:
    """A cluster in a directory of its own; its server runs as an unprivileged user, and dies with this process.

    Attributes:
        port: Where it listens on 127.0.0.1, also after a restart.
        dsn: How to reach it.
        certificate: A file with a certificate and its key, with which it speaks TLS from the next start on.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.certificate = certificate
        self._binaries = _newest_binaries()
        self._user = _user()
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
        """Starts the server, and waits until it answers."""
        settings = [part for name, value in (_SETTINGS | self._tls()).items() for part in ("-c", f"{name}={value}")]
        place = ["-D", str(self._home / "data"), "-p", str(self.port), "-k", str(self._home)]
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                [*self._prefix(), str(self._binaries / "postgres"), *place, *settings],
                stdout=log,
                stderr=log,
                cwd=self._home,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start:\n{self._log.read_text()}")
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stops the server; SIGINT breaks off its connections in an orderly way, SIGQUIT is a crash."""
        if self._server is not None:
            self._server.send_signal(how)
            self._server.wait(60)
            self._server = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stops the server and starts it again."""
        self.stop(how)
        self.start()

    def execute(self, query: Any, values: Any = None) -> list[tuple[Any, ...]]:
        """Runs a statement on a connection of its own, and gives the rows."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def remove(self) -> None:
        """Stops the server for good, and deletes its files."""
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
            [*self._prefix(), str(self._binaries / "initdb"), "-D", str(self._home / "data"), "--no-sync", *options],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._home,
        )
        if made.returncode:
            raise RuntimeError(f"initdb failed:\n{made.stdout}{made.stderr}")

    def _prefix(self) -> list[str]:
        """What runs a command as the server's user, and interrupts it should this process die."""
        change = ["setpriv", "--pdeathsig", "INT"]
        if os.geteuid() == 0:
            change += [f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--clear-groups"]
        return change

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.dsn, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def _newest_binaries() -> Path:
    """Where the newest version's programs are."""
    found = [path.parent for path in _BINARIES.glob("*/bin/initdb")]
    if not found:
        pytest.fail(f"there is no PostgreSQL in {_BINARIES}: apt-get install -y postgresql", pytrace=False)
    return max(found, key=lambda path: int(path.parent.name))


def _user() -> pwd.struct_passwd:
    """Whom the server runs as; PostgreSQL refuses to be run by root."""
    return pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


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
