"""Our own answers: fixed, short, and in the form the client asks for."""

import json

import httptools
import pytest

from worker.answer import TEXTS, error_answer, error_body, error_fields
from worker.failure import REASONS, STATUS, Failure
from worker.http1 import RequestHead, ResponseHead, read_request, read_response

DATE = b"Mon, 01 Jan 2024 00:00:00 GMT"
JSON = b"\r\nAccept: application/json"
PARTS = {failure: (STATUS[failure], REASONS[STATUS[failure]], TEXTS[failure]) for failure in STATUS}


def head(method: bytes = b"GET", version: int = 1, fields: bytes = b"") -> RequestHead:
    read = read_request(b"%b / HTTP/1.%d\r\nHost: a%b\r\n\r\n" % (method, version, fields), 65_536, 100)
    assert read is not None
    return read


def answer(
    failure: Failure, request: RequestHead, *, close: bool = False
) -> tuple[ResponseHead, dict[bytes, bytes], bytes]:
    """Our answer as a client reads it: head, fields by lower-case name, body."""
    data = error_answer(failure, request, DATE, close=close)
    read = read_response(data, 65_536, to_head=request.method == b"HEAD")
    assert read is not None
    lines = [line.split(b": ", 1) for line in read.fields[2:].split(b"\r\n")]
    fields = {name.lower(): value for name, value in lines}
    assert len(fields) == len(lines)
    return read, fields, data[read.size :]


def test_every_failure_with_a_status_has_a_text():
    assert set(TEXTS) == set(STATUS)


@pytest.mark.parametrize("failure", STATUS)
@pytest.mark.parametrize("accept", [b"", JSON])
def test_an_answer_is_whole_and_names_the_failure(failure, accept):
    """RFC 9112 §6.3; RFC 9110 §6.6.1."""
    read, fields, body = answer(failure, head(fields=accept))
    status, reason, _ = PARTS[failure]
    assert (read.status, read.reason) == (status, b" " + reason.encode())
    assert read.length == len(body) > 0
    assert fields[b"x-sidebeat-error"] == failure.text.encode()
    assert fields[b"date"] == DATE
    assert fields[b"cache-control"] == b"no-store"


@pytest.mark.parametrize("failure", STATUS)
def test_the_body_is_one_fixed_line_of_text(failure):
    status, reason, text = PARTS[failure]
    kind, body = error_body(failure, b"\r\nAccept: text/html")
    assert kind == b"text/plain; charset=utf-8"
    assert body.decode() == f"{status} {reason}: {text}\n"


@pytest.mark.parametrize("failure", STATUS)
def test_who_asks_for_json_gets_problem_details(failure):
    """RFC 9457 §3."""
    status, reason, text = PARTS[failure]
    kind, body = error_body(failure, JSON)
    assert kind == b"application/problem+json"
    assert json.loads(body) == {
        "type": "about:blank", "title": reason, "status": status, "detail": text, "failure": failure.text,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "is_json"),
    [
        (b"", False),
        (b"\r\nAccept: */*", False),
        (b"\r\nAccept: text/html, application/xhtml+xml", False),
        (b"\r\nAccept: application/json", True),
        (b"\r\nACCEPT:application/problem+json", True),
        (b"\r\naccept: text/html;q=0.5, Application/JSON", True),
        (b"\r\nAccept: text/html\r\nAccept: application/json", True),
        (b"\r\nX-Accept: application/json", False),
        (b"\r\nContent-Type: application/json", False),
        (b"\r\nAccept: text/html\r\nContent-Type: application/json", False),
    ],
)
def test_the_form_follows_accept_alone(fields, is_json):
    """RFC 9110 §12.5.1, §8.3.1: media types have no case."""
    kind, _ = error_body(Failure.NO_ROUTE, fields)
    assert (kind == b"application/problem+json") is is_json


@pytest.mark.parametrize("failure", STATUS)
def test_head_gets_the_same_head_and_no_body(failure):
    """RFC 9110 §9.3.2."""
    _, to_get, body = answer(failure, head())
    _, to_head, nothing = answer(failure, head(b"HEAD"))
    assert nothing == b""
    assert to_head == to_get
    assert to_head[b"content-length"] == b"%d" % len(body)


@pytest.mark.parametrize(
    ("version", "close", "connection"),
    [(1, False, None), (1, True, b"close"), (0, False, b"keep-alive"), (0, True, b"close")],
)
def test_the_connection_field_says_what_becomes_of_the_connection(version, close, connection):
    """RFC 9112 §9.3, §9.6."""
    _, fields, _ = answer(Failure.NO_ROUTE, head(version=version), close=close)
    assert fields.get(b"connection") == connection


def test_some_failures_say_what_would_help():
    """RFC 9110 §10.2.3 (Retry-After), §15.5.6 (405 must have Allow)."""
    for failure in STATUS:
        _, fields, _ = answer(failure, head())
        assert (b"retry-after" in fields) is (STATUS[failure] == 503)
        assert (b"allow" in fields) is (failure in (Failure.METHOD_REFUSED, Failure.LAST_HOP))
    allowed = dict(error_fields(Failure.METHOD_REFUSED, b"")[0])[b"Allow"].split(b", ")
    assert not {b"TRACE", b"CONNECT"} & set(allowed)


@pytest.mark.parametrize("failure", STATUS)
def test_nothing_of_the_request_comes_back(failure):
    """No reflection, whatever it says."""
    hostile = head(fields=b"\r\nX: <script>\r\nAccept: application/json, <script>")
    assert b"script" not in error_answer(failure, hostile, DATE, close=True)


def test_an_answer_is_http_to_llhttp_too():
    statuses = []

    class Reader:
        def on_message_complete(self) -> None:
            statuses.append(parser.get_status_code())

    parser = httptools.HttpResponseParser(Reader())
    for failure in STATUS:
        parser.feed_data(error_answer(failure, head(), DATE, close=False))
    assert statuses == list(STATUS.values())
