"""Visitors that stay with a backend, requests that are told apart by what they say, and machines that stand near."""

from collections.abc import Callable
from typing import Any

import pytest

from backend import Backend, Connection, Request, answers, resets
from lanes import Lane, StartLane
from raw_client import RawClient, Response, fetch
from sidecar.contract.model import Admin, Health, Verdict, View
from wire import encode_head
from worker.view import Beat

STICKY = {"cookie": "sb", "secret": "a secret of some length"}
ONCE = {"num_retries": 0, "connect_retries": 0}
UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "websocket")]


def cookie_of(response: Response) -> str:
    """What a browser sends back of the one cookie that was set."""
    [line] = response.all("set-cookie")
    return line.decode().partition(";")[0]


async def visit(lane: Lane, cookie: str = "", *, within: str = "/", method: str = "GET") -> Response:
    return await fetch(lane.port, within, method=method, headers=[("Host", "a"), ("Cookie", f"x=1; {cookie}")])


def named(backend: Backend) -> str:
    return f"127.0.0.1:{backend.port}"


@pytest.fixture
def start_sticky(start_lane: StartLane, backend: Backend, bad: Backend) -> StartLane:
    """A sticky lane over both backends, each of which says who it is."""
    for each in (backend, bad):
        each.handler = answers(headers=[("X-Me", named(each)), ("Set-Cookie", "own=1; Path=/")])

    async def start(**sections: Any) -> Lane:
        return await start_lane(backend.url, bad.url, **{"sticky": STICKY, "retry": ONCE, **sections})

    return start


def owner(response: Response) -> bytes | None:
    return response.header("x-me")


def ours(response: Response) -> list[bytes]:
    """What was set beside the backend's own cookie, which comes first, as it was."""
    first, *more = response.all("set-cookie")
    assert first == b"own=1; Path=/"
    return more


async def test_a_visitor_stays_with_the_backend_that_answered_first(
    start_sticky: StartLane, backend: Backend, bad: Backend
):
    lane = await start_sticky()
    visitors = [await visit(lane) for _ in range(2)]
    assert {owner(visitor) for visitor in visitors} == {named(backend).encode(), named(bad).encode()}
    for visitor in visitors:
        [line] = ours(visitor)
        assert line.endswith(b"; Path=/; HttpOnly; SameSite=Lax")
        cookie = line.decode().partition(";")[0]
        for method in ("GET", "POST", "GET"):
            again = await visit(lane, cookie, method=method)
            assert (owner(again), ours(again)) == (owner(visitor), [])
        seen = (backend if owner(visitor) == named(backend).encode() else bad).requests[-1]
        assert seen.all("cookie") == [f"x=1; {cookie}".encode()]


async def test_all_workers_with_the_secret_understand_a_cookie_and_no_others_do(start_sticky: StartLane):
    one, other = await start_sticky(), await start_sticky()
    stranger = await start_sticky(sticky={**STICKY, "secret": "another secret of some length"})
    for _ in range(2):
        visitor = await visit(one)
        cookie = ours(visitor)[0].decode().partition(";")[0]
        for _ in range(3):
            assert owner(await visit(other, cookie)) == owner(visitor)
        assert ours(await visit(stranger, cookie)) != []


async def test_a_visitor_whose_backend_is_gone_gets_another_for_good(
    start_sticky: StartLane, backend: Backend, bad: Backend
):
    lane = await start_sticky(retry={})
    first = await visit(lane)
    gone, left = (backend, bad) if owner(first) == named(backend).encode() else (bad, backend)
    gone.refuse()
    gone.drop_connections()
    moved = await visit(lane, ours(first)[0].decode().partition(";")[0])
    assert (moved.status, owner(moved)) == (200, named(left).encode())
    cookie = ours(moved)[0].decode().partition(";")[0]
    await gone.accept()
    again = await visit(lane, cookie)
    assert (owner(again), ours(again)) == (named(left).encode(), [])


async def test_an_idle_connection_that_closes_does_not_part_a_visitor_from_its_backend(
    start_sticky: StartLane, backend: Backend, bad: Backend
):
    """A request that met one went to another backend, and its answer moved the visitor there for good."""
    lane = await start_sticky()
    first = await visit(lane)
    home = backend if backend.requests else bad
    answering, stale = home.handler, True

    async def handle(request: Request, connection: Connection) -> None:
        nonlocal stale
        if not stale:
            return await answering(request, connection)
        stale = False
        return connection.reset()

    home.handler = handle
    again = await visit(lane, ours(first)[0].decode().partition(";")[0])
    assert (owner(again), ours(again), stale) == (owner(first), [], False)


@pytest.mark.parametrize("admin", [Admin.DRAIN, Admin.MAINT])
async def test_a_backend_that_drains_hands_its_visitors_over_at_once(
    start_sticky: StartLane, backend: Backend, bad: Backend, admin: Admin
):
    lane = await start_sticky()
    first = await visit(lane)
    out, left = (backend, bad) if owner(first) == named(backend).encode() else (bad, backend)
    verdicts = {
        named(each): Verdict(
            id=named(each), url=each.url, state=Health.HEALTHY, admin=admin if each is out else Admin.READY
        )
        for each in (backend, bad)
    }
    api, now = lane.runtime.pools["api"], lane.runtime.clock()
    api.knowledge.offer(View(epoch=1, backends=verdicts), now, 0)
    api.reselect(now)
    moved = await visit(lane, ours(first)[0].decode().partition(";")[0])
    assert owner(moved) == named(left).encode()
    assert len(ours(moved)) == 1


async def test_only_a_backends_final_answer_sets_a_cookie(start_lane: StartLane, backend: Backend, bad: Backend):
    async def hints(request: Request, connection: Connection) -> None:
        await connection.send(encode_head("HTTP/1.1 103 Early Hints", [("Link", "</a>")]))
        await connection.respond()

    backend.handler = hints
    lane = await start_lane(backend.url, sticky=STICKY, retry=ONCE)
    response = await visit(lane)
    cookie_of(response)
    assert [interim.all("set-cookie") for interim in response.informational] in ([], [[]])
    backend.handler = answers(503)
    assert (await visit(lane)).all("set-cookie") == []
    backend.handler = resets()
    refused = await visit(lane)
    assert (refused.status, refused.all("set-cookie")) == (502, [])


async def test_a_socket_goes_where_its_polls_went_and_may_be_the_first_to_settle(
    start_sticky: StartLane, backend: Backend, bad: Backend
):
    lane = await start_sticky()
    lane.needs("upgrade")
    cookie = ours(await visit(lane))[0].decode().partition(";")[0]
    home = backend if backend.requests else bad

    async def switch(request: Request, connection: Connection) -> None:
        if request.header("upgrade") is None:
            return await connection.respond()
        await connection.send(encode_head("HTTP/1.1 101 Switching Protocols", UPGRADE))
        return connection.close()

    for each in (backend, bad):
        each.handler = switch
    for carried in (cookie, ""):
        async with RawClient(lane.port) as client:
            await client.request(headers=[("Host", "a"), ("Cookie", carried), *UPGRADE])
            head = await client.read_head()
        assert head.status == 101
        assert bool(head.all("set-cookie")) is not bool(carried)
        if carried:
            assert home.requests[-1].header("upgrade") == b"websocket"
        else:
            cookie_of(head)


Told = Callable[[int], dict[str, Any]]
BY: dict[str, Told] = {
    "header:X-User": lambda user: {"headers": [("Host", "a"), ("x-user", f"user {user}")]},
    "cookie:sid": lambda user: {"headers": [("Host", "a"), ("Cookie", f"a=b; sid={user}")]},
    "path": lambda user: {"target": f"/{user}?now"},
    "client_address": lambda user: {"headers": [("Host", "a"), ("X-Forwarded-For", f"198.51.100.{user}")]},
}


@pytest.mark.parametrize("hash_on", BY)
async def test_requests_that_are_alike_go_to_one_backend_from_every_worker(
    start_lane: StartLane, backend: Backend, bad: Backend, hash_on: str
):
    for each in (backend, bad):
        each.handler = answers(headers=[("X-Me", named(each))])
    balancing = {"policy": "rendezvous", "hash_on": hash_on, "max_load_ratio": 100.0}
    members = [{"url": backend.url, "id": "one"}, {"url": bad.url, "id": "two"}]
    lanes = [
        await start_lane(*members, balancing=balancing, listen={"trusted_proxies": ["127.0.0.1/32"]}) for _ in range(2)
    ]
    homes = set()
    for user in range(10):
        responses = [await fetch(lane.port, **BY[hash_on](user)) for lane in lanes for _ in range(2)]
        assert len({owner(response) for response in responses}) == 1
        assert not any(response.all("set-cookie") for response in responses)
        homes.add(owner(responses[0]))
    assert len(homes) == 2


async def test_what_stands_in_our_own_zone_goes_first_and_the_others_stand_in(
    start_lane: StartLane, backend: Backend, bad: Backend
):
    near, far = {"url": backend.url, "zone": "a"}, {"url": bad.url, "zone": "b"}
    store = {"url": "unix:///nowhere/store.sock", "zone": "a"}
    lane = await start_lane(near, far, store=store)
    for _ in range(6):
        assert (await fetch(lane.port)).status == 200
    assert (len(backend.requests), len(bad.requests)) == (6, 0)
    backend.refuse()
    backend.drop_connections()
    for _ in range(3):
        assert (await fetch(lane.port)).status == 200
    assert len(bad.requests) == 3


async def test_where_the_latest_probe_decides_it_is_read_from_the_beat(
    start_lane: StartLane, backend: Backend, bad: Backend
):
    lane = await start_lane(backend.url, bad.url, balancing={"policy": "fastest"})
    api = lane.runtime.pools["api"]
    for seq, fast in enumerate((backend, bad), start=1):
        probe_ms = {named(each): 1.0 if each is fast else 30.0 for each in (backend, bad)}
        beat = Beat(seq=seq, epoch=0, store_id="", redis_ms=seq, probe_ms=probe_ms)
        api.knowledge.beat(beat, lane.runtime.clock(), 0.0)
        api.reselect(lane.runtime.clock())
        fast.requests.clear()
        for _ in range(5):
            assert (await fetch(lane.port)).status == 200
        assert len(fast.requests) == 5
