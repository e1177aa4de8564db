"""Each form of the access log: what a line says, and that nothing a client sends makes it say something else."""

import json
import re
import select
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.access import Ended, Entry, Tried
from worker.access.formats import FORMATS, Json
from worker.http1 import NO_HEAD, RequestHead

NOON = 1_795_348_800.0
"""2026-11-22T12:00:00Z."""
TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"


def head_of(target: bytes = b"/a", fields: bytes = b"\r\nHost: a", method: bytes = b"GET") -> RequestHead:
    return RequestHead(method, target, 1, fields, {}, b"a", 0, 0)


def entry(**changes: Any) -> Entry:
    usual = Entry(
        over=0.25,
        head=head_of(),
        client=b"192.0.2.7",
        status=200,
        bytes_up=0,
        bytes_down=13,
        duration_s=0.0125,
        ttfb_s=0.011,
        pool="api",
        backend="b1",
        tried=(),
        failure="",
        ended=Ended.COMPLETE,
        messages=None,
    )
    return usual._replace(**changes)


TROUBLED = entry(
    head=head_of(b"/a?secret", b"\r\nTraceparent: 00-" + TRACE + b"-00f067aa0ba902b7-01"),
    status=502,
    bytes_down=0,
    ttfb_s=None,
    backend="/run/app 1.sock",
    tried=(Tried("b1", "connect_refused", 0.0),),
    failure="reset_before_head",
    messages=3,
)


def line(form: str, of: Entry) -> str:
    [line] = FORMATS[form](7)([of], NOON)
    return line


def test_json_says_it_all():
    assert json.loads(line("json", entry())) == {
        "time": "2026-11-22T12:00:00.250Z",
        "client": "192.0.2.7",
        "method": "GET",
        "path": "/a",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes_up": 0,
        "bytes_down": 13,
        "duration_ms": 12.5,
        "ttfb_ms": 11,
        "pool": "api",
        "backend": "b1",
        "attempts": 1,
        "ended": "complete",
        "pid": 7,
    }


def test_json_has_more_of_a_request_that_had_trouble():
    said = json.loads(line("json", TROUBLED))
    assert (said["ttfb_ms"], said["attempts"], said["failure"]) == (None, 2, "reset_before_head")
    assert said["tried"] == [{"backend": "b1", "failure": "connect_refused"}]
    assert (said["messages"], said["trace_id"]) == (3, TRACE.decode())


def test_logfmt_leaves_out_what_is_not_there():
    assert line("logfmt", entry()) == (
        "time=2026-11-22T12:00:00.250Z client=192.0.2.7 method=GET path=/a protocol=HTTP/1.1 status=200 bytes_up=0 "
        "bytes_down=13 duration_ms=12.500 ttfb_ms=11.000 pool=api backend=b1 attempts=1 ended=complete pid=7\n"
    )
    troubled = line("logfmt", TROUBLED)
    assert 'backend="/run/app 1.sock"' in troubled
    assert "ttfb_ms" not in troubled
    assert "tried=b1:connect_refused" in troubled


def test_the_common_log_format_is_what_its_readers_expect():
    assert line("common", entry()) == '192.0.2.7 - - [22/Nov/2026:12:00:00 +0000] "GET /a HTTP/1.1" 200 13\n'
    unread = entry(head=NO_HEAD, status=400, bytes_down=0)
    assert line("common", unread) == '192.0.2.7 - - [22/Nov/2026:12:00:00 +0000] "-" 400 -\n'


def test_time_goes_on():
    form = Json(7)
    lines = form([entry(over=over) for over in (0.0, 0.0014, 0.9999, 61.0)], NOON)
    assert [json.loads(each)["time"][17:] for each in lines] == ["00.000Z", "00.001Z", "00.999Z", "01.000Z"]


@pytest.mark.parametrize("form", FORMATS)
def test_no_form_shows_a_query_or_a_password(form: str):
    for target in (b"/a?secret", b"http://b/a?secret", b"http://secret:secret@b/a", b"*", b"secret:443"):
        assert "secret" not in line(form, entry(head=head_of(target)))


@pytest.mark.parametrize("form", FORMATS)
def test_a_line_fits_into_a_pipe_whatever_the_path(form: str):
    many = tuple(Tried("b" * 128, "connect_refused", 0.0) for _ in range(10))
    for path in (b"/" + b"a" * 60_000, b"/" + b'"' * 60_000, b"/" + b"\xff" * 60_000):
        assert len(line(form, entry(head=head_of(path), tried=many))) <= select.PIPE_BUF


@given(st.binary(), st.binary())
def test_every_line_reads_back_as_the_one_entry_it_was(path: bytes, client: bytes):
    of = entry(head=head_of(b"/" + path.replace(b"?", b"")[:400]), client=client[:64])
    for form in FORMATS:
        text = line(form, of)
        assert text.isascii()
        assert text.endswith("\n")
        assert text.count("\n") == 1
        assert text[:-1].isprintable()
    said = json.loads(line("json", of))
    assert said["path"].encode("latin-1") == of.head.target
    assert said["client"].encode("latin-1") == of.client
    assert said["status"] == 200
    pairs = dict(LOGFMT_PAIR.findall(line("logfmt", of)))
    assert unquoted(pairs["path"]).encode("latin-1") == of.head.target
    assert (unquoted(pairs["client"]).encode("latin-1"), pairs["pid"]) == (of.client, "7")
    parts = COMMON.fullmatch(line("common", of))
    assert parts is not None
    assert parts["status"] == "200"
    assert HEX.sub(lambda found: chr(int(found[1], 16)), parts["path"]).encode("latin-1") == of.head.target


LOGFMT_PAIR = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^ "\n]*)')
COMMON = re.compile(r'(\S+) - - \[[^]]+\] "GET (?P<path>[^ "]+) HTTP/1\.1" (?P<status>\d+) 13\n')
HEX = re.compile(r"\\x([0-9A-F]{2})")


def unquoted(value: str) -> str:
    text: str = json.loads(value) if value.startswith('"') else value
    return text
