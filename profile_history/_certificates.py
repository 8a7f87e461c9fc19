"""The certificates that a server is trusted by: the system's store and a file, or the caller's own TLS context."""

from __future__ import annotations

import asyncio
import re
import ssl
from pathlib import Path

from profile_history._aio import in_thread
from profile_history._checks import describe
from profile_history.errors import ConfigurationError

# Bytes; the bundles of whole systems have 200 to 300 KiB, and a wrong path may lead to something huge.
_LONGEST = 16 * 1024 * 1024
# RFC 7468, 5.1; the second word is an older name that OpenSSL reads as well.
_BEGIN = re.compile(rb"-----BEGIN (X509 )?CERTIFICATE-----")
_END = re.compile(rb"-----END (X509 )?CERTIFICATE-----")
# The first byte of every certificate in DER: it is a SEQUENCE.
_DER = b"\x30"
_WHERE_IN_SSL = re.compile(r" ?\(_ssl\.c:\d+\)")


class Certificates:
    """A TLS context for connections to the server and to a proxy, ready after `load_system`.

    Attributes:
        context: The context.
    """

    def __init__(self, context: ssl.SSLContext, *, with_system: bool) -> None:
        """Take a context.

        Args:
            context: The context.
            with_system: Whether the system's store is to be added.
        """
        self.context: ssl.SSLContext = context
        self._with_system = with_system
        self._lock = asyncio.Lock()

    async def load_system(self) -> None:
        """Add the system's store, once and in a thread: some hundred certificates take a tenth of a second."""
        # Requests that begin meanwhile wait for it.
        async with self._lock:
            if not self._with_system:
                return
            await in_thread(self.context.load_default_certs)
            self._with_system = False


def read_certificates(name: str, ca: object) -> Certificates:
    """Return what is trusted, and refuse what cannot be.

    Args:
        name: The argument or variable that it stands in.
        ca: The path of a PEM file, or a context.

    Raises:
        ConfigurationError: The file cannot be read or holds no certificate, or the context verifies no server.
    """
    if isinstance(ca, ssl.SSLContext):
        return Certificates(_check_context(name, ca), with_system=False)
    if not isinstance(ca, (str, Path)) or not str(ca).strip():
        raise ConfigurationError(
            f"{name} is the path of a PEM file of certificates, or an ssl.SSLContext, not {describe(ca)}"
        )
    if "-----BEGIN" in str(ca):
        raise ConfigurationError(
            f"{name} is the path of a PEM file, not what such a file holds; write it into one, or pass "
            "ssl.create_default_context(cadata=...)"
        )
    pem = _read(Path(ca))
    try:
        # With certificates of its own it leaves out the system's store, which would hold the event loop.
        context = ssl.create_default_context(cadata=pem.decode("ascii", "ignore"))
    except ssl.SSLError as error:
        reason = _WHERE_IN_SSL.sub("", str(error))
        raise ConfigurationError(f"a certificate in the CA file {ca} cannot be read: {reason}") from None
    # What aiohttp's own context offers.
    context.set_alpn_protocols(("http/1.1",))
    return Certificates(context, with_system=True)


def _check_context(name: str, context: ssl.SSLContext) -> ssl.SSLContext:
    if context.protocol is ssl.PROTOCOL_TLS_SERVER:
        raise ConfigurationError(f"{name} is a context for servers; make one with ssl.create_default_context()")
    if context.verify_mode is ssl.CERT_NONE:
        raise ConfigurationError(
            f"{name} is a context that verifies no server (CERT_NONE), so that anybody could get the token; make one "
            "with ssl.create_default_context()"
        )
    return context


def _read(path: Path) -> bytes:
    try:
        # A FIFO would be waited for.
        odd = path.exists() and not path.is_dir() and not path.is_file()
        pem = b""
        if not odd:
            with path.open("rb") as file:
                pem = file.read(_LONGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"the CA file {path} cannot be read: {reason}") from None
    if (objection := "is no regular file; name a PEM file" if odd else _objection(pem)) is not None:
        raise ConfigurationError(f"the CA file {path} {objection}")
    return pem


def _objection(pem: bytes) -> str | None:
    if not pem.strip():
        return "is empty; write the certificate of your CA into it"
    if len(pem) > _LONGEST:
        return "is longer than 16 MiB; name a PEM file that holds only certificates"
    if not _BEGIN.search(pem):
        if pem.startswith(_DER):
            return "is in DER; convert it: openssl x509 -inform der -in FILE -out FILE.pem"
        return "holds no certificate in PEM (-----BEGIN CERTIFICATE-----); name the certificate of your CA"
    if len(_BEGIN.findall(pem)) != len(_END.findall(pem)):
        return "ends in the middle of a certificate; copy it once more"
    return None
