"""What a backend reads is one request for each that came, whatever the client, the app or what stands between says."""

import asyncio
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from fastapi import FastAPI

from asked import Asked
from backend import Backend, Connection, Request, answers
from rude import never_answers
from waiting import eventually
from worker.library import GatewayError, Proxy, proxy_pass

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"


class Slow:
    """A backend's handler that answers when it is `told`."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    async def __call__(self, request: Request, connection: Connection) -> None:
        await self.told.wait()
        await connection.respond(body=request.target)


async def met(backend: Backend, asked: Asked, **changes: Any) -> list[bytes]:
    """The targets that a slow backend reads, if the next request comes by the same connection."""
    backend.handler = slow = Slow()
    async with asyncio.TaskGroup() as tasks:
        passing = tasks.create_task(proxy_pass(asked.request, backend.url, **changes))
        await eventually(lambda: asked.taken > 1)
        slow.told.set()
    await asked.answered(passing.result())
    following = Asked(path="/next")
    assert await following.answered(await proxy_pass(following.request, backend.url)) == b"/next"
    return [request.target for request in backend.requests]


@pytest.mark.parametrize("changes", [{"method": "GET"}, {"method": "HEAD"}, {"override_body": b"mine"}])
async def test_a_body_that_is_left_behind_is_no_request_of_its_own(backend: Backend, changes: dict[str, Any]):
    """It was written after the head as soon as the client's leaving was watched for."""
    length = (b"content-length", b"%d" % len(SMUGGLED))
    asked = Asked("POST", "/first", headers=[(b"host", b"a"), length], parts=[SMUGGLED])
    assert await met(backend, asked, **changes) == [b"/first", b"/next"]


@pytest.mark.parametrize("method", ["GET", "QUERY", "POST", "DELETE"])
@pytest.mark.parametrize("body", [b"", SMUGGLED])
async def test_a_body_that_http2_does_not_announce_arrives_as_one(backend: Backend, method: str, body: bytes):
    """With GET it arrived as a request of its own, with POST without a body as an empty one of chunks."""
    asked = Asked(method, "/first", http_version="2", parts=[body])
    assert await met(backend, asked) == [b"/first", b"/next"]
    assert backend.requests[0].body == body
    assert backend.requests[0].header("transfer-encoding") == (b"chunked" if body else None)


@pytest.mark.parametrize("parts", [[b"four", SMUGGLED], [b"fou"]])
async def test_a_body_of_another_length_than_was_said_is_refused(backend: Backend, parts: list[bytes]):
    """Something in front of the app has changed it; what was too much would have been the next request."""
    backend.handler = never_answers()
    asked = Asked("POST", headers=[(b"host", b"a"), (b"content-length", b"4")], parts=parts)
    with pytest.raises(GatewayError) as caught:
        await proxy_pass(asked.request, backend.url)
    assert caught.value.status_code == 400
    await eventually(lambda: not backend.connections_open)


@pytest.mark.parametrize("host", ["a\r\nx-evil: 1", "a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a", "a b", "ü"])
async def test_a_host_that_is_none_is_refused(backend: Backend, host: str):
    asked = Asked()
    with pytest.raises(GatewayError) as caught:
        await proxy_pass(asked.request, backend.url, override_host=host)
    assert caught.value.status_code == 400
    assert not backend.requests


@pytest.mark.parametrize("host", ["upstream", "preserve", "inner.test:81"])
async def test_every_host_is_said_as_it_was_given(backend: Backend, host: str):
    await proxy_pass(Asked().request, backend.url, override_host=host)
    assert backend.requests[0].all("host") == [host.encode()]


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "GET /smuggled HTTP/1.1\r\nx: "},
        {"additional_headers": {"x": "1\r\nx-evil: 1"}},
        {"additional_headers": {"x\r\nx-evil": "1"}},
        {"override_headers": {"x": "1\n"}},
    ],
)
async def test_line_ends_in_what_the_caller_gives_are_refused(backend: Backend, changes: dict[str, Any]):
    with pytest.raises(GatewayError) as caught:
        await proxy_pass(Asked().request, backend.url, **changes)
    assert caught.value.status_code == 400
    assert not backend.requests


async def test_line_ends_in_a_path_are_encoded(backend: Backend):
    await proxy_pass(Asked().request, backend.url, path="/a\r\nx-evil: 1")
    assert backend.requests[0].target == b"/a%0D%0Ax-evil:%201"


@pytest.mark.parametrize("options", [b"x-user", b"close, X-User", b"X-User, te"])
async def test_no_client_takes_away_what_the_app_has_added(backend: Backend, options: bytes):
    """RFC 9110 §7.6.1 lets it name its own fields; what the app says of it is not its own."""
    asked = Asked(headers=[(b"host", b"a"), (b"connection", options), (b"x-user", b"root"), (b"x-gone", b"1")])
    await proxy_pass(asked.request, backend.url, additional_headers={"X-User": "alice"})
    await proxy_pass(asked.request, backend.url, override_headers={"X-User": "alice"})

    def add(request: httpx.Request) -> None:
        request.headers["X-User"] = "alice"

    await proxy_pass(asked.request, backend.url, on_request=add)
    assert [request.all("x-user") for request in backend.requests] == [[b"alice"]] * 3


async def test_what_the_client_names_itself_still_stays_behind(backend: Backend):
    asked = Asked(headers=[(b"host", b"a"), (b"connection", b"x-gone"), (b"x-gone", b"1"), (b"te", b"trailers")])
    await proxy_pass(asked.request, backend.url, additional_headers={"x-new": "1"})
    assert (backend.requests[0].all("x-gone"), backend.requests[0].all("te")) == ([], [b"trailers"])


@pytest.mark.parametrize("trusted", [None, ("198.51.100.0/24",)])
async def test_what_the_app_says_of_the_client_stands_alone(backend: Backend, trusted: tuple[str, ...] | None):
    app = FastAPI()
    async with Proxy(app, trusted_proxies=trusted):
        asked = Asked(
            headers=[(b"host", b"a"), (b"x-forwarded-for", b"10.0.0.1"), (b"x-real-ip", b"10.0.0.1")], app=app
        )
        said = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
        await proxy_pass(asked.request, backend.url, additional_headers=said)
    [received] = backend.requests
    assert received.all("x-forwarded-for") == [b"203.0.113.9"]
    assert received.all("x-forwarded-proto") == [b"https"]
    assert received.all("x-real-ip") == [b"10.0.0.1" if trusted is None else b"192.0.2.7"]


@pytest.mark.parametrize("given", [[("X-A", "1")], {"X-A": 1}, httpx.Headers({"X-A": "1"})])
async def test_headers_may_be_given_as_httpx_takes_them(backend: Backend, given: Any):
    await proxy_pass(Asked().request, backend.url, additional_headers=given)
    assert backend.requests[0].all("x-a") == [b"1"]


@pytest.mark.parametrize("path", ["/%ff", "/%E4%20%c3%28", "/a%00b", "/%", "/%zz"])
async def test_bytes_that_are_no_text_stay_in_the_path(backend: Backend, path: str):
    asked = Asked(path=unquote(path), raw_path=path.encode())
    await proxy_pass(asked.request, backend.url)
    assert backend.requests[0].target == path.encode()


async def test_calls_at_the_same_time_all_send_the_whole_body(backend: Backend):
    """Each took what it could get of it."""
    parts = [bytes([number]) * 1_000 for number in range(50)]
    asked = Asked("POST", headers=[(b"host", b"a"), (b"content-length", b"50000")], parts=parts)
    async with Backend(answers()) as other:
        async with asyncio.TaskGroup() as tasks:
            for url in (backend.url, other.url, backend.url):
                tasks.create_task(proxy_pass(asked.request, url))
        bodies = [request.body for request in (*backend.requests, *other.requests)]
    assert bodies == [b"".join(parts)] * 3


async def test_a_client_that_leaves_is_noticed_where_its_body_is_not_wanted(backend: Backend):
    backend.handler = never_answers()
    asked = Asked("POST", headers=[(b"host", b"a"), (b"content-length", b"4")], parts=[b"four"])
    async with asyncio.TaskGroup() as tasks:
        passing = tasks.create_task(proxy_pass(asked.request, backend.url, override_body=b"mine"))
        await eventually(lambda: backend.requests)
        asked.leave()
    assert passing.result().status_code == 499
    await eventually(lambda: not backend.connections_open)


async def test_an_answer_has_one_date_at_most_and_that_is_the_backends(backend: Backend):
    """Servers date what has none themselves; only uvicorn's could be told apart from ours."""
    for fields in ([], [("Date", "Thu, 01 Jan 1970 00:00:00 GMT")]):
        backend.handler, asked = answers(headers=fields), Asked()
        await asked.answered(await proxy_pass(asked.request, backend.url))
        dates = [value for name, value in asked.sent[0]["headers"] if name == b"date"]
        assert dates == [value.encode() for _, value in fields]


async def test_what_the_server_in_front_has_let_pass_is_not_too_much(backend: Backend):
    fields = [(b"x-%d" % number, b"1") for number in range(500)]
    asked = Asked(headers=[(b"host", b"a"), *fields])
    assert await asked.answered(await proxy_pass(asked.request, backend.url)) == b"ok"
    assert [
        (name, value) for name, value in backend.requests[0].headers if name.startswith(b"x-") and name[2:].isdigit()
    ] == fields
