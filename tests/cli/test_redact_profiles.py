"""`--redact-profiles` and `--empty-data`: what people read shows hashes, and what programs read does not."""

import functools
import io
import json
import re
from pathlib import Path

import pytest
from support.commands import read_ndjson, run  # noqa: F401 (fixtures)
from support.exports import export, server, stored, truth  # noqa: F401 (fixtures)

from profile_history import RetryPolicy
from profile_history.cli import client_options
from profile_history.testing import Fault, FaultPlan

REFUSED = {"api_error": 440, "rates": {Fault.API_ERROR: 1.0}, "streak": None}
HASH = re.compile(r"email:#[0-9a-f]{12}")


def test_a_failed_profile_is_complained_of_by_its_hash(server, run):
    """Its events and those of the others are printed with their addresses."""
    server.faults = FaultPlan(**REFUSED, profiles={2})
    emails = [f"user{number}@example.com" for number in range(1, 4)]
    words = ["fetch", "--matching=email", "--format=ndjson", *emails]
    code, out, err = run(*words, "--redact-profiles")
    assert (code, sorted(read_ndjson(out))) == (1, ["email:user1@example.com"])
    assert "@example.com" not in err
    assert HASH.search(err)
    assert "user2@example.com" in run(*words)[2]


@pytest.mark.parametrize(("word", "where"), [("-", "line 2 of stdin"), ("canary@", "VALUE 1")])
def test_what_names_no_profile_is_not_quoted(run, monkeypatch, word, where):
    """It may be most of an address; where it stands is told."""
    words = ["fetch", "--matching=email", word]
    for options, reason in (
        (["--redact-profiles"], "names no profile; why, is told without --redact-profiles\n"),
        ([], "email is an address such as john@example.com, not 'canary@'\n"),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO("user1@example.com\ncanary@\n"))
        assert run(*words, *options) == (2, "", f"profile-history: {where}: {reason}")


def test_a_job_reports_hashes_and_stores_addresses(server, export, run):
    """Also of failures that an earlier run wrote into the ledger with their addresses."""
    server.faults = FaultPlan(**REFUSED, profiles={2, 3})
    code, _, err = export("history.ndjson")
    assert code == 1
    assert "user2@example.com" in err
    for words in (["retry-failed", "history.ndjson"], ["resume", "history.ndjson"]):
        code, out, err = run(*words, "--redact-profiles", "--json")
        assert code == 1
        assert "@example.com" not in err
        assert len(set(HASH.findall(err))) == 2
        assert {failure["profile"] for failure in json.loads(out)["failed"]} == {
            "email:user2@example.com",
            "email:user3@example.com",
        }
    server.faults = FaultPlan()
    assert run("retry-failed", "history.ndjson", "--redact-profiles")[0] == 0
    assert stored("history.ndjson") == truth(server)


def test_the_advice_for_a_job_without_events_quotes_no_address(server, run):
    """It asks whether the matching mode is right, by the value of a profile where it may."""
    Path("who.txt").write_text("".join(f"nobody{number}@example.com\n" for number in range(30)))
    words = ["export", "who.txt", "--matching=email", "--from=2024-01-01", "--to=2024-01-31"]
    code, _, err = run(*words, "--into=one.ndjson", "--redact-profiles")
    assert (code, "Is --matching email right?" in err, "@example.com" in err) == (0, True, False)
    assert 'right for values like "nobody0@example.com"?' in run(*words, "--into=two.ndjson")[2]


def test_the_command_to_go_on_with_redacts_as_well(server, export):
    """It is typed again as it is printed."""
    server.faults = FaultPlan(**REFUSED, profiles={2})
    err = export("history.ndjson", "--redact-profiles", "--empty-data=empty")[2]
    assert re.search("profile-history retry-failed .* --redact-profiles --empty-data empty", err)


@pytest.mark.parametrize(("option", "code"), [([], 1), (["--empty-data", "empty"], 0)])
def test_null_is_no_events_where_the_command_says_so(server, run, monkeypatch, option, code):
    """Else it is a failure that names the option."""
    monkeypatch.setattr(client_options, "RetryPolicy", functools.partial(RetryPolicy, base=0.001))
    server.faults = FaultPlan(rates={Fault.DATA_NULL: 1.0}, streak=None)
    found, out, err = run("fetch", "--matching=email", "--format=ndjson", "user1@example.com", *option)
    assert (found, out) == (code, "")
    assert ("--empty-data empty" in err) == (code == 1)
