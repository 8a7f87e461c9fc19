"""Who is compared: one module a library, each set up as its own documentation advises."""

from __future__ import annotations

import importlib

from benchmarks.peers.base import Peer
from benchmarks.sides import Site, Unavailable

PEERS = {
    "ours": "streams:Events",
    "ours, raw rows": "streams:Raw",
    "ours, Arrow batches": "streams:Arrow",
    "ours, throttled": "throttled:Throttled",
    "ours, a durable job": "jobs:Job",
    "bare aiohttp": "with_aiohttp:Bare",
    "bare aiohttp, session tuned as ours": "with_aiohttp:BareTuned",
    "aiohttp + json": "with_aiohttp:Json",
    "aiohttp + orjson": "with_aiohttp:Orjson",
    "aiohttp + json + cattrs": "with_aiohttp:JsonCattrs",
    "aiohttp + orjson + cattrs": "with_aiohttp:OrjsonCattrs",
    "httpx": "with_httpx:Httpx",
    "httpx, all connections kept": "with_httpx:HttpxKeeping",
    "niquests": "with_niquests:Niquests",
    "openapi-python-client": "generated:Generated",
    "dlt rest_api": "dlt_rest_api:RestApi",
    "dlt async resource": "dlt_resource:AsyncResource",
    "Singer SDK": "singer:Singer",
    "decoding, msgspec untyped": "in_memory:Untyped",
    "decoding, msgspec Struct": "in_memory:Struct",
    "export, ours": "export_ours:Export",
    "export, dlt": "export_dlt:Export",
}


def make(name: str, site: Site) -> Peer:
    """Return a peer by its name; only its own libraries are imported.

    Raises:
        Unavailable: A library is not installed.
    """
    module, _, attribute = PEERS[name].partition(":")
    try:
        kind = getattr(importlib.import_module(f"benchmarks.peers.{module}"), attribute)
    except ModuleNotFoundError as error:
        raise Unavailable(f"{error.name} is not installed; see benchmarks/requirements.txt") from error
    peer: Peer = kind(site)
    return peer
