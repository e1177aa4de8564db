"""What is told of a head is what request_head does to it."""

import pytest

from worker.explain.changes import changes
from worker.headers import Peer, request_head
from worker.http1 import read_request

PEER = Peer(address="10.0.0.1", port=80, trusted=False)
ALWAYS = {
    "X-Forwarded-For": ("", "10.0.0.1"),
    "X-Forwarded-Proto": ("", "http"),
    "X-Forwarded-Port": ("", "80"),
    "X-Forwarded-Host": ("", "h"),
    "Via": ("", "1.1 us"),
}


def told(fields: str, host: bytes | None = None) -> dict[str, tuple[str, str]]:
    lines = "".join(f"\r\n{line}" for line in ["Host: h", *fields.splitlines()])
    head = read_request(f"GET / HTTP/1.1{lines}\r\n\r\n".encode(), 65_536, 100)
    assert head is not None
    found = changes(head, request_head(head, b"/", PEER, b"us", host))
    return {each.name.title(): (", ".join(each.before), ", ".join(each.after)) for each in found}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("Accept: */*\nCookie: a=1\nCookie: b=2", {}),
        ("Connection: close, X-Odd\nX-Odd: 1", {"Connection": ("close, X-Odd", ""), "X-Odd": ("1", "")}),
        ("x-forwarded-for: 6.6.6.6", {"X-Forwarded-For": ("6.6.6.6", "10.0.0.1")}),
        ("via: 1.0 them", {"Via": ("1.0 them", "1.0 them, 1.1 us")}),
        ("X-Sidebeat-Explain: token", {"X-Sidebeat-Explain": ("token", "")}),
        ("TE: trailers\nConnection: TE", {}),
    ],
)
def test_what_is_dropped_replaced_and_added_is_told_and_nothing_else(fields: str, expected: dict[str, tuple[str, str]]):
    assert told(fields) == ALWAYS | expected


def test_another_host_is_told():
    assert told("", b"backend:81")["Host"] == ("h", "backend:81")
