"""Address, token and database come from an argument or the environment, and the token stays secret."""

import copy
import pickle
import traceback
from collections.abc import Container, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_history import ConfigurationError, _config
from profile_history._protocol.requests import PATH
from profile_history._secrets import SecretBytes, SecretText, Token

SECRET = "hunter2-hunter2"
EXAMPLE = "https://ru.altkraft.com"
TOKENS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


def refusal(read, *arguments, **options):
    """The message with which a setting is refused, and which never shows the secret, nor does its traceback."""
    with pytest.raises(ConfigurationError) as refused:
        read(*arguments, **options)
    assert SECRET not in "".join(traceback.format_exception(refused.value))
    return str(refused.value)


def token_file(folder):
    """A file that holds a token."""
    path = folder / "token"
    path.write_text(SECRET)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("base_url", "address"),
    [
        (EXAMPLE, EXAMPLE),
        (f"{EXAMPLE}/", EXAMPLE),
        ("https://marketing.example:8443", "https://marketing.example:8443"),
        ("https://example.com/altcraft/eu/", "https://example.com/altcraft/eu"),
        ("https://example.com/api-gateway", "https://example.com/api-gateway"),
        ("HTTPS://ru.altkraft.com", EXAMPLE),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://LOCALHOST", "http://LOCALHOST"),
        ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x"),
        ("http://127.8.9.10", "http://127.8.9.10"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_the_endpoint_is_the_base_url_and_the_apis_path(base_url, address):
    """A port and a path in front are kept, and plain http is fine on this machine."""
    assert _config.resolve_endpoint(base_url, {}, allow_http=False) == address + PATH
    assert PATH == "/api/v1.1/subscribers/history_get"


@pytest.mark.parametrize(
    "host",
    ["ru.altkraft.com", "10.0.0.1", "localhost.example.com", "127.0.0.1.example.com", "0.0.0.0", "[2001:db8::1]"],
)
def test_plain_http_leaves_this_machine_only_when_it_is_allowed(host):
    """The token would travel in the clear, so it takes a word of consent."""
    message = refusal(_config.resolve_endpoint, f"http://{host}:8080", {}, allow_http=False)
    assert "in the clear; use https, or pass allow_http=True" in message
    assert _config.resolve_endpoint(f"http://{host}:8080", {}, allow_http=True) == f"http://{host}:8080{PATH}"


@pytest.mark.parametrize(
    ("base_url", "advice"),
    [
        (f"https://john:{SECRET}@ru.altkraft.com", "pass the token as token="),
        (f"https://{SECRET}@ru.altkraft.com", "pass the token as token="),
        (f"{EXAMPLE}?token={SECRET}", "pass scheme and host"),
        (f"{EXAMPLE}/?token={SECRET}", "pass scheme and host"),
        (f"{EXAMPLE}?", "pass scheme and host"),
        (f"{EXAMPLE}#{SECRET}", "pass scheme and host"),
        (f"{EXAMPLE}#", "pass scheme and host"),
        ("ru.altkraft.com", f'such as "{EXAMPLE}"'),
        ("//ru.altkraft.com", f'such as "{EXAMPLE}"'),
        ("ftp://ru.altkraft.com", f'such as "{EXAMPLE}"'),
        ("https://", f'such as "{EXAMPLE}"'),
        ("https://:443", f'such as "{EXAMPLE}"'),
        ("https:ru.altkraft.com", f'such as "{EXAMPLE}"'),
        (f" {EXAMPLE}", f'such as "{EXAMPLE}"'),
        (f"{EXAMPLE}\n", f'such as "{EXAMPLE}"'),
        ("https://ru.altkraft.com\r\nX-Injected: 1", f'such as "{EXAMPLE}"'),
        ("https://ru.alt kraft.com", f'such as "{EXAMPLE}"'),
        ("https://ru.altkraft.com\\@example.com", "pass the token as token="),
        ("https://ru.altkraft.com\\path", f'such as "{EXAMPLE}"'),
        (f"{EXAMPLE}:eighty", f'such as "{EXAMPLE}"'),
        (f"{EXAMPLE}:65536", f'such as "{EXAMPLE}"'),
        (f"{EXAMPLE}:-1", f'such as "{EXAMPLE}"'),
        ("https://[::1", f'such as "{EXAMPLE}"'),
        (f"{EXAMPLE}{PATH}", "leave it out"),
        (f"{EXAMPLE}/prefix{PATH}/", "leave it out"),
        (f"{EXAMPLE}/api/v1.1", "leave it out"),
        ("", f'such as "{EXAMPLE}"'),
        (None, f'such as "{EXAMPLE}", or set PROFILE_HISTORY_URL'),
        (EXAMPLE.encode(), f'such as "{EXAMPLE}"'),
    ],
)
@pytest.mark.parametrize("allow_http", [False, True])
def test_an_address_that_is_not_fit_to_carry_a_token_is_refused(base_url, advice, allow_http):
    """The message says what to pass instead, and shows no secret that stood in the address."""
    assert advice in refusal(_config.resolve_endpoint, base_url, {}, allow_http=allow_http)


@pytest.mark.parametrize(
    "base_url",
    [
        f"john:{SECRET}@ru.altkraft.com",
        f"{SECRET}:@ru.altkraft.com",
        f"ftp://ru.altkraft.com/?token={SECRET}",
        f"ru.altkraft.com?token={SECRET}",
        f"https://john:{SECRET}/x@ru.altkraft.com",
        f"{EXAMPLE}/ ?token={SECRET}",
    ],
)
def test_a_secret_in_an_address_is_never_repeated(base_url):
    """Also where the address is wrong in a second way, the message keeps its secret."""
    refusal(_config.resolve_endpoint, base_url, {}, allow_http=False)


def test_the_address_comes_from_the_argument_else_from_the_environment():
    """An explicit address wins."""
    environ = {_config.URL: "https://environment.example"}
    assert _config.resolve_endpoint(None, environ, allow_http=False) == f"https://environment.example{PATH}"
    assert _config.resolve_endpoint(EXAMPLE, environ, allow_http=False) == f"{EXAMPLE}{PATH}"


def test_the_token_argument_wins_over_the_variable_and_the_variable_over_the_file(tmp_path):
    """The nearest source counts, and the others are not even read."""
    file = {"PROFILE_HISTORY_TOKEN_FILE": str(token_file(tmp_path))}
    missing = {"PROFILE_HISTORY_TOKEN_FILE": str(tmp_path / "missing")}
    variable = {"PROFILE_HISTORY_TOKEN": "from-variable"}
    path = file["PROFILE_HISTORY_TOKEN_FILE"]
    assert _config.resolve_token("from-argument", None, variable | missing).reveal() == "from-argument"
    assert _config.resolve_token(None, path, variable | missing).reveal() == SECRET
    assert _config.resolve_token(None, None, variable | missing).reveal() == "from-variable"
    assert _config.resolve_token(None, None, file).reveal() == SECRET


def test_a_token_and_a_file_of_one_are_not_both_taken(tmp_path):
    """Nobody could say which one was meant."""
    assert refusal(_config.resolve_token, SECRET, token_file(tmp_path), {}) == "pass token= or token_file=, not both"


@pytest.mark.parametrize("value", ["", " ", 5, b"token", True])
def test_a_token_file_that_is_no_path_is_refused_by_name(value):
    """An empty variable names no file."""
    assert refusal(_config.resolve_token, None, value, {}).startswith("token_file is the path of the file")
    if isinstance(value, str):
        environ = {"PROFILE_HISTORY_TOKEN_FILE": value}
        assert refusal(_config.resolve_token, None, None, environ).startswith(
            "PROFILE_HISTORY_TOKEN_FILE is the path of"
        )


def test_a_missing_token_is_an_error_that_names_all_sources():
    """Whoever forgot it learns every way to pass it."""
    message = refusal(_config.resolve_token, None, None, {})
    assert message == (
        "the token is missing; pass token= or token_file=, or set PROFILE_HISTORY_TOKEN or PROFILE_HISTORY_TOKEN_FILE"
    )


@pytest.mark.parametrize("value", [f"{SECRET}\n", f"{SECRET} x", f"a\t{SECRET}", f"{SECRET}\x00", f"{SECRET}ё"])
def test_a_token_that_no_header_could_carry_is_refused(value):
    """A line end would end the header, and the message does not show the rest."""
    assert refusal(_config.resolve_token, value, None, {}).startswith(
        "the token holds a blank, a line end or a character outside"
    )


@pytest.mark.parametrize("value", ["", 5, b"token"])
def test_an_empty_token_is_refused(value):
    """The message says where to pass it."""
    assert refusal(_config.resolve_token, value, None, {}).startswith("the token is empty; pass token=, or set")


def test_an_empty_token_variable_is_refused():
    """A secret store that gave nothing is noticed before anything is sent."""
    assert "empty" in refusal(_config.resolve_token, None, None, {"PROFILE_HISTORY_TOKEN": ""})


@pytest.mark.parametrize(("text", "number"), [("20", 20), (" 20\n", 20), ("007", 7), ("9" * 18, 10**18 - 1)])
def test_the_database_comes_from_the_argument_else_from_the_environment(text, number):
    """An explicit number wins."""
    environ = {"PROFILE_HISTORY_LIST_ID": text}
    assert _config.resolve_list_id(None, environ) == number
    assert _config.resolve_list_id(66, environ) == 66


@pytest.mark.parametrize("value", [0, -1, True, 20.0, "20", b"20"])
def test_a_database_that_is_no_whole_number_above_zero_is_refused(value):
    """The message shows a right value and repeats the wrong one."""
    assert (
        refusal(_config.resolve_list_id, value, {}) == f"list_id is a whole number above 0, such as 20, not {value!r}"
    )


@pytest.mark.parametrize("text", ["", "0", "-1", "20.0", "twenty", "٢٠", "2_0", "9" * 19, "9" * 10_000])
def test_a_database_variable_that_is_no_such_number_is_refused(text):
    """A typing error in a deployment is found at the start."""
    message = refusal(_config.resolve_list_id, None, {"PROFILE_HISTORY_LIST_ID": text})
    assert message.startswith("list_id is a whole number above 0, such as 20, not ")


def test_a_missing_database_is_an_error_that_names_both_sources():
    """Whoever forgot it learns how to pass it."""
    message = refusal(_config.resolve_list_id, None, {})
    assert message == "the list_id is missing; pass list_id=, or set PROFILE_HISTORY_LIST_ID"


@given(value=TOKENS)
def test_a_token_never_shows_itself(value):
    """Whatever prints, formats or logs it sees stars."""
    token = Token(value)
    assert {repr(token), str(token), f"{token}", f"{token!r}", f"{token!a}"} == {"Token(***)"}
    assert str([token]) == "[Token(***)]"
    assert token.reveal() == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_token_is_not_pickled(protocol):
    """It does not reach a queue, a cache or a ledger; the message says what to do instead."""
    with pytest.raises(TypeError, match="from its own environment"):
        pickle.dumps(Token(SECRET), protocol)
    with pytest.raises(TypeError, match="from its own environment"):
        copy.deepcopy(Token(SECRET))


@given(before=st.text(), between=st.text(), after=st.text())
def test_a_token_is_taken_out_of_any_text(before, between, after):
    """A server that echoes the token does not bring it into a log."""
    redacted = Token(SECRET).redact(f"{before}{SECRET}{between}{SECRET}{after}")
    assert redacted == f"{before}[token]{between}[token]{after}"


def test_secret_bytes_are_bytes_that_do_not_show_themselves():
    """They can be sent as they are, and what prints them sees only their length."""
    secret = SecretBytes(SECRET.encode())
    assert secret == SECRET.encode()
    assert b"".join([secret]) == SECRET.encode()
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r}", f"{secret!a}", str([secret])):
        assert f"<{len(SECRET)} secret bytes>" in shown
        assert SECRET not in shown


def test_what_is_cut_off_a_secret_is_one_as_well():
    """Reporters cut long values before they print them, as rich and structlog do."""
    for part in (SecretText(SECRET)[:7], SecretText(SECRET)[0], SecretBytes(SECRET.encode())[:7]):
        assert "hunter" not in repr(part)
    assert SecretText(SECRET)[:7] == "hunter2"
    assert SecretBytes(SECRET.encode())[0] == ord("h")


def test_the_environment_shows_nothing_to_what_prints_local_variables(monkeypatch):
    """Crash reporters go through mappings item by item, so it is none; what it gives away prints as a secret."""
    monkeypatch.setenv("PROFILE_HISTORY_TOKEN", "canary")
    monkeypatch.delenv("PROFILE_HISTORY_LIST_ID", raising=False)
    environment = _config.Environment()
    token = environment.get("PROFILE_HISTORY_TOKEN")
    assert (token, environment.get("PROFILE_HISTORY_LIST_ID")) == ("canary", None)
    assert not isinstance(environment, (Iterable, Container))
    assert "canary" not in repr(environment) + repr(token)
