"""The way to the server: which proxy and which certificates, from an argument or the environment."""

import base64
import os
import pickle
import ssl
from urllib.parse import quote

import aiohttp
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from profile_history import ConfigurationError, HistoryClient, _config
from profile_history._route import parse_proxy

HTTPS = "https://history.example"
PEM = trustme.CA().cert_pem.bytes()


def resolve(proxy=None, ca=None, environ=None, *, url=HTTPS, allow_http=False, own_session=True):
    return _config.resolve_route(proxy, ca, environ or {}, url=url, allow_http=allow_http, own_session=own_session)


def refusal(*arguments, **options):
    with pytest.raises(ConfigurationError) as caught:
        resolve(*arguments, **options)
    return str(caught.value)


def credentials(proxy):
    scheme, _, pair = proxy.authorization.partition(" ")
    assert scheme == "Basic"
    return base64.b64decode(pair).decode()


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("HTTP://PROXY.example:3128/", "http://proxy.example:3128"),
        ("http://proxy.example", "http://proxy.example:80"),
        ("https://proxy.example", "https://proxy.example:443"),
        ("http://[2001:db8::1]:3128", "http://[2001:db8::1]:3128"),
        ("http://user:password@10.0.0.1:8080", "http://10.0.0.1:8080"),
        ("http://user@proxy.example", "http://proxy.example:80"),
    ],
)
def test_a_proxy_is_told_by_scheme_host_and_port(text, url):
    """Without what stands before the host."""
    proxy = parse_proxy("proxy", text)
    assert proxy.url == url
    assert str(proxy) == url.partition("//")[2]
    assert "password" not in repr(proxy) + str(proxy)


SENDABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=[*map(chr, range(32)), "\x7f"]))


@given(SENDABLE.filter(lambda text: text and ":" not in text), SENDABLE)
def test_any_user_name_and_password_can_be_written(user, password):
    """As percent-encoded UTF-8; only control characters, and a colon in a user name, cannot be sent (RFC 7617)."""
    url = f"http://{quote(user, safe='')}:{quote(password, safe='')}@proxy.example:3128"
    assert credentials(parse_proxy("proxy", url)) == f"{user}:{password}"


@pytest.mark.parametrize("userinfo", ["", ":"])
def test_a_user_without_name_and_password_is_none(userinfo):
    """Templates make such addresses of empty variables, and an empty pair would be refused as a wrong one."""
    assert parse_proxy("proxy", f"http://{userinfo}@proxy.example").authorization is None


def test_a_password_of_the_environment_that_is_no_utf_8_is_sent_as_it_is():
    """Its bytes come as halves of surrogate pairs, which nothing else could send."""
    proxy = parse_proxy("proxy", os.fsdecode(b"http://user:p\xe4ss@proxy.example"))
    assert base64.b64decode(proxy.authorization.partition(" ")[2]) == b"user:p\xe4ss"


def test_a_proxy_with_a_password_is_not_pickled():
    """It would travel with it."""
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(parse_proxy("proxy", "http://user:password@proxy.example"))


@pytest.mark.parametrize("scheme", ["socks4", "socks5", "socks5h", "SOCKS5", "socks"])
def test_a_socks_proxy_is_refused_by_name(scheme):
    """And the advice is what to pass instead."""
    assert "names a SOCKS proxy, which is not supported; pass an HTTP proxy" in refusal(
        f"{scheme}://proxy.example:1080"
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "is no URL of an HTTP proxy"),
        ("proxy.example:3128", "is no URL of an HTTP proxy"),
        ("proxy.example", "is no URL of an HTTP proxy"),
        ("ftp://proxy.example", "is no URL of an HTTP proxy"),
        ("http://", "is no URL of an HTTP proxy"),
        ("http://:3128", "is no URL of an HTTP proxy"),
        ("http:proxy.example", "is no URL of an HTTP proxy"),
        ("http://proxy example", "holds a blank, a line end, a control character or a backslash"),
        ("http://proxy.example\n", "holds a blank, a line end, a control character or a backslash"),
        ("http://domain\\user:password@proxy.example", "or a backslash; leave it out, or write it as %XX"),
        ("http://user:password%0A@proxy.example", "holds a control character, such as %0A"),
        ("http://proxy.example:99999", "cannot be read"),
        ("http://proxy.example:x", "cannot be read"),
        ("http://[::1", "cannot be read"),
        (f"http://{'a' * 64}.example", "cannot be read"),
        ("http://proxy.example:0", "holds the port 0"),
        ("http://proxy.example/path", "holds more than scheme, host and port"),
        ("http://proxy.example?x=1", "holds more than scheme, host and port"),
        ("http://proxy.example/?", "holds more than scheme, host and port"),
        ("http://proxy.example#x", "holds more than scheme, host and port"),
        ("http://a%3Ab:c@proxy.example", "a user name with a colon"),
        (b"http://proxy.example", "is the URL of a proxy, such as"),
        (3128, "is the URL of a proxy, such as"),
    ],
)
def test_what_is_no_http_proxy_is_refused(value, words):
    """By the name of the argument, and with an example."""
    message = refusal(value)
    assert message.startswith("proxy ")
    assert words in message


def test_the_argument_wins_over_the_environment(tmp_path):
    """Also with the word for no proxy; an empty variable is none."""
    environ = {"PROFILE_HISTORY_PROXY": "http://environment.example:3128"}
    assert resolve(environ=environ).proxy.host == "environment.example"
    assert resolve("http://argument.example", environ=environ).proxy.host == "argument.example"
    assert resolve("direct", environ=environ).proxy is None
    assert resolve(environ={"PROFILE_HISTORY_PROXY": "", "PROFILE_HISTORY_CA": ""}) == resolve()
    (tmp_path / "ca.pem").write_bytes(PEM)
    environ = {"PROFILE_HISTORY_CA": str(tmp_path / "missing.pem")}
    assert "missing.pem" in refusal(environ=environ)
    assert resolve(ca=tmp_path / "ca.pem", environ=environ).certificates.context.get_ca_certs()


def test_a_wrong_variable_is_refused_by_its_name():
    """The user typed no proxy= to look for."""
    assert refusal(environ={"PROFILE_HISTORY_PROXY": "socks5://x:1"}).startswith("PROFILE_HISTORY_PROXY names a SOCKS")


def test_variables_of_other_programs_change_nothing():
    """Only the name of one is kept, for the error of a connection that fails."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
        route = resolve(environ={name: "http://user:password@proxy.example:3128"})
        assert (route.proxy, route.certificates, route.ignored_variable) == (None, None, name)
    assert resolve(environ={"HTTPS_PROXY": ""}).ignored_variable is None


def test_plain_http_through_a_proxy_elsewhere_has_to_be_allowed():
    """The token would leave this machine in the clear, also if the server is on it."""
    url = "http://127.0.0.1:8080"
    assert "to the proxy proxy.example:3128 in the clear" in refusal("http://proxy.example:3128", url=url)
    assert resolve("http://proxy.example:3128", url=url, allow_http=True).proxy
    for host in ("127.0.0.1", "localhost", "[::1]"):
        assert resolve(f"http://{host}:3128", url=url).proxy


async def test_a_session_of_the_caller_goes_with_neither(tmp_path, monkeypatch):
    """The message names what was passed; the environment is for sessions that are made here."""
    (tmp_path / "ca.pem").write_bytes(PEM)
    async with aiohttp.ClientSession() as session:
        options = {"token": "a-token", "list_id": 20, "session": session}
        for given, words in (
            ({"proxy": "http://proxy.example"}, "session= and proxy= exclude each other"),
            ({"ca": tmp_path / "ca.pem"}, "session= and ca= exclude each other"),
            ({"proxy": "http://proxy.example", "ca": "x"}, "session= and proxy= and ca= exclude each other"),
        ):
            with pytest.raises(ConfigurationError, match=words):
                HistoryClient(HTTPS, **options, **given)
        monkeypatch.setenv("PROFILE_HISTORY_PROXY", "http://proxy.example")
        monkeypatch.setenv("PROFILE_HISTORY_CA", "missing.pem")
        HistoryClient(HTTPS, **options)
        HistoryClient(HTTPS, proxy="direct", **options)


DAMAGED = PEM.replace(b"\n", b"\nAAAA", 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"not a certificate", "holds no certificate in PEM"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds no certificate in PEM"),
        (PEM.decode().encode("utf-16"), "holds no certificate in PEM"),
        (ssl.PEM_cert_to_DER_cert(PEM.decode()), "is in DER; convert it: openssl x509 -inform der"),
        (PEM[:300], "ends in the middle of a certificate"),
        (PEM + PEM[:300], "ends in the middle of a certificate"),
        (DAMAGED, "a certificate in the CA file"),
        (PEM + DAMAGED, "a certificate in the CA file"),
        (b" " * (16 * 2**20) + PEM, "is longer than 16 MiB"),
    ],
    ids=["empty", "blank", "text", "key", "UTF-16", "DER", "cut", "cut later", "damaged", "damaged later", "long"],
)
def test_a_file_that_holds_no_certificates_is_refused(tmp_path, content, words):
    """With the name of the file and the reason."""
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    message = refusal(ca=path)
    assert words in message
    assert str(path) in message
    assert "_ssl.c" not in message


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.mkdir(), "Is a directory"),
        (os.mkfifo, "is no regular file"),
    ],
    ids=["missing", "directory", "FIFO"],
)
def test_a_path_that_cannot_be_read_is_refused(tmp_path, make, reason):
    """At once, also where opening it would wait for ever."""
    path = tmp_path / "ca.pem"
    make(path)
    message = refusal(ca=str(path))
    assert reason in message
    assert str(path) in message


def test_a_certificate_in_place_of_its_path_is_not_taken_for_one():
    """And is not repeated as if it were the name of a file."""
    message = refusal(ca=PEM.decode())
    assert "ca is the path of a PEM file, not what such a file holds" in message
    assert "BEGIN" not in message


@pytest.mark.parametrize("value", [b"ca.pem", 7, True, "", " "])
def test_what_is_neither_a_path_nor_a_context_is_refused(value):
    """The message says what it is."""
    assert "ca is the path of a PEM file of certificates, or an ssl.SSLContext, not" in refusal(ca=value)


def test_a_name_with_the_character_0_is_refused():
    """No file has one."""
    assert "cannot be read" in refusal(ca="ca\0.pem")


def test_comments_in_any_encoding_and_several_certificates_are_fine(tmp_path):
    """Bundles have both."""
    path = tmp_path / "ca.pem"
    path.write_bytes("# Żółty CA, \ufeff\n".encode() + PEM + b"\xff\n" + trustme.CA().cert_pem.bytes())
    assert len(resolve(ca=path).certificates.context.get_ca_certs()) == 2


def test_a_context_that_verifies_no_server_is_refused():
    """Anybody could get the token."""
    context = ssl.create_default_context()
    assert resolve(ca=context).certificates.context is context
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    assert "ca is a context that verifies no server (CERT_NONE)" in refusal(ca=context)
    assert "ca is a context for servers" in refusal(ca=ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
