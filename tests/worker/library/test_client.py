"""The httpx client over our transport: httpx's habits, without what a proxy must not have."""

import gc
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from backend import Backend, answers, answers_chunked, stalls
from rude import never_ends
from waiting import eventually
from worker.library import ProxyClient, close_httpx_client, create_httpx_client
from worker.library.client import YOUNG_OBJECTS, _settle


@pytest.fixture
async def client() -> AsyncIterator[ProxyClient]:
    async with ProxyClient() as client:
        yield client


async def test_it_asks_and_reads_as_httpx_does(client: ProxyClient, backend: Backend):
    backend.handler = answers_chunked(b"one", b"two")
    answer = await client.post(f"{backend.url}/a?b=1", json={"c": 1})
    assert (answer.status_code, answer.text) == (200, "onetwo")
    [received] = backend.requests
    assert (received.target, received.body) == (b"/a?b=1", b'{"c":1}')
    async with client.stream("GET", backend.url) as answer:
        assert [part async for part in answer.aiter_raw()] in ([b"onetwo"], [b"one", b"two"])
    assert backend.connections_total == 1


async def test_a_body_that_comes_in_parts_goes_in_parts(client: ProxyClient, backend: Backend):
    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    assert (await client.put(backend.url, content=parts())).text == "ok"
    assert (backend.requests[0].body, backend.requests[0].header("transfer-encoding")) == (b"onetwo", b"chunked")


async def test_a_body_that_fails_fails_the_request(client: ProxyClient, backend: Backend):
    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        raise LookupError("no more")

    backend.handler = stalls()
    with pytest.raises(LookupError, match="no more"):
        await client.put(backend.url, content=parts())
    await eventually(lambda: not backend.connections_open)


async def test_it_keeps_no_cookies_and_follows_nobody(client: ProxyClient, backend: Backend):
    backend.handler = answers(302, headers=[("set-cookie", "sid=alice"), ("location", "/other")])
    assert (await client.get(backend.url)).status_code == 302
    await client.get(backend.url)
    assert [request.header("cookie") for request in backend.requests] == [None, None]


async def test_what_goes_wrong_is_httpxs_own_error(client: ProxyClient, backend: Backend):
    backend.handler = stalls()
    with pytest.raises(httpx.ReadTimeout):
        await client.get(backend.url, timeout=0.05)
    backend.refuse()
    backend.drop_connections()
    with pytest.raises(httpx.ConnectError) as caught:
        await client.get(backend.url)
    assert str(caught.value.request.url) == backend.url


async def test_a_response_that_is_left_halfway_closes_its_connection(client: ProxyClient, backend: Backend):
    backend.handler = never_ends(b"first")
    async with client.stream("GET", backend.url) as answer:
        async for part in answer.aiter_raw():
            assert part == b"first"
            break
    await eventually(lambda: not backend.connections_open)


async def test_an_app_gets_one_and_closing_it_closes_its_connections(backend: Backend):
    app = FastAPI()
    await close_httpx_client(app)
    await create_httpx_client(app)
    first = app.state.http_proxy_client
    assert (await first.get(backend.url)).text == "ok"
    await create_httpx_client(app)
    assert first.is_closed
    await eventually(lambda: not backend.connections_open)
    await close_httpx_client(app)
    await close_httpx_client(app)


@pytest.mark.parametrize(("before", "after"), [(700, YOUNG_OBJECTS), (123, 123), (0, 0)])
def test_a_collector_that_the_app_has_set_stays_so(before: int, after: int):
    threshold = gc.get_threshold()
    try:
        gc.set_threshold(before)
        _settle.__wrapped__()
        assert gc.get_threshold()[0] == after
    finally:
        gc.set_threshold(*threshold)
