"""Who bears a token reads in the answer how it came about; nobody else does, and backends never see it."""

import json
from typing import Any

import pytest

from backend import Backend, Connection, Request, answers, resets
from lanes import Lane, StartLane, in_one_lane
from raw_client import RawClient, Response, fetch
from rude import never_answers
from sidecar.contract.token import Tokens
from waiting import eventually
from wire import encode_head
from worker.allowance import Allowance

SECRET = "a secret of some length"
OURS = ("x-sidebeat-backend", "server-timing", "x-sidebeat-explain")
LISTEN = {"explain_secret": SECRET}
TOKEN = Tokens(SECRET, "default").issue(600)


async def ask(lane: Lane, token: str = TOKEN, **request: Any) -> Response:
    return await fetch(lane.port, headers=[("host", "h"), ("X-Sidebeat-Explain", token)], **request)


def record(response: Response) -> dict[str, Any]:
    said = response.header("x-sidebeat-explain")
    assert said is not None, response.headers
    told: dict[str, Any] = json.loads(said)
    return told


def timing(response: Response) -> list[str]:
    """The metrics of Server-Timing by their names, in order."""
    said = response.header("server-timing")
    assert said is not None
    return [metric.partition(";")[0].strip() for metric in said.decode().split(",")]


async def test_the_answer_says_who_gave_it_and_how_likely_that_was(start_lane: StartLane, backend: Backend):
    spare = {"url": "http://127.0.0.1:9", "id": "spare", "backup": True}
    lane = await start_lane({"url": backend.url, "id": "a"}, spare, listen=LISTEN)
    response = await ask(lane)
    assert (response.status, response.body) == (200, b"ok")
    assert response.header("x-sidebeat-backend") == b"a"
    told = record(response)
    assert told["backends"] == {"a": 1.0, "spare": "it is backup_unknown, and unknown goes first"}
    assert (told["pool"], told["tier"], told["decided_by"], told["status"]) == ("api", "unknown", "policy", 200)
    [attempt] = told["attempts"]
    assert attempt["backend"] == "a"
    assert attempt["connect_ms"] <= attempt["ms"]
    assert timing(response) == ["queue", "connect", "upstream", "attempts"]
    again = await ask(lane)
    assert timing(again) == ["queue", "upstream", "attempts"], "over the same connection"


async def test_the_token_goes_no_further_and_neither_do_fields_that_a_backend_makes_up(
    start_lane: StartLane, backend: Backend
):
    backend.handler = answers(
        headers=[("x-sidebeat-backend", "me"), ("Server-Timing", "db;dur=5"), ("Keep-Alive", "timeout=5")]
    )
    lane = await start_lane(backend.url, listen=LISTEN)
    response = await ask(lane)
    assert [name for name, _ in backend.requests[0].headers if name.lower().startswith(b"x-sidebeat")] == []
    assert response.all("x-sidebeat-backend") == [f"127.0.0.1:{backend.port}".encode()]
    assert response.all("server-timing")[0] == b"db;dur=5"
    assert len(response.all("server-timing")) == 2


@pytest.mark.parametrize(
    "token",
    [
        "",
        "yes",
        TOKEN[:-3],
        Tokens(SECRET, "other").issue(600),
        Tokens("another secret, as long", "default").issue(600),
        Tokens(SECRET, "default", lambda: 1_000_000_000).issue(600),
    ],
    ids=["empty", "word", "cut", "other namespace", "other host", "expired"],
)
async def test_a_token_that_is_not_good_counts_as_none(start_lane: StartLane, backend: Backend, token: str):
    lane = await start_lane(backend.url, listen=LISTEN)
    response = await ask(lane, token)
    assert response.status == 200
    assert [name for name in OURS if response.header(name) is not None] == []
    assert [name for name, _ in backend.requests[0].headers if name.lower().startswith(b"x-sidebeat")] == []


async def test_nothing_is_told_where_no_token_is_borne(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url, listen=LISTEN)
    async with RawClient(lane.port) as client:
        for bears in (True, False, True):
            await client.request(headers=[("host", "h"), *([("x-sidebeat-explain", TOKEN)] if bears else [])])
            response = await client.read_response()
            assert [response.header(name) is not None for name in OURS] == [bears] * 3


async def test_attempts_that_failed_are_told_with_their_failures(start_lane: StartLane, backend: Backend, bad: Backend):
    bad.handler = resets()
    lane = await start_lane({"url": bad.url, "id": "bad"}, {"url": backend.url, "id": "good"}, listen=LISTEN)
    response = next(each for each in [await ask(lane), await ask(lane)] if len(record(each)["attempts"]) > 1)
    first, second = record(response)["attempts"]
    assert (response.status, first["backend"], first["failure"]) == (200, "bad", "reset_before_head")
    assert second["backend"] == "good"
    assert response.header("x-sidebeat-backend") == b"good"
    assert [name for name in timing(response) if name != "connect"] == ["queue", "retries", "upstream", "attempts"]


async def test_a_server_error_that_is_retried_is_an_attempt_like_any_other(
    start_lane: StartLane, backend: Backend, bad: Backend
):
    bad.handler = answers(status=503)
    lane = await start_lane({"url": bad.url, "id": "bad"}, {"url": backend.url, "id": "good"}, listen=LISTEN)
    told = [record(await ask(lane)) for _ in range(2)]
    failures = [attempt.get("failure") for each in told for attempt in each["attempts"]]
    assert failures.count("gateway_error") == 1
    assert len(failures) == 3
    assert {each["status"] for each in told} == {200}


async def test_errors_of_ours_are_told_too(start_lane: StartLane, bad: Backend):
    bad.refuse()
    lane = await start_lane({"url": bad.url, "id": "bad"}, listen=LISTEN)
    response = await ask(lane)
    assert (response.status, response.header("x-sidebeat-error")) == (502, b"connect_refused")
    assert record(response)["failure"] == "connect_refused"
    assert record(response)["backends"] == {"bad": 1.0}


async def test_a_request_without_a_route_is_told_why(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url, listen=LISTEN, routes=[{"pool": "api", "path_prefix": "/api"}])
    response = await ask(lane)
    assert response.status == 404
    assert (record(response)["failure"], record(response)["why"]) == ("no_route", "no route matches")
    assert [name for name in OURS if (await fetch(lane.port)).header(name) is not None] == []


async def test_of_many_backends_only_some_are_told(start_lane: StartLane, backend: Backend):
    others = [{"url": f"http://127.0.0.1:{port}", "backup": True} for port in range(1, 90)]
    lane = await start_lane(backend.url, *others, listen=LISTEN)
    told = record(response := await ask(lane))
    assert len(told["backends"]) == 17
    assert told["backends"]["…"] == "74 more"
    said = response.header("x-sidebeat-explain")
    assert said is not None
    assert len(said) < 4_096


async def test_a_protocol_switch_is_told_where_bytes_pass(start_lane: StartLane, backend: Backend):
    async def switch(_request: Request, connection: Connection) -> None:
        fields = [("Upgrade", "chat"), ("Connection", "Upgrade")]
        await connection.send(encode_head("HTTP/1.1 101 Switching Protocols", fields))
        connection.close()

    backend.handler = switch
    lane = await start_lane({"url": backend.url, "id": "a"}, listen=LISTEN)
    lane.needs("upgrade")
    wish = [("host", "h"), ("Connection", "Upgrade"), ("Upgrade", "chat"), ("x-sidebeat-explain", TOKEN)]
    async with RawClient(lane.port) as client:
        await client.request(headers=wish)
        response = await client.read_head()
    assert (response.status, response.header("x-sidebeat-backend")) == (101, b"a")
    assert record(response)["status"] == 101


@in_one_lane
async def test_a_request_that_is_hedged_tells_of_both(
    start_lane: StartLane, backend: Backend, bad: Backend, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Allowance, "hedge_after_s", lambda _self, _now: 0.02)
    monkeypatch.setattr(Allowance, "may_hedge", lambda _self, _now: True)
    bad.handler = never_answers()
    lane = await start_lane(
        {"url": bad.url, "id": "slow"},
        {"url": backend.url, "id": "quick"},
        balancing={"policy": "first"},
        routes=[{"pool": "api", "hedge": True}],
        listen=LISTEN,
    )
    response = await ask(lane)
    assert response.header("x-sidebeat-backend") == b"quick"
    told = [(each["backend"], each.get("failure")) for each in record(response)["attempts"]]
    assert told == [("slow", "outlasted"), ("quick", None)]


@in_one_lane
async def test_a_request_that_we_have_to_leave_is_told_of(start_lane: StartLane, backend: Backend):
    backend.handler = never_answers()
    lane = await start_lane({"url": backend.url, "id": "a"}, listen=LISTEN)
    async with RawClient(lane.port) as client:
        await client.request(headers=[("host", "h"), ("x-sidebeat-explain", TOKEN)])
        await eventually(lambda: backend.requests)
        lane.runtime.end_clients()
        response = await client.read_response()
    assert (response.status, record(response)["failure"]) == (503, "shutting_down")
    assert record(response)["backends"] == {"a": 1.0}
