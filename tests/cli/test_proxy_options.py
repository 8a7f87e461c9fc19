"""The options `--proxy` and `--ca`, and the variables that stand in for them."""

import re
import socket
from pathlib import Path

import pytest
from support.commands import OPTIONS, lead_to, read_ndjson, run, truth  # noqa: F401 (a fixture)
from support.connect_proxy import CREDENTIALS, PASSWORD
from support.exports import DAYS, listed, stored
from support.exports import truth as job_truth
from support.tls import authority, behind_proxy, in_thread  # noqa: F401 (a fixture)

EMAIL = "user1@example.com"
FETCH = ["fetch", "--matching", "email", "--format", "ndjson", EMAIL]


@pytest.fixture
def network(monkeypatch, authority, tmp_path):
    """A server with a certificate of a private CA behind a proxy with password; the environment leads to the server."""
    monkeypatch.chdir(tmp_path)
    with in_thread(lambda: behind_proxy(authority, token="a-token")) as (server, url, proxy):
        lead_to(server, monkeypatch)
        monkeypatch.setenv("PROFILE_HISTORY_URL", url)
        yield server, proxy


@pytest.fixture
def closed_port():
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_the_commands_that_reach_a_server_have_both_options():
    """Each of them, and no other."""
    with_url = {name for name, words in OPTIONS.items() if "url" in words.split()}
    assert with_url == {name for name, words in OPTIONS.items() if {"proxy", "ca"} <= set(words.split())}


def test_a_whole_job_goes_through_a_proxy_with_password_to_a_server_with_a_private_ca(
    network, run, monkeypatch, authority
):
    """Every event arrives; the proxy sees the server's name, and no token; the ledger knows of none of it."""
    server, proxy = network
    monkeypatch.setenv("PROFILE_HISTORY_PROXY", proxy.url_with_password)
    monkeypatch.setenv("PROFILE_HISTORY_CA", str(authority.file))
    words = ["--matching", "email", *DAYS, "--into=history.ndjson"]
    code, out, err = run("export", listed(20), *words)
    assert (code, stored("history.ndjson")) == (0, job_truth(server))
    assert proxy.connects
    assert b"a-token" not in proxy.seen
    files = b"".join(path.read_bytes() for path in Path().rglob("*") if path.is_file())
    assert PASSWORD.encode() not in files
    assert CREDENTIALS.encode() not in files + f"{out}{err}".encode()


def test_a_job_can_be_resumed_another_way(network, run, monkeypatch, authority):
    """How the server is reached is no part of its plan; the advice repeats the options that were typed.

    There is no advice where the same way leads nowhere.
    """
    server, proxy = network
    proxy.rest = 403
    words = ["--matching", "email", *DAYS, "--into=history.ndjson", "--ca", authority.file, "--patience=0.1"]
    code, _, err = run("export", listed(20), *words, "--proxy", proxy.url)
    assert code == 75
    assert "responded with HTTP 403" in err
    assert "resume" not in err
    proxy.rest = 503
    code, _, err = run("resume", "history.ndjson", "--ca", authority.file, "--patience=0.1", "--proxy", proxy.url)
    assert code == 75
    (advice,) = [line for line in err.splitlines() if "resume history.ndjson.ledger" in line]
    assert {f"--proxy {proxy.url}", f"--ca {authority.file}"} == set(re.findall("--(?:proxy|ca) [^ ]+", advice))
    proxy.rest = None
    monkeypatch.setenv("PROFILE_HISTORY_PROXY", proxy.url_with_password)
    assert run("resume", "history.ndjson", "--ca", authority.file)[0] == 0
    assert stored("history.ndjson") == job_truth(server)
    assert run("retry-failed", "history.ndjson", "--ca", authority.file, "--proxy", "direct")[0] == 0


def test_options_win_over_variables_and_direct_is_no_proxy(network, run, monkeypatch, authority, closed_port):
    """So a proxy of the environment can be left out once."""
    server, proxy = network
    monkeypatch.setenv("PROFILE_HISTORY_PROXY", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("PROFILE_HISTORY_CA", "missing.pem")
    code, out, _ = run(*FETCH, "--proxy", "direct", "--ca", authority.file)
    assert (code, read_ndjson(out), proxy.heads) == (0, truth(server, [EMAIL]), [])
    proxy.password = False
    code, out, _ = run(*FETCH, "--proxy", proxy.url, "--ca", authority.file)
    assert (code, read_ndjson(out)) == (0, truth(server, [EMAIL]))
    assert proxy.connects


@pytest.mark.parametrize(
    "address",
    [
        "http://robot:canary@proxy.example:3128",
        "http://robot:can/ary@proxy.example:3128",
        "http://:canary@proxy.example",
        "robot:canary@proxy.example:3128",
        "//robot:canary@proxy.example",
        "http://robot:c@n@ry@proxy.example",
        "socks5://robot:canary@proxy.example",
    ],
)
@pytest.mark.parametrize("form", [["--proxy={}"], ["--proxy", "{}"]], ids=["one word", "two words"])
def test_a_password_is_refused_on_the_command_line(run, address, form):
    """Every user of the machine could read it there, so the variable is named; the text repeats nothing of it."""
    code, out, err = run(*FETCH, *(word.format(address) for word in form))
    assert (code, out) == (2, "")
    assert err == (
        "profile-history: a proxy with a password is refused on the command line, where others could read it; leave "
        "out --proxy and set PROFILE_HISTORY_PROXY to its URL\n"
    )


def test_a_user_name_without_a_password_is_no_secret(network, run, authority):
    """The proxy says what it thinks of it."""
    _, proxy = network
    code, _, err = run(*FETCH, "--proxy", proxy.url.replace("//", "//robot@"), "--ca", authority.file)
    assert (code, "did not accept the user name" in err) == (75, True)


def test_a_wrong_file_or_proxy_is_wrong_usage(network, run, tmp_path):
    """Before anything is sent, with the name and the reason."""
    (tmp_path / "empty.pem").touch()
    code, _, err = run(*FETCH, "--ca", "empty.pem")
    assert (code, err) == (
        2,
        "profile-history: the CA file empty.pem is empty; write the certificate of your CA into it\n",
    )
    code, _, err = run(*FETCH, "--proxy", "socks5://127.0.0.1:1080")
    assert (code, "SOCKS" in err) == (2, True)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_of_other_programs_changes_nothing(network, run, monkeypatch, authority, name):
    """The server is reached straight; what a failed connection says then is the client's text."""
    server, proxy = network
    monkeypatch.setenv(name, proxy.url_with_password)
    code, out, _ = run(*FETCH, "--ca", authority.file)
    assert (code, read_ndjson(out), proxy.heads) == (0, truth(server, [EMAIL]), [])
