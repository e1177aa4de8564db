"""Who may have a request explained: a program on this machine or an operator, and no page of somebody else's."""

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from lanes import LANES, config_of, serving
from worker.explain import serve_explanations

PAGES = {"origin": {"origin": "http://evil"}, "cross-site": {"sec-fetch-site": "cross-site"}}


@pytest.fixture
async def client():
    async with serving(LANES["direct"], config_of({"url": "http://127.0.0.1:1", "id": "a"})) as lane:
        app = FastAPI()
        serve_explanations(app, lane.runtime)
        async with AsyncClient(transport=ASGITransport(app), base_url="http://localhost:9901") as client:
            yield client


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.:9901", "127.0.0.1:9901", "[::1]:9901", "10.0.0.5"])
async def test_who_asks_by_a_name_of_ours_is_told(client: AsyncClient, host: str):
    answer = await client.get("/explain", params={"url": "/"}, headers={"host": host})
    assert (answer.status_code, answer.json()["choice"]["pool"]) == (200, "api")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9901", "127.0.0.1.evil.example"])
async def test_who_asks_by_another_name_is_not(client: AsyncClient, host: str):
    assert (await client.get("/explain", params={"url": "/"}, headers={"host": host})).status_code == 403


@pytest.mark.parametrize("fields", PAGES.values(), ids=PAGES)
async def test_a_page_of_another_origin_is_told_nothing(client: AsyncClient, fields: dict[str, str]):
    assert (await client.get("/explain", params={"url": "/"}, headers=fields)).status_code == 403
