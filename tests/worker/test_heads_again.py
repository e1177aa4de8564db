"""A head that repeats what came before it is not read again, and nobody can tell."""

from hypothesis import given
from hypothesis import strategies as st

from worker.failure import Failure, Refused
from worker.headers import response_fields
from worker.http1 import RequestHead, ResponseHead, ResponseReader, read_request, read_response

LINES = [
    b"GET / HTTP/1.1", b"GET /b HTTP/1.1", b"POST /c?d HTTP/1.1", b"GET / HTTP/1.0", b"GET http://b/ HTTP/1.1",
    b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ", b"\r\nGET / HTTP/1.1", b"", b"GET /" + b"a" * 300 + b" HTTP/1.1",
]  # fmt: skip
BLOCKS = [
    b"\r\nHost: a\r\n\r\n", b"\r\nHost: a\r\nAccept: */*\r\n\r\n", b"\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    b"\r\nHost: a\r\nConnection: close\r\n\r\n", b"\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
    b"\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", b"\r\nHost: a\r\nAccept: */*\r\nX",
    b"\r\nHost: a\r\n X: y\r\n\r\n", b"\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"\r\nHost: a\n\r\n",
    b"\r\n\r\n",
]  # fmt: skip
STATUSES = [b"HTTP/1.1 200 OK", b"HTTP/1.1 204 None", b"HTTP/1.1 100 Go on", b"HTTP/1.0 200 OK", b"HTTP/1.1 99 Bad"]
ANSWERS = [
    b"\r\nDate: now\r\nContent-Length: 3\r\n\r\nabc", b"\r\nContent-Length: 3\r\n\r\nabcd", b"\r\n\r\nabc",
    b"\r\nDate: no", b"\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"\r\nDate: now\r\nConnection: close\r\n\r\n",
]  # fmt: skip

heads = st.tuples(st.sampled_from(LINES), st.sampled_from(BLOCKS)).map(b"".join)
answers = st.tuples(st.sampled_from(STATUSES), st.sampled_from(ANSWERS)).map(b"".join)


def told(head: RequestHead | ResponseHead | None) -> dict[str, object]:
    return {} if head is None else {name: getattr(head, name) for name in type(head).__slots__ if name != "passing"}


def asked(data: bytes, last: RequestHead | None) -> RequestHead | Failure | None:
    try:
        return read_request(data, 256, 4, last)
    except Refused as refused:
        return refused.failure


def answered(read, *data, to_head: bool):
    try:
        return read(*data, to_head=to_head)
    except Refused as refused:
        return refused.failure


@given(st.lists(heads, max_size=8))
def test_requests_on_one_connection_read_as_each_would_alone(requests):
    last = None
    for data in requests:
        again, alone = asked(data, last), asked(data, None)
        if isinstance(alone, Failure):
            assert again is alone
            continue
        assert not isinstance(again, Failure)
        assert told(again) == told(alone)
        last = again or last


@given(st.lists(st.tuples(answers, st.booleans()), max_size=8))
def test_answers_of_one_backend_read_as_each_would_alone(responses):
    reader = ResponseReader(65_536)
    for data, to_head in responses:
        again = answered(reader.read, data, to_head=to_head)
        alone = answered(read_response, data, 65_536, to_head=to_head)
        if isinstance(alone, Failure):
            assert again is alone
            continue
        assert not isinstance(again, Failure)
        assert told(again) == told(alone)
        if again and alone:
            for framing in (None, b"", None):
                ours, theirs = (response_fields(head, b"us", b"then", framing=framing) for head in (again, alone))
                assert ours == theirs


def test_a_host_that_the_target_gave_is_not_the_next_requests():
    absolute = read_request(b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 256, 4)
    assert absolute is not None
    absolute.host = b"b"  # as dispatch has it
    plain = read_request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 256, 4, absolute)
    assert plain is not None
    assert plain.host == b"a"


def test_a_head_made_for_one_visitor_is_not_the_next_ones():
    """A cookie that was set on it would be set for everybody whose answer has the same bytes."""
    reader = ResponseReader(65_536)
    data = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 0\r\n\r\n"
    first = reader.read(data, to_head=False)
    assert first is not None
    bound = first.with_lines(b"\r\nSet-Cookie: a=b")
    assert b"Set-Cookie" in response_fields(bound, b"us", b"then")
    again = reader.read(data, to_head=False)
    assert again is not None
    assert b"Set-Cookie" not in response_fields(again, b"us", b"then")
