"""Jobs into PostgreSQL by TLS: a job that was begun safely goes on as safely, with the commands as they are printed."""

import contextlib
import json
import socket
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from support.commands import TOKEN, lead_to, run  # noqa: F401 (a fixture)
from support.matrix.tls import certificate
from support.postgres import PASSWORD, USER, Postgres

from profile_history.testing import HistoryServer

pytestmark = pytest.mark.tls
WORDS = ["who.txt", "--matching=email", "--from=2023-01-01", "--to=2024-12-31", "--ledger=job.ledger"]


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    """A certificate for 127.0.0.1 that vouches for itself."""
    return certificate(tmp_path_factory.mktemp("trusted"))


@pytest.fixture(scope="module")
def database(trusted):
    """A server with that certificate."""
    server = Postgres(trusted)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def job(monkeypatch, tmp_path, database, trusted, run):
    """The address of a job that was begun with sslmode=verify-full; its table goes with the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    Path("who.txt").write_text("".join(f"user{number}@example.com\n" for number in range(3)))
    address = f"postgresql://{USER}@127.0.0.1:{database.port}/postgres?table=safe"
    with HistoryServer(profiles=10, token=TOKEN) as server:
        lead_to(server, monkeypatch)
        code, _, err = run("export", *WORDS, f"--into={address}&sslmode=verify-full&sslrootcert={trusted}")
        assert code == 0, err
        yield address
    database.execute("DROP TABLE IF EXISTS safe, safe_job")


@contextlib.contextmanager
def listening_in_clear(port):
    """Somebody in the server's place who speaks no TLS, and takes down what is sent."""
    heard = []

    def listen():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = place.accept()
                with connection:
                    heard.append(connection.recv(8))
                    connection.sendall(b"N")
                    connection.settimeout(5)
                    while more := connection.recv(1000):
                        heard.append(more)

    with socket.create_server(("127.0.0.1", port)) as place:
        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield heard
        finally:
            place.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("command", ["resume", "retry-failed", "verify"])
def test_a_command_that_names_only_the_job_sends_nothing_in_clear(job, database, run, command):
    """It works by TLS; where the server speaks none, it asks for TLS and then hangs up."""
    code, _, err = run(command, "job.ledger")
    assert code == 0, err
    database.stop()
    try:
        with listening_in_clear(database.port) as heard:
            code, _, err = run(command, "job.ledger")
    finally:
        database.start()
    assert (code, "does not support SSL" in err) == (74, True)
    # The request for TLS (postgresql.org/docs/current/protocol-message-formats.html, SSLRequest).
    assert set(heard) == {bytes.fromhex("0000000804d2162f")}


@pytest.mark.parametrize("made", [{}, {"name": "DNS:elsewhere.invalid"}])
def test_a_server_with_another_certificate_is_refused(job, database, trusted, tmp_path, run, made):
    """One of an unknown authority, or of another host."""
    (tmp_path / "other").mkdir()
    database.certificate = certificate(tmp_path / "other", **made)
    database.restart()
    try:
        code, _, err = run("resume", "job.ledger")
        assert (code, "certificate verify failed" in err) == (74, True)
    finally:
        database.certificate = trusted
        database.restart()
    assert run("resume", "job.ledger")[0] == 0


def test_a_weaker_mode_is_taken_with_into_and_said(job, run, trusted):
    """It is used again from then on, and a stronger one needs no words."""
    code, out, err = run("resume", "job.ledger", f"--into={job}&sslmode=require", "--json")
    assert (code, "sslmode was verify-full, and is require" in err) == (0, True)
    assert len(json.loads(out)["warnings"]) == 1
    assert kept()["sslmode"] == "require"
    code, _, err = run("resume", "job.ledger")
    assert (code, "warning" in err) == (0, False)
    code, _, err = run("export", *WORDS, f"--into={job}&sslmode=verify-ca")
    assert (code, "warning" in err, kept()["sslmode"]) == (0, False, "verify-ca")
    # Without a word of it, the one before stays.
    code, _, err = run("export", *WORDS, f"--into={job}")
    assert (code, "warning" in err, kept()["sslmode"]) == (0, False, "verify-ca")
    assert kept()["sslrootcert"] == str(trusted)


def test_what_the_environment_asks_for_is_kept_too(job, monkeypatch, run, trusted, database):
    """A job that was begun under PGSSLMODE goes on so where that is not set, and never weaker."""
    database.execute("DROP TABLE safe, safe_job")
    Path("job.ledger").unlink()
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", str(trusted))
    assert run("export", *WORDS, f"--into={job}")[0] == 0
    monkeypatch.setenv("PGSSLMODE", "disable")
    monkeypatch.delenv("PGSSLROOTCERT")
    assert run("resume", "job.ledger")[0] == 0
    assert (kept()["sslmode"], kept()["sslrootcert"]) == ("verify-full", str(trusted))


def kept():
    """The parameters in the ledger."""
    with closing(sqlite3.connect("job.ledger")) as connection:
        return json.loads(connection.execute("SELECT value FROM job WHERE key = 'sink_parameters'").fetchone()[0])
