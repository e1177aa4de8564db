"""Reading heads, held against llhttp and against what smugglers try (RFC 9112).

Accepting is compared one way for all inputs: what we take, llhttp takes, and reads alike. Where llhttp takes what we
refuse, ``STRICTER`` says why; nothing else may differ.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llhttp import Llhttp, pairs
from worker.failure import Failure, Refused
from worker.http1 import (
    CHUNKED,
    MAX_RESPONSE_FIELDS,
    UNKNOWN_LENGTH,
    RequestHead,
    ResponseHead,
    connection_tokens,
    read_request,
    read_response,
)
from worker.route import split_target

HOST = b"Host: a\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST
POST = b"POST / HTTP/1.1\r\n" + HOST
OK = b"HTTP/1.1 200 OK\r\n"


def request(data: bytes, max_bytes: int = 65_536, max_fields: int = 100) -> RequestHead:
    head = read_request(data, max_bytes, max_fields)
    assert head is not None, "more bytes are needed"
    return head


def response(data: bytes, *, to_head: bool = False) -> ResponseHead:
    head = read_response(data, 65_536, to_head=to_head)
    assert head is not None, "more bytes are needed"
    return head


def refusal(data: bytes, max_bytes: int = 65_536, max_fields: int = 100) -> Failure:
    with pytest.raises(Refused) as refused:
        split_target(request(data, max_bytes, max_fields).target)
    return refused.value.failure


def assert_framed(head: bytes, length: int, *, is_response: bool = False) -> None:
    """That llhttp expects the same body after this head."""
    alone = Llhttp(head, is_response)
    if alone.is_upgrade:
        return
    assert alone.is_done == (length == 0)
    if length == CHUNKED:
        chunked = Llhttp(head + b"0\r\n\r\n", is_response)
        assert (chunked.is_done, chunked.body) == (True, b"")
    elif length == UNKNOWN_LENGTH:
        assert not Llhttp(head + bytes(1_000), is_response).is_done
    elif 0 < length < 10_000:
        assert not Llhttp(head + b"x" * (length - 1), is_response).is_done
        assert Llhttp(head + b"x" * length, is_response).is_done


@dataclass(frozen=True)
class Stricter:
    """A reason to refuse what llhttp accepts, with a head that shows it."""

    reason: str
    head: bytes
    holds: Callable[[Llhttp], object]


_AUTHORITY = rb"(?:[\w.~!$&'()*+;=%-]*|\[[\w.:]+\])(?::\d*)?"
STRICTER = [
    Stricter("RFC 9112 §3.2: no Host", b"GET / HTTP/1.1\r\n\r\n", lambda it: not it.values(b"host")),
    Stricter("RFC 9112 §3.2: Host twice", GET + HOST + b"\r\n", lambda it: len(it.values(b"host")) > 1),
    Stricter(
        "RFC 9112 §3.2: a Host that is no authority",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        lambda it: not re.fullmatch(_AUTHORITY, b"".join(it.values(b"host"))),
    ),
    Stricter(
        "RFC 9112 §6.1: Transfer-Encoding in HTTP/1.0",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        lambda it: it.version == "1.0" and it.values(b"transfer-encoding"),
    ),
    Stricter(
        "RFC 9112 §6.1: a coding that we cannot take off, or the same in two lines",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        lambda it: [value.lower() for value in it.values(b"transfer-encoding")] not in ([], [b"chunked"]),
    ),
    Stricter(
        "a tab beside a framing field's value hides it from some backends, and the field is passed on as it came",
        POST + b"Transfer-Encoding:\tchunked\r\n\r\n",
        lambda it: re.search(rb"(?i)\r\n(content-length|transfer-encoding|host):[^\r]*\t", it.data),
    ),
    Stricter(
        "more digits than a length needs",
        POST + b"Content-Length: " + b"0" * 30 + b"1\r\n\r\n",
        lambda it: any(len(value) > 18 for value in it.values(b"content-length")),
    ),
    Stricter("RFC 9112 §3.2: a fragment", b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", lambda it: b"#" in it.target),
    Stricter(
        "RFC 9110 §4.2.1: an http URI without a host",
        b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n",
        lambda it: re.fullmatch(rb"[a-z]+://(?:[/?].*)?", it.target),
    ),
    Stricter(
        "RFC 9110 §4.2.4: userinfo, or what else is no authority",
        b"GET http://a@b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        lambda it: re.match(rb"[a-z]+://(?!" + _AUTHORITY + rb"(?:[/?]|\Z))", it.target),
    ),
    Stricter(
        "RFC 9110 §4.2: schemes that are not ours",
        b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        lambda it: re.match(rb"(?!https?:)[a-z]+://", it.target),
    ),
    Stricter(
        "RFC 9112 §3: exactly one space",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        lambda it: re.match(rb"[\r\n]*\S+ ( |\S+  )", it.data),
    ),
    Stricter(
        "RFC 9112 §2.2: at most one empty line before it",
        b"\n" + GET + b"\r\n",
        lambda it: re.match(rb"(?!\r\n[^\r\n])[\r\n]", it.data),
    ),
    Stricter(
        "a version that HTTP/1.1 has no rules for",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        lambda it: it.version in ("0.9", "2.0"),
    ),
]


@pytest.mark.parametrize("case", STRICTER, ids=lambda case: case.reason)
def test_each_head_we_are_stricter_about_is_accepted_by_llhttp(case):
    it = Llhttp(case.head)
    assert it.accepts
    assert case.holds(it)
    assert refusal(case.head) is Failure.BAD_REQUEST


METHODS = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"]
TARGETS = [
    b"/", b"/a?b=c", b"*", b"/a#b", b"http://a/b", b"http://a", b"http://a?b", b"http://", b"http:///", b"http://a@b/",
    b"http://[::1]:80/", b"ftp://a/", b"a", b"a:80", b"//a", b"/\xff", b"/\x7f", b"/\0", b"/a\tb", b"?a", b"", b"/%00",
    b"/<>\"{}|\\^`", b"http://a\xff/", b"http://a\"/", b"HTTP://a/",
]  # fmt: skip
NAMES = [
    b"Host", b"host", b"Content-Length", b"content-length", b"Transfer-Encoding", b"transfer-encoding", b"Connection",
    b"X", b"X_Y", b"Te", b"Content-Length ", b" X", b"X\t", b"", b"X(", b"X\xe9", b"Upgrade", b"X\0",
]  # fmt: skip
VALUES = [
    b"a", b"", b"0", b"5", b"5, 5", b"+5", b"-5", b"0x5", b"05", b"5 5", b"5\t", b"\t5", b"99999999999999999999",
    b"chunked", b"Chunked", b"chunked ", b"\tchunked", b"chunked\t", b"gzip, chunked", b"chunked, gzip", b"chunked;a",
    b"chunked, chunked", b"xchunked", b"identity", b"close", b"keep-alive", b"Upgrade", b"websocket", b"\xff", b"a\0b",
    b"a\x7f", b"a\x01", b"a\rb", b"a\nb", b"a\r\n b", b"a\r\n\tb", b"a:b", b"a b", b"[::1]:80", b"a/b", b"a@b", b"a,b",
]  # fmt: skip
SPACE = st.sampled_from([b" "] * 12 + [b"  ", b"\t", b""])
LINE_END = st.sampled_from([b"\r\n"] * 20 + [b"\n", b"\r", b"\r\r\n", b"\r\n\r\n"])
COLON = st.sampled_from([b": "] * 12 + [b":", b" : ", b":\t", b"  ", b":  "])


@st.composite
def nasty_heads(draw, start):
    """Heads that are nearly right, most with one thing wrong, some with a byte changed on top."""
    names = st.sampled_from(NAMES[:11] * 3 + NAMES)
    values = st.one_of(st.sampled_from(VALUES), st.binary(max_size=3))
    lines = [draw(start)]
    lines += [HOST.strip()] * draw(st.sampled_from([1, 1, 1, 1, 0]))
    lines += [draw(names) + draw(COLON) + draw(values) for _ in range(draw(st.integers(0, 3)))]
    head = b"".join(line + draw(LINE_END) for line in lines) + draw(LINE_END)
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(head)))
        head = head[:at] + draw(st.binary(max_size=1)) + head[at + draw(st.integers(0, 1)) :]
    return head


@st.composite
def request_lines(draw):
    blank = draw(st.sampled_from([b""] * 10 + [b"\r\n", b"\n", b"\r\n\r\n"]))
    version = draw(
        st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0"] * 3 + [b"HTTP/2.0", b"http/1.1", b"HTTP/1.2", b""])
    )
    target = draw(st.sampled_from([b"/"] * len(TARGETS) + TARGETS))
    return blank + draw(st.sampled_from(METHODS)) + draw(SPACE) + target + draw(SPACE) + version


@st.composite
def status_lines(draw):
    version = draw(
        st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0"] * 3 + [b"HTTP/2.0", b"http/1.1", b"HTTP/1", b"ICY"])
    )
    status = draw(
        st.sampled_from([b"200"] * 6 + [b"204", b"304", b"103", b"500", b"999", b"099", b"20", b"2000", b"+20"])
    )
    reason = draw(st.sampled_from([b" OK"] * 6 + [b"", b" ", b" \xff", b" a\tb", b" a\0b", b" a\x7f", b"OK", b"\tOK"]))
    return version + draw(SPACE) + status + reason


@given(nasty_heads(request_lines()))
@example(b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n")
@example(POST + b"Transfer-Encoding: chunked\t\r\n\r\n")
@example(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n")
def test_a_request_head_we_accept_reads_the_same_to_llhttp(data):
    theirs = Llhttp(data)
    try:
        ours = read_request(data, 65_536, 100)
        if ours is not None:
            split_target(ours.target)
    except Refused:
        assert not theirs.accepts or any(case.holds(theirs) for case in STRICTER)
        return
    assert ours is not None or not theirs.accepts
    if ours is not None:
        known = ours.method if ours.method in METHODS else b"POST"  # llhttp has a closed list, and we have none
        head = data[: ours.size].replace(ours.method, known, 1)
        read = Llhttp(head)
        assert read.accepts
        assert (known, ours.target, pairs(ours.fields)) == (read.method, read.target, read.fields)
        assert f"1.{ours.version}" == read.version
        assert_framed(head, ours.length)


STRICTER_RESPONSES = [
    Stricter(
        "RFC 9112 §6.1: Transfer-Encoding in HTTP/1.0",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        lambda it: it.version == "1.0" and it.values(b"transfer-encoding"),
    ),
    Stricter(
        "RFC 9112 §6.1: a coding that we cannot take off, or the same in two lines",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        lambda it: [value.lower() for value in it.values(b"transfer-encoding")] not in ([], [b"chunked"]),
    ),
    Stricter(
        "a tab beside a framing field's value hides it from some clients",
        OK + b"Content-Length:\t5\r\n\r\n",
        lambda it: re.search(rb"(?i)\r\n(content-length|transfer-encoding):[^\r]*\t", it.data),
    ),
    Stricter(
        "more digits than a length needs",
        OK + b"Content-Length: " + b"0" * 30 + b"1\r\n\r\n",
        lambda it: any(len(value) > 18 for value in it.values(b"content-length")),
    ),
    Stricter("RFC 9112 §4: no empty line before it", b"\r\n" + OK + b"\r\n", lambda it: re.match(rb"[\r\n]", it.data)),
    Stricter(
        "RFC 9112 §4: a reason phrase is text",
        b"HTTP/1.1 200 O\x01K\r\n\r\n",
        lambda it: re.match(rb"[^\r\n]*[^\t\x20-\x7e\x80-\xff\r\n]", it.data),
    ),
    Stricter(
        "a version that HTTP/1.1 has no rules for",
        b"HTTP/2.0 200 OK\r\n\r\n",
        lambda it: it.version in ("0.9", "2.0"),
    ),
    Stricter("RFC 9110 §15: a status below 100", b"HTTP/1.1 099 OK\r\n\r\n", lambda it: it.status < 100),
]


@pytest.mark.parametrize("case", STRICTER_RESPONSES, ids=lambda case: case.reason)
def test_each_response_head_we_are_stricter_about_is_accepted_by_llhttp(case):
    it = Llhttp(case.head, is_response=True)
    assert it.accepts
    assert case.holds(it)
    with pytest.raises(Refused) as refused:
        response(case.head)
    assert refused.value.failure is Failure.BAD_RESPONSE


@given(nasty_heads(status_lines()))
def test_a_response_head_we_accept_reads_the_same_to_llhttp(data):
    theirs = Llhttp(data, is_response=True)
    try:
        ours = read_response(data, 65_536, to_head=False)
    except Refused:
        assert not theirs.accepts or any(case.holds(theirs) for case in STRICTER_RESPONSES)
        return
    assert ours is not None or not theirs.accepts
    if ours is not None:
        read = Llhttp(data[: ours.size], is_response=True)
        assert read.accepts
        assert (ours.status, pairs(ours.fields)) == (read.status, read.fields)
        assert f"1.{ours.version}" == read.version
        assert_framed(data[: ours.size], ours.length, is_response=True)


AMBIGUOUS_FRAMING = [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    b"Transfer-Encoding: chunked\r\nContent-Length: 0",
    b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: 5\r\nContent-Length: 5",
    b"Content-Length: 5\r\ncontent-length: 5",
    b"Content-Length: 5, 5",
    b"Content-Length: 5,6",
    b"Content-Length: 5,",
    b"Content-Length:",
    b"Content-Length: ,",
    b"Content-Length: +5",
    b"Content-Length: -5",
    b"Content-Length: 0x5",
    b"Content-Length: 5.0",
    b"Content-Length: 5e1",
    b"Content-Length: 1_0",
    b"Content-Length: 5 6",
    b"Content-Length: \xb2",
    b"Content-Length: five",
    b"Content-Length:\t5",
    b"Content-Length: 5\t",
    b"Content-Length: 99999999999999999999",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, gzip",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunkedx",
    b"Transfer-Encoding: chunked;a=b",
    b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding: ,chunked",
    b"Transfer-Encoding: chunked,",
    b"Transfer-Encoding:",
    b"Transfer-Encoding:\tchunked",
    b"Transfer-Encoding: chunked\t",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\ntransfer-encoding: x",
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: chunked\x0c",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b" Transfer-Encoding: chunked",
    b"X: y\r\n Transfer-Encoding: chunked",
    b"X: y\n\tTransfer-Encoding: chunked",
    b"X: y\nTransfer-Encoding: chunked",
    b"X: y\rTransfer-Encoding: chunked",
    b"X: y\0\r\nContent-Length: 5",
    b"Transfer-Encoding\n: chunked",
    b"Content-Length : 5",
    b"Content-Length\0: 5",
    b"\xa0Content-Length: 5",
]


@pytest.mark.parametrize("lines", AMBIGUOUS_FRAMING)
def test_ambiguous_framing_is_refused_on_both_sides(lines):
    """RFC 9112 §6.1-6.3, §5.1, §5.2, §2.2; RFC 9110 §5.5."""
    assert refusal(POST + lines + b"\r\n\r\n") is Failure.BAD_REQUEST
    with pytest.raises(Refused) as refused:
        response(OK + lines + b"\r\n\r\n")
    assert refused.value.failure is Failure.BAD_RESPONSE


@pytest.mark.parametrize("lines", AMBIGUOUS_FRAMING)
def test_ambiguous_framing_is_never_accepted_in_pieces_either(lines):
    """What we are waiting for the rest of must not become acceptable by waiting."""
    for data, read in (
        (POST + lines + b"\r\n\r\n", lambda part: read_request(part, 65_536, 100)),
        (OK + lines + b"\r\n\r\n", lambda part: read_response(part, 65_536, to_head=False)),
    ):
        for end in range(len(data)):
            try:
                assert read(data[:end]) is None
            except Refused:
                break


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\rHost: a\r\r",
        GET + b"X: a\rb\r\n\r\n",
        GET + b"X: a\0b\r\n\r\n",
        GET + b"X: a\x7f\r\n\r\n",
        GET + b"X: a\r\n b\r\n\r\n",
        GET + b"X: a\r\n\tb\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        GET + b"X : a\r\n\r\n",
        GET + b": a\r\n\r\n",
        GET + b"X\r\n\r\n",
        GET + b"X(: a\r\n\r\n",
        GET + b"X\xe9: a\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xc3\xbc HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
        b"GET / HTTP/01.1\r\nHost: a\r\n\r\n",
        b"GET / http/1.1\r\nHost: a\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / \r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"(",
        b"\r\n\r\n\r\n" + GET + b"\r\n",
    ],
)
def test_what_is_not_the_grammar_is_a_bad_request(data):
    """RFC 9112 §2.2, §3, §5; RFC 9110 §5.1, §5.5."""
    assert refusal(data) is Failure.BAD_REQUEST


@pytest.mark.parametrize(
    ("host", "is_refused"),
    [
        (b"", False), (b"a", False), (b"a:80", False), (b"a:", False), (b"A.example", False), (b"[::1]:80", False),
        (b"127.0.0.1:8000", False), (b"xn--nxasmq6b", False), (b"a_b", False), (b"a%20b", False),
        (b"a b", True), (b"a, b", True), (b"a,b", True), (b"a/b", True), (b"a@b", True), (b"a?b", True),
        (b"a\\b", True),
        (b"a\tb", True), (b"a\xffb", True), (b"<a>", True), (b'a"', True),
    ],
)  # fmt: skip
def test_host_must_be_one_authority(host, is_refused):
    """RFC 9112 §3.2."""
    data = b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
    if is_refused:
        assert refusal(data) is Failure.BAD_REQUEST
    else:
        assert request(data).host == host


def test_only_old_clients_may_leave_host_out_and_nobody_may_repeat_it():
    """RFC 9112 §3.2."""
    assert request(b"GET / HTTP/1.0\r\n\r\n").host == b""
    assert refusal(b"GET / HTTP/1.1\r\n\r\n") is Failure.BAD_REQUEST
    for twice in (b"Host: a\r\nHost: a\r\n", b"Host: a\r\nhost: b\r\n", b"Host:\r\nHost:\r\n", b"Host: a\r\nHost:\r\n"):
        assert refusal(b"GET / HTTP/1.1\r\n" + twice + b"\r\n") is Failure.BAD_REQUEST
        assert refusal(b"GET / HTTP/1.0\r\n" + twice + b"\r\n") is Failure.BAD_REQUEST


@pytest.mark.parametrize(
    ("head", "length"),
    [
        (GET, 0),
        (b"GET / HTTP/1.0\r\n", 0),
        (POST, 0),
        (POST + b"Content-Length: 5\r\n", 5),
        (POST + b"content-LENGTH:5\r\n", 5),
        (POST + b"Content-Length: 005  \r\n", 5),
        (POST + b"Content-Length: 999999999999999999\r\n", 999_999_999_999_999_999),
        (POST + b"Transfer-Encoding: chunked\r\n", CHUNKED),
        (POST + b"transfer-encoding:  CHUNKED \r\n", CHUNKED),
        (b"POST / HTTP/1.0\r\nContent-Length: 5\r\n", 5),
        (b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n", 5),
        (b"POST / HTTP/1.0\r\nX: y\r\nContent-Length: 5\r\n", 5),
    ],
)
def test_where_a_request_ends(head, length):
    """RFC 9112 §6.3. An old client's length counts even where it sends no Host: the body would be the next request."""
    assert request(head + b"\r\n").length == length


@pytest.mark.parametrize("lines", [b"Transfer-Encoding: chunked\r\n", HOST + b"Transfer-Encoding: chunked\r\n"])
def test_http_1_0_knows_no_transfer_coding(lines):
    """RFC 9112 §6.1."""
    assert refusal(b"POST / HTTP/1.0\r\n" + lines + b"\r\n") is Failure.BAD_REQUEST
    with pytest.raises(Refused):
        response(b"HTTP/1.0 200 OK\r\n" + lines + b"\r\n")


@pytest.mark.parametrize(
    ("status", "lines", "length"),
    [
        (200, b"", UNKNOWN_LENGTH),
        (200, b"Content-Length: 5\r\n", 5),
        (200, b"Transfer-Encoding: chunked\r\n", CHUNKED),
        (100, b"", 0),
        (103, b"Content-Length: 5\r\n", 0),
        (204, b"", 0),
        (204, b"Transfer-Encoding: chunked\r\n", 0),
        (304, b"Content-Length: 5\r\n", 0),
        (205, b"", UNKNOWN_LENGTH),
    ],
)
def test_where_a_response_ends(status, lines, length):
    """RFC 9112 §6.3; RFC 9110 §15.3.5, §15.4.5."""
    head = b"HTTP/1.1 %d X\r\n" % status + lines + b"\r\n"
    assert response(head).length == length
    assert response(head, to_head=True).length == 0
    assert b"Content-Length" not in lines or b"Content-Length: 5" in response(head, to_head=True).fields


@pytest.mark.parametrize(
    ("version", "lines", "stays"),
    [
        (1, b"", True),
        (1, b"Connection: close\r\n", False),
        (1, b"Connection: CLOSE\r\n", False),
        (1, b"Connection: x , close\r\n", False),
        (1, b"Connection:\tclose\r\n", False),
        (1, b"Connection: close\t\r\n", False),
        (1, b"Connection: x\r\nConnection: close\r\n", False),
        (1, b"Connection: closed\r\n", True),
        (1, b"Connection: keep-alive\r\n", True),
        (1, b"Connection:\r\n", True),
        (1, b"Proxy-Connection: close\r\n", True),
        (0, b"", False),
        (0, b"Connection: keep-alive\r\n", True),
        (0, b"Connection: Keep-Alive, x\r\n", True),
        (0, b"Connection: keep-alive, close\r\n", False),
        (0, b"Proxy-Connection: keep-alive\r\n", False),
    ],
)
def test_whether_a_connection_outlives_its_message(version, lines, stays):
    """RFC 9112 §9.3, RFC 9110 §7.6.1."""
    assert request(b"GET / HTTP/1.%d\r\n" % version + HOST + lines + b"\r\n").keep_alive is stays
    assert response(b"HTTP/1.%d 200 OK\r\n" % version + lines + b"\r\n").keep_alive is stays


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        (b"close", [b"close"]),
        (b"a, B ,\tC", [b"a", b"b", b"c"]),
        (b" , ,a,,", [b"a"]),
        (b"\ta\t", [b"a"]),
        (b"a b", [b"a b"]),
    ],
)
def test_connection_options_are_a_list_without_empty_members(value, tokens):
    """RFC 9110 §5.6.1, §7.6.1."""
    assert connection_tokens(value) == tokens


def test_a_head_is_kept_as_the_bytes_that_came():
    """RFC 9110 §5.2, §5.3: order, case, duplicates, spaces and latin-1 bytes are the sender's."""
    lines = b"hOsT: a\r\nSet-Cookie: a=1\r\nX-Empty:\r\nset-cookie:  b=2 \r\nX-Latin: caf\xe9\tau lait\r\nA:b"
    for head in (
        request(b"M-SEARCH /a%2Fb?c=%zz&d HTTP/1.1\r\n" + lines + b"\r\n\r\nbody"),
        response(OK + lines + b"\r\n\r\nbody"),
    ):
        assert head.fields == b"\r\n" + lines
    head = request(b"M-SEARCH /a%2Fb?c=%zz&d HTTP/1.1\r\n" + lines + b"\r\n\r\n")
    assert (head.method, head.target) == (b"M-SEARCH", b"/a%2Fb?c=%zz&d")


@pytest.mark.parametrize("method", [b"QUERY", b"get", b"X!#$%&'*+-.^_`|~9"])
def test_any_token_is_a_method(method):
    """RFC 9110 §9.1, §16.1: methods are extensible and case-sensitive; llhttp has a closed list."""
    assert request(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n").method == method


@pytest.mark.parametrize("reason", [b"", b" ", b" OK", b" Not  Found", b" caf\xe9", b" a\tb"])
def test_a_reason_phrase_is_kept_even_where_there_is_none(reason):
    """RFC 9112 §4."""
    assert response(b"HTTP/1.1 200" + reason + b"\r\n\r\n").reason == reason


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        b"HTTP/1.1 200 O\0K\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"<html>",
        b"\0",
    ],
)
def test_what_is_no_response_is_refused_as_soon_as_it_can_be_seen(data):
    """RFC 9112 §4."""
    with pytest.raises(Refused) as refused:
        read_response(data, 65_536, to_head=False)
    assert refused.value.failure is Failure.BAD_RESPONSE


WHOLE_REQUESTS = [
    GET + b"\r\n",
    b"\r\n" + GET + b"\r\n",
    b"GET http://b/c HTTP/1.0\r\n\r\n",
    POST + b"Content-Length: 5\r\nX:\r\nConnection: keep-alive, x\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\nVia: 1.1 a\r\nvia: 1.0 b\r\nX: \xff\t\r\n\r\n",
]
WHOLE_RESPONSES = [
    OK + b"\r\n",
    b"HTTP/1.0 404\r\n\r\n",
    OK + b"Content-Length: 5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n",
]


def record(head: RequestHead | ResponseHead) -> list[object]:
    return [getattr(head, name) for name in (*head.__slots__, "keep_alive")]


@pytest.mark.parametrize("data", WHOLE_REQUESTS)
@pytest.mark.parametrize("rest", [b"", b"0\r\n\r\n", b"\0", b"GET / HTTP/1.1\r\n\r\n", b"x" * 70_000])
def test_a_request_head_reads_the_same_wherever_it_is_split(data, rest):
    """RFC 9112 §2.2: and whatever comes after it."""
    for end in range(len(data)):
        assert read_request(data[:end], 65_536, 100) is None
    assert record(request(data + rest)) == record(request(data))
    assert request(data + rest).size == len(data)


@pytest.mark.parametrize("data", WHOLE_RESPONSES)
@pytest.mark.parametrize("rest", [b"", b"hello", b"\0", OK, b"x" * 70_000])
def test_a_response_head_reads_the_same_wherever_it_is_split(data, rest):
    for end in range(len(data)):
        assert read_response(data[:end], 65_536, to_head=False) is None
    assert record(response(data + rest)) == record(response(data))
    assert response(data + rest).size == len(data)


@pytest.mark.parametrize(
    ("data", "failure"),
    [
        (b"GET /" + b"a" * 2_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", Failure.TARGET_TOO_LONG),
        (b"\r\nGET /" + b"a" * 2_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", Failure.TARGET_TOO_LONG),
        (GET + b"X: " + b"a" * 2_000 + b"\r\n\r\n", Failure.HEADERS_TOO_LARGE),
        (GET + b"X: a\r\n" * 200 + b"\r\n", Failure.HEADERS_TOO_LARGE),
        (b"G" * 2_000, Failure.TARGET_TOO_LONG),
    ],
)
def test_a_head_over_the_limit_is_named_alike_however_it_comes(data, failure):
    """RFC 9110 §15.5.15; RFC 6585 §5: 414 where the request line alone is too long, else 431."""
    assert refusal(data, max_bytes=1_024) is failure
    for end in range(1_025, len(data)):
        assert refusal(data[:end], max_bytes=1_024) is failure


def test_limits_are_exact_and_a_body_does_not_count():
    """RFC 6585 §5."""
    head = GET + b"X: a\r\n\r\n"
    assert request(head + b"b" * 10_000, max_bytes=len(head), max_fields=2).size == len(head)
    assert refusal(head, max_bytes=len(head) - 1) is Failure.HEADERS_TOO_LARGE
    assert refusal(head, max_fields=1) is Failure.HEADERS_TOO_LARGE


def test_a_response_head_over_the_limits_is_refused():
    """RFC 9110 §5.4."""
    lines = b"X: a\r\n" * MAX_RESPONSE_FIELDS
    assert response(OK + lines + b"\r\n").status == 200
    for data, max_bytes in ((OK + lines + b"X: a\r\n\r\n", 65_536), (OK + lines + b"\r\n", 99), (OK + lines, 99)):
        with pytest.raises(Refused) as refused:
            read_response(data, max_bytes, to_head=False)
        assert refused.value.failure is Failure.BAD_RESPONSE


MIB = 1 << 20
ENDLESS = [
    b"GET " + b"/" * MIB,
    b"G" * MIB,
    GET + b"X: " + b" " * MIB,
    GET + b"X: " + b"\t" * MIB + b"\0",
    GET + b"X:" + b" \t" * MIB + b"\r\n\r\n",
    GET + b"Connection: a,b" + b" " * MIB + b"c\r\n\r\n",
    GET + b"Connection: " + b"," * MIB + b"\r\n\r\n",
    GET + b"Connection: " + b" ," * MIB + b"x\r\n\r\n",
    GET + b"Content-Length:" + b" " * MIB + b"x\r\n\r\n",
    GET + b"Transfer-Encoding: " + b"a," * MIB + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: " + b"a:" * MIB + b"\r\n\r\n",
    GET + b"a:\r\n" * (MIB // 4) + b"\r\n",
    GET + b"a" * MIB + b"\r\n\r\n",
    GET + b"X: a\r\n" * (MIB // 8) + b"\0",
    b"\r" * MIB,
    b"\r\n" * MIB,
]


@pytest.mark.parametrize("data", ENDLESS, ids=range(len(ENDLESS)))
def test_reading_takes_linear_work(data):
    """A megabyte of what invites backtracking: work that grows with its square would take hours, not a moment."""
    for read in (
        lambda: read_request(data, 4 * MIB, 4 * MIB),
        lambda: read_response(OK + data.partition(b"\r\n")[2], 4 * MIB, to_head=False),
    ):
        try:
            head = read()
        except Refused:
            continue
        if head is not None:
            assert head.keep_alive in (True, False)


@pytest.mark.timeout(40)
def test_a_long_head_that_comes_in_small_pieces_is_cheap_to_wait_for():
    """Each arrival looks at all there is, so looking must cost next to nothing: this much once took a minute."""
    for start, read in (
        (GET, lambda data: read_request(data, MIB, 100)),
        (OK, lambda data: read_response(data, MIB, to_head=False)),
    ):
        data = start + b"X: " + b"a" * (MIB - 100)
        for end in range(0, len(data), 1_024):
            assert read(data[:end]) is None
