"""The network: handshakes and certificates."""

import asyncio
import contextlib
import datetime as dt
import functools
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from support.matrix.case import Case, Stage
from support.matrix.classes import RETRIED, STREAM_STOPPED
from support.matrix.dice import Dice
from support.matrix.peers import listening, passing_on
from support.matrix.scenarios import way
from support.programs import require_program

from profile_history import UntrustedServer
from profile_history.testing.delivery import reset_connection


@way
def handshakes_are_cut(dice: Dice) -> Case:
    """Cut handshakes by a reset, or by an end."""
    cut_by = {"end": dice.in_turn(("reset", "close")), "resets": dice.random.randint(1, 4)}
    return Case(outcome=RETRIED, around=functools.partial(behind_tls, **cut_by))


@way
def server_is_not_trusted(dice: Dice) -> Case:
    """Show a certificate of an unknown authority, of another host, or one that is over; or speak no TLS at all."""
    reasons = ({"trusting": False}, {"name": "DNS:elsewhere.invalid"}, {"expired": True}, {"plain": True})

    def check(stage: Stage) -> None:
        assert (stage.error.attempts, stage.error.fatal, list(stage.server.log)) == (1, True, [])

    around = functools.partial(behind_tls, **dice.in_turn(reasons))
    return Case(outcome=STREAM_STOPPED, error=UntrustedServer, around=around, check=check)


@contextlib.asynccontextmanager
async def behind_tls(
    stage: Stage, resets: int = 0, end: str = "reset", trusting: bool = True, plain: bool = False, **made: Any
) -> AsyncIterator[None]:
    """Put the server behind TLS whose first handshakes are cut, with a session that trusts its certificate or not.

    Args:
        stage: Where it happens.
        resets: How many handshakes are cut.
        end: How: "reset", or anything else for a proper end.
        trusting: Whether the session trusts the certificate.
        plain: Whether there is no TLS after all.
        made: Arguments of `certificate`.
    """
    pem = certificate(stage.folder, **made)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    left = [resets]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not left[0]:
            await passing_on(port)(reader, writer)
            return
        left[0] -= 1
        await reader.read(100)
        if end == "reset":
            reset_connection(writer.transport)

    own = int(stage.server.url.rpartition(":")[2])
    async with contextlib.AsyncExitStack() as stack:
        port = own if plain else await stack.enter_async_context(listening(passing_on(own), ssl=context))
        stage.url = f"https://127.0.0.1:{await stack.enter_async_context(listening(serve))}"
        trust = ssl.create_default_context(cafile=pem if trusting else None)
        connector = aiohttp.TCPConnector(ssl=trust)
        stage.options["session"] = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield


def certificate(folder: Path, *, name: str = "IP:127.0.0.1", expired: bool = False) -> Path:
    """Make a certificate that vouches for itself, with its key.

    Args:
        folder: Where it is put.
        name: For whom it vouches, as OpenSSL writes alternative names.
        expired: Whether its time is over.
    """
    openssl = require_program("openssl")
    path = folder / "certificate.pem"
    config = folder / "openssl.cnf"
    config.write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndatabase={folder}/index\nnew_certs_dir={folder}\nrand_serial=yes\n"
        "default_md=sha256\npolicy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n[req]\ndistinguished_name=n\n[n]\n"
        f"[e]\nsubjectAltName={name}\nbasicConstraints=critical,CA:true\n"
    )
    (folder / "index").write_text("")
    now = dt.datetime.now(dt.UTC)
    days = [now - dt.timedelta(days=2), now + dt.timedelta(days=-1 if expired else 1)]
    start, end = (f"{day:%Y%m%d%H%M%SZ}" for day in days)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", folder / "key.pem"]
    signed = ["-keyfile", folder / "key.pem", "-startdate", start, "-enddate", end]
    request, made = folder / "request.pem", folder / "made.pem"
    for words in (
        ["req", *key, "-subj", "/CN=history", "-config", config, "-out", request],
        ["ca", "-selfsign", "-batch", "-notext", "-config", config, *signed, "-in", request, "-out", made],
    ):
        subprocess.run([openssl, *map(str, words)], check=True, capture_output=True)
    path.write_text(made.read_text() + (folder / "key.pem").read_text())
    return path
