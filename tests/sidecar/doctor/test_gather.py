"""What is gathered: from backends that answer, stall, and close; from a real store, and the command as a whole."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from backend import Backend, answers, sends
from published import publish, report
from redis_server import RedisServer
from sidecar.cli.commands import run
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Health, Verdict, parse_address
from sidecar.doctor.gather.ask import ask, parse_head, request
from sidecar.doctor.gather.store import store_facts
from waiting import free_port

ASK = request("GET", "/health", [("Host", "h")])


async def test_an_answer_is_read_with_every_field_as_it_came(backend: Backend):
    backend.handler = answers(200, [("Date", "a"), ("date", "b")])
    asked = await ask(parse_address(backend.url), ASK)
    assert asked.answer is not None
    assert (asked.answer.status, asked.answer.values("date")) == (200, ["a", "b"])
    assert backend.requests[0].target == b"/health"


@pytest.mark.parametrize(
    "sent",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 103 Hi\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"],
)
async def test_a_connection_that_is_closed_while_it_rests_is_noticed(backend: Backend, sent: bytes):
    backend.handler = sends(sent)
    asked = await ask(parse_address(backend.url), ASK, rest_s=20.0)
    assert asked.answer is not None
    assert asked.answer.status == 200
    assert asked.closed_after_s is not None


async def test_one_that_is_kept_is_not_said_to_be_closed(backend: Backend):
    asked = await ask(parse_address(backend.url), ASK, rest_s=0.01)
    assert (asked.closed_after_s, asked.watched_s) == (None, 0.01)


@pytest.mark.parametrize(
    ("sent", "trouble"),
    [(b"", "connection closed without an answer"), (b"SSH-2.0-x\r\n\r\n", "not an HTTP answer: 'SSH-2.0-x'")],
)
async def test_what_is_no_answer_is_said_in_words(backend: Backend, sent: bytes, trouble: str):
    backend.handler = sends(sent)
    assert trouble in (await ask(parse_address(backend.url), ASK)).trouble


async def test_a_refused_connection_is_said_in_words():
    assert (await ask(parse_address(f"http://127.0.0.1:{free_port()}"), ASK)).trouble == "connection refused"


@pytest.mark.parametrize("head", [b"HTTP/1.1 OK\r\n\r\n", b"\r\n\r\n", b"HTTP/2 200\r\n\r\n"])
def test_what_is_no_head_is_refused(head: bytes):
    with pytest.raises(ValueError, match="not an HTTP answer"):
        parse_head(head)


async def test_the_store_says_what_it_is(redis_server: RedisServer):
    facts = await store_facts(redis_server.url)
    assert (facts.is_local, facts.is_open, facts.user, facts.role) == (True, True, "default", "master")
    assert (facts.policy, facts.max_bytes) == ("noeviction", 64 << 20)
    assert abs(facts.skew_s) < 60


async def test_a_store_with_a_password_is_not_open_and_one_that_tells_nothing_is_no_trouble(redis_server: RedisServer):
    async with connect(redis_server.url) as store:
        await store.acl_setuser("shy", enabled=True, passwords=["+pw"], keys=["*"], commands=["+ping", "+time"])
        await store.acl_setuser("default", enabled=False)
    facts = await store_facts(redis_server.url.replace("unix://", "unix://shy:pw@"))
    assert (facts.is_open, facts.user, facts.policy) == (False, None, None)
    assert "pw" not in facts.shown


@pytest.fixture
def examined(shared_redis: RedisServer, namespace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The command, on a file with this pool."""

    def examine(url: str, *words: str) -> tuple[int, str]:
        file = tmp_path / "sidebeat.toml"
        file.write_text(f"""
[store]
url = "{shared_redis.url}"
namespace = "{namespace}"
host = "web-1"
[listen]
admin = "127.0.0.1:{free_port()}"
[pools.api]
backends = [{{ url = "{url}", id = "a" }}]
health_check = {{ path = "/health", method = "HEAD" }}
""")
        status = run(["doctor", "-c", str(file), "--idle", "0", *words])
        return status, capsys.readouterr().out

    return examine


async def test_a_broken_backend_fails_with_its_fix_and_status_1(
    backend: Backend, shared_redis: RedisServer, namespace: str, examined: Callable[..., tuple[int, str]]
):
    backend.handler = answers(405)
    keys = PoolKeys(namespace, "api@web-1")
    async with connect(shared_redis.url) as store:
        down = Verdict(id="a", url=backend.url, state=Health.UNHEALTHY, reason="HTTP 405, not 200-399")
        await publish(store, keys, down)
        await report(store, keys, 0)
    status, out = await asyncio.to_thread(examined, backend.url)
    assert status == 1
    assert "fail  probe       api/a: HEAD /health is answered 405" in out
    assert 'fix: set pools.api.health_check.method = "GET"' in out
    assert "api@web-1/a is down: HTTP 405, not 200-399" in out
    status, out = await asyncio.to_thread(examined, backend.url, "--json")
    told = json.loads(out)
    assert (status, told["has_config"]) == (1, True)
    assert {"backends", "probe", "endpoints"} <= {each["check"] for each in told["findings"] if each["level"] == "fail"}


def test_without_a_store_the_rest_is_examined_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    port, file = free_port(), tmp_path / "sidebeat.toml"
    file.write_text(f'[store]\nurl = "unix://{tmp_path}/none"\n[pools.api]\nbackends = ["http://127.0.0.1:{port}"]\n')
    assert run(["doctor", "-c", str(file)]) == 1
    out = capsys.readouterr().out
    assert "fail  store       unix://" in out
    assert f"fail  probe       api/127.0.0.1:{port}: connection refused" in out
