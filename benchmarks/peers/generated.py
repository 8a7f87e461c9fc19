"""A client that openapi-python-client generates from a document of this API, made anew for each run."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx

# Imported for its absence to be noticed here.
import openapi_python_client

from benchmarks.peers.base import REQUEST, AsyncPeer, fan_out
from benchmarks.sides import Unavailable

_DOCUMENT = Path(__file__).with_name("history.openapi.json")
_PACKAGE = "history_api_client"


class Generated(AsyncPeer):
    """Typed objects, as the generated code makes them; below it is httpx, whose default limits serve it best."""

    async def start(self) -> None:
        """Generate and import the client, and make one."""
        self.folder = tempfile.TemporaryDirectory(prefix="benchmarks-openapi-")
        generate(Path(self.folder.name))
        sys.path.insert(0, self.folder.name)
        self.call = importlib.import_module(f"{_PACKAGE}.api.default.history_get").asyncio
        self.body = importlib.import_module(f"{_PACKAGE}.models").HistoryRequest.from_dict(REQUEST)
        self.client = importlib.import_module(_PACKAGE).Client(
            base_url=self.site.base_url,
            timeout=httpx.Timeout(60),
            raise_on_unexpected_status=True,
        )
        await self.client.__aenter__()

    async def work(self, requests: int) -> int:
        """Make some requests."""
        return await fan_out(requests, self.site.in_flight, self.one)

    async def stop(self) -> None:
        """Close the client."""
        await self.client.__aexit__(None, None, None)
        self.folder.cleanup()

    async def one(self) -> int:
        """Make one request and read its rows."""
        response = await self.call(client=self.client, body=self.body)
        if response.error != 0:
            raise RuntimeError(response.error_text)
        rows = 0
        for _row in response.data:
            rows += 1
        return rows


def generate(folder: Path) -> None:
    """Write the client into a folder.

    Raises:
        Unavailable: The generator failed.
    """
    config = folder / "config.yaml"
    # Without the formatters that it calls by default: they change no behaviour.
    config.write_text(f"post_hooks: []\npackage_name_override: {_PACKAGE}\n", encoding="utf-8")
    command = [sys.executable, "-m", openapi_python_client.__name__, "generate", "--path", str(_DOCUMENT)]
    command += ["--config", str(config), "--meta", "none", "--output-path", str(folder / _PACKAGE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"openapi-python-client generated nothing: {(done.stdout + done.stderr).strip()[-300:]}")
