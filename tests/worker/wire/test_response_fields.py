"""What of a response's head reaches the client, and as which bytes (RFC 9110 §6.6, §7.6)."""

import email.utils
import time

import pytest

from backend import Backend, Connection, Request, answers, sends
from lanes import Lane
from raw_client import RawClient, Response, fetch
from wire import Headers

OURS = ("via", "date")


def theirs(response: Response) -> Headers:
    """What the client got, without what a proxy adds."""
    return [(name, value) for name, value in response.headers if name.lower().decode() not in OURS]


async def test_fields_keep_order_case_and_duplicates_rfc9110_5_3(lane: Lane, backend: Backend):
    headers: Headers = [
        (b"X-tWo", b"2"),
        (b"Server", b"origin/1"),
        (b"Content-Type", b"text/plain"),
        (b"x-two", b""),
        (b"X-Raw", b'caf\xe9 "\t" \xff'),
        (b"ETag", b'W/"x"'),
        (b"Cache-Control", b"private"),
        (b"cache-control", b"max-age=3"),
    ]
    backend.handler = answers(headers=headers)
    response = await fetch(lane.port)
    assert theirs(response) == [*lane.told(headers), (b"content-length", b"2")]


async def test_set_cookie_twice_arrives_twice_rfc6265_3(lane: Lane, backend: Backend):
    cookies = [b"a=1; Path=/; HttpOnly", b"b=2, 3; Expires=Wed, 21 Oct 2026 07:28:00 GMT", b"a=1; Path=/x"]
    backend.handler = answers(headers=[(b"Set-Cookie", cookie) for cookie in cookies])
    assert (await fetch(lane.port)).all("set-cookie") == cookies


async def test_the_cookie_of_one_client_never_reaches_another(lane: Lane, backend: Backend):
    backend.handler = answers(headers=[("Set-Cookie", "session=secret")])
    for _ in range(3):
        assert (await fetch(lane.port)).all("set-cookie") == [b"session=secret"]
    async with RawClient(lane.port) as client:
        for cookies in ([], [b"own=1"], []):
            await client.request(headers=[("Host", "a"), *(("Cookie", cookie) for cookie in cookies)])
            await client.read_response()
            assert backend.requests[-1].all("cookie") == cookies
    assert backend.connections_total == 1
    assert all(not request.all("cookie") for request in backend.requests[:3])


async def test_hop_by_hop_fields_stay_there_rfc9110_7_6_1(lane: Lane, backend: Backend):
    headers = [
        ("Connection", "X-Hop, close"),
        ("X-Hop", "1"),
        ("Keep-Alive", "timeout=5, max=100"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy-Connection", "close"),
        ("Upgrade", "h2c"),
        ("X-Stays", "1"),
        ("Set-Cookie", "a=1"),
    ]
    backend.handler = answers(headers=headers)
    async with RawClient(lane.port) as client:
        for _ in range(2):  # the backend's close is not ours
            await client.request()
            response = await client.read_response()
            kept: Headers = [(b"X-Stays", b"1"), (b"Set-Cookie", b"a=1")]
            assert theirs(response) == [*lane.told(kept), (b"content-length", b"2")]


@pytest.mark.parametrize("name", ["Set-Cookie", "Content-Length"])
async def test_connection_cannot_take_away_what_clients_rely_on(lane: Lane, backend: Backend, name: str):
    backend.handler = answers(headers=[("Set-Cookie", "a=1"), ("Connection", name)])
    response = await fetch(lane.port)
    assert response.header(name)
    assert response.body == b"ok"


@pytest.mark.parametrize("name", ["X-Sidebeat-Backend", "x-sidebeat-error", "X-Health-State", "X-Health-Weight"])
async def test_backends_do_not_speak_in_our_name(lane: Lane, backend: Backend, name: str):
    backend.handler = answers(headers=[(name, "made-up"), ("X-Health", "stays")])
    response = await fetch(lane.port)
    assert response.header(name) is None
    assert response.header("x-health") == b"stays"


async def test_426_keeps_saying_what_it_wants_rfc9110_15_5_22(lane: Lane, backend: Backend):
    backend.handler = answers(
        426, headers=[("Upgrade", "HTTP/3.0, WebSocket"), ("Connection", "upgrade, x-a"), ("X-A", "1")]
    )
    response = await fetch(lane.port)
    assert response.all("upgrade") == [b"HTTP/3.0, WebSocket"]
    assert b"Upgrade" in response.all("connection")
    assert response.header("x-a") is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("Content-Type", "text/event-stream; charset=utf-8")], [b"no"]),
        ([("content-type", "Text/Event-Stream"), ("X-Accel-Buffering", "yes")], [b"yes"]),
        ([("Content-Type", "text/plain"), ("X-Kind", "text/event-stream")], []),
    ],
)
async def test_nobody_after_us_is_to_hold_back_an_event_stream(lane: Lane, backend: Backend, fields, expected):
    async def handle(_: Request, connection: Connection) -> None:
        await connection.start_chunked(headers=fields)
        await connection.stall()

    backend.handler = handle
    async with RawClient(lane.port) as client:
        await client.request()
        head = await client.read_head()
        assert head.all("x-accel-buffering") == expected


async def test_date_is_added_where_the_origin_sent_none_rfc9110_6_6_1(lane: Lane, backend: Backend):
    [date] = (await fetch(lane.port)).all("date")
    moment = email.utils.parsedate_to_datetime(date.decode()).timestamp()
    assert abs(moment - time.time()) < 5  # noqa: TID251 - a date is wall-clock time
    assert date.endswith(b" GMT")


async def test_the_origins_date_stands_rfc9110_6_6_1(lane: Lane, backend: Backend):
    backend.handler = answers(headers=[("dAte", "Tue, 15 Nov 1994 08:12:31 GMT")])
    assert (await fetch(lane.port)).all("date") == [b"Tue, 15 Nov 1994 08:12:31 GMT"]


async def test_via_is_added_with_the_version_that_came_rfc9110_7_6_3(lane: Lane, backend: Backend):
    backend.handler = sends(b"HTTP/1.0 200 OK\r\nVia: 1.1 inner\r\nContent-Length: 0\r\n\r\n")
    assert (await fetch(lane.port)).all("via") == [b"1.1 inner", b"1.0 " + lane.runtime.via]


async def test_nothing_is_invented(lane: Lane, backend: Backend):
    backend.handler = sends(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    names = [name.lower() for name, _ in (await fetch(lane.port)).headers]
    assert sorted(names) == [b"content-length", b"date", b"via"]


@pytest.mark.parametrize("line", [b"200 OK", b"200", b"200 ", b"201 Fine by me", b"299 caf\xe9", b"404 ", b"599 x"])
async def test_status_and_reason_pass_as_they_came_rfc9112_4(lane: Lane, backend: Backend, line: bytes):
    backend.handler = sends(b"HTTP/1.1 " + line + b"\r\nContent-Length: 0\r\n\r\n")
    response = await fetch(lane.port, method="POST")
    assert response.status == int(line[:3])
    if "reason" not in lane.lacks:
        assert response.reason == line[4:]


async def test_our_own_answers_are_short_dated_and_named(lane: Lane, backend: Backend):
    backend.refuse()
    response = await fetch(lane.port)
    assert (response.status, response.header("x-sidebeat-error")) == (502, b"connect_refused")
    assert response.header("content-type") == b"text/plain; charset=utf-8"
    assert response.header("cache-control") == b"no-store"
    assert response.header("date")
    assert response.body == b"502 Bad Gateway: The backend refused the connection.\n"


@pytest.mark.parametrize("accept", ["application/json", "text/html, application/problem+json;q=0.9"])
async def test_our_own_answers_are_problem_details_for_who_asks_rfc9457(lane: Lane, backend: Backend, accept: str):
    backend.refuse()
    response = await fetch(lane.port, headers=[("Host", "a"), ("Accept", accept)])
    assert response.header("content-type") == b"application/problem+json"
    assert b'"status": 502' in response.body


async def test_our_own_answer_to_head_has_no_body_rfc9110_9_3_2(lane: Lane, backend: Backend):
    backend.refuse()
    async with RawClient(lane.port) as client:
        for _ in range(2):
            await client.request("HEAD")
            response = await client.read_response(method="HEAD")
            assert response.status == 502
            assert int(response.header("content-length") or 0) > 0
