"""What the console shows, and what can be asked for by it."""

import json
from urllib.parse import quote

import pytest
from redis.asyncio import Redis

from consoles import BEARER, asking, setting
from redis_server import RedisServer
from sidecar.admin import read
from sidecar.console.pages import read_files
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Admin, Intent
from sidecar.status import read_status


@pytest.fixture
async def client(shared_redis: RedisServer, namespace: str, store: Redis):
    async with asking(setting(shared_redis.url, namespace)) as client:
        client.headers.update(BEARER)
        yield client


async def test_the_status_is_that_of_the_command(client, shared_redis: RedisServer, namespace: str):
    shown = (await client.get("/api/status")).json()
    told = json.loads(json.dumps((await read_status(shared_redis.url, namespace, ["api"])).as_json()))
    for each in (shown, told):
        del each["now_ms"], each["pools"]["api"]["age_ms"]
    assert shown == told


async def test_what_the_operator_asks_for_is_written_as_the_command_writes_it(client, store: Redis, keys: PoolKeys):
    for order, body, intent in [
        ("drain", {}, Intent(admin=Admin.DRAIN)),
        ("maint", {}, Intent(admin=Admin.MAINT)),
        ("weight", {"weight": 2.5}, Intent(admin=Admin.MAINT, weight=2.5)),
        ("ready", {}, Intent(weight=2.5)),
        ("weight", {"weight": None}, Intent()),
    ]:
        answer = await client.post(f"/api/pools/api/backends/a/{order}", json=body)
        assert answer.status_code == 200, answer.text
        written = (await read(store, keys)).intents["a"]
        assert (written.admin, written.weight, written.by) == (intent.admin, intent.weight, "console@127.0.0.1")
        assert answer.json()["since_ms"] == written.since_ms
    events = (await client.get("/api/events", params={"pool": "api", "backend": "a", "limit": 2})).json()
    assert [(each["from"], each["to"]) for each in events] == [("maint", "ready"), ("weight 2.5", "weight default")]


async def test_who_takes_the_last_one_away_is_warned(client):
    path = f"/api/pools/api/backends/{quote('/run/b', safe='')}/drain"
    first, last = await client.post("/api/pools/api/backends/a/drain", json={}), await client.post(path, json={})
    assert first.json()["warning"] is None
    assert last.json() | {"since_ms": 0} == {
        "pool": "api", "backend": "/run/b", "before": "ready", "after": "drain", "since_ms": 0,
        "warning": "no other backend of api takes traffic: without /run/b it serves nobody",
    }  # fmt: skip


async def test_who_names_what_is_not_there_is_told_what_is(client):
    for path, said in [
        ("web/backends/a", "there is no pool 'web', only api"),
        ("api/backends/c", "the pool api has no backend 'c', only /run/b, a"),
    ]:
        assert (await client.post(f"/api/pools/{path}/drain", json={})).json() == {"detail": said}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/pools/web/backends/a/drain", {}, 404),
        ("/api/pools/api/backends/c/drain", {}, 404),
        ("/api/pools/api/backends/a/weight", {}, 422),
        ("/api/pools/api/backends/a/weight", {"weight": 257}, 422),
        ("/api/pools/api/backends/a/weight", {"weight": "1"}, 422),
        ("/api/pools/api/backends/a/weight", {"weight": True}, 422),
        ("/api/pools/api/backends/a/weight", {"weight": "y" * 20_000}, 413),
        ("/api/pools/api/backends/a/destroy", {}, 405),
    ],
)
async def test_what_cannot_be_done_is_said_in_a_sentence_and_not_done(
    client, store: Redis, keys: PoolKeys, path: str, body: object, status: int
):
    answer = await client.post(path, json=body)
    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], str)
    assert not (await read(store, keys)).intents


async def test_the_history_comes_in_columns_and_what_is_not_known_is_null(client, store: Redis, keys: PoolKeys):
    for passed, p99 in (("1", ""), ("0", "12.5")):
        await store.xadd(keys.history("a"), {"passed": passed, "probe_ms": "1.5", "rps": "x", "p99_ms": p99})
    shown = (await client.get("/api/history/api", params={"backend": ["a", "/run/b"], "limit": 2})).json()
    assert {name: shown["a"][name] for name in ("passed", "probe_ms", "rps", "p99_ms")} == {
        "passed": [True, False], "probe_ms": [1.5, 1.5], "rps": [None, None], "p99_ms": [None, 12.5],
    }  # fmt: skip
    assert not any(shown["/run/b"].values())
    assert (await client.get("/api/history/api", params={"backend": ["a"] * 65})).status_code == 422


async def test_a_store_that_is_away_is_said_in_a_sentence(namespace: str, tmp_path):
    async with asking(setting(f"unix://{tmp_path}/none.sock", namespace)) as client:
        answer = await client.get("/api/status")
        assert (answer.status_code, "cannot be read" in answer.json()["detail"]) == (503, True)
        assert (await client.get("/livez")).status_code == 200


async def test_every_answer_tells_browsers_to_run_nothing_but_our_files(client):
    for path in ("/api/status", "/api/openapi.json", "/", "/nothing", "/../rules.py"):
        fields = (await client.get(path)).headers
        assert "default-src 'none'" in fields["content-security-policy"]
        assert "unsafe" not in fields["content-security-policy"]
        assert fields["x-content-type-options"] == "nosniff"
    assert (await client.get("/api/status")).headers["cache-control"] == "no-store"


async def test_the_api_is_described(client):
    described = (await client.get("/api/openapi.json")).json()
    assert "/api/pools/{pool}/backends/{backend}/drain" in described["paths"]
    backend = described["components"]["schemas"]["BackendStatus"]["properties"]
    assert {"state", "reason", "p99_ms", "share"} <= backend.keys()


async def test_the_page_is_sent_once_and_then_only_when_it_changed(client):
    index = await client.get("/")
    assert (index.status_code, index.headers["content-type"]) == (200, "text/html; charset=utf-8")
    again = await client.get("/", headers={"if-none-match": index.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await client.get("/nothing.js")).status_code == 404


def test_files_are_known_by_their_path_below_the_page(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "x.js").write_text("export {}")
    assert read_files(tmp_path)["lib/x.js"].media_type == "text/javascript; charset=utf-8"
