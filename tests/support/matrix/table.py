"""The faults that `docs/reliability.md` lists, a row each: the class that a fault comes to, and how it is caused."""

from support.matrix.bodies import IN_EXTRA, LONG, NO_JSON, PACKED, PLAIN, by_bytes, halves, rows_are_poison
from support.matrix.case import ALL, OFTEN, TIMEOUTS
from support.matrix.classes import (
    ACCEPTED,
    CONSUMER_ENDED,
    FREE,
    PAUSED,
    REFUSED,
    RETRIED,
    STREAM_STOPPED,
    WINDOW_FAILED,
)
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
from support.matrix.http import (
    ASKING,
    DOWN,
    EMPTY,
    ENDURING,
    HALF,
    REJECTED,
    page_for_everyone,
    server_points_elsewhere,
    waits_hours,
)
from support.matrix.lines import row
from support.matrix.meaning import (
    CALLERS,
    ENDING,
    MORE,
    NEWER,
    NO_ENVELOPE,
    ODD_ROWS,
    OVERLAP,
    PASSING,
    REVOKED,
    STRANGE,
    bounds_are_read_otherwise,
    by_rows,
    history_grows,
    order_differs,
    server_cuts_responses,
)
from support.matrix.network import (
    CUT,
    EXHAUSTED,
    FRAMING,
    LARGE_HEAD,
    NO_HTTP,
    REFUSED_AS_HTTP,
    SLOW,
    TWICE,
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
from support.matrix.scenarios import accepts, fails, passes, pauses, refused, stops
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
    UnexpectedPage,
)
from profile_history.testing import Fault

SEEDS = range(25)
FAULTS = range(1, 66)
# Faults of durable jobs, and the tests that meet them: they need a ledger and a sink, not a stream.
ELSEWHERE = {
    59: ("a ledger that is damaged, newer, or of another job", REFUSED, ("jobs/test_jobs_refused", "jobs/test_ledger")),
    60: ("a COMMIT whose outcome is unknown", RETRIED, ("sinks/test_databases", "jobs/test_jobs_postgres")),
}
# Two lines or three for a fault, to be read beside the page; the formatter would give each argument a line.
# fmt: off
ROWS = (
    row(1, "DNS: a temporary failure, a slow resolver", RETRIED, names_fail_for_now),
    row(2, "an unknown host (NXDOMAIN)", STREAM_STOPPED, name_is_unknown),
    row(3, "connection refused, connect timeout", RETRIED,
        is_down_for_a_while | cannot_connect(words="no connection to .* within 5 s")),
    row(4, "TLS: certificate expired, of another host or authority; no TLS", STREAM_STOPPED, server_is_not_trusted),
    row(5, "TLS handshake cut", RETRIED, handshakes_are_cut),
    row(6, "an idle connection dies as it is used again", FREE | RETRIED,
        dies_in_use(outcome=FREE) | dies_in_use(Fault.RESET_BEFORE_RESPONSE, outcome=RETRIED)),
    row(7, "a connection idles, for seconds or for an hour", ACCEPTED, connection_idles),
    row(8, "reset or end in the body, length too long, no last chunk", RETRIED, passes(*CUT, hits=3)),
    row(9, "a body without a length is cut, gzip is cut", RETRIED,
        passes(Fault.CLOSE_DELIMITED_CUT, Fault.TRUNCATED_GZIP, behaviour=PLAIN)),
    row(10, "length too short or given twice, two framings, bytes nobody asked for", RETRIED | WINDOW_FAILED | ACCEPTED,
        passes(Fault.CONTENT_LENGTH_TOO_SHORT, *TWICE, *FRAMING) | fails(*FRAMING, error=ResponseError, attempts=OFTEN)
        | accepts(Fault.UNSOLICITED_RESPONSE)),
    row(11, "no response, or none that goes on", RETRIED,
        passes(Fault.STALL, Fault.STALL_IN_BODY, check=times_out(TIMEOUTS.read + 3))),
    row(12, "one byte now and then, endless 100 Continue", RETRIED,
        passes(*SLOW, check=times_out(TIMEOUTS.attempt + 1))),
    row(13, "20 kB header line, 500 headers, SSH banner, TLS bytes", RETRIED | WINDOW_FAILED | ACCEPTED,
        passes(*NO_HTTP) | fails(*REFUSED_AS_HTTP, error=ResponseError, attempts=OFTEN) | accepts(*LARGE_HEAD)),
    row(14, "no more files, ports or buffers on this machine", RETRIED,
        cannot_connect(*EXHAUSTED, words="files|port|memory")),

    row(15, "429 or 503 with Retry-After in seconds", PAUSED, pauses(*ASKING, options=ENDURING)),
    row(16, "Retry-After as a date, clocks differ; with a fraction", PAUSED,
        pauses(Fault.RETRY_AFTER_DATE, Fault.RETRY_AFTER_FRACTION)),
    row(17, "Retry-After that is no number and no date", RETRIED, passes(Fault.RETRY_AFTER_GARBAGE, hits=3)),
    row(18, "Retry-After of hours", STREAM_STOPPED | PAUSED,
        stops(Fault.RETRY_AFTER_HUGE, error=RateLimited)
        | pauses(Fault.RETRY_AFTER_HUGE, variant=0, options=ENDURING, check=waits_hours, limit=90_000)),
    row(19, "408, 425, 500, 502, 503, 504, 520 to 524", RETRIED, passes(*DOWN, Fault.GATEWAY_ERROR, hits=3)),
    row(20, "400, 402, 404, 405, 413, 422", WINDOW_FAILED,
        fails(*REJECTED, error=(ApiError, UnexpectedPage), attempts=1)),
    row(21, "401 or 403, in the middle as well; a page for everyone", STREAM_STOPPED,
        stops(Fault.ERROR_401, Fault.ERROR_403, error=AuthenticationError) | page_for_everyone),
    row(22, "301, 302, 303, 307, 308", STREAM_STOPPED, server_points_elsewhere),
    row(23, "an HTML page with status 200", RETRIED | WINDOW_FAILED,
        passes(Fault.HTML_PAGE, hits=3) | fails(Fault.HTML_PAGE, error=ResponseError, attempts=ALL)),
    row(24, "right JSON, wrong Content-Type", ACCEPTED, accepts(Fault.WRONG_CONTENT_TYPE)),
    row(25, "an empty 200, 204, 206, 304, 999", RETRIED | WINDOW_FAILED,
        passes(Fault.ODD_STATUS) | fails(Fault.ODD_STATUS, variant=HALF, error=TruncatedResponse, attempts=ALL)
        | fails(Fault.ODD_STATUS, variant=EMPTY, error=(ApiError, TruncatedResponse), attempts=OFTEN)),
    row(26, "409", WINDOW_FAILED, fails(Fault.ERROR_409, error=UnexpectedPage, attempts=1)),

    row(27, "a body that is too big, a gzip bomb", WINDOW_FAILED | RETRIED,
        fails(Fault.HUGE_BODY, Fault.GZIP_BOMB, error=ResponseTooLarge, **LONG) | halves(by_bytes)),
    row(28, "gzip twice, unknown encodings, empty gzip members", RETRIED | WINDOW_FAILED,
        passes(*PACKED, Fault.EMPTY_GZIP_MEMBERS) | fails(*PACKED, error=ResponseError, attempts=OFTEN)
        | fails(Fault.EMPTY_GZIP_MEMBERS, error=DecodeError, attempts=OFTEN)),
    row(29, "JSON of 100,000 levels", RETRIED | WINDOW_FAILED,
        passes(Fault.DEEP_JSON) | fails(Fault.DEEP_JSON, error=DecodeError, attempts=OFTEN)),
    row(30, "an integer of 4,301 digits", ACCEPTED, accepts(Fault.HUGE_INTEGER, **IN_EXTRA)),
    row(31, "2^63, 2^64, 1e400, NaN, Infinity", ACCEPTED, accepts(Fault.BIG_NUMBERS, **IN_EXTRA)),
    row(32, "duplicate keys at the top of the response", RETRIED | WINDOW_FAILED,
        passes(Fault.DUPLICATE_KEYS) | fails(Fault.DUPLICATE_KEYS, error=DecodeError, attempts=OFTEN)),
    row(33, "BOM; bad UTF-8, text after the end, a list, null", ACCEPTED | RETRIED | WINDOW_FAILED,
        accepts(Fault.BOM) | passes(*NO_JSON) | fails(*NO_JSON, error=DecodeError, attempts=OFTEN)),
    row(34, "lone surrogate, NUL, CR/LF, control characters in a text", ACCEPTED, rows_are_poison),

    row(35, "`error` is not 0, with status 200", RETRIED | STREAM_STOPPED | WINDOW_FAILED,
        passes(Fault.API_ERROR, api_error=PASSING, hits=2) | stops(Fault.API_ERROR, api_error=ENDING, error=REVOKED)
        | fails(Fault.API_ERROR, api_error=CALLERS, error=ApiError, attempts=1)
        | fails(Fault.API_ERROR, api_error=STRANGE, error=ApiError, attempts=1)),
    row(36, '`error` missing, null, "0", false, 0.0; `data` no array', ACCEPTED | RETRIED | WINDOW_FAILED,
        accepts(Fault.ERROR_AS_TEXT) | passes(*NO_ENVELOPE) | fails(*NO_ENVELOPE, error=DecodeError, attempts=OFTEN)),
    row(37, "`error` is not 0, and there are rows", RETRIED | WINDOW_FAILED,
        passes(Fault.ERROR_WITH_ROWS, hits=3) | fails(Fault.ERROR_WITH_ROWS, error=ApiError, attempts=ALL)),
    row(38, "the response repeats the token, in 1 MB, with escapes", RETRIED | WINDOW_FAILED,
        passes(Fault.ECHOED_TOKEN, Fault.TOKEN_IN_HEADER)
        | fails(Fault.TOKEN_IN_HEADER, error=ResponseError, attempts=OFTEN)
        | fails(Fault.ECHOED_TOKEN, api_error=440, error=ApiError, attempts=1)),
    row(39, "rows of days that were not asked for", ACCEPTED, accepts(Fault.ROWS_OUTSIDE, options=OVERLAP)),
    row(40, "duplicates in a window, other bounds and clocks of the server", ACCEPTED,
        accepts(Fault.REPEATED_ROWS, same=repeated, whole=True) | bounds_are_read_otherwise),
    row(41, "rows not sorted, or in another order per attempt", ACCEPTED | RETRIED,
        accepts(Fault.UNSORTED, same=in_any_order_of_a_moment) | order_differs),
    row(42, "responses cut at a number of rows", RETRIED | ACCEPTED, halves(by_rows) | server_cuts_responses),
    row(43, "rows of another profile", WINDOW_FAILED,
        fails(Fault.OTHER_PROFILE, error=ResponseError, attempts=1, **NEWER)),
    row(44, "an unknown action; odd, missing or new fields", ACCEPTED | WINDOW_FAILED,
        accepts(*ODD_ROWS, **MORE) | accepts(Fault.UNKNOWN_FIELDS, same=with_more_in_each)
        | fails(Fault.MISSING_FIELDS, Fault.NO_ROW, error=DecodeError, attempts=1, strict=True, whole=True)),
    row(45, "the history changes between attempts", RETRIED, history_grows),

    row(46, "moments instead of days, changes of the clock", REFUSED | ACCEPTED,
        refused(*MOMENTS) | zone_of_this_machine_differs | windows_tile_the_range),
    row(47, "23:59:60, 24:00, epoch numbers, the far future", ACCEPTED, accepts(Fault.ODD_DATETIMES, **MORE)),
    row(48, "the wall clock jumps", RETRIED, clock_jumps),

    row(49, "the consumer breaks, raises, closes, or drops the iterator", CONSUMER_ENDED,
        left_by(by_break) | left_by(by_raising) | left_by(by_closing) | left_by(by_dropping)),
    row(50, "a cancellation at any await", CONSUMER_ENDED, cancelled(storm=False)),
    row(51, "cancellations in a row, one that is swallowed, a timeout", CONSUMER_ENDED,
        cancelled(storm=True) | source_swallows_a_cancellation | consumer_runs_out_of_time),
    row(52, "a slow consumer", ACCEPTED, consumer_is_slow),
    row(53, "a bug in a source, in a hook", STREAM_STOPPED | ACCEPTED, source_has_a_bug | hook_has_a_bug),
    row(54, "SIGINT or SIGTERM, once, twice", STREAM_STOPPED, process_is_told_to_stop, slow=True),
    row(55, "kill -9 anywhere", STREAM_STOPPED, process_is_killed, slow=True),
    row(56, "loss of power", ACCEPTED, power_may_fail),
    row(57, "a disk that is full, fails, or is read-only", STREAM_STOPPED, disk_fails),
    row(58, "two processes, one output file", REFUSED, two_write_one_file, slow=True),
    row(61, "use after a fork, in another loop, after closing", REFUSED, loop_is_another | refused(*MISUSED)),

    row(62, "the token on the command line, in a file others can read", REFUSED, token_lies_open),
    row(63, "formula cells and control characters", ACCEPTED, texts_are_formulas | rows_are_poison),
    row(64, "a profile id like a path", ACCEPTED, ids_look_like_paths),
    row(65, "plain http, proxies of the environment, .netrc", REFUSED | ACCEPTED,
        address_is_not_safe | surroundings_name_a_proxy),
)
# fmt: on
