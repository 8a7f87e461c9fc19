"""What is accepted as one complete response, and how its rows come apart."""

import json
import time
from collections import deque
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_history import DecodeError, ResponseError, TruncatedResponse
from profile_history._protocol import chunking, envelope
from profile_history._protocol.chunking import CHUNK_SIZE, split_rows
from profile_history._protocol.envelope import BOM, read_envelope

NASTY = ['},{"action"', "]", '"data":[', '"', "\\", '\\"}],"error":0}', "é я € 😀", "{", ""]
TEXT = st.sampled_from(NASTY) | st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
SPACING = [
    {"separators": (",", ":")},
    {},
    {"indent": 2},
    {"separators": (" ,\r\n\t", " : "), "ensure_ascii": False},
]

SEED_ROW = {
    "action": "click",
    "count": 1,
    "datetime": "2017-04-05T07:48:44Z",
    "email": "john@example.com",
    "list_id": 20,
    "message_id": 5,
    "xxh": "0eb51aefd919f90a",
}
NESTED_ROW = {
    "action": "send",
    "subscriptions": [{"action": "é€😀", "cats": []}, {"action": '},{"action"', "cats": [1]}],
}
META = {"alpha": [1, {"deep": [2]}], "omega": [[], "]"]}


def verified(body, chunk_size=CHUNK_SIZE):
    """Return the envelope of a body and the number of steps it took; however it arrives, it comes to the same."""
    try:
        response, steps = verify_in_parts(body, chunk_size, [])
    except ResponseError:
        for part in (3 * chunk_size, 8 * chunk_size):
            with pytest.raises(ResponseError):
                verify_in_parts(body, chunk_size, split_bytes(body, part))
        raise
    for part in (3 * chunk_size, 8 * chunk_size):
        other, more = verify_in_parts(body, chunk_size, split_bytes(body, part))
        assert (other.error, other.error_text, other.rows and other.rows.size) == (
            response.error,
            response.error_text,
            response.rows and response.rows.size,
        )
        if response.rows is not None:
            assert texts_of(other) == texts_of(response)
        steps = min(steps, more)
    return response, steps


def split_bytes(body, size):
    return [body[place : place + size] for place in range(0, len(body), size)]


def verify_in_parts(body, chunk_size, parts):
    """Do the same with a body that arrives in parts, or whole."""
    found = []
    first, *rest = parts or [body]

    def drive():
        found.append((yield from read_envelope(first, deque(rest))))

    with mock.patch.object(envelope, "CHUNK_SIZE", chunk_size), mock.patch.object(chunking, "CHUNK_SIZE", chunk_size):
        steps = sum(1 for _ in drive())
    return found[0], steps


def texts_of(response):
    return [row for chunk in response.rows.chunks for row in split_rows(chunk.text)]


def rows_of(response):
    return [json.loads(row, strict=False) for row in texts_of(response)]


def written(rows, **others):
    return json.dumps({"error": 0, "error_text": "ok", "data": rows, **others}, separators=(",", ":")).encode()


def with_rows(rows):
    return b'{"data":[%b],"error":0}' % rows


def expected(body):
    """Return what the standard library makes of a body, or `None` if it must be refused."""
    try:
        response = json.loads(body, strict=False)
        keys = [key for key, _ in json.loads(body, strict=False, object_pairs_hook=list)]
    except (ValueError, TypeError):
        return None
    is_whole = isinstance(response, dict) and isinstance(response.get("error"), int)
    return response if is_whole and len(set(keys)) == len(keys) else None


REFERENCES = {
    "seed": with_rows(b",".join([json.dumps(SEED_ROW).encode()] * 3)),
    "nested": written([NESTED_ROW, SEED_ROW], meta=META),
    "error first": json.dumps({"error": 0, "meta": META, "data": [SEED_ROW, NESTED_ROW]}, ensure_ascii=False).encode(),
    "lone surrogate": with_rows(rb'{"a":"\ud800"},{"a":[{"a":1},{"a":2}]},{"b":-1.5e3,"c":[true,false,null]}'),
}
reference_bodies = pytest.mark.parametrize("body", REFERENCES.values(), ids=REFERENCES)
chunk_sizes = pytest.mark.parametrize("chunk_size", [16, 64, CHUNK_SIZE])


@given(
    rows=st.lists(st.dictionaries(TEXT, JSON, max_size=4), max_size=20),
    keys=st.permutations(["error", "error_text", "data", "meta"]),
    spacing=st.sampled_from(SPACING),
    chunk_size=st.sampled_from([16, 64, 300]),
)
def test_whatever_the_rows_hold_they_come_apart_as_they_were_written(rows, keys, spacing, chunk_size):
    """Splitting into chunks loses, changes and reorders nothing, in any order of keys and any spacing."""
    values = {"error": 0, "error_text": "ok", "data": rows, "meta": META}
    response, _ = verified(json.dumps({key: values[key] for key in keys}, **spacing).encode(), chunk_size)
    assert rows_of(response) == rows
    assert response.rows.count == len(rows)
    assert (response.error, response.error_text) == (0, "ok")


@chunk_sizes
@reference_bodies
def test_no_beginning_of_an_answer_passes_for_an_answer(body, chunk_size):
    """A response cut after any byte is refused, and the whole of it is not."""
    assert rows_of(verified(body, chunk_size)[0]) == json.loads(body)["data"]
    for end in range(len(body)):
        with pytest.raises(ResponseError):
            verified(body[:end], chunk_size)


@given(
    body=st.sampled_from(list(REFERENCES.values())),
    place=st.floats(0, 1, exclude_max=True),
    change=st.sampled_from(["delete", "insert", "replace"]),
    byte=st.sampled_from(b'{}[],:"\\ 01-.etn\n\x00\xff') | st.integers(0, 255),
    chunk_size=st.sampled_from([16, 64]),
)
def test_one_wrong_byte_is_judged_as_the_standard_library_judges_it(body, place, change, byte, chunk_size):
    """What json.loads refuses is refused; what it reads is read the same, but for bare control characters in rows."""
    at = int(place * len(body))
    spoilt = body[:at] + (b"" if change == "delete" else bytes([byte])) + body[at + (change != "insert") :]
    response = expected(spoilt)
    if response is None:
        with pytest.raises(ResponseError):
            verified(spoilt, chunk_size)
        return
    try:
        found, _ = verified(spoilt, chunk_size)
    except ResponseError:
        with pytest.raises(ValueError, match="control character"):
            json.loads(spoilt)
        return
    assert found.error == response["error"]
    assert (rows_of(found) if found.rows else None) == response.get("data")


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":1,"data":[],"error":0}',
        b'{"error":1,"error":0}',
        b'{"data":[{}],"data":[],"error":0}',
        b'{"data":[{}],"data":[{}],"error":0}',
        b'{"error":0,"data":[{}],"d\\u0061ta":null}',
    ],
)
def test_an_answer_that_says_two_things_is_refused(body):
    """A key that stands twice at the top could turn an error into a success."""
    with pytest.raises(DecodeError):
        verified(body)


@pytest.mark.parametrize(
    "tail",
    [
        b',"meta":[1]',
        b',"meta":{"trace":[1],"error":5}',
        b',"meta":{"trace":[1],"data":2}',
        b',"meta":{"trace":[1],"error_text":"x"},"error_text":"y"',
        b',"meta":{"trace":1,"trace":[2]}',
        b',"meta":"]}"',
    ],
)
def test_what_stands_after_the_rows_does_not_confuse(tail):
    """Arrays after `data`, and objects there that repeat the envelope's own keys, leave the rows as they are."""
    response, _ = verified(b'{"error":0,"data":[{"a":[1]}]%b}' % tail)
    assert rows_of(response) == [{"a": [1]}]


@pytest.mark.parametrize(
    "head", [b'"k\\"data":[1]', b'"meta":{"data":[1]}', b'"meta":[{"data":[1]},[]]', b'"text":"\\"data\\":["']
)
def test_only_the_envelopes_own_data_are_the_rows(head):
    """A nested `data`, a key that ends in it and a text that quotes it are passed over."""
    response, _ = verified(b'{%b,"error":0,"data":[{"a":1}]}' % head)
    assert rows_of(response) == [{"a": 1}]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", TruncatedResponse),
        (b" \r\n", TruncatedResponse),
        (b"\xef\xbb\xbf", TruncatedResponse),
        (b"<html>busy</html>", DecodeError),
        (b"[]", DecodeError),
        (b"null", DecodeError),
        (b'{"error":0', TruncatedResponse),
        (b'{"error":0,"error_text":"half', TruncatedResponse),
        (b'{"data":[{"a":1}', TruncatedResponse),
        (b'{"error" 0}', DecodeError),
        (b'{"error":0,"error_text":"\xff"}', DecodeError),
        (b'{"error":0}}', DecodeError),
        (b'{"data":[],"error":0}x', DecodeError),
        (b'{"data":[{}],"error":0}{}', DecodeError),
        (b'{"data":[{}],"error":0}]', DecodeError),
        (b'{"data":[{"fields":{"a":[1]}},{"fields":{"a":[1,2', TruncatedResponse),
    ],
)
def test_what_is_no_complete_object_is_refused_by_its_fault(body, error):
    """A response that stops early and one that is something else are told apart; junk behind the end is a fault."""
    with pytest.raises(error):
        verified(body)


@pytest.mark.parametrize(
    "rows",
    [b'{"a":1},,{"a":2}', b'{"a":1', b'{"a":\xff}', b"[" * 100_000],
    ids=["two commas", "an open row", "no value", "too deep"],
)
def test_a_documented_answer_whose_rows_are_no_json_is_refused(rows):
    """The keys in their usual order, and no error, do not vouch for what stands between them."""
    with pytest.raises(DecodeError, match="the rows are no JSON"):
        verified(b'{"data":[%b],"error":0,"error_text":""}' % rows)


class OtherWords:
    """A parser of JSON that finds the same faults as the standard library's, in words of its own."""

    def raw_decode(self, document, place):
        """Parse as `json.JSONDecoder` does."""
        try:
            return json.JSONDecoder(object_pairs_hook=list).raw_decode(document, place)
        except json.JSONDecodeError as error:
            raise json.JSONDecodeError("no way", error.doc, error.pos) from None


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error":1,"error_text":"wro', TruncatedResponse),
        (b'{"error":1,"error_te', TruncatedResponse),
        (b'{"error":1,"errors":["a", "b\\', TruncatedResponse),
        (b'{ "', TruncatedResponse),
        (b'{"error":1,', TruncatedResponse),
        (b'{"error" "b', DecodeError),
        (b'{"error":1 "b', DecodeError),
        (b'{"error":1,"error_text":"wrong"}}', DecodeError),
        (b'{"error":1,"error_text":"wrong"} {', DecodeError),
    ],
)
def test_an_answers_fault_does_not_hang_on_the_parsers_words(body, error, monkeypatch):
    """Those change from one version of Python to the next, and a cut response is asked for again."""
    with pytest.raises(ResponseError) as usual:
        verified(body)
    # A private name: no other version of Python is at hand.
    monkeypatch.setattr(envelope, "_pairs", OtherWords())
    with pytest.raises(ResponseError) as refused:
        verified(body)
    assert type(refused.value) is type(usual.value) is error


@pytest.mark.parametrize(
    "said", ["", '"error":null,', '"error":false,', '"error":true,', '"error":0.0,', '"error":"x",', '"error":[],']
)
def test_without_a_whole_number_nothing_says_success(said):
    """An `error` that is missing or no whole number is refused by its path."""
    with pytest.raises(DecodeError) as caught:
        verified(b'{%b"data":[]}' % said.encode())
    assert caught.value.path == "$.error"


@pytest.mark.parametrize(("said", "code"), [(b'"0"', 0), (b"0", 0), (b'"-1"', -1), (b"440", 440)])
def test_a_code_may_be_written_as_text(said, code):
    """`"0"` is 0, as a number would be."""
    assert verified(b'{"error":%b,"error_text":7,"data":[]}' % said)[0].error == code


@pytest.mark.parametrize("data", [b"", b',"data":null', b',"data":{"data":[]}', b',"data":"[]"'])
def test_data_that_is_no_array_is_not_an_empty_history(data):
    """Where `data` is missing or something else, there are no rows at all, not zero of them."""
    assert verified(b'{"error":0%b}' % data)[0].rows is None


def test_a_byte_order_mark_is_no_part_of_the_answer():
    """A mark in front and blanks around are dropped, and the rows keep their places."""
    assert rows_of(verified(b'\xef\xbb\xbf \n{"data":[ {"a":1} ],"error":0} \r\n')[0]) == [{"a": 1}]


@pytest.mark.parametrize(
    "body",
    [
        with_rows(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        with_rows(rb'{"a":"\ud800"},{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        b'{"data":[{}],"error":0,"meta":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"meta":' + b"[" * 100_000 + b"]" * 100_000 + b',"data":[{}],"error":0}',
    ],
    ids=["rows", "lenient rows", "after the rows", "before the rows"],
)
def test_absurd_nesting_is_refused_without_a_crash(body):
    """A hundred thousand brackets are an error like any other, wherever they stand."""
    with pytest.raises(ResponseError):
        verified(body)


@chunk_sizes
@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
def test_rows_that_are_no_utf_8_are_refused(bad, chunk_size):
    """Stray, overlong, surrogate and too large sequences are all found."""
    with pytest.raises(DecodeError):
        verified(with_rows(b'{"a":"%b"},{"a":"%b"}' % (b"x" * 90, bad)), chunk_size)


@chunk_sizes
@pytest.mark.parametrize("odd", [b"\\ud800", b"\\udc00x", b"\x01", b"\n\t", b"\x00"])
def test_an_odd_character_does_not_cost_the_response(odd, chunk_size):
    """Half a surrogate pair and a bare control character inside a row's text are let through, neighbours unharmed."""
    rows = b'{"a":"%b"} , {"a":"%b"},{"a":2}' % (b"x" * 90, odd)
    assert rows_of(verified(with_rows(rows), chunk_size)[0]) == json.loads(b"[%b]" % rows, strict=False)


@chunk_sizes
@pytest.mark.parametrize("row", [b'{"a":"%b"}' % (b"x" * 90), b'{"a":"\\ud800"}'], ids=["usual", "lenient"])
@pytest.mark.parametrize(
    "wrong", ["R R", "RR", "R,,R", "R,R,", ",R,R", "R,R,,", ",", " , ", "R]R", "R:R", "R,R}", "R,x"]
)
def test_rows_are_parted_by_single_commas(wrong, row, chunk_size):
    """A comma missing, doubled, leading or trailing is an error in both ways of splitting."""
    with pytest.raises(DecodeError):
        verified(with_rows(wrong.encode().replace(b"R", row)), chunk_size)


MANY = range(20_000)
SHAPES = {
    "seed": [{**SEED_ROW, "message_id": number} for number in MANY],
    "first row in another order": [dict(reversed(SEED_ROW.items()))] + [SEED_ROW] * len(MANY),
    "nested objects that begin like rows": [{"id": 1, "subs": [{"id": n}, {"id": {"id": n}}] * 5} for n in MANY],
    "no common first key": [{f"k{n % 7}": "}", "text": "x" * 150} for n in MANY],
    "one huge row": [{"a": [{"a": n} for n in range(300_000)]}],
}


@pytest.mark.slow
@pytest.mark.parametrize("rows", SHAPES.values(), ids=SHAPES)
def test_a_big_answer_is_verified_in_many_steps(rows):
    """The event loop can run other work at least once in five chunks, whatever the rows look like."""
    body = written(rows)
    response, steps = verified(body)
    assert len(body) > 2_500_000
    assert steps >= len(body) / (5 * CHUNK_SIZE)
    assert rows_of(response) == rows
    assert response.rows.size == len(body)


@pytest.mark.parametrize("rows", [list(range(1000, 1300)), ["x" * 20] * 50, [None, True] * 200, [[1, [2]]] * 100])
def test_rows_that_are_no_objects_are_left_to_the_decoder(rows):
    """An array of anything is a complete response; which of it is a row is not the envelope's question."""
    assert rows_of(verified(written(rows), 64)[0]) == rows


@pytest.mark.parametrize("blanks", [b" " * 20, b"\n" * 200])
@pytest.mark.parametrize("length", range(20, 140, 10))
def test_blanks_around_rows_never_matter(length, blanks):
    """Wherever a cut falls, blanks before the first row, at commas and after the last row are no rows and no ends."""
    row = b'{"a":"%b"}' % (b"x" * length)
    rows = blanks + (blanks + b"," + blanks).join([row] * 3) + blanks
    assert rows_of(verified(with_rows(rows), 64)[0]) == [json.loads(row)] * 3


def test_a_byte_order_mark_is_passed_over_in_an_answer_that_came_in_pieces_too():
    """Wherever the first part ends."""
    body = BOM + with_rows(b'{"a":1}')
    for first in range(len(body)):
        response, _ = verify_in_parts(body, 8, [body[:first], body[first:]])
        assert rows_of(response) == [{"a": 1}]


@pytest.mark.parametrize("junk", [b"x", b"{}", b',"error":1}'])
def test_a_whole_answer_with_more_behind_it_is_none_however_it_arrives(junk):
    """Not even where the first part would do by itself."""
    body = b'{"data":[{"a":1}],"error":0,"error_text":"ok"}'
    assert rows_of(verify_in_parts(body, CHUNK_SIZE, [body])[0]) == [{"a": 1}]
    with pytest.raises(ResponseError):
        verify_in_parts(body + junk, CHUNK_SIZE, [body, junk])


LONG_TAIL = b',],"error":0,"error_text":"%b"}' % (b"x" * 5000)


@pytest.mark.parametrize("tail", [LONG_TAIL, b",", b",]", b',{"a":1},],"error":0}', b' ,\n ],"error":0}', b"x", b""])
def test_what_follows_the_rows_cut_so_far_is_verified_as_well(tail):
    """A comma too many, junk, or nothing at all: no response is better for having come in parts."""
    row = b'{"a":"%b"}' % (b"x" * 50)
    body = b'{"data":[' + b",".join([row] * 100) + tail
    for size in range(60, 3000, 97):
        with pytest.raises(ResponseError):
            verify_in_parts(body, 64, split_bytes(body, size))


def test_an_answer_that_does_not_begin_in_time_is_no_answer():
    """Nobody reads sixty megabytes of blanks to find out."""
    with pytest.raises(DecodeError, match="no JSON object"):
        verified(b" " * 100_000 + b'{"data":[],"error":0}')
    with pytest.raises(TruncatedResponse, match="empty"):
        verified(b" " * 1000)


def test_an_answer_beyond_the_outlines_limit_is_refused():
    """A megabyte besides the rows is no response of this API and is not parsed in one go."""
    text = b'"error_text":"%b"' % (b"x" * 1_100_000)
    for body in (b'{"data":[],"error":0,%b}' % text, b'{"error":0,%b}' % text):
        with pytest.raises(ResponseError):
            verified(body)


@pytest.mark.parametrize("end", [b"", b"\\", b"\\\\"])
def test_a_text_without_end_is_refused_in_no_time(end):
    """A lost quote in front of 20,000 quoted quotes costs milliseconds, not a search from each of them."""
    body = with_rows(b'{"a":"' + rb"\"" * 20_000 + end)
    began = time.process_time()
    with pytest.raises(DecodeError):
        verified(body, 64)
    assert time.process_time() - began < 0.5
