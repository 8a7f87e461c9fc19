"""The failure policy as a table, made by asking it; `docs/reliability.md` prints it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from profile_history._protocol.error_rules import ERROR_RULES, PAGE_RULES, is_about_length
from profile_history._sending.failure_policy import AttemptLog, Step, decide
from profile_history.errors import (
    ApiError,
    AttemptTimeout,
    ConnectionFailed,
    DecodeError,
    HistoryError,
    Kind,
    ProxyFailed,
    ResponseTooLarge,
    TruncatedResponse,
    UnexpectedPage,
    UnexpectedRedirect,
    UntrustedServer,
)
from profile_history.options import RetryPolicy

_POLICY = RetryPolicy()
_HEAD = (
    "| failure | kind | attempts | then | before any success | a retry costs | halves the window | "
    "single days refute it | tells the pacer |"
)


def policy_table() -> str:
    """Return what `decide` says to each failure, with the default `RetryPolicy`, as a table in Markdown."""
    lines = [_HEAD, "|---|---|---|---|---|---|---|---|---|"]
    lines += [_line(name, make) for name, make in _failures().items()]
    return "\n".join(lines) + "\n"


def _failures() -> dict[str, Callable[[], HistoryError]]:
    failures: dict[str, Callable[[], HistoryError]] = {
        "no connection, or it was lost": ConnectionFailed,
        "an unknown host": _unknown_host,
        "a refused certificate": UntrustedServer,
        "a proxy that refuses before anything worked": _refusing_proxy,
        "a proxy that is dead, or fails": ProxyFailed,
        "a timeout": AttemptTimeout,
        "a response that was cut": TruncatedResponse,
        "a page with status 200": _maintenance_page,
        "an empty 200, no `data`, malformed JSON, no proper HTTP": DecodeError,
        "more bytes than `Limits.body`": ResponseTooLarge,
        "as many rows as `Limits.row_cap`": _capped_rows,
        "a redirect": UnexpectedRedirect,
        "a number that nobody knows": ApiError,
    }
    known = ", ".join(str(rule.status) for rule in PAGE_RULES if rule.profiles == 1)
    failures[f"a page with {known}"] = partial(UnexpectedPage, "", 403)
    failures["a page with another status that is not retried, such as 404"] = partial(UnexpectedPage, "", 404)
    for rule in ERROR_RULES:
        failures[f"{rule.number}: {rule.hint}"] = partial(_api_error, rule.number, rule.kind)
    return failures


def _capped_rows() -> HistoryError:
    failure = TruncatedResponse()
    failure.kind, failure.splittable = Kind.CALLER, True
    return failure


def _maintenance_page() -> HistoryError:
    failure = UnexpectedPage("", 200)
    failure.kind = Kind.TRANSIENT
    return failure


def _unknown_host() -> HistoryError:
    failure = ConnectionFailed()
    failure.kind, failure.fatal = Kind.AMBIGUOUS, True
    return failure


def _refusing_proxy() -> HistoryError:
    failure = ProxyFailed()
    failure.kind, failure.fatal = Kind.CALLER, True
    return failure


def _api_error(number: int, kind: Kind) -> HistoryError:
    splittable = is_about_length(None, number, from_api=True)
    failure = ApiError(None, "", number, kind=kind, splittable=splittable)
    failure.fatal = kind is Kind.AUTH
    return failure


def _line(name: str, make: Callable[[], HistoryError]) -> str:
    log, policy = AttemptLog(), _POLICY
    signal, costs, sent = "", set(), 0
    while True:
        failure = make()
        log.record(failure, seconds=0.0)
        decision = decide(failure, log, policy)
        sent += 1
        signal = decision.signal.name.lower()
        if decision.step is Step.RETRY:
            costs.add(decision.cost)
        if decision.step not in (Step.RETRY, Step.REQUEUE):
            break
        if decision.step is Step.REQUEUE or log.in_pass == policy.attempts:
            log.end_pass()
    splits, refutes = "", ""
    for attempts in (1, 2):
        evidence = decide(make(), AttemptLog(timeouts=attempts, unproven_split=True), policy, can_split=True)
        if evidence.step is Step.SPLIT and not splits:
            splits = "at once" if attempts == 1 else "at the second"
            refutes = _describe_refutation(make(), attempts)
            if evidence.signal is not decision.signal:
                signal += f"; {evidence.signal.name.lower()} when it halves again"
    cost = ", ".join(map(str, sorted(costs))) or "-"
    then = decision.step.name.lower().replace("_", " ")
    kind, beginning = make().kind.value, _describe_beginning(make())
    cells = (name, kind, str(sent), then, beginning, cost, splits or "no", refutes or "-", signal)
    return f"| {' | '.join(cells)} |"


def _describe_beginning(failure: HistoryError) -> str:
    most = max(rule.profiles for rule in PAGE_RULES)
    for profiles in range(1, most + 1) if isinstance(failure, UnexpectedPage) else ():
        if decide(failure, AttemptLog(refused_profiles=profiles), _POLICY).step is Step.STOP:
            return "stop" if profiles == 1 else f"stop at {profiles} profiles"
    return "-"


def _describe_refutation(failure: HistoryError, timeouts: int) -> str:
    logs = AttemptLog(timeouts=timeouts), AttemptLog(timeouts=timeouts, split_helped=True)
    before, after = (decide(failure, log, _POLICY).refuting_days for log in logs)
    return f"{before}, or {after or 'none'} after it helped" if before else "none"
