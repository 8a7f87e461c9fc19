"""nginx on loopback and on a core of its own, which responds to each POST with a prepared body."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from benchmarks import machine
from benchmarks.bodies import Body, Prepared, prepare
from profile_history._protocol.requests import PATH

# A file is no response to POST, says nginx; its page for that error is the file. With tcp_nopush the end of a response
# now and then waits 40 ms for an acknowledgement.
_CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    types {{ }}
    default_type application/json;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    sendfile on;
    tcp_nopush off;
    tcp_nodelay on;
    open_file_cache max=100 inactive=1h;
    open_file_cache_valid 1h;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    root {folder};
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location /bodies/ {{
            internal;
            location ~ [.]gz$ {{ internal; add_header Content-Encoding gzip; }}
        }}
        {locations}
    }}
}}
"""
_LOCATION = "location = /{name}{path} {{ return 405; error_page 405 =200 /bodies/{file}; }}"


class Nginx:
    """Serves bodies, each under a base URL of its own, for the length of a `with`."""

    def __init__(self, bodies: Iterable[Body]) -> None:
        self._bodies = list(bodies)
        self._folder = tempfile.TemporaryDirectory(prefix="benchmarks-nginx-")
        self._process: subprocess.Popen[bytes] | None = None
        self._port = free_port()
        self.prepared: dict[Body, Prepared] = {}

    def base_url(self, body: Body) -> str:
        """Return the base URL under which the API responds with a body."""
        return f"http://127.0.0.1:{self._port}/{body.name}"

    def __enter__(self) -> Self:
        folder = Path(self._folder.name)
        (folder / "bodies").mkdir()
        self.prepared = {body: prepare(body, folder / "bodies") for body in self._bodies}
        locations = "\n        ".join(
            _LOCATION.format(name=body.name, path=PATH, file=prepared.served.name)
            for body, prepared in self.prepared.items()
        )
        config = folder / "nginx.conf"
        config.write_text(_CONFIG.format(folder=folder, port=self._port, locations=locations), encoding="utf-8")
        command = [_binary(), "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            machine.pin(self._process.pid, machine.server_core())
            wait_for_port(self._port)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._folder.cleanup()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, seconds: float = 10.0) -> None:
    """Wait until somebody listens.

    Raises:
        OSError: Nobody does, in that time.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def _binary() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        raise FileNotFoundError("nginx is not installed; on Debian: apt-get install nginx-light")
    return found
