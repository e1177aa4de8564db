"""What of a request's head reaches the backend, and as which bytes (RFC 9110 §7, RFC 9112 §3)."""

import asyncio

import pytest

from backend import Backend, Request
from lanes import Lane, StartLane
from raw_client import RawClient, fetch
from wire import Headers, encode_head

OURS = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-host", "via")


async def seen(lane: Lane, backend: Backend, head: bytes) -> Request:
    """The request that the backend got for this head."""
    async with RawClient(lane.port) as client:
        await client.send(head)
        assert (await client.read_response()).status == 200
    return backend.requests[-1]


def theirs(request: Request) -> Headers:
    """What the backend got, without what a proxy adds."""
    return [(name, value) for name, value in request.headers if name.lower().decode() not in OURS]


async def test_fields_keep_order_case_and_duplicates_rfc9110_5_3(lane: Lane, backend: Backend):
    headers: Headers = [
        (b"X-tWo", b"2"),
        (b"Host", b"Example.Test:81"),
        (b"Accept", b"a"),
        (b"x-two", b""),
        (b"Cookie", b"a=1"),
        (b"accept", b"b, c"),
        (b"Cookie", b"b=2"),
    ]
    request = await seen(lane, backend, encode_head("GET / HTTP/1.1", headers))
    assert theirs(request) == lane.told(headers)


async def test_values_pass_as_the_bytes_they_are_rfc9110_5_5(lane: Lane, backend: Backend):
    values = [b"caf\xe9", "snow ☃".encode(), b'"a\\"b", c', b"a\tb", b"~!@#$%^&*()=+{}|[]<>?", b"x" * 8000]
    headers: Headers = [(b"host", b"a"), *((b"x-value", value) for value in values)]
    request = await seen(lane, backend, encode_head("GET / HTTP/1.1", headers))
    assert request.all("x-value") == values


async def test_names_may_be_any_token_rfc9110_5_6_2(lane: Lane, backend: Backend):
    headers: Headers = [(b"Host", b"a"), (b"!#$%&'*+-.^_`|~09azAZ", b"1"), (b"under_score", b"2"), (b"x", b"3")]
    request = await seen(lane, backend, encode_head("GET / HTTP/1.1", headers))
    assert theirs(request) == lane.told(headers)


@pytest.mark.parametrize(
    "target",
    [
        b"//a/%2e%2e/%7Eb?x=1&x=2",
        b"/",
        b"/?",
        b"/??a=b?",
        b"/a//b/./c/../d",
        b"/%zz%",
        b"/a;b=c,d",
        b'/[]{}|^`"<>\\',
        b"/?q=a+b%20c&q=%2B&%00",
        b"/" + b"a" * 6000,
    ],
)
async def test_path_and_query_pass_byte_for_byte_rfc9110_7_7(lane: Lane, backend: Backend, target: bytes):
    if target.endswith(b"/?"):
        lane.needs("empty query")
    request = await seen(lane, backend, b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert request.target == target


@pytest.mark.parametrize("method", ["GET", "POST", "PROPFIND", "M-SEARCH", "get", "X!"])
async def test_any_method_passes_as_it_is_written_rfc9110_9_1(lane: Lane, backend: Backend, method: str):
    if method in ("get", "X!"):
        lane.needs("methods")
    assert (await fetch(lane.port, method=method)).status == 200
    assert backend.requests[-1].method == method.encode()


async def test_options_asterisk_passes_rfc9112_3_2_4(lane: Lane, backend: Backend):
    request = await seen(lane, backend, b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (request.method, request.target) == (b"OPTIONS", b"*")


@pytest.mark.parametrize(
    ("target", "forwarded"),
    [(b"http://origin.test", b"*"), (b"http://origin.test/", b"/"), (b"http://origin.test?a", b"/?a")],
)
async def test_options_of_a_whole_server_in_absolute_form_becomes_asterisk_rfc9112_3_2_4(
    lane: Lane, backend: Backend, target: bytes, forwarded: bytes
):
    request = await seen(lane, backend, b"OPTIONS " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert request.target == forwarded


@pytest.mark.parametrize(
    ("target", "forwarded", "host"),
    [
        (b"http://origin.test/a?b", b"/a?b", b"origin.test"),
        (b"http://origin.test:8080/", b"/", b"origin.test:8080"),
        (b"HTTP://origin.test", b"/", b"origin.test"),
        (b"http://origin.test?q", b"/?q", b"origin.test"),
        (b"https://[::1]:444//x", b"//x", b"[::1]:444"),
    ],
)
async def test_absolute_form_wins_over_host_rfc9112_3_2_2(
    lane: Lane, backend: Backend, target: bytes, forwarded: bytes, host: bytes
):
    lane.needs("absolute-form")
    request = await seen(lane, backend, b"GET " + target + b" HTTP/1.1\r\nHost: other\r\n\r\n")
    assert request.target == forwarded
    assert request.all("host") == [host]
    assert request.header("x-forwarded-host") == host


async def test_hop_by_hop_fields_stay_here_rfc9110_7_6_1(lane: Lane, backend: Backend):
    headers: Headers = [
        (b"Host", b"a"),
        (b"Connection", b"keep-alive, X-Hop , x-other"),
        (b"X-Hop", b"1"),
        (b"Keep-Alive", b"timeout=5"),
        (b"X-Stays", b"1"),
        (b"x-hop", b"2"),
        (b"X-Other", b"3"),
        (b"X-Hop-Too", b"stays"),
        (b"Proxy-Connection", b"keep-alive"),
        (b"TE", b"gzip"),
        (b"Upgrade", b"h2c"),
        (b"HTTP2-Settings", b"AAMAAABkAAQAAP__"),
        (b"Proxy-Authorization", b"Basic eA=="),
        (b"Last", b"1"),
    ]
    request = await seen(lane, backend, encode_head("GET / HTTP/1.1", headers))
    kept: Headers = [(b"Host", b"a"), (b"X-Stays", b"1"), (b"X-Hop-Too", b"stays"), (b"Last", b"1")]
    assert theirs(request) == lane.told(kept)


@pytest.mark.parametrize(
    "name", ["Host", "Authorization", "Cookie", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Via"]
)
async def test_connection_cannot_take_away_what_backends_trust(lane: Lane, backend: Backend, name: str):
    given = [("Host", "a"), ("Authorization", "secret"), ("Cookie", "a=1"), ("Connection", f"close, {name}")]
    request = await seen(lane, backend, encode_head("GET / HTTP/1.1", given))
    assert request.all(name)
    assert request.header("connection") is None


async def test_connection_cannot_take_away_the_length_of_a_body(lane: Lane, backend: Backend):
    async with RawClient(lane.port) as client:
        await client.request("POST", headers=[("Host", "a"), ("Connection", "content-length")], body=b"hello")
        assert (await client.read_response()).status == 200
        await client.request("GET", "/next")
        assert (await client.read_response()).status == 200
    assert [(request.target, request.body) for request in backend.requests] == [(b"/", b"hello"), (b"/next", b"")]


async def test_trailers_are_still_welcome_rfc9110_10_1_4(lane: Lane, backend: Backend):
    head = encode_head("GET / HTTP/1.1", [("Host", "a"), ("TE", "trailers, deflate"), ("Connection", "TE")])
    request = await seen(lane, backend, head)
    assert request.all("te") == [b"trailers"]
    assert request.all("connection") == [b"TE"]


async def test_nothing_is_invented(lane: Lane, backend: Backend):
    request = await seen(lane, backend, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert sorted(name.lower().decode() for name, _ in request.headers) == sorted(["host", *OURS])
    assert request.version == b"HTTP/1.1"


async def test_a_client_is_not_believed_about_those_before_it(lane: Lane, backend: Backend):
    lies = ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Real-IP", "Forwarded"]
    headers = [("Host", "a.test"), *((name, "evil") for name in lies), ("x-forwarded-for", "evil")]
    request = await seen(lane, backend, encode_head("GET / HTTP/1.1", headers))
    assert b"evil" not in request.raw
    assert request.all("x-forwarded-for") == [b"127.0.0.1"]
    assert request.all("x-forwarded-proto") == [b"http"]
    assert request.all("x-forwarded-host") == [b"a.test"]
    assert request.all("x-forwarded-port") == [b"%d" % lane.port]


async def test_a_trusted_proxy_is_believed_and_added_to_the_chain(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url, listen={"trusted_proxies": ["127.0.0.0/8"]})
    headers = [
        ("Host", "a.test"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-For", "192.0.2.8"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "public.test"),
        ("Forwarded", 'for="[2001:db8::1]"'),
    ]
    request = await seen(lane, backend, encode_head("GET / HTTP/1.1", headers))
    assert request.all("x-forwarded-for") == [b"192.0.2.7, 192.0.2.8, 127.0.0.1"]
    assert request.all("x-forwarded-proto") == [b"https"]
    assert request.all("x-forwarded-host") == [b"public.test"]
    assert request.all("forwarded") == [b'for="[2001:db8::1]", for=127.0.0.1']


async def test_our_own_headers_cannot_be_sent_from_outside(lane: Lane, backend: Backend):
    headers = [("Host", "a"), ("X-Sidebeat-Backend", "b"), ("x-sidebeat-anything", "c"), ("X-Side", "stays")]
    request = await seen(lane, backend, encode_head("GET / HTTP/1.1", headers))
    assert request.header("x-side") == b"stays"
    assert b"sidebeat-" not in request.raw.lower().replace(b"via: 1.1 sidebeat-", b"")


async def test_via_is_added_with_the_version_that_came_rfc9110_7_6_3(lane: Lane, backend: Backend):
    before = encode_head("GET / HTTP/1.0", [("Via", "1.1 first"), ("Via", "1.0 second (x)")])
    request = await seen(lane, backend, before)
    assert request.all("via") == [b"1.1 first", b"1.0 second (x)", b"1.0 " + lane.runtime.via]


async def test_a_request_that_was_here_before_is_a_loop_rfc5842_7_2(lane: Lane, backend: Backend):
    via = f"1.1 other, 1.1 {lane.runtime.via.decode()}"
    response = await fetch(lane.port, headers=[("Host", "a"), ("Via", via)])
    assert (response.status, response.header("x-sidebeat-error")) == (508, b"loop")
    assert not backend.requests


@pytest.mark.parametrize(
    ("wish", "expected"), [("preserve", b"a.test:99"), ("upstream", None), ("fixed.test:1", b"fixed.test:1")]
)
async def test_a_route_says_what_host_is(start_lane: StartLane, backend: Backend, wish: str, expected: bytes | None):
    lane = await start_lane(backend.url, routes=[{"pool": "api", "host_header": wish}])
    head = encode_head("GET / HTTP/1.1", [("X-First", "1"), ("Host", "a.test:99"), ("X-Last", "2")])
    request = await seen(lane, backend, head)
    assert request.all("host") == [expected or f"127.0.0.1:{backend.port}".encode()]
    assert request.all("x-forwarded-host") == [b"a.test:99"]


async def test_http_1_0_without_host_gets_the_backends_own_rfc9112_3_2(lane: Lane, backend: Backend):
    request = await seen(lane, backend, b"GET / HTTP/1.0\r\n\r\n")
    assert request.all("host") == [f"127.0.0.1:{backend.port}".encode()]
    assert request.version == b"HTTP/1.1"


@pytest.mark.parametrize(
    ("target", "forwarded"),
    [
        (b"/api/x?y=/api", b"/x?y=/api"),
        (b"/api", b"/"),
        (b"/api?q", b"/?q"),
        (b"/api//x/%7E", b"//x/%7E"),
        (b"http://h/api/x", b"/x"),
    ],
)
async def test_a_prefix_is_taken_off_once(start_lane: StartLane, backend: Backend, target: bytes, forwarded: bytes):
    lane = await start_lane(backend.url, routes=[{"pool": "api", "path_prefix": "/api", "strip_prefix": True}])
    request = await seen(lane, backend, b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert request.target == forwarded


async def test_an_encoded_prefix_is_taken_off_too(start_lane: StartLane, backend: Backend):
    """A route matches the decoded path; a backend must not see what was matched under another spelling."""
    lane = await start_lane(backend.url, routes=[{"pool": "api", "path_prefix": "/api", "strip_prefix": True}])
    request = await seen(lane, backend, b"GET /%61pi/x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert request.target == b"/x"


async def test_no_route_is_404(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url, routes=[{"pool": "api", "path_prefix": "/api"}])
    response = await fetch(lane.port, "/apix")
    assert (response.status, response.header("x-sidebeat-error")) == (404, b"no_route")
    assert not backend.requests


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
async def test_trace_and_connect_are_refused_rfc9110_9_3(lane: Lane, backend: Backend, method: str):
    if method == "CONNECT":
        lane.needs("connect")
    async with RawClient(lane.port) as client:
        target = "/" if method == "TRACE" else "example.test:443"
        await client.request(method, target)
        response = await client.read_response()
        assert (response.status, response.header("x-sidebeat-error")) == (405, b"method_refused")
        assert response.header("allow")
        await client.request("GET", "/after")
        assert (await client.read_response()).status == 200
    assert [request.target for request in backend.requests] == [b"/after"]


async def test_a_request_may_come_one_byte_at_a_time(lane: Lane, backend: Backend):
    data = encode_head("POST /x?y HTTP/1.1", [("Host", "a"), ("X-One", "1"), ("Content-Length", "5")]) + b"hello"
    async with RawClient(lane.port) as client:
        for _ in range(2):
            for byte in data:
                await client.send(bytes([byte]))
                await asyncio.sleep(0)
            assert (await client.read_response()).status == 200
    assert [(request.target, request.body) for request in backend.requests] == [(b"/x?y", b"hello")] * 2


@pytest.mark.parametrize(("hops", "forwarded"), [(b"1", b"0"), (b"5", b"4"), (b"many", b"many")])
async def test_hops_are_counted_rfc9110_7_6_2(lane: Lane, backend: Backend, hops: bytes, forwarded: bytes):
    request = await seen(lane, backend, encode_head("OPTIONS / HTTP/1.1", [("Host", "a"), ("Max-Forwards", hops)]))
    assert request.all("max-forwards") == [forwarded]


async def test_the_last_hop_is_ours_to_answer_rfc9110_7_6_2(lane: Lane, backend: Backend):
    async with RawClient(lane.port) as client:
        for method in ("OPTIONS", "GET"):
            await client.request(method, headers=[("Host", "a"), ("Max-Forwards", "0")])
            response = await client.read_response()
            assert response.status == 200
            assert bool(response.header("allow")) is (method == "OPTIONS")
    assert [request.method for request in backend.requests] == [b"GET"]  # it means nothing there
