"""The process of one side: opens a peer, and does what it is told, line by line."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
import traceback
from typing import Any, TextIO

from benchmarks import machine
from benchmarks.peers import make
from benchmarks.peers.base import Peer
from benchmarks.sides import SideFailed, Site, Unavailable


def main(name: str, site: Site) -> None:
    """Serve until its input ends."""
    out = _reserve_stdout()
    if site.loop == "uvloop":
        asyncio.set_event_loop_policy(make_uvloop_policy())
    peer = None
    try:
        peer = make(name, site)
        peer.open()
        say(out, {})
        for line in sys.stdin:
            say(out, carry_out(peer, json.loads(line)))
    except Unavailable as error:
        say(out, {"unavailable": str(error)})
    except Exception as error:
        traceback.print_exc()
        say(out, {"failed": f"{type(error).__name__}: {error}"})
        raise SystemExit(1) from error
    finally:
        if peer is not None:
            peer.close()


def carry_out(peer: Peer, order: dict[str, Any]) -> dict[str, Any]:
    """Do one thing; "fetch" is measured here, all else by the peer itself."""
    verb = order.pop("verb")
    if verb == "fetch":
        return fetch(peer, order["requests"])
    result: dict[str, Any] = getattr(peer, verb)(**order)
    return result


def fetch(peer: Peer, requests: int) -> dict[str, Any]:
    """Have a peer make some requests, and check and measure that."""
    peer.prepare(requests)
    # Nobody pays for what an earlier turn has left behind. Collecting stays on.
    gc.collect()
    machine.forget_peak()
    before, _ = machine.resident()
    cpu = time.process_time()
    start = time.perf_counter()
    events = peer.fetch(requests)
    seconds = time.perf_counter() - start
    cpu = time.process_time() - cpu
    _, peak = machine.resident()
    if events != requests * peer.site.rows:
        raise SideFailed(f"{events} events of {requests * peer.site.rows}")
    return {
        "seconds": seconds,
        "cpu": cpu,
        "requests": requests,
        "events": events,
        "before": before,
        "peak": peak,
    }


def make_uvloop_policy() -> asyncio.AbstractEventLoopPolicy:
    """Return the policy that makes every event loop of this process one of uvloop's."""
    import uvloop  # noqa: PLC0415 - an option, and not there on every system

    return uvloop.EventLoopPolicy()


def say(out: TextIO, what: dict[str, Any]) -> None:
    """Write one line to the measuring process."""
    out.write(json.dumps(what) + "\n")
    out.flush()


def _reserve_stdout() -> TextIO:
    # A Singer tap writes to stdout; here that is a sink without a bottom.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.close(sink)
    return out


if __name__ == "__main__":
    main(sys.argv[1], Site(**json.loads(sys.argv[2])))
