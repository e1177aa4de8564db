"""`proxy_pass` in a FastAPI app under uvicorn, in front of backends that behave in all ways."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from backend import Backend, Connection, answers, answers_chunked, resets, sends, stalls
from backend import Request as Received
from library_app import ProxyApp, proxy_app
from raw_client import RawClient
from raw_client import Response as Answer
from rude import never_answers, never_ends
from waiting import eventually
from worker.library import GatewayError, proxy_pass

HOST = [("host", "front.test")]


@pytest.fixture
async def front(backend: Backend) -> AsyncIterator[ProxyApp]:
    """An app that forwards everything to the backend."""
    async with proxy_app() as app:
        app.route = lambda request: proxy_pass(request, backend.url)
        yield app


async def ask(
    front: ProxyApp, method: str = "GET", target: str = "/", headers: Any = HOST, body: bytes = b""
) -> Answer:
    async with RawClient(front.port) as client:
        await client.request(method, target, headers, body)
        return await client.read_response(method=method)


def forwards(backend: Backend, **changes: Any) -> Any:
    async def route(request: Request) -> Response:
        return await proxy_pass(request, backend.url, **changes)

    return route


async def test_a_request_arrives_as_it_was_sent(front: ProxyApp, backend: Backend):
    fields = [
        ("host", "front.test"),
        ("X-A", "1"),
        ("x-a", "2"),
        ("Cookie", "c=1"),
        ("Connection", "x-gone"),
        ("X-Gone", "1"),
    ]
    await ask(front, "POST", "//a/%2e%2e/%7Eb?x=1&x=2", fields, b"four")
    [received] = backend.requests
    assert (received.method, received.target, received.body) == (b"POST", b"//a/%2e%2e/%7Eb?x=1&x=2", b"four")
    assert received.all("x-a") == [b"1", b"2"]
    assert received.header("host") == backend.url.removeprefix("http://").encode()
    assert received.header("content-length") == b"4"
    assert received.header("x-gone") is None
    assert received.header("transfer-encoding") is None
    assert received.header("user-agent") is None


async def test_the_client_is_told_of_unless_somebody_in_front_has_said_more(front: ProxyApp, backend: Backend):
    await ask(front)
    await ask(
        front,
        headers=[
            *HOST,
            ("x-forwarded-for", "203.0.113.9"),
            ("x-real-ip", "203.0.113.9"),
            ("x-forwarded-proto", "https"),
        ],
    )
    direct, relayed = backend.requests
    assert direct.header("x-forwarded-for") == direct.header("x-real-ip") == b"127.0.0.1"
    assert (direct.header("x-forwarded-proto"), direct.header("x-forwarded-host")) == (b"http", b"front.test")
    assert relayed.header("x-forwarded-for") == b"203.0.113.9, 127.0.0.1"
    assert relayed.all("x-real-ip") == [b"203.0.113.9"]
    assert relayed.all("x-forwarded-proto") == [b"https"]


async def test_what_the_server_in_front_has_read_already_is_not_said_twice(backend: Backend):
    async with proxy_app(proxy_headers=True) as front:
        front.route = forwards(backend)
        await ask(front, headers=[*HOST, ("x-forwarded-for", "203.0.113.9")])
    [received] = backend.requests
    assert received.all("x-forwarded-for") == [b"203.0.113.9"] == received.all("x-real-ip")


async def test_an_app_that_names_its_proxies_believes_nobody_else(backend: Backend):
    async with proxy_app(trusted_proxies=("192.0.2.0/24",)) as front:
        front.route = forwards(backend)
        await ask(front, headers=[*HOST, ("x-forwarded-for", "203.0.113.9"), ("x-real-ip", "203.0.113.9")])
    [received] = backend.requests
    assert received.all("x-forwarded-for") == [b"127.0.0.1"]
    assert received.all("x-real-ip") == [b"127.0.0.1"]


async def test_an_answer_arrives_as_it_was_sent_but_for_what_nginx_is_told(front: ProxyApp, backend: Backend):
    body = b"\x1f\x8b\x08 not really gzip"
    backend.handler = answers(
        headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Content-Encoding", "gzip"),
                 ("Cache-Control", "max-age=9"),
                 ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("Server", "origin")],
        body=body,
    )  # fmt: skip
    answer = await ask(front)
    assert answer.body == body
    assert answer.all("set-cookie") == [b"a=1", b"b=2"]
    assert answer.all("content-length") == [str(len(body)).encode()]
    assert answer.all("cache-control") == [b"max-age=9"]
    assert answer.all("x-accel-buffering") == [b"no"]
    assert (answer.all("date"), answer.all("server")) == ([b"Thu, 01 Jan 1970 00:00:00 GMT"], [b"origin"])


async def test_chunks_stay_chunks_both_ways_and_a_head_request_has_its_length(front: ProxyApp, backend: Backend):
    backend.handler = answers_chunked(b"one", b"two")
    async with RawClient(front.port) as client:
        await client.send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        answer = await client.read_response()
    assert (answer.body, answer.header("transfer-encoding")) == (b"onetwo", b"chunked")
    assert (backend.requests[0].body, backend.requests[0].header("transfer-encoding")) == (b"abc", b"chunked")
    backend.handler = sends(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n")
    assert (await ask(front, "HEAD")).header("content-length") == b"1234"


@pytest.mark.parametrize(
    ("given", "kind", "body"),
    [
        (b"bytes", None, b"bytes"),
        ("text ü", None, "text ü".encode()),
        ({"a": 1}, b"application/json", b'{"a": 1}'),
        ([1, 2], b"application/json", b"[1, 2]"),
        (b"", None, b""),
    ],
)
async def test_a_body_of_the_callers_replaces_the_requests(
    front: ProxyApp, backend: Backend, given: Any, kind: bytes | None, body: bytes
):
    front.route = forwards(backend, override_body=given)
    await ask(front, "POST", body=b"the client's own, which is longer")
    [received] = backend.requests
    assert (received.body, received.header("content-type")) == (body, kind)
    assert received.all("content-length") == [str(len(body)).encode()]


async def test_headers_are_added_replaced_and_taken_away(front: ProxyApp, backend: Backend):
    front.route = forwards(
        backend, additional_headers={"X-New": "1", "x-old": "mine", "x-away": None, "host": "ignored"}
    )
    await ask(front, headers=[*HOST, ("X-Old", "theirs"), ("X-Away", "1")])
    [received] = backend.requests
    assert (received.all("x-new"), received.all("x-old"), received.all("x-away")) == ([b"1"], [b"mine"], [])
    front.route = forwards(backend, override_headers={"X-Only": "1"}, override_host="inner.test")
    await ask(front, "POST", headers=[*HOST, ("cookie", "c=1")], body=b"four")
    received = backend.requests[1]
    names = {name.lower() for name, _ in received.headers}
    assert names == {b"host", b"x-only", b"content-length", b"via"}
    assert (received.header("host"), received.body) == (b"inner.test", b"four")


async def test_a_method_that_has_no_body_leaves_it_behind(front: ProxyApp, backend: Backend):
    front.route = forwards(backend, method="GET", path="/elsewhere", forward_query=False)
    await ask(front, "POST", "/?a=1", body=b"four")
    [received] = backend.requests
    assert (received.method, received.target, received.body) == (b"GET", b"/elsewhere", b"")
    assert received.header("content-length") is None


@pytest.mark.parametrize(
    ("fate", "status", "kind"),
    [
        ("refuses", 502, httpx.ConnectError),
        ("resets", 502, httpx.RemoteProtocolError),
        ("garbage", 502, httpx.RemoteProtocolError),
        ("stalls", 504, httpx.ReadTimeout),
    ],
)
async def test_what_goes_wrong_is_an_http_error_and_an_httpx_error(
    front: ProxyApp, backend: Backend, fate: str, status: int, kind: type[Exception]
):
    seen: list[Exception] = []

    async def route(request: Request) -> Response:
        try:
            return await proxy_pass(request, backend.url, timeout=0.05)
        except kind as error:
            seen.append(error)
            raise

    front.route = route
    if fate == "refuses":
        backend.refuse()
    backend.handler = {"resets": resets(), "garbage": sends(b"what?\r\n\r\n"), "stalls": stalls()}.get(fate, answers())
    answer = await ask(front)
    assert isinstance(seen[0], GatewayError)
    assert answer.status == status == seen[0].status_code
    assert answer.header("x-sidebeat-error")
    await eventually(lambda: not front.engine.active)


async def test_a_second_backend_gets_the_whole_body_again(front: ProxyApp, backend: Backend):
    async with Backend(resets()) as broken:

        async def route(request: Request) -> Response:
            try:
                return await proxy_pass(request, broken.url)
            except HTTPException:
                return await proxy_pass(request, backend.url)

        front.route = route
        assert (await ask(front, "POST", body=b"x" * 50_000)).status == 200
        assert backend.requests[0].body == b"x" * 50_000
        broken.refuse()
        assert (await ask(front, "POST", body=b"y" * 500_000)).status == 200
        assert backend.requests[1].body == b"y" * 500_000, "nothing had been read when connecting failed"


async def test_an_answer_that_is_dropped_takes_its_connection_along(front: ProxyApp, backend: Backend):
    async def route(request: Request) -> Response:
        answer = await proxy_pass(request, backend.url)
        return Response(f"it said {answer.status_code}")

    backend.handler, front.route = never_ends(b"begun"), route
    assert (await ask(front)).body == b"it said 200"
    gc.collect()
    await eventually(lambda: not backend.connections_open)
    assert not front.engine.active


async def test_a_client_that_leaves_takes_its_request_along(front: ProxyApp, backend: Backend):
    backend.handler = never_answers()
    async with RawClient(front.port) as client:
        await client.request()
        await eventually(lambda: backend.requests)
    await eventually(lambda: not backend.connections_open)
    assert not front.engine.active


async def test_an_answer_that_breaks_off_is_not_ended_cleanly(front: ProxyApp, backend: Backend):
    async def breaks(_request: Received, connection: Connection) -> None:
        await connection.start_chunked()
        await connection.chunk(b"half")
        connection.reset()

    backend.handler = breaks
    async with RawClient(front.port) as client:
        await client.request()
        await client.read_until(b"half")
        assert b"0\r\n\r\n" not in await client.read_some()


async def test_the_body_can_be_read_and_wrapped_by_the_app(front: ProxyApp, backend: Backend):
    async def route(request: Request) -> Response:
        answer = await proxy_pass(request, backend.url)
        assert isinstance(answer, StreamingResponse)
        parts = answer.body_iterator

        async def shouted() -> AsyncIterator[bytes]:
            async for part in parts:
                assert isinstance(part, bytes)
                yield part.upper()

        answer.body_iterator = shouted()
        answer.headers["x-seen"] = "yes"
        return answer

    backend.handler, front.route = answers_chunked(b"one", b"two"), route
    answer = await ask(front)
    assert (answer.body, answer.header("x-seen")) == (b"ONETWO", b"yes")


async def test_hooks_see_httpx_and_what_they_change_is_what_happens(backend: Backend):
    seen: list[object] = []

    async def on_request(request: httpx.Request) -> None:
        seen.append(str(request.url))
        request.headers["x-hooked"] = "1"
        request.url = request.url.copy_with(path="/other")

    async def on_response(response: httpx.Response) -> None:
        seen.append(await response.aread())
        response.headers["x-after"] = "2"

    async with proxy_app(on_request=on_request, on_response=on_response) as front:
        front.route = forwards(backend)
        answer = await ask(front, target="/first?a=1")
    [received] = backend.requests
    assert (received.target, received.header("x-hooked")) == (b"/other?a=1", b"1")
    assert received.header("x-forwarded-host") == b"front.test"
    assert (answer.body, answer.header("x-after")) == (b"ok", b"2")
    assert seen == [f"{backend.url}/first?a=1", b"ok"]


async def test_a_hook_may_answer_in_place_of_a_backend_that_does_not(front: ProxyApp, backend: Backend):
    def on_error(request: httpx.Request, error: GatewayError) -> Response:
        return Response(f"{request.method} {error.failure.text}", status_code=299)

    backend.refuse()
    front.route = forwards(backend, on_error=on_error)
    answer = await ask(front)
    assert (answer.status, answer.body) == (299, b"GET connect_refused")


async def test_a_client_of_the_apps_own_is_used_as_it_is(front: ProxyApp):
    def handle(request: httpx.Request) -> httpx.Response:
        told = {"url": str(request.url), "headers": sorted(request.headers)}
        return httpx.Response(201, headers=[("set-cookie", "a=1"), ("set-cookie", "b=2")], json=told)

    ours = front.app.state.http_proxy_client
    async with httpx.AsyncClient(transport=httpx.MockTransport(handle), headers={"X-Mine": "1"}) as client:
        front.app.state.http_proxy_client = client
        front.route = lambda request: proxy_pass(request, "http://backend.test/v1")
        answer = await ask(front, target="/a?b=1")
    front.app.state.http_proxy_client = ours
    assert (answer.status, answer.all("set-cookie")) == (201, [b"a=1", b"b=2"])
    told = json.loads(answer.body)
    assert told["url"] == "http://backend.test/v1/a?b=1"
    assert "x-mine" in told["headers"]


async def test_without_a_proxy_an_app_forwards_all_the_same(backend: Backend):
    front = ProxyApp()
    front.route = forwards(backend)
    scope_app = httpx.ASGITransport(app=front.app)
    async with httpx.AsyncClient(transport=scope_app, base_url="http://front.test") as client:
        answers = (
            await asyncio.wait_for(client.get("/x"), 5),
            await asyncio.wait_for(client.post("/y", content=b"z"), 5),
        )
    assert [answer.text for answer in answers] == ["ok", "ok"]
    assert [request.target for request in backend.requests] == [b"/x", b"/y"]


async def test_a_user_name_in_the_backends_url_is_what_every_request_says(front: ProxyApp, backend: Backend):
    url = backend.url.replace("//", "//ada:so%20long@")
    front.route = lambda request: proxy_pass(request, url)
    await ask(front, headers=[*HOST, ("authorization", "Bearer theirs")])
    assert backend.requests[0].all("authorization") == [b"Basic YWRhOnNvIGxvbmc="]


async def test_what_the_app_puts_into_our_client_goes_along(front: ProxyApp, backend: Backend):
    client = front.app.state.http_proxy_client
    await ask(front)
    client.headers["X-Key"] = "1"
    client.cookies.set("c", "2")
    await ask(front, headers=[*HOST, ("accept", "text/plain")])
    before, after = backend.requests
    assert (before.header("x-key"), before.header("cookie")) == (None, None)
    assert (after.header("x-key"), after.header("cookie"), after.all("accept")) == (b"1", b"c=2", [b"text/plain"])
    assert after.header("user-agent") is None


async def test_hooks_are_there_for_a_client_that_is_not_ours_too(front: ProxyApp, backend: Backend):
    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/gone":
            raise httpx.ConnectError("nobody")
        return httpx.Response(200, content=b"it says " + request.headers["x-hooked"].encode())

    async def on_request(request: httpx.Request) -> None:
        request.headers["x-hooked"] = "1"

    async def on_response(response: httpx.Response) -> None:
        response.headers["x-after"] = (await response.aread()).decode()

    async def on_error(request: httpx.Request, error: GatewayError) -> Response:
        return Response(error.failure.text, status_code=299)

    ours = front.app.state.http_proxy_client
    async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as client:
        front.app.state.http_proxy_client = client
        front.route = forwards(backend, on_request=on_request, on_response=on_response, on_error=on_error)
        answer, refusal = await ask(front), await ask(front, target="/gone")
    front.app.state.http_proxy_client = ours
    assert (answer.body, answer.header("x-after")) == (b"it says 1", b"it says 1")
    assert (refusal.status, refusal.body) == (299, b"connect_failed")
