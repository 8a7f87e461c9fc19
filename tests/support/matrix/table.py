"""The faults of the reliability document, a row each: how one is brought about, and what has to come of it."""

from support.matrix.bodies import IN_EXTRA, LONG, NO_JSON, PACKED, PLAIN, by_bytes, halves, rows_are_poison
from support.matrix.case import ALL, OFTEN, TIMEOUTS
from support.matrix.classes import A, C, F, J, P, R, W, X
from support.matrix.clients import MISUSED, loop_is_another
from support.matrix.comparing import in_any_order_of_a_moment, repeated, with_more_in_each
from support.matrix.consumers import (
    by_break,
    by_closing,
    by_dropping,
    by_raising,
    cancelled,
    consumer_is_slow,
    consumer_runs_out_of_time,
    hook_has_a_bug,
    left_by,
    source_has_a_bug,
    source_swallows_a_cancellation,
)
from support.matrix.http import ASKING, DOWN, EMPTY, ENDURING, HALF, REFUSED, server_points_elsewhere, waits_hours
from support.matrix.lines import row
from support.matrix.meaning import (
    CALLERS,
    ENDING,
    HEALING,
    MORE,
    NEWER,
    NO_ENVELOPE,
    ODD_ROWS,
    OVERLAP,
    REVOKED,
    STRANGE,
    bounds_are_read_otherwise,
    by_rows,
    history_grows,
    order_differs,
    server_cuts_answers,
)
from support.matrix.network import (
    CUT,
    EXHAUSTED,
    FRAMING,
    NO_HTTP,
    SLOW,
    cannot_connect,
    connection_idles,
    dies_in_use,
    is_down_for_a_while,
    name_is_unknown,
    names_fail_for_now,
    times_out,
)
from support.matrix.processes import (
    disk_fails,
    power_may_fail,
    process_is_killed,
    process_is_told_to_stop,
    two_write_one_file,
)
from support.matrix.scenarios import accepts, fails, heals, pauses, refused, stops
from support.matrix.secrets import (
    address_is_not_safe,
    ids_look_like_paths,
    surroundings_name_a_proxy,
    texts_are_formulas,
    token_lies_open,
)
from support.matrix.times import MOMENTS, clock_jumps, windows_tile_the_range, zone_of_this_machine_differs
from support.matrix.tls import handshakes_are_cut, server_is_not_trusted

from profile_history import (
    ApiError,
    AuthenticationError,
    DecodeError,
    RateLimited,
    ResponseError,
    ResponseTooLarge,
    TruncatedResponse,
)
from profile_history.testing import Fault

SEEDS = range(25)
FAULTS = range(1, 66)
# Faults of durable jobs, and the tests that meet them: they need a ledger and a sink, not a stream.
ELSEWHERE = {
    59: ("a ledger that is corrupt, newer, or of another job", ("jobs/test_jobs_refused", "jobs/test_ledger")),
    60: ("a commit whose outcome is unknown", ("sinks/test_databases", "jobs/test_jobs_postgres")),
}
# fmt: off
ROWS = (
    row(1, "DNS: temporary failure, slow resolver", names_fail_for_now, R),
    row(2, "NXDOMAIN on the first ever request", name_is_unknown, J),
    row(3, "refused, connect timeout", is_down_for_a_while | cannot_connect(words="no connection to .* within 5 s"), R),
    row(4, "TLS: expired, wrong host, unknown CA, downgrade", server_is_not_trusted, J),
    row(5, "TLS handshake reset", handshakes_are_cut, R),
    row(6, "stale keep-alive", dies_in_use(outcome=F) | dies_in_use(Fault.RESET_BEFORE_RESPONSE, outcome=R), F | R),
    row(7, "idle pooled connection", connection_idles, A),
    row(8, "reset or end in the body, Content-Length too long, chunks without end", heals(*CUT, hits=3), R),
    row(9, "body cut without a length, truncated gzip",
        heals(Fault.CLOSE_DELIMITED_CUT, Fault.TRUNCATED_GZIP, behaviour=PLAIN), R),
    row(10, "Content-Length too short or twice, both framings, bad chunk size, bytes nobody asked for",
        heals(Fault.CONTENT_LENGTH_TOO_SHORT, *FRAMING) | fails(*FRAMING, error=ResponseError, attempts=OFTEN)
        | accepts(Fault.UNSOLICITED_RESPONSE), R | W | A),
    row(11, "never answers", heals(Fault.STALL, Fault.STALL_IN_BODY, check=times_out(TIMEOUTS.read + 3)), R),
    row(12, "slow-loris, endless 100 Continue", heals(*SLOW, check=times_out(TIMEOUTS.attempt + 1)), R),
    row(13, "20 kB header line, 500 headers, SSH banner, TLS bytes",
        heals(*NO_HTTP) | fails(*NO_HTTP, error=ResponseError, attempts=OFTEN), R | W),
    row(14, "no more files, no more ports", cannot_connect(*EXHAUSTED, words="files|port|memory"), R),

    row(15, "429 or 503 with Retry-After in seconds", pauses(*ASKING), P),
    row(16, "Retry-After as a date, clocks apart", pauses(Fault.RETRY_AFTER_DATE), P),
    row(17, "Retry-After is garbage", heals(Fault.RETRY_AFTER_GARBAGE, hits=3), R),
    row(18, "Retry-After is huge", stops(Fault.RETRY_AFTER_HUGE, error=RateLimited)
        | pauses(Fault.RETRY_AFTER_HUGE, variant=0, options=ENDURING, check=waits_hours, limit=90_000), J | P),
    row(19, "500, 502, 503, 504, 520 to 524, 408, 425", heals(*DOWN, Fault.GATEWAY_ERROR, hits=3), R),
    row(20, "400, 402, 404, 405, 413, 422", fails(*REFUSED, error=ApiError, attempts=1), W),
    row(21, "401 or 403 in the middle of a job", stops(Fault.ERROR_401, Fault.ERROR_403, error=AuthenticationError), J),
    row(22, "301, 302, 303, 307, 308", server_points_elsewhere, J),
    row(23, "a page with 200",
        heals(Fault.HTML_PAGE, hits=3) | fails(Fault.HTML_PAGE, error=ResponseError, attempts=ALL), R | W),
    row(24, "the right JSON under a wrong label", accepts(Fault.WRONG_CONTENT_TYPE), A),
    row(25, "an empty 200, 204, 206, 304, 999",
        heals(Fault.ODD_STATUS) | fails(Fault.ODD_STATUS, variant=HALF, error=TruncatedResponse, attempts=ALL)
        | fails(Fault.ODD_STATUS, variant=EMPTY, error=(ApiError, TruncatedResponse), attempts=OFTEN), R | W),
    row(26, "409", fails(Fault.ERROR_409, error=ApiError, attempts=1), W),

    row(27, "a huge body, a bomb",
        fails(Fault.HUGE_BODY, Fault.GZIP_BOMB, error=ResponseTooLarge, **LONG) | halves(by_bytes), W | R),
    row(28, "gzip twice, unknown encodings, empty members",
        heals(*PACKED, Fault.EMPTY_GZIP_MEMBERS) | fails(*PACKED, error=ResponseError, attempts=OFTEN)
        | fails(Fault.EMPTY_GZIP_MEMBERS, error=TruncatedResponse, attempts=ALL), R | W),
    row(29, "100,000 levels deep",
        heals(Fault.DEEP_JSON) | fails(Fault.DEEP_JSON, error=DecodeError, attempts=OFTEN), R | W),
    row(30, "an integer of 4,301 digits", accepts(Fault.HUGE_INTEGER, **IN_EXTRA), A),
    row(31, "2^63, 2^64, 1e400, NaN, Infinity", accepts(Fault.BIG_NUMBERS, **IN_EXTRA), A),
    row(32, "duplicate keys",
        heals(Fault.DUPLICATE_KEYS) | fails(Fault.DUPLICATE_KEYS, error=DecodeError, attempts=OFTEN), R | W),
    row(33, "BOM; bad UTF-8, trailing junk, a list, null",
        accepts(Fault.BOM) | heals(*NO_JSON) | fails(*NO_JSON, error=DecodeError, attempts=OFTEN), A | R | W),
    row(34, "lone surrogate, NUL, CR/LF, control bytes", rows_are_poison, A),

    row(35, "error is not 0, with 200",
        heals(Fault.API_ERROR, api_error=HEALING, hits=2) | stops(Fault.API_ERROR, api_error=ENDING, error=REVOKED)
        | fails(Fault.API_ERROR, api_error=CALLERS, error=ApiError, attempts=1)
        | fails(Fault.API_ERROR, api_error=STRANGE, error=ApiError, attempts=1), R | J | W),
    row(36, '`error` missing, null, "0", false, 0.0; `data` missing, null, an object',
        accepts(Fault.ERROR_AS_TEXT) | heals(*NO_ENVELOPE) | fails(*NO_ENVELOPE, error=DecodeError, attempts=OFTEN),
        A | R | W),
    row(37, "error is not 0, and there are rows",
        heals(Fault.ERROR_WITH_ROWS, hits=3) | fails(Fault.ERROR_WITH_ROWS, error=ApiError, attempts=ALL), R | W),
    row(38, "the token echoed, with escapes and 1 MB",
        heals(Fault.ECHOED_TOKEN, Fault.TOKEN_IN_HEADER)
        | fails(Fault.TOKEN_IN_HEADER, error=ResponseError, attempts=OFTEN)
        | fails(Fault.ECHOED_TOKEN, api_error=440, error=ApiError, attempts=1), R | W),
    row(39, "events outside the days asked for", accepts(Fault.ROWS_OUTSIDE, options=OVERLAP), A),
    row(40, "duplicates in a window, and at the edges of windows",
        accepts(Fault.REPEATED_ROWS, same=repeated, whole=True) | bounds_are_read_otherwise, A),
    row(41, "unsorted, another order at each attempt",
        accepts(Fault.UNSORTED, same=in_any_order_of_a_moment) | order_differs, A | R),
    row(42, "a number of rows at a cap", halves(by_rows) | server_cuts_answers, R | A),
    row(43, "rows of another profile", fails(Fault.OTHER_PROFILE, error=ResponseError, attempts=1, **NEWER), W),
    row(44, "unknown action, odd, missing or new fields",
        accepts(*ODD_ROWS, **MORE) | accepts(Fault.UNKNOWN_FIELDS, same=with_more_in_each)
        | fails(Fault.MISSING_FIELDS, Fault.NO_ROW, error=DecodeError, attempts=1, strict=True, whole=True), A | W),
    row(45, "the history changes between attempts", history_grows, R),

    row(46, "naive moments, changes of the clock",
        refused(*MOMENTS) | zone_of_this_machine_differs | windows_tile_the_range, X | A),
    row(47, "23:59:60, 24:00, epochs, far future", accepts(Fault.ODD_DATETIMES, **MORE), A),
    row(48, "the wall clock jumps", clock_jumps, R),

    row(49, "the consumer breaks, raises, drops the iterator",
        left_by(by_break) | left_by(by_raising) | left_by(by_closing) | left_by(by_dropping), C),
    row(50, "cancelled at any await", cancelled(storm=False), C),
    row(51, "a cancellation swallowed",
        cancelled(storm=True) | source_swallows_a_cancellation | consumer_runs_out_of_time, C),
    row(52, "a slow consumer", consumer_is_slow, A),
    row(53, "a bug in a source, in a hook", source_has_a_bug | hook_has_a_bug, J | A),
    row(54, "SIGINT or SIGTERM, once, twice", process_is_told_to_stop, J, slow=True),
    row(55, "kill -9 anywhere", process_is_killed, J, slow=True),
    row(56, "power loss", power_may_fail, A),
    row(57, "ENOSPC, EIO, EDQUOT, read-only", disk_fails, J),
    row(58, "two processes, one output", two_write_one_file, X, slow=True),
    row(61, "fork, another loop, double close, use after close", loop_is_another | refused(*MISUSED), X),

    row(62, "the token on argv, in a file for all to read", token_lies_open, X),
    row(63, "formula cells and control characters", texts_are_formulas | rows_are_poison, A),
    row(64, "a profile id like a path", ids_look_like_paths, A),
    row(65, "http, link-local hosts, proxies, .netrc", address_is_not_safe | surroundings_name_a_proxy, X | A),
)
# fmt: on
