"""Where a body ends, whatever pieces it comes in: chunks are held against llhttp (RFC 9112 §6, §7.1)."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llhttp import Llhttp, pairs
from worker.bodies import (
    MAX_CHUNK_LINE,
    MAX_TRAILERS,
    ChunkedDecoder,
    LengthReader,
    body_reader,
    encode_chunk,
    last_chunk,
)
from worker.http1 import CHUNKED

MIB = 1 << 20
CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("length", "pieces", "body", "rest"),
    [
        (5, [b"hello"], b"hello", b""),
        (5, [b"he", b"llo"], b"hello", b""),
        (5, [b"", b"hello, world"], b"hello", b", world"),
        (5, [b"h", b"ello", b""], b"hello", b""),
        (1, [b"hello"], b"h", b"ello"),
    ],
)
def test_a_body_of_known_length_leaves_what_follows_alone(length, pieces, body, rest):
    """RFC 9112 §6.2: what follows is the next message, and never part of this one."""
    reader = LengthReader(length)
    read = b""
    for piece in pieces:
        assert not reader.done or not piece
        read += reader.feed(piece) if piece else b""
    assert (read, reader.rest, reader.trailers, reader.done) == (body, rest, b"", True)


def test_a_body_that_is_cut_short_is_not_done():
    """RFC 9112 §8."""
    reader = LengthReader(5)
    assert reader.feed(b"hell") == b"hell"
    assert not reader.done


def test_a_heads_length_says_who_reads_its_body():
    assert isinstance(body_reader(CHUNKED), ChunkedDecoder)
    assert isinstance(body_reader(5), LengthReader)


def decode(*pieces: bytes) -> tuple[bytes, bytes, bytes]:
    """(payload, trailers, what follows) of a whole chunked body."""
    decoder = ChunkedDecoder()
    payload = b""
    rest = b""
    for piece in pieces:
        if decoder.done:
            rest += piece
        else:
            payload += decoder.feed(piece)
    assert decoder.done, "more bytes are needed"
    return payload, decoder.trailers, decoder.rest + rest


def halves(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(data[:at], data[at:]) for at in range(len(data) + 1)]


WHOLE_BODIES = [
    (b"0\r\n\r\n", b"", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    (b"5\r\nhello\r\n1\r\n!\r\n000\r\n\r\n", b"hello!", b""),
    (b"1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n", b"abcdefghijklmnopqrstuvwxyz", b""),
    (b"00000000000000A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
    (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", b""),
    (b"7\r\n0\r\n\r\nab\r\n0\r\n\r\n", b"0\r\n\r\nab", b""),
    (b"5;a;b=c;d=\"e;\\\"f\"\r\nhello\r\n0;g\r\n\r\n", b"hello", b""),
    (b"0\r\nX-Sum: a\r\nx-sum:b\r\nY:\r\n\r\n", b"", b"\r\nX-Sum: a\r\nx-sum:b\r\nY:"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "payload", "trailers"), WHOLE_BODIES)
@pytest.mark.parametrize("rest", [b"", b"GET / HTTP/1.1\r\n", b"\0"])
def test_a_chunked_body_reads_the_same_wherever_it_is_split(data, payload, trailers, rest):
    """RFC 9112 §7.1: extensions go, trailers stay, and what follows is left alone."""
    assert decode(data + rest) == (payload, trailers, rest)
    assert decode(*(bytes([byte]) for byte in data + rest)) == (payload, trailers, rest)
    for pieces in halves(data + rest):
        assert decode(*pieces) == (payload, trailers, rest)


BROKEN_BODIES = [
    b"\r\n5\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\r\n0\r\n\r\n",
    b"5\rhello\r\n0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"5\r\nhello!\r\n0\r\n\r\n",
    b"5\r\nhell\r\n0\r\n\r\n",
    b"5\r\nhello\rx0\r\n\r\n",
    b"5\r\nhello\r\n\r\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"-5\r\nhello\r\n0\r\n\r\n",
    b" 5\r\nhello\r\n0\r\n\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"5\t\r\nhello\r\n0\r\n\r\n",
    b"5 ;a\r\nhello\r\n0\r\n\r\n",
    b"5_0\r\n",
    b"g\r\n",
    b";a\r\nhello\r\n0\r\n\r\n",
    b"5,\r\nhello\r\n0\r\n\r\n",
    b"5;\r\nhello\r\n0\r\n\r\n",
    b"5;a b\r\nhello\r\n0\r\n\r\n",
    b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    b'5;a="\r\nhello\r\n0\r\n\r\n',
    b'5;a="b\r\n"\r\nhello\r\n0\r\n\r\n',
    b"5;a\0\r\nhello\r\n0\r\n\r\n",
    b"fffffffffffffffff\r\n",
    b"0000000000000005\r\nhello\r\n0\r\n\r\n",
    b"0\r\n\n",
    b"0\n\r\n",
    b"0\n\n",
    b"0\r\r\n",
    b"0\r\nX: a\n\r\n",
    b"0\r\nX: a\r\n\n",
    b"0\r\nX : a\r\n\r\n",
    b"0\r\nX: a\r\n b\r\n\r\n",
    b"0\r\n X: a\r\n\r\n",
    b"0\r\nX\r\n\r\n",
    b"0\r\n: a\r\n\r\n",
    b"0\r\nX: a\0\r\n\r\n",
    b"0\r\nX: a\rb\r\n\r\n",
]


@pytest.mark.parametrize("data", BROKEN_BODIES)
def test_broken_chunking_is_refused_wherever_it_is_split(data):
    """RFC 9112 §7.1, §8: nothing after it can be trusted to be another message."""
    for pieces in [*halves(data), tuple(bytes([byte]) for byte in data)]:
        with pytest.raises(ValueError, match=r"chunk|trailers"):
            decode(*pieces)
    assert Llhttp(CHUNKED_POST + data).is_refused or data.startswith(b"00000")


@pytest.mark.parametrize(
    ("size_line", "trailers", "is_refused"),
    [
        (b"5;" + b"a" * (MAX_CHUNK_LINE - 4), b"", False),
        (b"5;" + b"a" * MAX_CHUNK_LINE, b"", True),
        (b"5", b"X:" + b"a" * (MAX_TRAILERS - 6) + b"\r\n", False),
        (b"5", b"X:" + b"a" * MAX_TRAILERS + b"\r\n", True),
    ],
)
def test_chunk_lines_and_trailers_have_limits_however_they_come(size_line, trailers, is_refused):
    """RFC 9112 §7.1.1: unbounded extensions were a denial of service."""
    data = size_line + b"\r\nhello\r\n0\r\n" + trailers + b"\r\n"
    for pieces in [(data,), (data[:-1], data[-1:]), (data[:1_000], data[1_000:]), tuple(map(bytes, zip(data)))]:
        if is_refused:
            with pytest.raises(ValueError, match=r"chunk|trailers"):
                decode(*pieces)
        else:
            assert decode(*pieces)[0] == b"hello"


@pytest.mark.parametrize(
    "name",
    [
        b"Content-Length", b"Transfer-Encoding", b"Host", b"Connection", b"Trailer", b"TE", b"Upgrade", b"Expect",
        b"Authorization", b"Cookie", b"Set-Cookie", b"Content-Encoding", b"Content-Type", b"Content-Range", b"Via",
        b"X-Forwarded-For", b"Forwarded", b"X-Real-IP", b"X-Sidebeat-Backend", b"Max-Forwards", b"Proxy-Authorization",
    ],
)  # fmt: skip
def test_a_trailer_may_not_say_what_only_a_head_may(name):
    """RFC 9110 §6.5.1: framing, routing, authentication and content format; a recipient might merge them."""
    data = b"0\r\nA: b\r\n" + name + b": 5\r\n" + name.lower() + b":6\r\nC: d\r\n\r\n"
    assert decode(data) == (b"", b"\r\nA: b\r\nC: d", b"")


chunk_pieces = st.lists(
    st.sampled_from(
        [b"0\r\n", b"\r\n", b"5\r\nhello\r\n", b"1\r\na\r\n", b"5", b"hello", b"A: b\r\n", b";a", b";a=b", b';a="b"',
         b"a", b"\n", b"\r", b" ", b"0", b"0x", b"F", b"\t", b"\0", b'"', b"\\", b"\xff", b": ", b"=", b"0\r\n\r\n"]
    ),
    max_size=10,
).map(b"".join)  # fmt: skip


@given(
    chunk_pieces
    | st.lists(st.binary(min_size=1, max_size=9), max_size=4).map(lambda it: b"".join(map(encode_chunk, it)))
)
@example(b"0" * 20 + b"\r\n\r\n")
def test_a_chunked_body_we_accept_reads_the_same_to_llhttp(data):
    """Only leading zeros are where we are stricter: 15 hex digits are more than any chunk needs."""
    data += b"0\r\n\r\n"
    decoder = ChunkedDecoder()
    try:
        payload = decoder.feed(data)
    except ValueError:
        theirs = Llhttp(CHUNKED_POST + data)
        assert theirs.is_refused or re.search(rb"0[0-9A-Fa-f]{15}", data)
        return
    theirs = Llhttp(CHUNKED_POST + data[: len(data) - len(decoder.rest)])
    assert not theirs.is_refused
    assert (theirs.is_done, theirs.body) == (decoder.done, payload)
    assert not decoder.done or theirs.fields[2:] == pairs(decoder.trailers)


names = st.text("abcXYZ-_09", min_size=1, max_size=8).map(lambda name: f"q{name}".encode())
values = st.binary(max_size=9).map(lambda value: re.sub(rb"[^\t\x20-\x7e\x80-\xff]", b"", value).strip(b" \t"))


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    st.lists(st.tuples(names, values), max_size=3),
    st.data(),
)
def test_what_we_chunk_we_can_read_in_any_pieces(payloads, fields, data):
    """RFC 9112 §7.1."""
    trailers = b"".join(b"\r\n%b: %b" % pair for pair in fields)
    wire = b"".join(map(encode_chunk, payloads)) + last_chunk(trailers)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    pieces = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert decode(*pieces) == (b"".join(payloads), trailers, b"")


@pytest.mark.parametrize(
    "data",
    [
        b"5;" + b"a" * MIB,
        b"5;" + b" " * MIB + b"\r\n",
        b'5;a="' + b"\\" * MIB + b'"\r\n',
        b"5" + b";a" * MIB + b"\r\n",
        b"0" * MIB,
        b"0\r\n" + b"a:\r\n" * MIB,
        b"0\r\n" + b"a" * MIB,
        b"1\r\na\r\n" * (MIB // 6),
    ],
    ids=range(8),
)
def test_decoding_takes_linear_work(data):
    try:
        assert len(ChunkedDecoder().feed(data)) <= len(data)
    except ValueError:
        assert not data.startswith(b"1")
