"""Real nginx, HAProxy and Squid on free ports of loopback, each for the length of a `with`.

They run in the foreground, as an unprivileged user also where we are root, write nowhere but into a directory of their
own, and are ended by their process id. None of it has to do with a service that the system runs.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from benchmarks.nginx import free_port, wait_for_port

# Debian has them here, which is on the path of root alone.
_SYSTEM_PROGRAMS = "/usr/sbin"
# What ends a proxy should this process die, where there is such a thing (util-linux).
_DIES_WITH_US = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
_ACCESS_LOG = "access.log"
# Seconds; on a busy machine Squid takes some of them to start, and to end.
_PATIENCE, _STEP = 30.0, 0.2

_NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    log_format status '$msec $status';
    access_log {folder}/access.log status;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    upstream api {{ server {upstream}; keepalive 64; }}
    {http}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        {server}
        location / {{
            proxy_pass http://api;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            {location}
        }}
    }}
}}
"""
# The time that stands before a line of the log is that at which the response was complete.
_HAPROXY = """
global
    maxconn 1024
    log stdout format iso local0
defaults
    mode http
    log global
    log-format %ST
    option dontlognull
    timeout connect 5s
    timeout client 1m
    timeout server 1m
frontend clients
    bind 127.0.0.1:{port}
    {frontend}
    default_backend api
backend api
    {backend}
"""
_SQUID = """
http_port 127.0.0.1:{port}
pid_filename none
cache deny all
cache_mem 0
cache_log {folder}/cache.log
logformat status %ts.%03tu %>Hs %rm %ru
access_log stdio:{folder}/access.log status
pinger_enable off
shutdown_lifetime 0 seconds
max_filedescriptors 1024
visible_hostname proxy.example
dns_nameservers 127.0.0.1
auth_param basic program {helper} {folder}/passwords
auth_param basic children 1
acl known proxy_auth REQUIRED
http_access {rule}
http_access deny all
"""
_SQUID_HELPER = Path("/usr/lib/squid/basic_ncsa_auth")


@attrs.frozen
class LoggedResponse:
    """A response as a proxy has logged it.

    Attributes:
        at: When it was complete, in seconds of the system's clock.
        status: Its HTTP status.
        rest: What else is in the line.
    """

    at: float
    status: int
    rest: str = ""


@attrs.frozen
class Proxy:
    """A proxy that runs.

    Attributes:
        url: Its base URL.
        log: The file that it logs responses to.
    """

    url: str
    log: Path

    def responses(self) -> list[LoggedResponse]:
        """Return all responses so far, in the order of their completion."""
        lines = map(_read_line, self.log.read_text(encoding="ascii").splitlines())
        # Squid logs a connection without a request, such as that which found it listening, with status 0.
        return [line for line in lines if line.status]


@contextlib.contextmanager
def nginx(upstream: str, *, http: str = "", server: str = "", location: str = "") -> Iterator[Proxy]:
    """Run nginx before a server.

    Args:
        upstream: The server's host and port.
        http: Directives for all of it, such as `limit_req_zone`.
        server: Directives for its only server.
        location: Directives for what is passed on.
    """
    port = free_port()
    with _folder() as folder:
        rules = {"http": http, "server": server, "location": location}
        config = _write(folder / "nginx.conf", _NGINX, folder=folder, port=port, upstream=upstream, **rules)
        command = [find_program("nginx"), "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
        with _running(command, folder, port):
            yield Proxy(f"http://127.0.0.1:{port}", folder / _ACCESS_LOG)


@contextlib.contextmanager
def haproxy(upstream: str | None, *, frontend: str = "") -> Iterator[Proxy]:
    """Run HAProxy before a server.

    Args:
        upstream: The server's host and port; `None` for a backend without any server.
        frontend: Directives that requests meet.
    """
    port = free_port()
    backend = f"server api {upstream}" if upstream else ""
    with _folder() as folder:
        config = _write(folder / "haproxy.cfg", _HAPROXY, port=port, frontend=frontend, backend=backend)
        with _running([find_program("haproxy"), "-db", "-f", str(config)], folder, port, output=_ACCESS_LOG):
            yield Proxy(f"http://127.0.0.1:{port}", folder / _ACCESS_LOG)


@contextlib.contextmanager
def squid(user: str | None = None, password: str = "") -> Iterator[Proxy]:
    """Run Squid as a proxy to anywhere, for plain requests and for CONNECT.

    Args:
        user: The only user who may use it; `None` for everybody.
        password: The user's password.
    """
    port = free_port()
    with _folder() as folder:
        # In this form a password is not cut after 8 characters, as it is with crypt().
        hashed = subprocess.run(
            ["openssl", "passwd", "-apr1", "-stdin"], input=password, capture_output=True, text=True, check=True
        ).stdout
        (folder / "passwords").write_text(f"{user}:{hashed}", encoding="utf-8")
        rule = "allow known" if user else "allow all"
        config = _write(folder / "squid.conf", _SQUID, folder=folder, port=port, helper=_SQUID_HELPER, rule=rule)
        with _running([find_program("squid"), "-N", "-f", str(config)], folder, port):
            yield Proxy(f"http://127.0.0.1:{port}", folder / _ACCESS_LOG)


def find_program(name: str) -> str:
    """Return where a program is.

    Raises:
        FileNotFoundError: It is not installed.
    """
    found = shutil.which(name) or shutil.which(name, path=_SYSTEM_PROGRAMS)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed; on Debian: apt-get install {name}")
    return found


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="proxy-") as name:
        if os.geteuid() == 0:
            os.chown(name, _nobody().pw_uid, _nobody().pw_gid)
        yield Path(name)


@contextlib.contextmanager
def _running(command: list[str], folder: Path, port: int, *, output: str = "output.log") -> Iterator[None]:
    with (folder / output).open("wb") as log, (folder / "errors.log").open("wb") as errors:
        process = subprocess.Popen(
            [*_DIES_WITH_US, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=errors,
            cwd=folder,
            # A Ctrl-C in the terminal is for the tests alone.
            start_new_session=True,
            **_as_nobody(),
        )
    try:
        _wait_until_it_listens(process, folder, port)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_listens(process: subprocess.Popen[bytes], folder: Path, port: int) -> None:
    end = time.monotonic() + _PATIENCE
    while process.poll() is None:
        with contextlib.suppress(OSError):
            wait_for_port(port, _STEP)
            return
        if time.monotonic() > end:
            raise RuntimeError(f"{process.args!r} does not listen after {_PATIENCE:g} s")
    said = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob("*.log")))
    raise RuntimeError(f"{process.args!r} ended with code {process.returncode}:\n{said}")


def _write(path: Path, template: str, **values: Any) -> Path:
    path.write_text(template.format(**values), encoding="utf-8")
    return path


def _read_line(line: str) -> LoggedResponse:
    at, status, *rest = line.split(maxsplit=2)
    seconds = dt.datetime.fromisoformat(at).timestamp() if "T" in at else float(at)
    return LoggedResponse(seconds, int(status), *rest)


def _nobody() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")


def _as_nobody() -> dict[str, Any]:
    # Only root may become somebody else, and only as root there is a need.
    return {"user": _nobody().pw_uid, "group": _nobody().pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
