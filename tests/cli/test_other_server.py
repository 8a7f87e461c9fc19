"""Commands that go on with a job at another address of the server than before."""

import pytest
from support.commands import TOKEN, run  # noqa: F401 (a fixture)
from support.exports import FIRST, LAST, PROFILES, export, listed, server, stored, summary, truth  # noqa: F401 (fixtures)

from profile_history.testing import Fault, FaultPlan, HistoryServer


@pytest.fixture
def other():
    """A server with the same histories at another address."""
    with HistoryServer(profiles=PROFILES, token=TOKEN) as running:
        yield running


def failing(server, *profiles):
    """Make some profiles of a server fail for good."""
    server.faults = FaultPlan(rates={Fault.API_ERROR: 1.0}, streak=None, api_error=440, profiles=profiles)


def line_of(out, name):
    """What `status` says in the line of a name; `None` if it has none."""
    return next((line.removeprefix(name).strip() for line in out.splitlines() if line.startswith(name)), None)


@pytest.mark.parametrize("way", ["option", "environment"])
def test_an_export_that_goes_on_at_another_address_warns(server, other, run, monkeypatch, way):
    """Whether the line or the environment names it; `status` shows the last address, and the earlier one."""
    words = ["export", listed(20), "--matching=email", "--from", FIRST, "--since-last", "--into=a.ndjson", "--json"]
    code, out, err = run(*words, "--to=2024-06-30")
    assert (code, summary(out)["warnings"], "warning" in err) == (0, [], False)
    assert line_of(run("status", "a.ndjson")[1], "earlier") is None
    if way == "environment":
        monkeypatch.setenv("PROFILE_HISTORY_URL", other.url)
    code, out, err = run(*words, "--to", LAST, *(["--url", other.url] if way == "option" else []))
    [warning] = summary(out)["warnings"]
    assert f"earlier runs of this job asked {server.url}, and this one asks {other.url}" in warning
    assert (code, err.count(f"warning: {warning}")) == (0, 1)
    shown = run("status", "a.ndjson")[1]
    assert line_of(shown, "server").startswith(f"{other.url}/")
    assert line_of(shown, "earlier") == f"runs asked {server.url}"
    told = summary(run("status", "a.ndjson", "--json")[1])
    assert (told["plan"]["url"].startswith(other.url), told["earlier_urls"]) == (True, [server.url])
    assert stored("a.ndjson") == truth(server)


def test_failed_units_can_be_asked_for_at_another_address(server, other, export, run):
    """With a warning; from then on the job goes on there by itself."""
    failing(server, 0, 1)
    failing(other, 1)
    assert export("a.ndjson")[0] == 1
    code, _, err = run("retry-failed", "a.ndjson", "--url", other.url)
    assert (code, f"warning: earlier runs of this job asked {server.url}" in err) == (1, True)
    other.faults = FaultPlan()
    server.log.clear()
    code, _, err = run("retry-failed", "a.ndjson")
    assert (code, "warning" in err, len(server.log)) == (0, False, 0)
    assert "this job goes on at" in err
    assert stored("a.ndjson") == truth(server)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://platform.example", "no address"])
def test_resume_says_that_the_environment_names_another_address(server, export, run, monkeypatch, address):
    """It asks the server of the ledger, and does not repeat an address that may hold a password."""
    failing(server, 0)
    export("a.ndjson")
    monkeypatch.setenv("PROFILE_HISTORY_URL", address)
    code, _, err = run("resume", "a.ndjson")
    assert (code, err.count(f"this job goes on at {server.url}, as its ledger says")) == (1, 1)
    assert address not in err


def test_resume_says_nothing_of_an_environment_that_agrees(server, export, run, monkeypatch):
    """Or that names none, or where the line names one."""
    export("a.ndjson")
    for address in (f"{server.url.upper().replace('HTTP', 'http')}/", ""):
        monkeypatch.setenv("PROFILE_HISTORY_URL", address)
        assert "as its ledger says" not in run("resume", "a.ndjson")[2]
    monkeypatch.setenv("PROFILE_HISTORY_URL", "http://127.0.0.1:9")
    assert "as its ledger says" not in run("resume", "a.ndjson", "--url", server.url)[2]
